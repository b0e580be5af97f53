"""Exact attention in float against a plain loop, and the run that pauses at each layer."""

import numpy as np
import pytest

from attnsieve.sim.trace import AttentionStep, Run, float_attention


def plain(q, k, v, visible):
    heads, queries, head_dim = q.shape
    group = heads // len(k)
    out = np.zeros(q.shape)
    for h in range(heads):
        for i in range(queries):
            keys = np.flatnonzero(visible[i])
            if len(keys):
                s = k[h // group, keys].astype(float) @ q[h, i] / head_dim**0.5
                p = np.exp(s - s.max())
                out[h, i] = p / p.sum() @ v[h // group, keys]
    return out


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(
    "heads, kv_heads, queries, keys", [(4, 4, 5, 5), (6, 2, 3, 7), (1, 1, 1, 1)]
)
def test_against_a_loop(heads, kv_heads, queries, keys, causal):
    rng = np.random.default_rng(1)
    q = rng.normal(size=(heads, queries, 16)).astype(np.float32)
    k, v = rng.normal(size=(2, kv_heads, keys, 16)).astype(np.float32)
    key_valid = rng.random(keys) < 0.7
    visible = np.broadcast_to(key_valid, (queries, keys)).copy()
    if causal:
        visible &= np.arange(keys) <= np.arange(queries)[:, None] + keys - queries
    got = float_attention(0, q, k, v, key_valid, causal=causal)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, plain(q, k, v, visible), atol=1e-5)


def test_rows_without_a_key_are_zero():
    q = k = v = np.ones((2, 3, 16), np.float32)
    assert not float_attention(0, q, k, v, np.zeros(3, bool)).any()


def test_large_scores_do_not_overflow():
    q = k = np.full((1, 4, 16), 100, np.float32)
    v = np.arange(64, dtype=np.float32).reshape(1, 4, 16)
    got = float_attention(0, q, k, v, np.ones(4, bool))
    np.testing.assert_allclose(got, np.broadcast_to(v.mean(axis=1, keepdims=True), v.shape))


def two_layers():
    x = np.ones((1, 2, 4), np.float32)
    for layer in range(2):
        x = x + (yield AttentionStep(layer, x, x, x, np.ones(2, bool)))
    return x.sum()


def test_run_pauses_at_each_layer():
    run = Run(two_layers())
    assert run.step.layer == 0
    with pytest.raises(ValueError, match=r"^Run must be done to have a result, not at layer 0$"):
        _ = run.result
    with pytest.raises(ValueError, match=r"^Context must have shape \(1, 2, 4\), not \(2, 4\)$"):
        run.advance(np.zeros((2, 4)))
    run.advance(np.zeros((1, 2, 4)))
    assert run.step.layer == 1
    run.advance(np.full((1, 2, 4), 2))
    assert run.step is None
    assert run.result == 24
    with pytest.raises(ValueError, match=r"^Run must have a layer left to advance, but"):
        run.advance(np.zeros((1, 2, 4)))


def test_finish_takes_the_layers_left():
    run = Run(two_layers())
    run.advance(np.zeros((1, 2, 4)))
    assert run.finish(lambda layer, q, k, v, key_valid: q * layer) == 16
