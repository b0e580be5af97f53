# amaranth: UnusedElaboratable=no
"""Tagged reader: bytes and tags, limits, throughput, errors, stop."""

from __future__ import annotations

import random

import pytest
from amaranth.hdl import Assert, Assume, Module, Signal, unsigned
from amaranth.lib import data, wiring

from attnsieve.hdl.axi.tagged_reader import TaggedReader
from attnsieve.sim.formal import free_inputs, prove
from attnsieve.sim.unit import run_streams, simulate
from attnsieve.sim.unit.axi_memory import AXIReadMemory

from .test_reader import contents

TAG = data.StructLayout({"name": unsigned(3)})


def make(**kwargs):
    defaults = {"addr_width": 24, "data_width": 32, "max_beats": 8, "max_bursts": 8, "tag": TAG}
    return TaggedReader(**(defaults | kwargs))


def bursts(count, seed, beats=None):
    rng = random.Random(seed)
    return [
        {
            "address": 32 * rng.randrange(3000),
            "len": (beats or rng.randint(1, 8)) - 1,
            "tag": {"name": rng.randrange(8)},
        }
        for _ in range(count)
    ]


def read(dut, requests, **kwargs):
    """Read the bursts; check data, tags and ends."""
    want = [
        (contents(r["address"] + 4 * k, 4), k == r["len"], r["tag"]["name"])
        for r in requests
        for k in range(r["len"] + 1)
    ]
    stall = kwargs.pop("stall", 0.0)
    memory = AXIReadMemory(dut.bus, contents, max_burst=8, max_outstanding=64, **kwargs)
    result = run_streams(
        dut, {"request": requests}, {"o": len(want)}, stall=stall, testbenches=[memory.bench],
        max_cycles=9000,
    )  # fmt: skip
    got = [(o.data.to_bytes(4, "little"), o.last, o.tag.name) for o in result.outputs["o"]]
    assert got == want
    return result


@pytest.mark.parametrize("stall", [0.0, 0.4])
@pytest.mark.parametrize("latency", [1, 20])
def test_beats(stall, latency):
    read(make(), bursts(40, latency), stall=stall, latency=latency, ar_stall=stall, r_stall=stall)


def test_throughput():
    """A burst has its place for the memory's latency, its beats and one cycle more."""
    dut, latency = make(), 8 * 8 - 8 - 2
    result = read(dut, bursts(30, 1, beats=8), latency=latency)
    times = result.times["o"]
    assert times[0] == result.first("request") + dut.latency + latency
    assert times[-1] - times[0] == 239


@pytest.mark.parametrize("response", [2, 3])
@pytest.mark.parametrize("beat", [0, 5, 8, 15])
def test_error_on_any_beat_is_latched(beat, response):
    dut = make()
    responses = {beat: response, beat + 2: 5 - response}
    memory = AXIReadMemory(dut.bus, contents, responses=responses)
    seen = []

    async def watch(ctx):
        while True:
            seen.append((await ctx.tick().sample(dut.error))[2])

    run_streams(
        dut, {"request": bursts(3, 1, beats=8)}, {"o": 24}, testbenches=[memory.bench, watch]
    )
    assert set(seen) == {0, response}
    assert seen == sorted(seen)


def test_exclusive_okay_is_no_error():
    dut = make()
    memory = AXIReadMemory(dut.bus, contents, responses=dict.fromkeys(range(8), 1))

    async def watch(ctx):
        while True:
            assert (await ctx.tick().sample(dut.error))[2] == 0

    run_streams(
        dut, {"request": bursts(1, 1, beats=8)}, {"o": 8}, testbenches=[memory.bench, watch]
    )


@pytest.mark.parametrize("seed", range(8))
def test_stop_in_any_state(seed):
    rng = random.Random(seed)
    dut = make()
    stop_at = rng.randint(1, 60)
    memory = AXIReadMemory(
        dut.bus, contents, latency=rng.randint(1, 20), ar_stall=0.6, r_stall=0.5, seed=seed
    )
    log = []

    async def bench(ctx):
        outstanding = 0
        ctx.set(dut.request.valid, 1)
        ctx.set(dut.request.payload, {"address": 32, "len": 7, "tag": {"name": 0}})
        for cycle in range(600):
            ctx.set(dut.stop, cycle >= stop_at)
            ctx.set(dut.o.ready, 0 if cycle >= stop_at else rng.random() < 0.5)
            _, _, idle, arvalid, taken, arrived = await ctx.tick().sample(
                dut.idle,
                dut.bus.arvalid,
                dut.bus.arvalid & dut.bus.arready,
                dut.bus.rvalid & dut.bus.rready,
            )
            assert idle == (outstanding == 0 and not arvalid)
            outstanding += 8 * taken - arrived
            log.append((cycle, idle, arvalid, taken))

    simulate(dut, bench, background=[memory.bench])
    after = [entry for entry in log if entry[0] > stop_at]
    idle = [entry[1] for entry in after]
    assert idle[-1] == 1
    assert idle == sorted(idle)
    assert not [b for a, b in zip(after, after[1:], strict=False) if b[2] and not a[2]]
    assert sum(entry[3] for entry in after) <= 1


class Contract(wiring.Component):
    """AR and R rules against any slave that answers what was asked."""

    def __init__(self, dut):
        self.dut = dut
        super().__init__({})

    def elaborate(self, platform):
        m = Module()
        dut = m.submodules.dut = self.dut
        bus = dut.bus
        free_inputs(m, dut)
        asked, ended = Signal(4), Signal(4)  # bursts
        held, address, length = Signal(), Signal.like(bus.araddr), Signal.like(bus.arlen)
        stopping, stopped_idle = Signal(), Signal()
        m.d.comb += [
            Assume(~bus.rvalid | (asked != ended)),
            Assume(dut.stop | ~stopping),
            Assert((asked - ended)[:4] <= dut.max_bursts),
            Assert(dut.idle == ((asked == ended) & ~bus.arvalid)),
            Assert(~dut.o.valid | (dut.o.payload.data == bus.rdata)),
        ]
        m.d.sync += [
            asked.eq(asked + (bus.arvalid & bus.arready)),
            ended.eq(ended + (bus.rvalid & bus.rready & bus.rlast)),
            held.eq(bus.arvalid & ~bus.arready),
            address.eq(bus.araddr),
            length.eq(bus.arlen),
            stopping.eq(dut.stop),
            stopped_idle.eq(dut.stop & dut.idle),
        ]
        with m.If(held):
            m.d.comb += Assert(bus.arvalid & (bus.araddr == address) & (bus.arlen == length))
        with m.If(stopping & ~held):
            m.d.comb += Assert(~bus.arvalid)
        with m.If(stopping):
            m.d.comb += Assert(bus.rready & ~dut.o.valid)
        with m.If(stopped_idle):
            m.d.comb += Assert(dut.idle)
        return m


def test_proof():
    prove(Contract(make(addr_width=12, max_beats=2, max_bursts=3)), depth=14)
