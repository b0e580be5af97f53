# amaranth: UnusedElaboratable=no
"""The job checker against the rules written down in Python."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from attnsieve.hdl.control.checker import JobChecker
from attnsieve.hdl.control.status import StatusCode
from attnsieve.hdl.control.words import address_words
from attnsieve.hdl.params import CoreParams
from attnsieve.sim.unit import simulate

from .jobs import (
    SMALL,
    TINY,
    JobMemoryModel,
    derived_words,
    good_request,
    key_bytes,
    verdict,
    with_planes,
    words_of,
)

LOW = replace(TINY, addr_width=24)
HIGH = replace(SMALL, addr_width=40)
_LISTED = {"value_lanes": 16, "token_lanes": 16, "channels": 2}
PLANES = replace(SMALL, **_LISTED, progressive=True)
DEMAND = replace(SMALL, **_LISTED, value_demand=True)
BOTH = replace(SMALL, **_LISTED, progressive=True, value_demand=True, addr_width=40, max_heads=40)
SLICES = replace(SMALL, slice_units=2, value_demand=True)
PLANAR = replace(SLICES, slice_demand=True, slice_rows=4)
BITS = replace(PLANAR, slice_bits=1, max_head_dim=96, data_width=512)
FAR = replace(PLANAR, slice_bits=4, operand_bits=8, addr_width=40)
WAITING = {"planes": PLANES, "demand": DEMAND, "both": BOTH, "slices": SLICES, "planar": PLANAR,
           "bits": BITS, "far": FAR}  # fmt: skip
#: Those whose keys may lie in planes of slices.
SLICED = {"planar": PLANAR, "bits": BITS, "far": FAR}


def check(params, cases, *, grant=1.0, seed=0):
    """[(code, words, cycles)] of the cases: pairs of a request and the mantissas of its heads."""
    dut, results = JobChecker(params=params), []
    memory = JobMemoryModel(dut, grant=grant, seed=seed)

    async def bench(ctx):
        for number, (request, mantissas) in enumerate(cases):
            bank = number % params.banks
            memory.words[bank] = words_of(params, request)
            memory.tables[bank] = mantissas
            ctx.set(dut.bank, bank)
            ctx.set(dut.start, 1)
            await ctx.tick()
            ctx.set(dut.start, 0)
            for cycles in range(1, 1000):
                _, _, done, code = await ctx.tick().sample(dut.done, dut.code)
                if done:
                    results.append((code, dict(memory.words[bank]), cycles))
                    break
            else:
                raise AssertionError("the checker hangs")

    simulate(dut, bench, background=(memory.run,))
    return results


def normal(rng):
    return [rng.randrange(1 << 15, 1 << 16) for _ in range(64)]


@pytest.mark.parametrize(
    "params", [SMALL, TINY, LOW, HIGH], ids=["small", "tiny", "24 bits", "40 bits"])
def test_random_requests(params):
    rng, cases = random.Random(1), []
    for _ in range(150):
        request, mantissas = good_request(params, rng), normal(rng)
        if rng.random() < 0.6:
            field = rng.choice(sorted(request))
            if field in ("heads", "kv_heads", "queries", "keys", "head_dim"):
                request[field] = rng.choice([0, 1, 7, 16, 33, 48, 65, 200, 65535])
            elif "_" in field and field.split("_")[1] in ("base", "stride"):
                top = 1 << params.addr_width
                request[field] = rng.choice([8, top - 32, top >> 2, top - 0x1000])
                if params.addr_width < 32:
                    request[field] += rng.getrandbits(1) << params.addr_width
        if rng.random() < 0.1:
            mantissas[rng.randrange(request["heads"] + 1) % 64] = 0x7FFF
        cases.append((request, mantissas))
    want = [verdict(params, *case) for case in cases]
    got = check(params, cases, grant=0.7)
    for case, code, (got_code, words, _) in zip(cases, want, got, strict=True):
        assert got_code == code, case
        if code == StatusCode.OK:
            assert words == words_of(params, case[0]) | derived_words(params, case[0])
    assert len(set(want)) >= 7, "the cases no longer reach the rules"


@pytest.mark.parametrize("params", [SMALL, HIGH], ids=["32 bits", "40 bits"])
def test_latency(params):
    rng, words = random.Random(2), len(address_words(params, "Q_BASE"))
    cases = [(good_request(params, rng), normal(rng)) for _ in range(40)]
    for (request, _), (code, _, cycles) in zip(cases, check(params, cases), strict=True):
        heads, kv_heads = request["heads"], request["kv_heads"]
        assert code == StatusCode.OK
        assert cycles == 2 * (heads + kv_heads) + 8 * words + 33


def test_range_may_end_at_the_top_of_memory():
    rng = random.Random(3)
    request = good_request(SMALL, rng) | {
        "heads": 1, "kv_heads": 1, "queries": 2, "keys": 2, "head_dim": 16, "wide": 0, "causal": 0}
    for tensor in "qkvo":
        request[f"{tensor}_base"] = 0
    top = request | {"k_base": (1 << 32) - 32}
    over = top | {"keys": 3}
    codes = [code for code, *_ in check(SMALL, [(top, normal(rng)), (over, normal(rng))])]
    assert codes == [StatusCode.OK, StatusCode.ADDRESS_WRAP]


def test_heads_must_fit_the_rings():
    """K of one head may fill the ring, and have no line more."""
    params = CoreParams(lanes=64, max_keys=70, max_queries=50, max_heads=12, buffer_elements=2048)
    rng = random.Random(4)
    fits = good_request(params, rng) | {"keys": 32, "queries": 9, "head_dim": 128}
    assert params.row_lines(32, 128) == params.kv_lines
    codes = [c for c, *_ in check(params, [(fits, normal(rng)),
                                           (fits | {"keys": 33}, normal(rng))])]
    assert codes == [StatusCode.OK, StatusCode.SIZE_OVER_BUILD]


@pytest.mark.parametrize("core", WAITING)
def test_random_requests_of_rows_that_wait(core):
    params = WAITING[core]
    rng, cases = random.Random(f"waiting {core}"), []
    for _ in range(160):
        request = with_planes(params, rng, good_request(params, rng))
        request["wide"] &= params.operand_bits == 12
        request["relative"] = int(params.slice_demand and rng.random() < 0.1)
        if rng.random() < 0.4:  # many heads of few KV heads
            request |= {"heads": params.max_heads, "kv_heads": rng.choice([1, 2])}
        bad = rng.choice([None, "queries", "width", "plane", "far", "far", "k_base", "keys"])
        if bad == "queries":
            request["queries"] = rng.choice([0, 2, params.max_queries])
        elif bad == "width" and params.progressive:
            request[rng.choice(["k_bits", "v_bits"])] = rng.randrange(16)
        elif bad == "plane":
            request["k_plane"] += rng.choice([1, 8, 16, 31])
        elif bad == "far":
            request["k_plane"] = (1 << 32) - 32 * rng.choice([1, 40, 1 << 10, 1 << 20])
        elif bad == "k_base":
            request["k_base"] = (1 << params.addr_width) - 32 * rng.randrange(1 << 13)
        elif bad == "keys":
            request |= {"keys": params.max_keys, "causal": 0}
        cases.append((request, normal(rng)))
    want = [verdict(params, *case) for case in cases]
    for case, code, (got, words, _) in zip(
        cases, want, check(params, cases, grant=0.7), strict=True
    ):
        assert got == code, case
        if code == StatusCode.OK:
            assert words == words_of(params, case[0]) | derived_words(params, case[0])
    assert want.count(StatusCode.OK) > 20, "most cases are bad"
    assert len(set(want)) >= 4, "the cases no longer reach the rules"


def waiting(params, rng, **changes):
    """A good request whose rows need the second plane."""
    request = good_request(params, rng) | {
        "heads": 1, "kv_heads": 1, "queries": 1, "keys": 1, "head_dim": 16, "wide": 0, "causal": 0,
        "threshold": 6554, "k_bits": 0, "v_bits": 0, "k_plane": 64, "demand": 0, "planar": 0}
    return request | changes


def codes_of(params, requests):
    return [code for code, *_ in check(params, [(r, normal(random.Random(0))) for r in requests])]


def test_each_width_by_itself():
    rng = random.Random(5)
    for name in ("k_bits", "v_bits"):
        codes = codes_of(PLANES, [waiting(PLANES, rng, **{name: bits}) for bits in range(16)])
        assert [n for n, code in enumerate(codes) if code == StatusCode.OK] == [
            0, 4, 6, 8, 10, 12]
        assert set(codes) == {StatusCode.OK, StatusCode.BAD_COUNT}


@pytest.mark.parametrize(
    "core, name", [(PLANES, "threshold"), (DEMAND, "demand"), (SLICES, "demand")],
    ids=["threshold", "demand", "slices"])
def test_room_of_a_group_is_just_enough(core, name):
    """Four heads of as many keys as there can be fill the room to its last beat."""
    rng = random.Random(6)
    on = {"threshold": 0, "demand": 0, name: 1}
    most = waiting(core, rng, heads=4, keys=core.max_keys, **on)
    codes = codes_of(core, [most, most | {"heads": 5}, most | {"heads": 5, name: 0}])
    assert codes == [StatusCode.OK, StatusCode.BAD_GROUP, StatusCode.OK]
    long = most | {"keys": 1, "head_dim": 128, "heads": 8}
    over = StatusCode.BAD_GROUP if name == "threshold" else StatusCode.OK
    assert core.held_segments == 8 * core.max_parts
    assert codes_of(core, [long, long | {"heads": 9}]) == [StatusCode.OK, over]


def test_a_second_plane_may_end_at_the_top_of_memory():
    """A head of K is 32 bytes where a width may be 12 bits; the plane is a granule behind."""
    rng = random.Random(7)
    request = waiting(PLANES, rng, k_base=(1 << 32) - 96, k_stride=0, k_plane=64)
    off = {"threshold": 0}
    far = {"k_plane": 96}
    want = [StatusCode.OK, StatusCode.ADDRESS_WRAP, StatusCode.OK]
    assert codes_of(PLANES, [request, request | far, request | far | off]) == want
    assert codes_of(PLANES, [request | {"k_plane": 65}, request | {"k_plane": 65} | off]) == [
        StatusCode.MISALIGNED, StatusCode.OK]


@pytest.mark.parametrize("core", SLICED)
def test_each_rule_of_slices_in_planes(core):
    params, rng = SLICED[core], random.Random(f"rules {core}")
    good = waiting(params, rng, threshold=0, planar=1, heads=params.slice_rows)
    bad = {
        StatusCode.BAD_COUNT: {"queries": 2},
        StatusCode.BAD_THRESHOLD: {"relative": 1},
        StatusCode.MISALIGNED: {"k_plane": params.alignment // 2},
        StatusCode.BAD_GROUP: {"heads": params.slice_rows + 1},
    }
    assert codes_of(params, [good]) == [StatusCode.OK]
    for code, change in bad.items():  # only where K lies in planes
        off = {"planar": 0, "demand": 0}
        assert codes_of(params, [good | change, good | change | off]) == [code, StatusCode.OK]


@pytest.mark.parametrize("wide", [0, 1])
@pytest.mark.parametrize("core", SLICED)
def test_all_planes_of_slices_are_in_memory(core, wide):
    """The last one may end at the top; any plane that is farther is beyond it, however far."""
    params, rng = SLICED[core], random.Random(f"planes {core}")
    if wide and params.operand_bits < 12:
        pytest.skip("the core has 8-bit words only")
    top, step, keys = 1 << params.addr_width, params.alignment, params.max_keys
    request = waiting(params, rng, threshold=0, planar=1, wide=wide, keys=keys, k_stride=0,
                      k_plane=64 * step)  # fmt: skip
    size = -(-key_bytes(params, request, 0) // step) * step
    fits = request | {"k_base": top - size}
    far = [k for k in (1 << 31, 1 << 30, *range(0x6000_0000, 1 << 32, 0x0300_0000))
           if key_bytes(params, request | {"k_plane": k}, 0) > top]  # fmt: skip
    requests = [fits, fits | {"k_base": top - size + step}, fits | {"k_plane": 65 * step},
                *(request | {"k_base": 0, "k_plane": k} for k in far)]  # fmt: skip
    want = [StatusCode.OK, *[StatusCode.ADDRESS_WRAP] * (len(requests) - 1)]
    assert [verdict(params, each, normal(rng)) for each in requests] == want
    assert codes_of(params, requests) == want


@pytest.mark.parametrize("core", WAITING)
def test_latency_of_rows_that_wait(core):
    params, rng = WAITING[core], random.Random(8)
    words = len(address_words(params, "Q_BASE"))
    more = 2 * params.progressive + params.value_demand + params.slice_demand
    requests = [waiting(params, rng, heads=2 * n, kv_heads=n) for n in (1, 2, 6)]
    for request, (code, _, cycles) in zip(
        requests, check(params, [(r, normal(rng)) for r in requests]), strict=True
    ):
        heads, kv_heads = request["heads"], request["kv_heads"]
        assert code == StatusCode.OK
        assert cycles == 2 * (heads + kv_heads) + 8 * words + 33 + more + 3


def test_heads_that_take_longer_than_addresses():
    """Room for the rows of one KV head, and as many scales."""
    params, rng = replace(DEMAND, max_heads=32), random.Random(9)
    ((code, _, cycles),) = check(
        params, [(waiting(params, rng, heads=32, kv_heads=1, keys=4), normal(rng))]
    )
    assert code == StatusCode.OK
    assert cycles > 2 * 33 + 8 + 33 + 1 + 3
