# amaranth: UnusedElaboratable=no
"""Burst reader: bytes, limits, throughput, errors, stop."""

from __future__ import annotations

import random

import pytest
from amaranth.hdl import Assert, Assume, Module, Mux, Signal
from amaranth.lib import wiring

from attnsieve.hdl.axi.reader import BurstReader
from attnsieve.sim.formal import HoldRule, free_inputs, prove
from attnsieve.sim.unit import run_streams, simulate
from attnsieve.sim.unit.axi_memory import AXIReadMemory


def contents(address: int, count: int) -> bytes:
    """Every byte depends on all of its address."""
    return bytes(
        (a * 167 + (a >> 8) * 59 + (a >> 16) * 83) & 255 for a in range(address, address + count)
    )


def make(**kwargs):
    defaults = {"addr_width": 32, "data_width": 64, "unit_bytes": 8, "max_units": 200}
    return BurstReader(**(defaults | kwargs))


def expected(dut, requests):
    return [
        int.from_bytes(contents(address + dut.unit_bytes * i, dut.unit_bytes), "little")
        for address, units in requests
        for i in range(units)
    ]


def requests_for(dut, count, seed, high=None):
    rng = random.Random(seed)
    return [
        (rng.randrange(0, 3000) * dut.unit_bytes, rng.randint(1, high or dut.max_units))
        for _ in range(count)
    ]


@pytest.mark.parametrize("stall", [0.0, 0.4])
@pytest.mark.parametrize("queued", [True, False])
@pytest.mark.parametrize(
    ("data_width", "unit_bytes"), [(32, 4), (32, 32), (64, 32), (256, 32), (512, 64)]
)
def test_bytes(data_width, unit_bytes, queued, stall):
    dut = make(
        data_width=data_width,
        unit_bytes=unit_bytes,
        max_units=60,
        queued=queued,
        lut_ram=data_width != 64,
    )
    requests = requests_for(dut, 6, seed=data_width)
    memory = AXIReadMemory(
        dut.bus,
        contents,
        latency=9,
        ar_stall=stall,
        r_stall=stall,
        max_burst=dut.burst,
        max_outstanding=dut.outstanding_beats,
        always_ready=queued,
    )
    want = expected(dut, requests)
    result = run_streams(
        dut,
        {"request": [{"address": a, "units": u} for a, u in requests]},
        {"o": len(want)},
        stall=stall,
        testbenches=[memory.bench],
        max_cycles=40000,
    )
    assert result.outputs["o"] == want
    assert memory.outstanding == 0


@pytest.mark.parametrize("queued", [True, False])
@pytest.mark.parametrize("lut_ram", [True, False])
def test_throughput_at_the_reference_latency(queued, lut_ram):
    dut = make(data_width=256, unit_bytes=32, queued=queued, lut_ram=lut_ram)
    latency = 50
    assert dut.outstanding_beats - dut.burst >= latency + dut.overhead
    requests = [(4096 - 32 * 3 + 32 * 15 * i, 15) for i in range(40)]
    memory = AXIReadMemory(dut.bus, contents, latency=latency, max_burst=8, max_outstanding=64)
    result = run_streams(
        dut,
        {"request": [{"address": a, "units": u} for a, u in requests]},
        {"o": 600},
        testbenches=[memory.bench],
    )
    assert result.outputs["o"] == expected(dut, requests)
    times = result.times["o"]
    assert times[0] == dut.latency + latency + result.first("request") + 1
    assert times[-1] - times[0] == 599


def test_too_few_outstanding_beats_slow_it_down():
    dut = make(data_width=256, unit_bytes=32, outstanding_beats=32)
    memory = AXIReadMemory(dut.bus, contents, latency=50, max_outstanding=32)
    result = run_streams(
        dut, {"request": [{"address": 0, "units": 200}]}, {"o": 200}, testbenches=[memory.bench]
    )
    times = result.times["o"]
    assert times[-1] - times[0] > 300


@pytest.mark.parametrize("response", [2, 3])
@pytest.mark.parametrize("beat", [0, 1, 7, 8, 19])
def test_error_on_any_beat_is_latched(beat, response):
    dut = make()
    other = 5 - response
    memory = AXIReadMemory(dut.bus, contents, responses={beat: response, beat + 3: other})
    seen = []

    async def bench(ctx):
        ctx.set(dut.o.ready, 1)
        ctx.set(dut.request.payload, {"address": 64, "units": 25})
        ctx.set(dut.request.valid, 1)
        await ctx.tick().until(dut.request.ready)
        ctx.set(dut.request.valid, 0)
        for _ in range(60):
            _, _, error = await ctx.tick().sample(dut.error)
            seen.append(error)

    simulate(dut, bench, background=[memory.bench])
    assert set(seen) == {0, response}
    assert seen == sorted(seen)


def test_exclusive_okay_is_no_error():
    dut = make()
    memory = AXIReadMemory(dut.bus, contents, responses=dict.fromkeys(range(9), 1))
    run_streams(
        dut, {"request": [{"address": 0, "units": 9}]}, {"o": 9}, testbenches=[memory.bench]
    )


@pytest.mark.parametrize("queued", [True, False])
@pytest.mark.parametrize("seed", range(8))
def test_stop_in_any_state(seed, queued):
    rng = random.Random(seed)
    dut = make(queued=queued)
    stop_at = rng.randint(1, 60)
    memory = AXIReadMemory(
        dut.bus, contents, latency=rng.randint(1, 20), ar_stall=0.6, r_stall=0.5, seed=seed
    )
    log = []

    async def bench(ctx):
        outstanding = 0
        ctx.set(dut.request.valid, 1)
        ctx.set(dut.request.payload, {"address": 32, "units": 150})
        for cycle in range(600):
            ctx.set(dut.stop, cycle >= stop_at)
            ctx.set(dut.o.ready, 0 if cycle >= stop_at else rng.random() < 0.5)
            _, _, idle, arvalid, taken, length, arrived = await ctx.tick().sample(
                dut.idle,
                dut.bus.arvalid,
                dut.bus.arvalid & dut.bus.arready,
                dut.bus.arlen,
                dut.bus.rvalid & dut.bus.rready,
            )
            assert idle == (outstanding == 0 and not arvalid)
            outstanding += taken * (length + 1) - arrived
            log.append((cycle, idle, arvalid, taken))

    simulate(dut, bench, background=[memory.bench])
    after = [entry for entry in log if entry[0] >= stop_at]
    idle = [entry[1] for entry in after]
    assert idle[-1] == 1
    assert idle == sorted(idle)
    rose = [b for a, b in zip(after, after[1:], strict=False) if b[2] and not a[2]]
    assert not rose
    assert sum(entry[3] for entry in after) <= 1


@pytest.mark.parametrize(
    ("kwargs", "error", "message"),
    [
        ({"data_width": 48}, ValueError, r"^Data width must be a power of two, not 48$"),
        ({"unit_bytes": 4}, ValueError, r"^Unit bytes must be in 8\.\.4096, not 4$"),
        ({"unit_bytes": 24}, ValueError, r"^Unit bytes must be a power of two, not 24$"),
        ({"unit_bytes": "8"}, TypeError, r"^Unit bytes must be an integer, not '8'$"),
        ({"max_units": 0}, ValueError, r"^Max units must be in 1\.\.4294967296, not 0$"),
        ({"burst_beats": 257}, ValueError, r"^Burst beats must be in 1\.\.256, not 257$"),
        ({"outstanding_beats": 1}, ValueError, r"^Outstanding beats must be in 2\.\.65536, not 1$"),
    ],
)
def test_bad_parameters(kwargs, error, message):
    with pytest.raises(error, match=message):
        make(**kwargs)


class Contract(wiring.Component):
    """AR and R rules against any slave that answers what was asked."""

    def __init__(self, dut):
        self.dut = dut
        super().__init__({})

    def elaborate(self, platform):
        m = Module()
        dut = m.submodules.dut = self.dut
        bus, request = dut.bus, dut.request.payload
        free_inputs(m, dut)
        outstanding = Signal(range(dut.outstanding_beats + 64))
        held, address, length = Signal(), Signal.like(bus.araddr), Signal.like(bus.arlen)
        stopping, stopped_idle = Signal(), Signal()
        width = dut.data_width // 8
        taken, came = bus.arvalid & bus.arready, bus.rvalid & bus.rready
        m.d.comb += [
            Assume((request.units > 0) & (request.units <= dut.max_units)),
            Assume(request.address % dut.unit_bytes == 0),
            Assume(~bus.rvalid | (outstanding != 0)),
            Assume(dut.stop | ~stopping),
            Assert(outstanding <= dut.outstanding_beats),
            Assert(dut.idle == ((outstanding == 0) & ~bus.arvalid)),
        ]
        if dut.queued:
            m.d.comb += Assert(bus.rready)
        m.d.sync += [
            outstanding.eq(outstanding + Mux(taken, bus.arlen + 1, 0) - came),
            held.eq(bus.arvalid & ~bus.arready),
            address.eq(bus.araddr),
            length.eq(bus.arlen),
            stopping.eq(dut.stop),
            stopped_idle.eq(dut.stop & dut.idle),
        ]
        with m.If(held):
            m.d.comb += Assert(bus.arvalid & (bus.araddr == address) & (bus.arlen == length))
        with m.If(bus.arvalid):
            m.d.comb += [
                Assert(bus.arlen < dut.burst_beats),
                Assert(bus.araddr[:12] + (bus.arlen + 1) * width <= 4096),
                Assert(bus.araddr % width == 0),
                Assert(outstanding + bus.arlen + 1 <= dut.outstanding_beats),
            ]
        with m.If(stopping & ~held):
            m.d.comb += Assert(~bus.arvalid)
        with m.If(stopped_idle):
            m.d.comb += Assert(dut.idle)
        return m


@pytest.mark.parametrize("queued", [True, False])
@pytest.mark.parametrize("unit_bytes", [4, 8])
def test_proof(queued, unit_bytes):
    dut = make(
        addr_width=14,
        data_width=32,
        unit_bytes=unit_bytes,
        max_units=7,
        outstanding_beats=16,
        burst_beats=4,
        queued=queued,
    )
    assert dut.burst == 2
    prove(Contract(dut), depth=12 if queued else 16)


class NoLoss(wiring.Component):
    """With any stalls, the queue never gets a beat for which it has no room."""

    def __init__(self, dut):
        self.dut = dut
        super().__init__({})

    def elaborate(self, platform):
        m = Module()
        dut = m.submodules.dut = self.dut
        bus = dut.bus
        free_inputs(m, dut, but=("stop",))
        m.submodules.hold = HoldRule(dut.o)
        outstanding = Signal(8)
        asked, came, out = Signal(8), Signal(8), Signal(8)
        m.d.comb += [
            Assume((dut.request.payload.units > 0) & (dut.request.payload.units <= dut.max_units)),
            Assume(dut.request.payload.address % dut.unit_bytes == 0),
            Assume(~bus.rvalid | (outstanding != 0)),
        ]
        m.d.sync += [
            asked.eq(asked + Mux(bus.arvalid & bus.arready, bus.arlen + 1, 0)),
            came.eq(came + (bus.rvalid & bus.rready)),
            out.eq(out + (dut.o.valid & dut.o.ready)),
        ]
        m.d.comb += [
            outstanding.eq(asked - came),
            Assert((came - out)[:8] <= dut.outstanding_beats),
            Assert((asked - out)[:8] <= dut.outstanding_beats),
        ]
        return m


def test_proof_of_no_loss():
    dut = make(
        addr_width=12, data_width=32, unit_bytes=4, max_units=7, outstanding_beats=4, burst_beats=4
    )
    prove(NoLoss(dut), depth=15)
