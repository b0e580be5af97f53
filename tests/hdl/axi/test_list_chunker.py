# amaranth: UnusedElaboratable=no
"""List chunker: chunks and their cover of the lists, order, room, latency, period; proofs."""

from __future__ import annotations

import random

import pytest
from amaranth.asserts import AnyConst, AnySeq
from amaranth.hdl import Assert, Assume, Cover, Module, Signal
from amaranth.lib import wiring

from attnsieve.hdl.axi.chunker import Sink
from attnsieve.hdl.axi.list_chunker import MOST, ListChunker
from attnsieve.hdl.params import CoreParams
from attnsieve.sim.formal import HoldRule, ProofError, free_inputs, prove
from attnsieve.sim.unit import run_streams


def make(**kwargs):
    defaults = {"output_lanes": 1, "buffer_elements": 1 << 18, "max_keys": 300, "max_queries": 70}
    return CoreParams(**(defaults | kwargs))


def head_of(p, rng, most=None):
    """A head, sometimes without rows."""
    rows = rng.choice([0, 1, rng.randint(1, 20), rng.randint(1, 70)])
    width = rng.randrange(len(p.operand_widths))
    return {
        "address": 32 * rng.randrange(1 << 20),
        "rows": min(rows, most or rows),
        "parts": p.parts(rng.choice(p.head_dims)),
        # with progressive quantisation K and V may have any width, whatever Q has
        **({"width": width, "wide": rng.randrange(2)} if p.progressive else {"wide": width}),
    }


def chunk_of(p, sink, head, first, rows):
    """A chunk as it should be."""
    width = head["width" if p.progressive else "wide"]
    bits = p.segment * head["parts"] * p.operand_widths[width]
    return {
        "sink": sink,
        "first": first,
        "rows": rows,
        "lines": p.row_lines(rows, p.segment * head["parts"]),
        "base": head["address"] // 4,
        "pitch": bits // 32,
        "width": width,
    }


def chunks_of(p, sink, head):
    """Chunks of a head if there is room for any."""
    most = MOST * p.groups
    return [
        chunk_of(p, sink, head, first, min(most, head["rows"] - first))
        for first in range(0, head["rows"], most)
    ]


def taken(chunks):
    return [{name: getattr(chunk, name) for name, _ in chunk.shape()} for chunk in chunks]


def give(space):
    """Sinks that always have so much room."""

    def bench_of(dut):
        async def bench(ctx):
            for target, lines in zip(dut.space, space, strict=True):
                ctx.set(target, lines)
        return bench

    return bench_of


def run(p, heads, count, *, room=None, bench_of=None, **options):
    dut = ListChunker(params=p)
    bench_of = bench_of or give([p.kv_lines if room is None else room] * 3)
    inputs = {f"region.{sink.value}": list(heads.get(sink, [])) for sink in Sink}
    return run_streams(dut, inputs, {"o": count}, testbenches=[bench_of(dut)], **options)


@pytest.mark.parametrize("stall", [0.0, {"o": 0.7}, 0.5])
@pytest.mark.parametrize("operand_bits", [8, 12])
@pytest.mark.parametrize("lanes", [1, 2, 16, 64, 512])
def test_chunks(lanes, operand_bits, stall):
    """With room for all, chunks are as long as they may be."""
    rng = random.Random(f"{lanes} {operand_bits}")
    p = make(lanes=lanes, operand_bits=operand_bits, max_head_dim=32 if lanes < 16 else 128)
    heads = {sink: [head_of(p, rng, p.max_queries) for _ in range(10)] for sink in Sink}
    want = {s: [c for h in heads[s] for c in chunks_of(p, s, h)] for s in Sink}
    assert sum(c["lines"] for s in Sink for c in want[s]) < p.kv_lines
    count = sum(map(len, want.values()))
    chunks = taken(run(p, heads, count, stall=stall).outputs["o"])
    for sink in Sink:
        assert [c for c in chunks if c["sink"] == sink] == want[sink]


PLANES = {"value_lanes": 32, "token_lanes": 32, "progressive": True}


@pytest.mark.parametrize("stall", [0.0, 0.5])
@pytest.mark.parametrize("lanes", [2, 16, 64])
def test_rows_of_every_width(lanes, stall):
    """With progressive quantisation operands have 4 to 12 bits."""
    rng = random.Random(f"widths {lanes}")
    p = make(lanes=lanes, channels=4, max_head_dim=32 if lanes < 16 else 128, **PLANES)
    heads = {sink: [head_of(p, rng, 40) for _ in range(12)] for sink in Sink}
    assert {head["width"] for sink in Sink for head in heads[sink]} == set(range(5))
    want = {s: [c for h in heads[s] for c in chunks_of(p, s, h)] for s in Sink}
    chunks = taken(run(p, heads, sum(map(len, want.values())), stall=stall).outputs["o"])
    for sink in Sink:
        assert [c for c in chunks if c["sink"] == sink] == want[sink]


def test_a_second_plane_goes_first():
    """Keys of a second plane neither wait for values nor count among the heads of keys."""
    p = make(lanes=64, channels=4, **PLANES)
    keys = plain(64, 5)
    for number in (1, 3, 4):
        keys[number]["second"] = 1
    values = [dict(head, address=64 * n) for n, head in enumerate(plain(64, 2))]
    chunks = run(p, {Sink.KEY: keys, Sink.VALUE: values}, 10 + 4).outputs["o"]
    order = [(Sink(c.sink), c.base // 16) for c in chunks[::2]]
    assert order == [(Sink(c.sink), c.base // 16) for c in chunks[1::2]]
    key, value = Sink.KEY, Sink.VALUE
    assert order == [(key, 0), (key, 1), (value, 0), (key, 2), (key, 3), (key, 4), (value, 1)]


class Sinks:
    """Sinks that get their lines and free them at random, and never get more than they hold."""

    def __init__(self, capacity, rate, seed):
        self.capacity, self.rate, self.random = capacity, rate, random.Random(seed)

    def __call__(self, dut):
        async def bench(ctx):
            held, coming = [0] * 3, [0] * 3
            go = lambda: self.random.random() < self.rate  # noqa: E731
            while True:
                comes = [int(coming[s] > 0 and go()) for s in range(3)]
                for s in range(3):
                    ctx.set(dut.space[s], self.capacity[s] - held[s])
                ctx.set(dut.delivered, sum(c << s for s, c in enumerate(comes)))
                o = dut.o
                _, _, moved, sink, lines = await ctx.tick().sample(
                    o.valid & o.ready, o.p.sink, o.p.lines
                )
                for s in range(3):
                    held[s] += comes[s] - (held[s] > 0 and go())
                    coming[s] += (moved and sink == s) * lines - comes[s]
                    assert held[s] + coming[s] <= self.capacity[s], f"sink {s} overflows"

        return bench


@pytest.mark.parametrize("stall", [0.0, {"o": 0.5}])
@pytest.mark.parametrize("rate", [0.3, 0.9])
@pytest.mark.parametrize("lanes", [4, 16, 64])
def test_small_sinks_are_never_overrun(lanes, rate, stall):
    rng = random.Random(f"{lanes} {rate}")
    p = make(lanes=lanes, max_head_dim=64)
    heads = {sink: [head_of(p, rng, 40) for _ in range(5)] for sink in Sink}
    capacity = [p.max_parts * rng.choice([1, 2, 5, 20]) for _ in Sink]
    result = run(
        p, heads, None, bench_of=Sinks(capacity, rate, lanes), stall=stall,
        settle=400 + 16000 // lanes,
    )  # fmt: skip
    chunks = taken(result.outputs["o"])
    for sink in Sink:
        mine = iter([c for c in chunks if c["sink"] == sink])
        for head in heads[sink]:
            first = 0
            while first < head["rows"]:
                chunk = next(mine, None)
                assert chunk is not None, f"rows of {sink} are left"
                assert chunk == chunk_of(p, sink, head, first, chunk["rows"])
                first += chunk["rows"]
                assert 0 < chunk["rows"] <= MOST * p.groups
                assert first == head["rows"] or chunk["rows"] % p.groups == 0
            assert first == head["rows"]
        assert next(mine, None) is None


def plain(rows, count):
    return [{"address": 64 * n, "rows": rows, "parts": 4, "wide": 0} for n in range(count)]


def test_order():
    """Queries every other time, keys and values head by head."""
    p = make(lanes=64)
    heads = {Sink.QUERY: plain(64, 5), Sink.KEY: plain(64, 4), Sink.VALUE: plain(64, 4)}
    chunks = run(p, heads, 10 + 8 + 8).outputs["o"]
    sinks = [Sink(c.sink) for c in chunks]
    assert sinks[:20:2] == [Sink.QUERY] * 10
    others = [(Sink(c.sink), c.base // 16) for c in chunks if c.sink != Sink.QUERY]
    assert others == [(s, head) for head in range(4) for s in (Sink.KEY, Sink.VALUE) for _ in "12"]
    assert sinks[1:20:2] == [s for s, _ in others[:10]]


@pytest.mark.parametrize(
    "empty, order",
    [(Sink.VALUE, ["K0", "K1", "K2", "V2", "K3", "V3"]), (Sink.KEY, ["V0", "V1", "K2", "V2"])],
    ids=["values", "keys"],
)
def test_heads_without_rows_have_their_place_in_the_order(empty, order):
    heads = {Sink.KEY: plain(64, 4), Sink.VALUE: plain(64, 4)}
    for number in range(2):
        heads[empty][number]["rows"] = 0
    chunks = run(make(lanes=64), heads, 12, settle=20).outputs["o"]
    found = [f"{Sink(c.sink).name[0]}{c.base // 16}" for c in chunks[::2]]
    assert found[: len(order)] == order


def test_queries_follow_one_another_if_nothing_else_can_go():
    result = run(make(lanes=64), {Sink.QUERY: plain(64, 4)}, 8)
    assert {c.sink for c in result.outputs["o"]} == {Sink.QUERY}


@pytest.mark.parametrize("full", list(Sink))
def test_a_full_sink_holds_up_nobody(full):
    p = make(lanes=64)
    heads = {sink: plain(64, 1 if sink == full else 3) for sink in Sink}
    space = [3 if sink == full else 1000 for sink in Sink]  # a granule is four lines
    result = run(p, heads, 12, bench_of=give(space), settle=100)
    assert {c.sink for c in result.outputs["o"]} == set(Sink) - {full}


def test_room_decides_how_long_a_chunk_is():
    """A power of two of granules, of four lines each here."""
    for space, granules in ((4, 1), (7, 1), (8, 2), (15, 2), (16, 4), (31, 4), (32, 8), (99, 8)):
        result = run(make(lanes=64), {Sink.KEY: plain(64, 1)}, None, room=space, settle=60)
        first = result.outputs["o"][0]
        assert (first.rows, first.lines) == (4 * granules, 4 * granules)


def test_the_stated_latency():
    result = run(make(lanes=16), {Sink.KEY: plain(3, 1)}, 1)
    assert result.first("o") - result.first("region.1") == ListChunker.latency


def test_the_stated_period():
    times = run(make(lanes=16), {Sink.KEY: plain(70, 1) + plain(1, 4)}, 13).times["o"]
    assert {b - a for a, b in zip(times, times[1:], strict=False)} == {ListChunker.period}


class NoOverrun(wiring.Component):
    """However lines come and go: those held and under way never exceed a sink's capacity.

    Parameters
    ----------
    less : int
        Lines by which the claim is wrong; 0 to prove it.
    """

    def __init__(self, dut, less=0):
        self.dut, self.less = dut, less
        super().__init__({})

    def elaborate(self, platform):
        m = Module()
        dut = m.submodules.dut = self.dut
        free_inputs(m, dut, but=("space", "delivered"))
        m.submodules.hold = HoldRule(dut.o)
        for s in range(3):
            capacity, held, coming = AnyConst(4), Signal(6), Signal(6)
            delivered, freed, asked = AnySeq(1), AnySeq(1), Signal(6)
            region = dut.region[s].p
            m.d.comb += [
                Assume((region.parts != 0) & (region.parts <= dut.params.max_parts)),
                Assume((region.address == 0) & ~region.wide),  # of no account here
                Assume((region.lines == 0) & (region.bytes == 0)),
                Assume(~delivered | (coming != 0)),
                Assume(~freed | (held != 0)),
                dut.delivered[s].eq(delivered),
                dut.space[s].eq(capacity - held),
                Assert((capacity == 0) | (held + coming + self.less <= capacity)),
            ]
            with m.If(dut.o.valid & dut.o.ready & (dut.o.p.sink == s)):
                m.d.comb += asked.eq(dut.o.p.lines)
            m.d.sync += [
                held.eq(held + delivered - freed),
                coming.eq(coming + asked - delivered),
            ]
        return m


class Adjacent(wiring.Component):
    """The chunks of any first head of a stream: adjacent, and they end with its last row.

    Parameters
    ----------
    sink : Sink
    more : int
        Rows by which the claim is wrong; 0 to prove it.
    """

    def __init__(self, dut, sink, more=0):
        self.dut, self.sink, self.more = dut, sink, more
        super().__init__({})

    def elaborate(self, platform):
        m = Module()
        dut, sink, p = self.dut, self.sink, self.dut.params
        m.submodules.dut = dut
        free_inputs(m, dut)
        region, offered, chunk = dut.region[sink].p, dut.region[sink].valid, dut.o.p
        for each in dut.region:
            m.d.comb += [
                Assume((each.p.parts != 0) & (each.p.parts <= p.max_parts)),
                Assume((each.p.lines == 0) & (each.p.bytes == 0)),
            ]
        known, ended = Signal(), Signal()
        first, left, base = Signal(8), Signal(8), Signal.like(chunk.base)
        parts = Signal.like(region.parts)
        with m.If(offered & dut.region[sink].ready & ~known & (region.rows != 0)):
            m.d.sync += [
                known.eq(1),
                left.eq(region.rows + self.more),
                base.eq(region.address >> 2),
                parts.eq(region.parts),
            ]
        with m.If(dut.o.valid & (chunk.sink == sink) & ~ended):
            last = left == chunk.rows
            m.d.comb += [
                Assert(known),
                Assert(chunk.first == first),
                Assert(chunk.rows <= left),
                Assert(last | (chunk.rows % p.groups == 0)),
                Assert(chunk.lines * p.groups >= chunk.rows * parts),
                Assert(chunk.lines * p.groups < chunk.rows * parts + p.groups),
                Assert(chunk.base == base),
                Cover(last & (first == 2) & (chunk.rows == 3)),
            ]
            with m.If(dut.o.ready):
                m.d.sync += [
                    first.eq(first + chunk.rows),
                    left.eq(left - chunk.rows),
                    ended.eq(last),
                ]
        with m.If(dut.o.valid):  # no head goes on when its rows are used up
            m.d.comb += Assert(chunk.rows != 0)
        return m


def small():
    """Two rows side by side, up to two parts, sinks of 16 lines."""
    return ListChunker(
        params=make(lanes=32, max_head_dim=32, max_keys=8, max_queries=8, max_heads=2,
                    addr_width=20, operand_bits=8, buffer_elements=256)
    )  # fmt: skip


def test_proof_of_no_overrun():
    prove(NoOverrun(small()), depth=11, name="list chunker")  # two chunks


def test_less_room_than_there_is_is_refuted():
    with pytest.raises(ProofError):
        prove(NoOverrun(small(), less=1), depth=11, name="list chunker")


@pytest.mark.parametrize("sink", list(Sink))
def test_proof_of_cover(sink):
    prove(Adjacent(small(), sink), depth=12, name="list chunker")


def test_everything_is_reached():
    prove(Adjacent(small(), Sink.KEY), depth=15, mode="cover", name="list chunker")


def test_a_wrong_claim_is_refuted():
    with pytest.raises(ProofError):
        prove(Adjacent(small(), Sink.KEY, more=1), depth=15, name="list chunker")
