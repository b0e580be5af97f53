# amaranth: UnusedElaboratable=no
"""Quick-select: its cycles, its parts. What it finds: test_top_k."""

from __future__ import annotations

import random

import pytest

from attnsieve.hdl.select.partition import Partition
from attnsieve.hdl.select.quick_select import QuickSelect
from attnsieve.hdl.select.top_k import TopKParams
from attnsieve.sim.unit import run_streams, simulate

from .rows import run


def lists_of(params, rng, count, pivot):
    """Lists as beats, and their parts: below, above; how many are above, and equal."""
    beats, parts = [], []
    for _ in range(count):
        values = []
        length = rng.randint(1, 5)
        for n in range(length):
            items = [rng.choice([pivot, rng.randrange(16)]) for _ in range(params.lanes)]
            keep = [rng.random() < 0.8 for _ in items]
            values += [item for item, kept in zip(items, keep, strict=True) if kept]
            mask = sum(kept << lane for lane, kept in enumerate(keep))
            beats.append({"item": items, "keep": mask, "last": int(n == length - 1)})
        above = [v for v in values if v > pivot]
        below = [v for v in values if v < pivot]
        parts.append((below, above, len(above), values.count(pivot)))
    return beats, parts


def groups(outputs):
    """Items of each list."""
    found, now = [], []
    for beat in outputs:
        now += [beat.item[n] for n in range(beat.count)]
        if beat.last:
            found.append(now)
            now = []
    return found


@pytest.mark.parametrize("lanes", [1, 2, 3, 8, 16])
@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_partition(lanes, stall):
    params = TopKParams(lanes=lanes, value_bits=4, max_values=5 * lanes)
    beats, parts = lists_of(params, random.Random(lanes), 30, pivot=7)
    dut = Partition(params=params)
    ports = {"below": None, "above": None, "counts": len(parts)}
    stalls = {"i": stall, "below": stall, "above": stall}
    result = run_streams(
        dut, {"i": beats}, ports, stall=stalls, constants={"pivot": 7}, settle=60
    )
    assert groups(result.outputs["below"]) == [below for below, *_ in parts]
    assert groups(result.outputs["above"]) == [above for _, above, *_ in parts]
    assert [(c.above, c.equal) for c in result.outputs["counts"]] == [p[2:] for p in parts]


def test_latency_of_the_partition():
    params = TopKParams(lanes=16, value_bits=4, max_values=16)
    dut = Partition(params=params)
    beat = {"item": list(range(16)), "keep": 0xFFFF, "last": 1}
    ports = {"below": 1, "above": 1, "counts": 1}
    result = run_streams(dut, {"i": [beat]}, ports, constants={"pivot": 7})
    assert result.first("counts") - result.first("i") == dut.latency
    assert result.first("above") - result.first("i") == dut.list_latency


def rounds_of(dut, values, k):
    """Beats of the rounds of a row, watched inside the engine; and the cycles."""
    fed = []

    async def watch(ctx):
        split = dut.partition.i
        async for _, _, valid, last in ctx.tick("sync").sample(split.valid, split.p.last):
            if valid:
                fed.append(last)

    result = run(dut, [(values, k)], testbenches=[watch])
    beats, now = [], 0
    for last in fed:
        now += 1
        if last:
            beats.append(now)
            now = 0
    return beats, result.last("o") - result.last("i")


@pytest.mark.parametrize("n", [40, 100, 256])
def test_latency(n):
    params = TopKParams(lanes=4, value_bits=12, max_values=256)
    rng = random.Random(n)
    for k in (1, n // 8, n // 2, n - 1):
        dut = QuickSelect(params=params)
        beats, cycles = rounds_of(dut, [rng.randrange(4096) for _ in range(n)], k)
        least = 2 + sum(b + dut.idle for b in beats)
        assert least <= cycles <= least + dut.wait * len(beats) <= dut.worst(-(-n // 4))


def test_the_bound_is_the_sum_over_the_rounds():
    dut = QuickSelect(params=TopKParams(lanes=2, value_bits=12, max_values=64))
    assert dut.worst(2) == 2 + (2 + 2 + 1 + 1) + 4 * (dut.idle + dut.wait)
    few = QuickSelect(params=TopKParams(lanes=2, value_bits=2, max_values=64))
    assert few.worst(4) == 2 + (4 + 4 + 3 + 3) + 4 * (few.idle + few.wait)


@pytest.mark.parametrize("k", [0, 7, 8])
def test_a_row_without_a_round(k):
    dut = QuickSelect(params=TopKParams(lanes=2, value_bits=4, max_values=8))
    assert rounds_of(dut, [3] * 7, k) == ([], 2)


def test_all_equal_takes_one_round():
    dut = QuickSelect(params=TopKParams(lanes=2, value_bits=4, max_values=64))
    beats, _ = rounds_of(dut, [9] * 64, 20)
    assert beats == [32]


def test_pivots_are_spread():
    """In a sorted list the pivot is not always at one end: rounds stay few."""
    params = TopKParams(lanes=1, value_bits=12, max_values=256)
    total = 0
    for seed in range(6):
        rng = random.Random(seed)
        values = sorted(rng.sample(range(4096), 256))
        beats, _ = rounds_of(QuickSelect(params=params), values, rng.randrange(1, 256))
        total += len(beats)
    assert total < 6 * 40


def test_two_engines_take_the_same_cycles():
    """The generator starts anew at reset."""
    params = TopKParams(lanes=2, value_bits=8, max_values=64)
    values = [random.Random(3).randrange(256) for _ in range(64)]
    first, second = (rounds_of(QuickSelect(params=params), values, 20) for _ in range(2))
    assert first == second


def test_partition_is_idle_without_a_list():
    dut = Partition(params=TopKParams(lanes=2, value_bits=4, max_values=8))
    seen = []

    async def bench(ctx):
        for _ in range(20):
            _, _, *valid = await ctx.tick().sample(
                dut.below.valid, dut.above.valid, dut.counts.valid
            )
            seen.append(any(valid))

    simulate(dut, bench)
    assert not any(seen)
