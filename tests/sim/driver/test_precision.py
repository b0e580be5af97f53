"""Widths of K and V and rows that wait: what images hold, what is read, and whole cascades."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from attnsieve.hdl.params import CoreParams
from attnsieve.sim.bench.campaign import random_image
from attnsieve.sim.driver.cascade import Pruning, cascade
from attnsieve.sim.driver.packing import unpack
from attnsieve.sim.driver.plan import Placement, memory_image, single_job
from attnsieve.sim.driver.precision import PLAIN, Precision, threshold_code
from attnsieve.sim.errors import InputError
from attnsieve.sim.golden.dense import dense_float
from attnsieve.sim.golden.job import Job
from attnsieve.sim.golden.progressive import key_limit
from attnsieve.sim.outputs import output_arrays

PARAMS = CoreParams(value_lanes=4, token_lanes=4, progressive=True, value_demand=True)
NARROW = replace(PARAMS, channels=1, lanes=16, max_head_dim=64, data_width=128)


@pytest.mark.parametrize("threshold, code", [
    (0, 0), (0.0, 0), (1e-9, 1), (2**-16, 1), (0.05, 3277), (0.1, 6554), (0.5, 32768), (1.0, 65535),
    (1, 65535),
])  # fmt: skip
def test_threshold_codes(threshold, code):
    assert threshold_code(threshold) == code


def an_image(params=PARAMS, seed=1, key_valid=None, rng=None, **changes):
    """Heads 0, 1 of KV head 0 are flat, head 2 sees one key of KV head 1, head 3 is flat."""
    shape = {"heads": 4, "kv_heads": 2, "queries": 1, "keys": 20, "head_dim": 64, "bits": 8,
             "key_bits": 8, "threshold": 20000, **changes}  # fmt: skip
    job = Job(**shape, scales=((40000, 40),) * 2 + ((40000, 16),) + ((40000, 40),))
    noise = np.random.default_rng(seed)
    most = key_limit(job.key_width) if job.progressive else (1 << (job.key_width - 1)) - 1
    top = 1 << (job.value_width - 1)
    q = noise.integers(-128, 128, (4, 1, job.head_dim)).astype(np.int16)
    k = noise.integers(-most, most + 1, (2, job.keys, job.head_dim)).astype(np.int16)
    v = noise.integers(-top, top, (2, job.keys, job.head_dim)).astype(np.int16)
    place = Placement(params, rng=rng)
    image = single_job(params, job, q, k, v, key_valid, place=place)
    return image, memory_image(params, (image,), place, rng)


@pytest.mark.parametrize("key_bits", PARAMS.operand_widths)
@pytest.mark.parametrize("seed", [None, 3])
def test_planes_lie_where_the_request_says(key_bits, seed):
    rng = None if seed is None else np.random.default_rng(seed)
    image, memory = an_image(rng=rng, key_bits=key_bits, value_bits=6)
    request, size = image.request, 64 * key_bits // 8
    assert request["k_plane"] % PARAMS.alignment == 0
    assert request["k_plane"] >= 20 * size
    assert request["k_stride"] >= request["k_plane"] + 20 * 32
    for head in range(2):
        for row in (0, 7, 19):
            base = request["k_base"] + head * request["k_stride"]
            at = base + row * size
            msb = unpack(memory.linear[at : at + size], key_bits).astype(int)
            at = base + request["k_plane"] + row * 32
            lsb = unpack(memory.linear[at : at + 32], 4)
            np.testing.assert_array_equal(16 * msb + lsb, image.k[head, row])
            at = request["v_base"] + head * request["v_stride"] + row * 48
            np.testing.assert_array_equal(
                unpack(memory.linear[at : at + 48], 6), image.v[head, row]
            )


def test_tensors_and_planes_are_apart():
    for seed in range(30):
        image, _ = random_image(PARAMS, np.random.default_rng(seed), jobs=3, most_cycles=300)
        taken = np.zeros(len(image.linear), int)
        for job in image.jobs:
            places = [*job.tensors.values(), *([job.k_lsb] if job.job.progressive else [])]
            for tensor in places:
                for head in range(tensor.heads):
                    start = tensor.row(head, 0)
                    taken[start : start + tensor.rows * tensor.pitch] += 1
        assert taken.max() == 1


def test_request_fields():
    image, _ = an_image(value_bits=6, demand=True)
    assert {name: image.request[name] for name in (
        "threshold", "key_bits", "value_bits", "k_plane", "demand", "wide"
    )} == {"threshold": 20000, "key_bits": 8, "value_bits": 6, "k_plane": 1280, "demand": 1,
           "wide": 0}  # fmt: skip
    static, _ = an_image(threshold=0, key_bits=0)
    assert (static.request["k_plane"], static.k_plane, static.request["key_bits"]) == (0, 0, 0)


def test_bytes_by_hand():
    """Rows of K are 64 bytes, of the second plane 32, of V 32 at 4 bits: whole units each."""
    image, _ = an_image(value_bits=4, values=3)
    assert image.expected.recomputed[:, 0].tolist() == [True, True, False, True]
    assert image.recomputed_kv.tolist() == [True, True]
    q = 4 * 64
    assert image.read_bytes == q + 2 * 20 * (64 + 32 + 32)
    assert image.counters["recomputed"] == 3
    assert 32 * image.needed_granules == image.read_bytes + image.write_bytes
    # Head 3 is pruned: no row of KV head 1 is computed again.
    one = replace(image, job=replace(image.job, pruned_heads=(3,)))
    assert one.recomputed_kv.tolist() == [True, False]
    assert one.read_bytes == q - 64 + 2 * 20 * (64 + 32) + 20 * 32
    assert 32 * one.needed_granules == one.read_bytes + one.write_bytes
    # Of V only what is kept: the union of heads 0 and 1, and one key of head 2.
    demand = replace(one, job=replace(one.job, demand=True))
    kept = demand.expected.kept_values[:, 0]
    union = int((kept[0] | kept[1]).sum())
    assert 3 <= union <= 6
    assert kept[2:].sum(axis=1).tolist() == [1, 0]
    assert demand.read_bytes == one.read_bytes - 2 * 20 * 32 + (union + 1) * 32
    assert 32 * demand.needed_granules == demand.read_bytes + demand.write_bytes


def units(params, tensor, head, rows):
    """Units of rows in order, one after another; one that two rows of a granule share counts
    once."""
    count, before, unit = 0, None, params.unit_bytes
    for place, row in enumerate(rows):
        start = tensor.base + head * tensor.stride + row * tensor.pitch
        touched = list(range(start // unit, (start + tensor.pitch - 1) // unit + 1))
        follows = before is not None and before[0] == row - 1 and place % params.groups
        if follows and tensor.pitch >= unit and touched[0] == before[1]:
            touched = touched[1:]
        count += len(touched)
        before = row, (start + tensor.pitch - 1) // unit
    return count


@pytest.mark.parametrize("params", [PARAMS, NARROW], ids=["two channels", "one"])
def test_bytes_of_random_jobs(params):
    planes = demanded = 0
    for seed in range(40):
        image, _ = random_image(params, np.random.default_rng(seed), jobs=2, most_cycles=300)
        for job in image.jobs:
            keys = [int(key) for key in job.listed_keys]
            total = sum(
                units(params, job.tensors["q"], head, job.listed_queries)
                for head in np.flatnonzero(job.job.alive)
            )
            for head in np.flatnonzero(job.job.alive_kv):
                group = slice(head * job.job.group, (head + 1) * job.job.group)
                kept = job.expected.kept_values[group].any(axis=(0, 1))
                values = [key for key in keys if kept[key]] if job.job.demand else keys
                total += units(params, job.tensors["k"], head, keys)
                total += units(params, job.tensors["v"], head, values)
                if job.expected.recomputed[group].any():
                    planes += 1
                    total += units(params, job.k_lsb, head, keys)
                demanded += values != keys
            assert job.read_bytes == total * params.unit_bytes
            if params.unit_bytes == 32:
                assert job.read_bytes + job.write_bytes >= 32 * job.needed_granules
    assert planes
    assert demanded


def a_trace(seed=1, queries=6, **options):
    rng = np.random.default_rng(seed)
    q = rng.normal(size=(3, 4, queries, 16)).astype(np.float32)
    k, v = (rng.normal(size=(3, 2, 30, 16)).astype(np.float32) for _ in "kv")
    rest = {"key_valid": None, "query_valid": None, "causal": False, "decode": True, **options}
    return SimpleNamespace(q=2 * q, k=k, v=v, self_attention=False, **rest)


ALL = Precision(key_bits=8, value_bits=10, threshold=threshold_code(0.3), demand=True)


def test_a_cascade_over_steps():
    """Each step's job has planes and demand; K and V grow in place."""
    trace = a_trace()
    pruning = Pruning(tokens=0.5, values=0.5, heads=0.8)
    plans = cascade(PARAMS, trace, range(3), 12, pruning, ALL)
    for plan in plans:
        places = {(j.tensors["k"].base, j.tensors["k"].stride, j.k_plane) for j in plan.jobs}
        assert len(places) == 1
        assert [j.tensors["k"].rows for j in plan.jobs] == [j.k_lsb.rows for j in plan.jobs]
        for job in plan.jobs:
            assert {name: getattr(job.job, name) for name in ALL.of_job} == ALL.of_job
            assert job.tensors["k"].rows * 16 <= job.k_plane
            view = job.k_lsb.view(plan.image.linear)
            np.testing.assert_array_equal(unpack(view, 4), (job.k + 8) % 16 - 8)
    outputs = [plan.output(plan.image.expected()) for plan in plans]
    arrays = output_arrays(plans, outputs, 30, decode=True)
    computed = arrays["kept_scores"].any(axis=-1)
    recomputed = np.zeros_like(computed)
    for layer, plan in enumerate(plans):
        for job in plan.jobs:
            recomputed[layer, :, job.query_rows] = job.expected.recomputed.T
    assert recomputed.any()
    assert arrays["approx_rows"].any()
    np.testing.assert_array_equal(arrays["approx_rows"], computed & ~recomputed)
    assert any(job.job.values for job in plans[2].jobs)


@pytest.mark.parametrize("threshold, error", [(1.0, 0.02), (1e-6, 0.2)])
def test_outputs_are_attention(threshold, error):
    """Nothing pruned: every row again with 12 bits of K, or all from 8."""
    trace = a_trace()
    precision = replace(ALL, key_bits=8, value_bits=12, threshold=threshold_code(threshold))
    plans = cascade(PARAMS, trace, [0], 12, Pruning(), precision)
    out = plans[0].real_output(plans[0].output(plans[0].image.expected()))
    for step in range(6):
        seen = np.arange(30) <= step + 24
        want = dense_float(trace.q[0][:, step : step + 1], trace.k[0], trace.v[0], key_valid=seen)
        np.testing.assert_allclose(out[:, step : step + 1], want, atol=error)


def test_static_widths_need_no_decode_trace():
    plans = cascade(
        PARAMS, a_trace(decode=False), [0], 8, Pruning(), Precision(key_bits=12, value_bits=6)
    )
    job = plans[0].jobs[0]
    assert (job.tensors["q"].pitch, job.tensors["k"].pitch, job.tensors["v"].pitch) == (16, 24, 12)
    assert not job.expected.approximate.any()


@pytest.mark.parametrize("name", ["threshold", "demand"])
def test_jobs_of_several_queries_are_refused(name):
    precision = replace(PLAIN, **{name: 1 if name == "threshold" else True})
    message = rf"^{name} needs jobs of one query: a decode trace, not one with 6 queries in a job$"
    with pytest.raises(InputError, match=message):
        cascade(PARAMS, a_trace(decode=False), [0], 8, Pruning(), precision)
    one = a_trace(decode=False, queries=1)
    assert cascade(PARAMS, one, [0], 8, Pruning(), precision)[0].jobs


def test_a_core_that_lacks_them_refuses():
    core = CoreParams(value_lanes=4, token_lanes=4)
    with pytest.raises(InputError, match=r"^value_bits must be 0 on a core without progressive"):
        cascade(core, a_trace(), [0], 8, Pruning(), Precision(value_bits=6))
    with pytest.raises(InputError, match=r"^demand must be false on a core without value_demand$"):
        cascade(core, a_trace(), [0], 8, Pruning(), Precision(demand=True))
