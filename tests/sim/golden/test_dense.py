"""A whole layer: against arithmetic one element at a time, and against float64."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attnsieve.gen import config
from attnsieve.hdl.params import CoreParams
from attnsieve.sim.errors import InputError
from attnsieve.sim.golden.dense import dense_exact, dense_float
from attnsieve.sim.golden.job import Job
from attnsieve.sim.golden.layer import attention_layer
from attnsieve.sim.golden.quantise import dequantise_output, quantise_layer

TINY = config.load("dense-tiny").core
CORES = {
    "dense": CoreParams(),
    "tiny": TINY,
    "long": CoreParams(max_keys=4096, max_queries=4096, p_bits=16),
    "eight": CoreParams(operand_bits=8),
}


# -- numbers.md, one row at a time in plain integers ---------------------------------------------


def term(params, d, mantissa, shift):
    u = (((d << 19) >> shift) + 1) >> 1
    if u >= 1 << 18:
        return 0, 0
    y = (u * mantissa + (1 << 14)) >> 15
    if y >= 1 << 18:
        return 0, 0
    i, f = (y >> 6) % 128, y % 64
    base = [round(65536 * 2 ** (-n / 128)) for n in (i, i + 1)]
    t = base[0] - (((base[0] - base[1]) * f + 32) >> 6)
    k = min((y >> 13) // 5, params.max_class)
    r = (y >> 13) - 5 * k
    m = (t + (1 << r >> 1)) >> r
    return m, k if m else 0


def scalar_row(params, q, keys, values, scale, bits):
    """Output of one row from lists of visible keys and values."""
    if not keys:
        return [0] * len(q)
    scores = [sum(a * b for a, b in zip(q, key, strict=True)) for key in keys]
    row = [term(params, max(scores) - s, *scale) for s in scores]
    one = 16 + 5 * params.max_class
    total = sum(m << (5 * (params.max_class - k)) for m, k in row)
    e = total.bit_length() - 1 - one
    x = (total >> (one + e - 18)) % (1 << 18)
    base = [round(65536 / (1 + n / 256)) for n in (x >> 10, (x >> 10) + 1)]
    recip = base[0] - (((base[0] - base[1]) * (x % 1024) + 512) >> 10)
    out = []
    for i in range(len(q)):
        acc = 0
        for (m, k), value in zip(row, values, strict=True):
            product = (value[i] << (params.operand_bits - bits)) * m
            acc += product << 4 if k == 0 else product >> (5 * k - 4)
        h = e + 20 - (17 - params.operand_bits)
        z = max(-(1 << 17), min((1 << 17) - 1, (acc + (1 << (h - 1))) >> h))
        out.append(max(-32767, min(32767, (z * recip + (1 << 16)) >> 17)))
    return out


def scalar_layer(params, job, q, k, v, key_valid, query_valid):
    out = np.zeros((job.heads, job.queries, job.head_dim), np.int16)
    for head in range(job.heads):
        kv = head * job.kv_heads // job.heads
        for query in range(job.queries):
            if not query_valid[query]:
                continue
            visible = query + job.keys - job.queries + 1 if job.causal else job.keys
            where = [key for key in range(visible) if key_valid[key]]
            out[head, query] = scalar_row(
                params,
                q[head, query].tolist(),
                [k[kv, key].tolist() for key in where],
                [v[kv, key].tolist() for key in where],
                job.scales[head],
                job.bits,
            )
    return out


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_the_layer_is_that_of_plain_integers(data):
    params = CORES[data.draw(st.sampled_from(sorted(CORES)), "core")]
    bits = data.draw(st.sampled_from([8, 12] if params.operand_bits == 12 else [8]), "bits")
    kv_heads = data.draw(st.integers(1, 2), "kv_heads")
    heads = kv_heads * data.draw(st.integers(1, 2), "group")
    keys = data.draw(st.integers(1, 12), "keys")
    causal = data.draw(st.booleans(), "causal")
    queries = data.draw(st.integers(1, min(4, keys) if causal else 4), "queries")
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1), "seed"))
    head_dim = data.draw(st.sampled_from([16, 32]), "head_dim")
    shift = data.draw(st.integers(0, 63) | st.integers(20, 32), "shift")
    scales = tuple((int(rng.integers(1 << 15, 1 << 16)), shift) for _ in range(heads))
    job = Job(
        heads=heads, kv_heads=kv_heads, queries=queries, keys=keys, head_dim=head_dim,
        bits=bits, causal=causal, scales=scales,
    )  # fmt: skip
    low, high = -(1 << (bits - 1)), 1 << (bits - 1)
    q = rng.integers(low, high, (heads, queries, head_dim))
    k, v = (rng.integers(low, high, (kv_heads, keys, head_dim)) for _ in "kv")
    key_valid, query_valid = rng.random(keys) < 0.8, rng.random(queries) < 0.8
    got = attention_layer(params, job, q, k, v, key_valid, query_valid)
    want = scalar_layer(params, job, q, k, v, key_valid, query_valid)
    np.testing.assert_array_equal(got.out, want)


# -- against float64 -----------------------------------------------------------------------------


def cosines(a, b):
    a, b = a.reshape(len(a), -1).astype(float), b.reshape(len(b), -1).astype(float)
    return (a * b).sum(1) / np.sqrt((a * a).sum(1) * (b * b).sum(1))


def ladder(params, bits, heads, kv_heads, queries, keys, head_dim, causal=False, sharp=1.0):
    """(float64, exact integer, hardware order), all in real units."""
    rng = np.random.default_rng(keys + head_dim)
    q = rng.normal(size=(heads, queries, head_dim)) * sharp
    k, v = (rng.normal(size=(kv_heads, keys, head_dim)) for _ in "kv")
    z = quantise_layer(q, k, v, bits)
    job = Job(
        heads=heads, kv_heads=kv_heads, queries=queries, keys=keys, head_dim=head_dim,
        bits=bits, causal=causal, scales=z.scales,
    )  # fmt: skip
    result = attention_layer(params, job, z.q, z.k, z.v)
    unit = np.repeat(z.s_v, heads // kv_heads)[:, None, None]
    exact = dense_exact(params, job, z.q, z.k, z.v, z.c) * unit
    return dense_float(q, k, v, causal=causal), exact, dequantise_output(result.out, z.s_v, bits)


@pytest.mark.parametrize("bits, floor", [(8, 0.999), (12, 0.99999)])
@pytest.mark.parametrize(
    "shape",
    [
        {"heads": 12, "kv_heads": 12, "queries": 113, "keys": 113, "head_dim": 32},
        {"heads": 9, "kv_heads": 3, "queries": 200, "keys": 200, "head_dim": 64, "causal": True},
        {"heads": 2, "kv_heads": 1, "queries": 5, "keys": 1024, "head_dim": 128, "sharp": 3.0},
        {"heads": 1, "kv_heads": 1, "queries": 1, "keys": 1, "head_dim": 16},
    ],
    ids=lambda s: f"{s['queries']}x{s['keys']}x{s['head_dim']}",
)
def test_errors_of_the_ladder(bits, floor, shape):
    real, exact, hardware = ladder(CORES["dense"], bits, **shape)
    assert cosines(hardware, exact).min() > 0.9999999
    assert np.abs(hardware - exact).max() < np.abs(exact).max() * 2.0**-12
    assert cosines(exact, real).min() > floor


def test_4096_keys_lose_no_mass():
    _, exact, hardware = ladder(CORES["long"], 12, 1, 1, 8, 4096, 16)
    assert cosines(hardware, exact).min() > 0.999999
    assert np.abs(hardware - exact).max() < 4.5 * 2.0**-15


# -- properties ----------------------------------------------------------------------------------


def integers(seed, job):
    rng = np.random.default_rng(seed)
    top = 1 << (job.bits - 1)
    q = rng.integers(-top, top, (job.heads, job.queries, job.head_dim))
    k, v = (rng.integers(-top, top, (job.kv_heads, job.keys, job.head_dim)) for _ in "kv")
    return q, k, v


def a_job(**changes):
    shape = {"heads": 2, "kv_heads": 1, "queries": 7, "keys": 19, "head_dim": 48, "bits": 12}
    return Job(**{**shape, "scales": ((40000, 27),) * 2, **changes})


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_permuting_keys_changes_nothing(seed):
    job = a_job()
    q, k, v = integers(seed, job)
    order = np.random.default_rng(seed).permutation(job.keys)
    a = attention_layer(CORES["dense"], job, q, k, v)
    b = attention_layer(CORES["dense"], job, q, k[:, order], v[:, order])
    np.testing.assert_array_equal(a.out, b.out)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_masked_keys_are_as_absent_ones(seed):
    job = a_job()
    q, k, v = integers(seed, job)
    valid = np.random.default_rng(seed).random(job.keys) < 0.5
    valid[0] = True
    masked = attention_layer(CORES["dense"], job, q, k, v, valid)
    absent = attention_layer(
        CORES["dense"], a_job(keys=int(valid.sum())), q, k[:, valid], v[:, valid]
    )
    np.testing.assert_array_equal(masked.out, absent.out)
    assert masked.scores == absent.scores == 2 * 7 * valid.sum()
    assert masked.macs_qk == masked.macs_pv == 48 * masked.scores


def test_a_causal_row_is_a_job_of_its_own():
    job = a_job(causal=True)
    q, k, v = integers(3, job)
    whole = attention_layer(CORES["dense"], job, q, k, v)
    for query in range(job.queries):
        seen = query + 13
        one = a_job(queries=1, keys=seen)
        mine = q[:, query : query + 1]
        row = attention_layer(CORES["dense"], one, mine, k[:, :seen], v[:, :seen])
        np.testing.assert_array_equal(whole.out[:, query], row.out[:, 0])
    assert whole.scores == 2 * sum(range(13, 20))


def test_rows_of_masked_queries_are_neither_written_nor_counted():
    job = a_job()
    q, k, v = integers(4, job)
    valid = np.array([1, 0, 1, 1, 0, 1, 0], bool)
    whole = attention_layer(CORES["dense"], job, q, k, v)
    some = attention_layer(CORES["dense"], job, q, k, v, None, valid)
    np.testing.assert_array_equal(some.out[:, valid], whole.out[:, valid])
    assert not some.out[:, ~valid].any()
    assert not some.kept_scores[:, ~valid].any()
    assert (some.rows, some.empty_rows, some.scores) == (8, 0, 8 * 19)


def test_rows_without_a_key_are_zero_and_counted():
    job = a_job(causal=True, queries=19)
    q, k, v = integers(5, job)
    key_valid = np.arange(19) >= 4
    query_valid = np.arange(19) != 1
    result = attention_layer(CORES["dense"], job, q, k, v, key_valid, query_valid)
    assert not result.out[:, :4].any()
    assert result.out[:, 4:].any(axis=2).all()
    assert (result.rows, result.empty_rows) == (2 * 18, 2 * 3)


def test_the_most_negative_operands_fit_every_wire():
    job = Job(heads=1, kv_heads=1, queries=2, keys=1024, head_dim=128, bits=12,
              scales=((65535, 0),))  # fmt: skip
    low = np.full((1, 1024, 128), -2048)
    result = attention_layer(CORES["dense"], job, low[:, :2], low, low)
    assert (result.out == -32767).all()


@pytest.mark.parametrize("shift, share", [(0, False), (63, True)])
def test_extreme_scales_give_the_maximum_or_the_mean(shift, share):
    job = a_job(heads=1, kv_heads=1, scales=((1 << 15, shift),))
    q, k, v = integers(6, job)
    out = attention_layer(CORES["dense"], job, q, k, v).out[0]
    best = np.argmax(q[0] @ k[0].T, axis=1)
    want = np.broadcast_to(v[0].mean(axis=0), out.shape) if share else v[0, best]
    assert np.abs(out / 16 - np.clip(want, -2047.9375, None)).max() <= 0.07


def test_wrong_shapes_are_refused():
    job = a_job()
    q, k, v = integers(7, job)
    with pytest.raises(InputError, match=r"^k must have shape \(1, 19, 48\), not \(1, 18, 48\)$"):
        attention_layer(CORES["dense"], job, q, k[:, :18], v)
    with pytest.raises(InputError, match=r"^key_valid must have shape \(19,\), not \(3,\)$"):
        attention_layer(CORES["dense"], job, q, k, v, np.ones(3, bool))
    with pytest.raises(InputError, match=r"^query_valid must have shape \(7,\), not \(3,\)$"):
        attention_layer(CORES["dense"], job, q, k, v, None, np.ones(3, bool))
