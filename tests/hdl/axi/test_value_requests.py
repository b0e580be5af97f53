# amaranth: UnusedElaboratable=no
"""Regions of V and the lists of what is kept: each region waits for its list; proof."""

from __future__ import annotations

import random

import pytest
from amaranth.hdl import Assert, Assume, Cover, Module, Signal

from attnsieve.hdl.axi.value_requests import ValueRequests
from attnsieve.hdl.params import CoreParams
from attnsieve.sim.formal import HoldRule, free_inputs, prove
from attnsieve.sim.unit import run_streams

PARAMS = CoreParams(lanes=64, value_lanes=4, token_lanes=4, value_demand=True)


def reader(dut, asked, freed, rng, pace):
    """Reads the lists that are asked for, one after another; notes when each list is freed."""

    async def bench(ctx):
        waiting = 0
        while True:
            end = waiting > 0 and rng.random() < pace
            ctx.set(dut.end, end)
            _, _, move, count, half, free = await ctx.tick().sample(
                dut.o.valid & dut.o.ready, dut.o.p.rows, dut.o.p.half, dut.free
            )
            if free:
                assert end or (move and count == 0 and waiting == 0)
                freed.append(bool(end))
            waiting -= end
            if move:
                asked.append((count, half))
                waiting += count != 0

    return bench


@pytest.mark.parametrize("stall", [0.0, 0.4])
@pytest.mark.parametrize("pace", [0.05, 0.7])
@pytest.mark.parametrize("kind", ["full", "empty", "mixed", "one"])
def test_each_region_asks_for_its_list(kind, pace, stall):
    rng = random.Random(f"{kind} {pace} {stall}")
    size = 1 if kind == "one" else 30
    counts = {
        "full": [rng.randint(1, 1024) for _ in range(size)],
        "empty": [0] * size,
        "mixed": [rng.choice([0, 0, 1, 5, 1024]) for _ in range(size)],
        "one": [7],
    }[kind]
    regions = [
        {"address": 32 * n, "lines": 9, "rows": 99, "parts": 4, "wide": n % 2, "demand": 1}
        for n in range(size)
    ]
    dut, asked, freed = ValueRequests(params=PARAMS), [], []
    result = run_streams(
        dut,
        {"i": regions, "count": [{"count": count} for count in counts]},
        {"o": size},
        stall=stall,
        seed=size,
        testbenches=[reader(dut, asked, freed, rng, pace)],
        settle=1500,
    )
    for number, (got, count) in enumerate(zip(result.outputs["o"], counts, strict=True)):
        assert (got.address, got.rows, got.demand) == (32 * number, count, 1)
        assert got.half == number % 2
        assert (got.lines, got.parts, got.wide) == (9, 4, number % 2)
    # every list is freed once and in order: an empty one not before those before it
    assert freed == [bool(count) for count in counts]


@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_without_demand_regions_pass(stall):
    regions = [{"address": 64 * n, "rows": n, "half": 0, "demand": 0} for n in range(20)]
    result = run_streams(
        ValueRequests(params=PARAMS), {"i": regions, "count": []}, {"o": 20}, stall=stall,
    )  # fmt: skip
    assert [(r.address, r.rows, r.demand) for r in result.outputs["o"]] == [
        (64 * n, n, 0) for n in range(20)
    ]


@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_a_region_with_demand_among_others(stall):
    """Those behind it wait; no list is taken for them."""
    regions = [{"address": 64 * n, "rows": 50 + n, "demand": n % 3 == 1} for n in range(20)]
    asked = [n for n in range(20) if n % 3 == 1]
    dut = ValueRequests(params=PARAMS)
    result = run_streams(
        dut, {"i": regions, "count": [{"count": n} for n in asked]}, {"o": 20}, stall=stall,
        testbenches=[reader(dut, [], [], random.Random(1), 0.5)],
    )  # fmt: skip
    assert [(r.address, r.rows, r.demand) for r in result.outputs["o"]] == [
        (64 * n, n if n in asked else 50 + n, n in asked) for n in range(20)
    ]


def test_needs_values_on_demand():
    with pytest.raises(ValueError, match="value_demand must be true"):
        ValueRequests(params=CoreParams())


def test_hold_proof():
    """A region stays at the output until it is taken, if those at the inputs do; of the lists that
    are asked for one is read at a time, and there is none while two are."""
    m = Module()
    m.submodules.dut = dut = ValueRequests(params=PARAMS)
    free_inputs(m, dut)
    m.submodules += HoldRule(dut.o)
    move, reading = dut.o.valid & dut.o.ready, Signal(range(4))
    asked = move & dut.i.p.demand & (dut.count.p.count != 0)
    m.d.sync += reading.eq(reading + asked - dut.end)
    m.d.comb += [
        Assume(~dut.end | (reading != 0)),
        Assume(~dut.count.valid | (reading < 2)),
        Assert(dut.count.ready == (move & dut.i.p.demand)),
        Assert(~(move & dut.i.p.demand) | dut.count.valid),
        Assert(dut.free == (dut.end | (dut.count.ready & (dut.o.p.rows == 0)))),
        Assert(~(dut.end & dut.count.ready & (dut.o.p.rows == 0))),
        Cover(dut.free & ~dut.end),
    ]
    prove(m, depth=8, name="value requests")
