# amaranth: UnusedElaboratable=no
"""Burst sequencer: cover of the regions, chunks, room, order, pace."""

from __future__ import annotations

import random

import pytest
from amaranth.asserts import AnyConst, AnySeq
from amaranth.hdl import Assert, Assume, Cover, Module, Mux, Signal
from amaranth.lib import wiring

from attnsieve.hdl.axi.burst_sequencer import BURST, CHUNK, BurstSequencer
from attnsieve.hdl.axi.chunker import Sink
from attnsieve.hdl.params import CoreParams
from attnsieve.sim.formal import HoldRule, ProofError, free_inputs, prove
from attnsieve.sim.unit import run_streams, simulate
from tests.variants import mostly_full


def make(lanes=4, **kwargs):
    return CoreParams(
        **(
            {
                "lanes": lanes,
                "max_head_dim": 32,
                "max_keys": 64,
                "max_queries": 64,
                "buffer_elements": 1024,
                "output_lanes": 1,
                "channels": 1,
                "data_width": 8 * lanes,
                "lut_ram": False,
            }
            | kwargs
        )
    )


def region(p, rows, head_dim, *, wide=0, address=0):
    elements = rows * head_dim
    return {
        "address": address,
        "lines": elements // p.lanes,
        "bytes": elements * (12 if wide else 8) // 8,
        "wide": wide,
    }


def random_regions(p, rng, count):
    return [
        region(
            p,
            rng.randint(1, p.max_keys),
            rng.choice(p.head_dims),
            wide=rng.randrange(2) if p.operand_bits == 12 else 0,
            address=rng.randrange(1 << 15) * 32,
        )
        for _ in range(count)
    ]


def bursts_of(p, sink, regions):
    """Address, beats, format and end of each burst."""
    out = []
    for r in regions:
        size = CHUNK * (12 if r["wide"] else 8) // 8
        for chunk in range(0, r["bytes"], size):
            end = min(r["bytes"], chunk + size)
            for start in range(chunk, end, BURST):
                left = end - start
                beats = min(left, BURST) // p.beat_bytes
                last = left <= BURST
                out.append((r["address"] + start, beats, sink, r["wide"], int(last)))
    return out


class Sinks:
    """Sinks that take whole chunks some time after they are asked for, and free them in time."""

    def __init__(self, dut, *, lines, delay, use):
        self.dut, self.lines, self.delay, self.use = dut, lines, delay, use
        self.asked: list[int] = []

    async def bench(self, ctx):
        dut, cycle = self.dut, 0
        lanes = dut.params.lanes
        coming, held, elements = [], [0, 0, 0], 0
        while True:
            returned, now = 0, [c for c in coming if c[0] == cycle]
            coming = [c for c in coming if c[0] > cycle]
            for _, sink, lines in now[:1]:
                returned = 1 << sink
                held[sink] += lines
            coming += [(cycle + 1, sink, lines) for _, sink, lines in now[1:]]
            ctx.set(dut.returned, returned)
            tag = dut.o.payload.tag
            _, _, moved, beats, sink, wide, end = await ctx.tick().sample(
                dut.o.valid & dut.o.ready, dut.o.payload.len + 1, tag.sink, tag.wide, tag.end
            )
            if moved:
                elements += beats * dut.params.beat_bytes * 8 // (12 if wide else 8)
                if beats * dut.params.beat_bytes == BURST and wide:
                    elements += (BURST * 8 % 12) / 12
            if moved and end:
                coming.append((cycle + self.delay, sink, round(elements) // lanes))
                elements = 0
            for s in range(3):
                room = self.lines[s] - held[s]
                assert room >= 0, "sink overflows"
                ctx.set(dut.space[s], room)
                held[s] = max(0, held[s] - self.use)
            cycle += 1


@pytest.mark.parametrize("stall", [0.0, 0.5])
@pytest.mark.parametrize("operand_bits", [8, 12])
@pytest.mark.parametrize("lanes", [4, 8])
def test_bursts_cover_the_regions(lanes, operand_bits, stall):
    p, rng = make(lanes, operand_bits=operand_bits), random.Random(lanes)
    dut = BurstSequencer(params=p, max_bursts=8)
    regions = [random_regions(p, rng, 3) for _ in Sink]
    want = [bursts_of(p, s, regions[s]) for s in Sink]
    sinks = Sinks(dut, lines=[CHUNK // lanes, 500 // lanes, 128], delay=9, use=2)
    result = run_streams(
        dut,
        {f"region.{s.value}": regions[s] for s in Sink},
        {"o": sum(map(len, want))},
        stall=stall,
        seed=lanes,
        testbenches=[sinks.bench],
        max_cycles=30000,
    )
    got = [
        (b.address, b.len + 1, b.tag.sink, b.tag.wide, b.tag.end) for b in result.outputs["o"]
    ]
    for s in Sink:
        assert [b for b in got if b[2] == s] == want[s]
    for before, after in zip(got, got[1:], strict=False):
        assert before[4] or before[2] == after[2], "a chunk is interrupted"


@pytest.mark.parametrize("wide", [0, 1])
def test_latency_and_pace(wide):
    p = make()
    dut = BurstSequencer(params=p, max_bursts=16)

    async def room(ctx):
        ctx.set(dut.space[1], 500)

    regions = [region(p, 16, 16, wide=wide) for _ in range(2)]
    result = run_streams(dut, {"region.1": regions}, {"o": 16 + 8 * wide}, testbenches=[room])
    times = result.times["o"]
    assert times[0] == dut.latency + 1  # Q is looked at first
    ends = [k for k, burst in enumerate(result.outputs["o"][:-1]) if burst.tag.end]
    gaps = [times[k + 1] - times[k] for k in ends]
    assert gaps == [3, 3, 3, 4, 4, 4, 4]  # K's turn is over then: V is looked at before
    assert times[-1] - times[0] == sum(gaps) + len(times) - 1 - len(gaps)


@pytest.mark.parametrize("coming", [0, 1, 3])
@pytest.mark.parametrize("missing", [0, 1])
def test_rest_of_a_region_needs_room_for_itself(coming, missing):
    """Beside whole chunks on their way."""
    p = make()
    dut = BurstSequencer(params=p, max_bursts=8)
    seen = []

    async def bench(ctx):
        ctx.set(dut.space[0], (coming * CHUNK + 3 * 16) // p.lanes - missing)
        ctx.set(dut.region[0].payload, region(p, coming * 4 + 3, 16))
        ctx.set(dut.region[0].valid, 1)
        ctx.set(dut.o.ready, 1)
        for _ in range(60):
            _, _, burst, end, taken = await ctx.tick().sample(
                dut.o.valid, dut.o.payload.tag.end, dut.region[0].ready
            )
            seen.append(burst and end)
            if taken:
                ctx.set(dut.region[0].valid, 0)

    simulate(dut, bench)
    assert sum(seen) == coming + 1 - missing


def test_chunks_on_their_way_are_few_enough_to_count():
    p = make()
    dut = BurstSequencer(params=p, max_bursts=8)

    async def bench(ctx):
        ctx.set(dut.space[0], 500)
        ctx.set(dut.region[0].payload, region(p, 1, 16))
        ctx.set(dut.region[0].valid, 1)
        ctx.set(dut.o.ready, 1)
        chunks = 0
        for _ in range(60):
            chunks += (await ctx.tick().sample(dut.region[0].ready))[2]
        assert chunks == 7

    simulate(dut, bench)


def test_order():
    """Q first, then in turns; K of a head before V of the head, before K of the next."""
    p = make()
    dut = BurstSequencer(params=p, max_bursts=64)

    async def room(ctx):
        for space in dut.space:
            ctx.set(space, 500)

    regions = {f"region.{s.value}": [region(p, 8, 16) for _ in range(2)] for s in Sink}
    result = run_streams(dut, regions, {"o": 24}, testbenches=[room])
    chunks = [Sink(b.tag.sink).name[0] for b in result.outputs["o"] if b.tag.end]
    assert "".join(chunks) == "QKQKQVQVKKVV"


def test_full_sink_blocks_no_other():
    p = make()
    for full in Sink:
        dut = BurstSequencer(params=p, max_bursts=64)

        async def room(ctx, dut=dut, full=full):
            for s, space in enumerate(dut.space):
                ctx.set(space, 15 if s == full else 500)

        regions = {f"region.{s.value}": [region(p, 8, 16)] for s in Sink if s != full}
        result = run_streams(
            dut,
            regions,
            {"o": 8},
            testbenches=[room],
            constants={
                f"region.{full.value}.valid": 1,
                f"region.{full.value}.payload": region(p, 8, 16),
            },
        )
        assert {b.tag.sink for b in result.outputs["o"]} == set(Sink) - {full}


@pytest.mark.parametrize(
    ("kwargs", "serves"),
    [
        ({}, True),
        ({"lanes": 8}, True),
        ({"lanes": 16}, False),
        ({"channels": 2}, False),
        ({"data_width": 64}, False),
        ({"burst_beats": 4}, False),
        ({"outstanding_beats": 7}, False),
    ],
)
def test_serves(kwargs, serves):
    assert BurstSequencer.serves(make(**kwargs)) is serves


class Proof(wiring.Component):
    """Any regions, any sinks: no sink is overrun; the first region of ``sink`` is read once, whole.

    Parameters
    ----------
    sink : Sink
    more : int
        Bytes by which the claim is wrong; 0 to prove it.
    """

    def __init__(self, *, sink, more=0):
        self.params, self.sink, self.more = make(operand_bits=12), sink, more
        super().__init__({})

    def elaborate(self, platform):
        m = Module()
        p, sink = self.params, self.sink
        dut = m.submodules.dut = BurstSequencer(params=p, max_bursts=4)
        free_inputs(m, dut, but=("space", "returned"))
        m.submodules += HoldRule(dut.o)
        tag, transfer = dut.o.payload.tag, dut.o.valid & dut.o.ready
        for region in dut.region:
            r = region.payload
            m.d.comb += [
                Assume(r.lines[:2] == 0),
                Assume((r.lines != 0) & (r.lines <= p.kv_lines)),
                Assume(r.address % BURST == 0),
                Assume(r.address < 1 << 16),
            ]
        for s in range(3):
            self._room(m, dut, s, transfer & (tag.sink == s))
        self._cover(m, dut, dut.region[sink].payload, transfer & (tag.sink == sink))
        return m

    def _room(self, m, dut, s, transfer):
        """Lines in a sink and on their way to it; a chunk has at most 16 lines."""
        whole = CHUNK // self.params.lanes
        capacity, held, coming = AnyConst(6), Signal(8), Signal(8)
        chunks, returned, freed = Signal(4), AnySeq(1), AnySeq(8)
        lines, asked = AnySeq(8), Signal(8)
        first = Signal(init=1)  # burst of its chunk
        size = Signal(8)
        left = Signal(16)  # lines of the region not asked for yet
        begun = Signal()
        r = dut.region[s].payload
        rest = Mux(begun, left, r.lines)
        m.d.comb += size.eq(Mux(rest < whole, rest, whole))
        m.d.comb += asked.eq(Mux(transfer & first, size, 0))
        with m.If(transfer):
            m.d.sync += first.eq(dut.o.payload.tag.end)
            with m.If(first):
                m.d.sync += [left.eq(rest - size), begun.eq(rest != size)]
        m.d.comb += [
            dut.returned[s].eq(returned),
            dut.space[s].eq(capacity - held),
            Assume(~returned | (chunks != 0)),
            Assume(~returned | ((lines <= coming) & (lines <= whole) & (lines != 0))),
            Assume(~returned | (coming - lines <= whole * (chunks - 1))),
            Assume(~returned | (chunks != 1) | (lines == coming)),
            Assume(freed <= held),
            Assert(held + coming <= capacity),
            Assert(chunks <= 4),
        ]
        ended = transfer & dut.o.payload.tag.end
        m.d.sync += [
            held.eq(held + Mux(returned, lines, 0) - freed),
            coming.eq(coming + asked - Mux(returned, lines, 0)),
            chunks.eq(chunks + ended - returned),
        ]

    def _cover(self, m, dut, region, transfer):
        """Bursts follow one another to the end of the region, which is taken with the last."""
        o, unit = dut.o.payload, Mux(region.wide, 24, 16)  # bytes of 16 elements
        at, of_chunk, ended = Signal(16), Signal(8), Signal()
        total = (region.lines >> 2) * unit
        left, whole = total - at, 4 * unit
        chunk = Mux(left < whole - of_chunk, left, whole - of_chunk)  # bytes of it not asked for
        size = Mux(chunk < BURST, chunk, BURST)
        with m.If(dut.o.valid & (o.tag.sink == self.sink) & ~ended):
            m.d.comb += [
                Assert(dut.region[self.sink].valid),
                Assert(o.address == region.address + at + self.more),
                Assert((o.len + 1) * self.params.beat_bytes == size),
                Assert(o.tag.wide == region.wide),
                Assert(o.tag.end == (chunk <= BURST)),
                Assert(dut.region[self.sink].ready == (transfer & (size == left))),
                Cover(region.wide & (at > 96) & (size < BURST)),
            ]
            with m.If(transfer):
                m.d.sync += [
                    at.eq(at + size),
                    of_chunk.eq(Mux(chunk <= BURST, 0, of_chunk + size)),
                    ended.eq(size == left),
                ]
        with m.If(dut.region[self.sink].ready):
            m.d.comb += Assert(transfer)


@pytest.mark.parametrize("sink", mostly_full(Sink, Sink.KEY))
def test_proof(sink):
    prove(Proof(sink=sink), depth=10, name="burst sequencer")


def test_everything_is_reached():
    prove(Proof(sink=Sink.KEY), depth=14, mode="cover", name="burst sequencer")


def test_a_wrong_claim_is_refuted():
    with pytest.raises(ProofError):
        prove(Proof(sink=Sink.KEY, more=1), depth=10, name="burst sequencer")
