# amaranth: UnusedElaboratable=no
"""Chunker: sizes, requests and their cover of the region, latency, period."""

from __future__ import annotations

import random
from math import lcm

import pytest
from amaranth.asserts import AnyConst, AnySeq
from amaranth.hdl import Assert, Assume, Cover, Module, Mux, Signal
from amaranth.lib import wiring

from attnsieve.hdl.axi.chunker import Chunker, ChunkSizes, Sink
from attnsieve.hdl.params import CoreParams
from attnsieve.sim.formal import HoldRule, ProofError, free_inputs, prove
from attnsieve.sim.unit import run_streams
from tests.variants import mostly_full


def make(**kwargs):
    defaults = {
        "lanes": 16,
        "output_lanes": 1,
        "channels": 2,
        "data_width": 64,
        "buffer_elements": 8192,
    }
    return CoreParams(**(defaults | kwargs))


@pytest.mark.parametrize("bits", [8, 12])
@pytest.mark.parametrize("lanes", [2, 4, 64, 1024])
@pytest.mark.parametrize(("channels", "data_width"), [(1, 32), (2, 256), (16, 512), (4, 32)])
def test_sizes(lanes, channels, data_width, bits):
    p = make(lanes=lanes, channels=channels, data_width=data_width)
    sizes = ChunkSizes.of(p, bits)
    granule = lcm(lanes * bits, 8 * p.wide_bytes)
    assert sizes.lines * lanes * bits == sizes.words * p.wide_bytes * 8 == granule
    assert sizes.lines & (sizes.lines - 1) == 0
    beats = sizes.most_words * p.unit_bytes // p.beat_bytes
    assert sizes.most == 1 or beats <= max(p.burst_beats, p.unit_bytes // p.beat_bytes)


def chunks_of(dut, region, free):
    """Lines and units of the chunks of a region if the sink always has ``free`` lines."""
    p = dut.params
    sizes = dut.sizes(12 if region["wide"] else 8)
    lines = region["lines"]
    units = -(-region["bytes"] // p.unit_bytes)
    out = []
    while lines:
        if lines <= min(free, sizes.most_lines):
            out.append((lines, units))
            break
        count = min(sizes.most, free // sizes.lines)
        out.append((count * sizes.lines, count * sizes.words * p.channels))
        lines -= out[-1][0]
        units -= out[-1][1]
    return out


def random_region(p, rng):
    wide = rng.randrange(2)
    size = rng.randint(1, 60) * 16 * (12 if wide else 8) // 8
    line = p.lanes * (12 if wide else 8) // 8
    return {
        "address": rng.randrange(1 << 20) * p.alignment,
        "lines": -(-size // line),
        "bytes": size,
        "wide": wide,
    }


@pytest.mark.parametrize("free", [19, 300])
@pytest.mark.parametrize("channels", [1, 2, 4])
@pytest.mark.parametrize("stream", list(Sink))
def test_chunks(stream, channels, free):
    p, rng = make(channels=channels), random.Random(channels)
    dut = Chunker(params=p)
    assert free >= max(dut.sizes(bits).lines for bits in (8, 12))
    regions = [random_region(p, rng) for _ in range(12)]
    want = [(r, c) for r in regions for c in chunks_of(dut, r, free)]

    async def deliver(ctx):
        """All lines are delivered and used at once: the sink always has as much room."""
        coming = 0
        for s in range(3):
            ctx.set(dut.space[s], free if s == stream else 0)
        while True:
            ctx.set(dut.delivered, int(coming > 0) << stream)
            used = int(coming > 0)
            _, _, issued, lines = await ctx.tick().sample(
                dut.o.valid & dut.o.ready, dut.o.payload.chunk.lines
            )
            coming += issued * (lines + 1) - used

    result = run_streams(
        dut,
        {f"region.{stream.value}": regions},
        {"o": len(want) if free == 300 else None},
        testbenches=[deliver],
        settle=400 if free == 300 else 4000,
    )
    chunks = result.outputs["o"]
    if free == 300:
        assert [(c.chunk.lines + 1, c.units) for c in chunks] == [c for _, c in want]
    cover = check_requests(p, chunks)
    assert cover == wanted(p, regions)
    assert sum(c.waste for c in chunks) == sum(-r["bytes"] % p.unit_bytes for r in regions)
    assert sum(c.chunk.lines + 1 for c in chunks) == sum(r["lines"] for r in regions)
    assert {c.chunk.sink for c in chunks} == {stream}


def wanted(p, regions):
    """Units of linear memory, in the order of reading."""
    unit = p.unit_bytes
    return [
        u
        for r in regions
        for u in range(r["address"] // unit, -(-(r["address"] + r["bytes"]) // unit))
    ]


def check_requests(p, chunks):
    """The units that the requests ask for, in the order in which the gatherer takes them."""
    out, unit, channels = [], p.unit_bytes, p.channels
    for chunk in chunks:
        queues = []
        for c in range(channels):
            request = chunk.request[c]
            assert request.address % unit == 0
            first = request.address // unit
            queues.append([u * channels + c for u in range(first, first + request.units)])
        assert sum(map(len, queues)) == chunk.units
        assert chunk.units == chunk.chunk.words * channels + chunk.chunk.tail + 1
        out += [
            queues[(chunk.chunk.rotation + j) % channels].pop(0) for j in range(chunk.units)
        ]
    return out


def test_latency_and_period():
    p = make()
    dut = Chunker(params=p)

    async def room(ctx):
        ctx.set(dut.space[1], 500)

    region = {"address": 0, "lines": 160, "bytes": 160 * 16, "wide": 0}
    short = {"address": 64, "lines": 1, "bytes": 16, "wide": 0}
    result = run_streams(
        dut, {"region.1": [region, short, short]}, {"o": 12}, testbenches=[room]
    )
    assert dut.sizes(8).most_lines == 16
    times = result.times["o"]
    assert times[0] == dut.latency
    steps = {b - a for a, b in zip(times, times[1:], strict=False)}
    assert steps == {dut.period}


class NoOverrun(wiring.Component):
    """However lines come and go: those held and on their way never exceed a sink's capacity."""

    def __init__(self, dut):
        self.dut = dut
        super().__init__({})

    def elaborate(self, platform):
        m = Module()
        dut = m.submodules.dut = self.dut
        free_inputs(m, dut, but=("space", "delivered"))
        m.submodules.hold = HoldRule(dut.o)
        chunk = dut.o.payload.chunk
        for s in range(3):
            capacity, held, coming = AnyConst(4), Signal(6), Signal(6)
            delivered, freed, asked = AnySeq(1), AnySeq(1), Signal(6)
            m.d.comb += [
                Assume(dut.region[s].payload.lines != 0),
                Assume(dut.region[s].payload.lines < 16),
                Assume(dut.region[s].payload.address == 0),  # of no account here
                Assume(~delivered | (coming != 0)),
                Assume(~freed | (held != 0)),
                dut.delivered[s].eq(delivered),
                dut.space[s].eq(capacity - held),
                Assert(held + coming <= capacity),
            ]
            with m.If(dut.o.valid & dut.o.ready & (chunk.sink == s)):
                m.d.comb += asked.eq(chunk.lines + 1)
            m.d.sync += [
                held.eq(held + delivered - freed),
                coming.eq(coming + asked - delivered),
            ]
        return m


def test_proof_of_no_overrun():
    p = make(lanes=8, channels=1, data_width=64, max_keys=32, max_queries=32, max_head_dim=16)
    prove(NoOverrun(Chunker(params=p)), depth=12)  # two chunks


class Adjacent(wiring.Component):
    """The chunks of any first region of a stream: adjacent, on the right channels, all of it.

    Parameters
    ----------
    sink : Sink
    more : int
        Units by which the claim is wrong; 0 to prove it.
    """

    def __init__(self, dut, sink, more=0):
        self.dut, self.sink, self.more = dut, sink, more
        super().__init__({})

    def elaborate(self, platform):
        m = Module()
        dut, sink, p = self.dut, self.sink, self.dut.params
        m.submodules.dut = dut
        free_inputs(m, dut, but=("space", "delivered"))
        m.d.comb += [space.eq(AnyConst(len(space))) for space in dut.space]
        channels, unit = p.channels, p.unit_bytes
        region, offered = dut.region[sink].payload, dut.region[sink].valid
        m.d.comb += Assume(~offered | (region.address % unit == 0))
        m.d.comb += Assume(~offered | (region.bytes == region.lines * p.lanes))
        m.d.comb += Assume(~offered | (region.address + region.bytes < 1 << p.addr_width))
        m.d.comb += Assume(~offered | ((region.lines != 0) & (region.wide == 0)))
        known, ended = Signal(), Signal()
        following, units, lines = Signal(p.addr_width + 1), Signal(16), Signal(16)
        waste = Signal(unit.bit_length())
        with m.If(offered & dut.region[sink].ready & ~known):
            m.d.sync += [
                known.eq(1),
                following.eq(region.address // unit + self.more),
                units.eq((region.bytes + unit - 1) // unit),
                lines.eq(region.lines),
                waste.eq(-region.bytes % unit),
            ]
        o, chunk = dut.o, dut.o.payload.chunk
        with m.If(o.valid & (chunk.sink == sink) & ~ended):
            last = lines == chunk.lines + 1
            m.d.comb += [
                Assert(known),
                Assert(chunk.lines < lines),
                Assert(o.payload.units <= units),
                Assert((o.payload.units == units) == last),
                Assert(o.payload.waste == Mux(last, waste, 0)),
                Assert(o.payload.units == chunk.words * channels + chunk.tail + 1),
                Assert(chunk.rotation == following % channels),
                Cover(last & (lines < 3) & (following % channels == 1)),
            ]
            for c in range(channels):
                behind = (c - following)[: channels.bit_length() - 1]  # units before its first
                count = (o.payload.units - behind + channels - 1) // channels
                request = o.payload.request[c]
                m.d.comb += [
                    Assert(request.units == Mux(o.payload.units > behind, count, 0)),
                    Assert(
                        (request.units == 0)
                        | (request.address == (following + behind) // channels * unit)
                    ),
                ]
            with m.If(o.ready):
                m.d.sync += [
                    following.eq(following + o.payload.units),
                    units.eq(units - o.payload.units),
                    lines.eq(lines - chunk.lines - 1),
                    ended.eq(last),
                ]
        return m


def small():
    return Chunker(
        params=make(
            lanes=8, channels=2, data_width=256, addr_width=20, operand_bits=8,
            max_keys=32, max_queries=32, max_head_dim=16, burst_beats=8,
        )
    )  # fmt: skip


@pytest.mark.parametrize("sink", mostly_full(Sink, Sink.KEY))
def test_proof_of_cover(sink):
    prove(Adjacent(small(), sink), depth=18, name="chunker")


def test_everything_is_reached():
    prove(Adjacent(small(), Sink.KEY), depth=16, mode="cover", name="chunker")


def test_a_wrong_claim_is_refuted():
    with pytest.raises(ProofError):
        prove(Adjacent(small(), Sink.KEY, more=1), depth=13, name="chunker")


def test_bad_lanes():
    with pytest.raises(ValueError, match=r"^Lanes must be at least 2 to load lines, not 1$"):
        Chunker(params=make(lanes=1))
