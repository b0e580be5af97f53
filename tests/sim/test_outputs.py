"""Arrays of out.npz: anyone can check the outputs from them in float."""

from types import SimpleNamespace

import numpy as np
import pytest

from attnsieve.hdl.params import CoreParams
from attnsieve.sim.driver.plan import plan
from attnsieve.sim.outputs import output_arrays

PARAMS = CoreParams()


def run(decode, selection=None, heads=None, **fields):
    rng = np.random.default_rng(0)
    q = rng.normal(size=(2, 4, 5, 16)).astype(np.float32)
    k, v = (rng.normal(size=(2, 2, 8, 16)).astype(np.float32) for _ in "kv")
    rest = {"key_valid": None, "query_valid": None, "causal": False}
    trace = SimpleNamespace(q=q, k=k, v=v, decode=decode, **{**rest, **fields})
    plans = [plan(PARAMS, trace, layer, 12, heads=heads) for layer in range(2)]
    outputs = [p.output(p.image.expected()) for p in plans]
    return trace, output_arrays(plans, outputs, 8, decode=decode, selection=selection)


@pytest.mark.parametrize("decode", [False, True])
@pytest.mark.parametrize("masked", [False, True])
def test_outputs_follow_from_kept_scores_and_values(decode, masked):
    masks = {}
    if masked:
        masks = {"key_valid": np.arange(8) % 3 != 1, "query_valid": np.arange(5) != 2}
    trace, arrays = run(decode, **masks)
    assert arrays["out"].shape == (2, 4, 5, 16)
    assert arrays["out"].dtype == np.float32
    k, v = (np.repeat(x, 2, axis=1).astype(float) for x in (trace.k, trace.v))
    score = np.where(arrays["kept_scores"], trace.q @ k.swapaxes(2, 3) / 4.0, -np.inf)
    with np.errstate(invalid="ignore"):
        e = np.exp(score - score.max(axis=-1, keepdims=True))
        p = np.nan_to_num(e / e.sum(axis=-1, keepdims=True))
    want = np.where(arrays["kept_values"], p, 0) @ v
    assert np.abs(arrays["out"] - want).max() < 4e-3
    assert (arrays["out"][:, :, 2] == 0).all() == masked
    assert not arrays["approx_rows"].any()


def test_shapes_with_and_without_decode():
    _, arrays = run(False, key_valid=np.arange(8) < 6)
    np.testing.assert_array_equal(arrays["kept_tokens"], [np.arange(8) < 6] * 2)
    assert arrays["kept_heads"].shape == (2, 4)
    _, arrays = run(True)
    np.testing.assert_array_equal(arrays["kept_tokens"][0, 1], np.arange(8) < 5)
    assert arrays["kept_heads"].shape == (2, 5, 4)
    assert "layers" not in arrays


def test_a_selection_is_named():
    _, arrays = run(False, selection=[3, 7], heads=[2, 1])
    np.testing.assert_array_equal(arrays["layers"], [3, 7])
    np.testing.assert_array_equal(arrays["heads"], [2, 1])
    assert arrays["out"].shape[1] == 2
