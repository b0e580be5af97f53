"""Progressive quantisation: planes, the decision at its edges, and whole jobs against another
computation of the same."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from attnsieve.hdl.params import CoreParams
from attnsieve.sim.golden.dense import dense_exact
from attnsieve.sim.golden.job import Job
from attnsieve.sim.golden.layer import attention_layer
from attnsieve.sim.golden.progressive import LSB_BITS, key_limit, largest_probability, planes
from attnsieve.sim.golden.quantise import scale_pair, scale_value

PARAMS = CoreParams(value_lanes=4, token_lanes=4, progressive=True, value_demand=True)
WIDTHS = PARAMS.operand_widths


def a_job(**changes):
    shape = {"heads": 2, "kv_heads": 1, "queries": 1, "keys": 40, "head_dim": 16, "bits": 12}
    shape.update(changes)
    scales = shape.pop("scales", (scale_pair(2.0**-26),) * shape["heads"])
    return Job(**shape, scales=scales)


def operands(job, seed=1):
    rng = np.random.default_rng(seed)
    top = 1 << (job.bits - 1)
    q = rng.integers(-top, top, (job.heads, job.queries, job.head_dim))
    most = key_limit(job.key_width) if job.progressive else (1 << (job.key_width - 1)) - 1
    k = rng.integers(-most, most + 1, (job.kv_heads, job.keys, job.head_dim))
    top = 1 << (job.value_width - 1)
    v = rng.integers(-top, top, (job.kv_heads, job.keys, job.head_dim))
    return tuple(x.astype(np.int16) for x in (q, k, v))


@given(st.sampled_from(WIDTHS), st.integers(0, 2**32 - 1))
def test_planes_give_the_integers_back(bits, seed):
    top = key_limit(bits)
    k = np.random.default_rng(seed).integers(-top, top + 1, (3, 20)).astype(np.int16)
    k[0, :3] = -top, top, -8
    msb, lsb = planes(k, bits)
    np.testing.assert_array_equal(16 * msb.astype(int) + lsb, k)
    assert -8 <= lsb.min() <= lsb.max() <= 7
    assert -(1 << (bits - 1)) <= msb.min() <= msb.max() < 1 << (bits - 1)
    np.testing.assert_array_equal(msb, np.floor(k / 16 + 0.5))


@pytest.mark.parametrize("bits", WIDTHS)
def test_one_more_would_not_fit(bits):
    top = key_limit(bits)
    assert planes(np.array([top]), bits)[0] == (1 << (bits - 1)) - 1
    with pytest.raises(OverflowError, match=rf"^msb of a key element .* fit {bits} signed bits$"):
        planes(np.array([top + 1]), bits)
    assert planes(np.array([-(top + 9)]), bits)[0] == -(1 << (bits - 1))  # hardware takes it


def again(job, q, k, v, **masks):
    return attention_layer(PARAMS, job, q, k, v, **masks).recomputed


@pytest.mark.parametrize(
    "keys, largest", [(1, 65536), (2, 32768), (3, 21845), (4, 16384), (64, 1024)]
)
@pytest.mark.parametrize("off", [-1, 0, 1])
def test_equal_keys_at_the_threshold(keys, largest, off):
    """1 / keys, rounded down, is the largest probability: at the threshold it is enough."""
    job = a_job(keys=keys, key_bits=8, threshold=min(65535, largest + off))
    q, k, v = operands(job)
    k[:] = k[:, :1]
    assert largest_probability(np.array([65536]), np.array([0])) == 65536
    assert again(job, q, k, v).tolist() == [[keys > 1 and off == 1]] * 2


def test_a_row_without_a_key_is_not_computed_again():
    job = a_job(threshold=65535)
    q, k, v = operands(job)
    result = attention_layer(PARAMS, job, q, k, v, key_valid=np.zeros(40, bool))
    assert not result.recomputed.any()
    assert not result.approximate.any()
    assert (result.empty_rows, result.macs_qk) == (2, 0)
    assert not result.out.any()


def test_of_a_masked_query_nothing_is_computed():
    job = a_job(threshold=65535)
    result = attention_layer(PARAMS, job, *operands(job), query_valid=np.zeros(1, bool))
    assert not result.recomputed.any()
    assert not result.approximate.any()


def test_pruned_heads_are_not_computed_again():
    job = replace(a_job(threshold=65535, heads=4, kv_heads=2), pruned_heads=(0, 3))
    result = attention_layer(PARAMS, job, *operands(job))
    assert result.recomputed[:, 0].tolist() == [False, True, True, False]


@pytest.mark.parametrize("key_bits", WIDTHS)
@pytest.mark.parametrize("value_bits", WIDTHS)
def test_every_row_again_is_the_exact_job(key_bits, value_bits):
    """What is computed again is what dense attention over all bits makes, in value units."""
    job = a_job(key_bits=key_bits, value_bits=value_bits, threshold=65535)
    c = 2.0 ** -(10 + key_bits)
    job = replace(job, scales=(scale_pair(c),) * 2)
    q, k, v = operands(job)
    result = attention_layer(PARAMS, job, q, k, v)
    assert result.recomputed.all()
    assert result.macs_qk == 2 * result.scores * 16
    want = dense_exact(PARAMS, job, q, k, v, np.full(2, scale_value(job.scales[0])))
    got = result.out / (1 << (16 - value_bits))
    np.testing.assert_allclose(got, want, atol=2.0 ** (value_bits - 13))


@pytest.mark.parametrize("key_bits", WIDTHS)
@pytest.mark.parametrize("threshold", [0, 1])
def test_a_row_of_msbs_is_the_job_of_msbs(key_bits, threshold):
    """One plane of ``key_bits``, and the first of two at a scale 16 times as small, agree."""
    one = a_job(key_bits=key_bits, threshold=0, scales=((50000, 12 + key_bits),) * 2)
    two = replace(one, threshold=max(1, threshold), scales=((50000, 16 + key_bits),) * 2)
    q, k, v = operands(two)
    result = attention_layer(PARAMS, two, q, k, v)
    assert not result.recomputed.any()
    assert result.approximate.all()
    other = attention_layer(PARAMS, one, q, planes(k, key_bits)[0], v)
    assert not other.approximate.any()
    for name in ("out", "kept_values", "shares"):
        np.testing.assert_array_equal(getattr(result, name), getattr(other, name))
    assert result.macs_qk == other.macs_qk


def dot(a, b):
    return sum(x * y for x, y in zip(a, b, strict=True))


def softmax(scores, c):
    e = 2.0 ** (c * (np.asarray(scores, float) - max(scores)))
    return e / e.sum()


@given(st.integers(0, 2**32 - 1), st.sampled_from(WIDTHS), st.sampled_from([8, 12]))
def test_decisions_and_results_row_by_row(seed, key_bits, bits):
    """Against Python integers and float64, a row at a time."""
    rng = np.random.default_rng(seed)
    c = 2.0 ** -(bits + key_bits + int(rng.integers(0, 8)))
    job = a_job(
        heads=4, kv_heads=2, bits=bits, key_bits=key_bits, value_bits=8,
        threshold=int(rng.choice([1000, 6554, 20000, 50000])), scales=(scale_pair(c),) * 4,
    )  # fmt: skip
    c = scale_value(job.scales[0])
    q, k, v = operands(job, seed)
    valid = rng.random(40) < 0.7
    result = attention_layer(PARAMS, job, q, k, v, key_valid=valid)
    keys = np.flatnonzero(valid)
    for head in range(4 if len(keys) else 0):
        rows = [[int(x) for x in k[head // 2, key]] for key in keys]
        query = [int(x) for x in q[head, 0]]
        msbs = [[(x + 8) // 16 for x in row] for row in rows]
        coarse = [16 * dot(query, row) for row in msbs]
        exact = [dot(query, row) for row in rows]
        p = softmax(coarse, c)
        if abs(p.max() * 65536 / job.threshold - 1) > 1e-3:
            assert result.recomputed[head, 0] == (p.max() * 65536 < job.threshold)
        p = softmax(exact if result.recomputed[head, 0] else coarse, c)
        np.testing.assert_allclose(result.out[head, 0] / 256, p @ v[head // 2, keys], atol=0.1)
    assert LSB_BITS == PARAMS.lsb_bits


def test_importance_and_kept_values_follow_the_last_result():
    job = replace(a_job(key_bits=4, threshold=65535, heads=1), values=7)
    q, k, v = operands(job)
    static = replace(job, key_bits=8, threshold=0)
    ours, other = (attention_layer(PARAMS, j, q, k, v) for j in (job, static))
    np.testing.assert_array_equal(ours.kept_values, other.kept_values)
    np.testing.assert_array_equal(ours.shares, other.shares)
    np.testing.assert_array_equal(ours.out, other.out)
    assert (ours.scores, ours.values) == (other.scores, other.values)


def test_narrow_values_are_left_aligned():
    job = a_job(value_bits=4)
    q, k, v = operands(job)
    wide = attention_layer(PARAMS, replace(job, value_bits=12), q, k, v.astype(int) << 8)
    np.testing.assert_array_equal(attention_layer(PARAMS, job, q, k, v).out, wide.out)
