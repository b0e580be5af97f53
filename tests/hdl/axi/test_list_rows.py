# amaranth: UnusedElaboratable=no
"""Rows of chunks: all of them in order, with their neighbours, in time; proof."""

from __future__ import annotations

import random

import pytest
from amaranth.asserts import AnyConst
from amaranth.hdl import Assert, Assume, Cover, Module, Signal
from amaranth.lib import wiring

from attnsieve.hdl.axi.chunker import Sink
from attnsieve.hdl.axi.list_chunker import MOST
from attnsieve.hdl.axi.list_rows import ListRows, row_lanes
from attnsieve.hdl.params import CoreParams
from attnsieve.sim.formal import HoldRule, ProofError, free_inputs, prove
from attnsieve.sim.unit import run_streams

#: Lanes, channels; rows of a granule and of a line follow.
SIZES = {
    "single rows": (16, 2),
    "a line": (64, 2),
    "two lines": (64, 1),
    "four lines": (256, 2),
}


def make(size, **kwargs):
    lanes, channels = SIZES[size]
    defaults = {"output_lanes": 1, "max_keys": 500, "max_queries": 300}
    return CoreParams(lanes=lanes, channels=channels, **(defaults | kwargs))


def listed(rng, rows, density):
    """Entries of a list; what neighbours it claims to have does not matter here."""
    return [
        {
            "index": rng.randrange(rows),
            "before": int(rng.random() < density),
            "after": int(rng.random() < density),
        }
        for _ in range(rows)
    ]


def chunk_of(rng, sink, first, rows):
    return {
        "sink": sink, "first": first, "rows": rows, "lines": 0, "width": 0,
        "base": rng.randrange(1 << 20), "pitch": rng.randrange(1, 49),
    }  # fmt: skip


def chunks_of(p, rng, sink, rows):
    """Cut a list: any number of granules, then what is left."""
    chunks, first = [], 0
    while first < rows:
        count = min(p.groups * rng.randint(1, MOST), rows - first)
        chunks.append(chunk_of(rng, sink, first, count))
        first += count
    return chunks


def beats_of(p, chunk, rows):
    """What should come out of a chunk: the rows of each beat, and what goes with them."""
    lanes, beats = row_lanes(p), []
    for done in range(0, chunk["rows"], lanes):
        row = []
        for place in range(done, min(done + lanes, chunk["rows"])):
            entry = rows[chunk["first"] + place]
            begins, ends = place % p.groups == 0, (place + 1) % p.groups == 0
            ends |= place + 1 == chunk["rows"]
            row.append(
                (entry["index"], entry["before"] and not begins, entry["after"] and not ends)
            )
        last = done + lanes >= chunk["rows"]
        beats.append((row, chunk["base"], chunk["pitch"], last))
    return beats


def taken(beats):
    return [
        (
            [(b.row[n].index, bool(b.row[n].before), bool(b.row[n].after)) for n in range(b.count)],
            b.base, b.pitch, bool(b.last),
        )
        for b in beats
    ]  # fmt: skip


def run(p, chunks, lists, **options):
    """Look up chunks in two lists, of keys and of queries; check what comes out."""
    dut, lanes = ListRows(params=p), row_lanes(p)
    rng = random.Random(1)

    async def memory(ctx):
        port = dut.list
        while True:
            _, _, en, query, line = await ctx.tick().sample(port.en, port.query, port.line)
            found = lists[query][line * lanes : (line + 1) * lanes] if en else []
            found += listed(rng, 9, 0.5)[: lanes - len(found)]  # what lies behind is noise
            noise = {"index": rng.randrange(9), "before": 1, "after": 1}
            ctx.set(port.data, found + [noise] * (lanes - len(found)))

    want = [
        beat for c in chunks for beat in beats_of(p, c, lists[c["sink"] == Sink.QUERY])
    ]
    count = len(want)
    result = run_streams(dut, {"i": chunks}, {"o": count}, testbenches=[memory], **options)
    got = taken(result.outputs["o"])
    assert got == [([(i, bool(b), bool(a)) for i, b, a in row], *rest) for row, *rest in want]
    return result


@pytest.mark.parametrize("stall", [0.0, 0.5, {"o": 0.8}])
@pytest.mark.parametrize("size", SIZES)
def test_rows(size, stall):
    rng = random.Random(size)
    p = make(size)
    lists = [listed(rng, 300, 0.8), listed(rng, 200, 0.8)]
    heads = []
    for _ in range(6):
        sink = rng.choice(list(Sink))
        heads.append(chunks_of(p, rng, sink, rng.randrange(1, 200)))
    chunks = []
    while heads:  # heads take turns
        head = rng.choice(heads)
        chunks.append(head.pop(0))
        heads = [h for h in heads if h]
    run(p, chunks, lists, stall=stall)


@pytest.mark.parametrize("size", SIZES)
def test_single_rows(size):
    rng = random.Random(size)
    p = make(size)
    run(p, [chunk_of(rng, Sink.KEY, 0, 1) for _ in range(5)], [listed(rng, 1, 1), []])


def test_a_list_of_one_row():
    rng = random.Random(1)
    p = CoreParams(lanes=1, channels=1, max_keys=1, max_queries=1, output_lanes=1)
    row = [{"index": 0, "before": 1, "after": 1}]
    run(p, [chunk_of(rng, sink, 0, 1) for sink in Sink], [row, row])


@pytest.mark.parametrize("size", SIZES)
def test_a_line_per_cycle(size):
    rng = random.Random(size)
    p = make(size)
    chunks = chunks_of(p, rng, Sink.VALUE, 400) + chunks_of(p, rng, Sink.KEY, 1)
    result = run(p, chunks, [listed(rng, 400, 0.5), []])
    assert result.last("o") - result.first("o") == len(result.times["o"]) - 1


def test_the_stated_latency():
    rng = random.Random(1)
    result = run(make("a line"), [chunk_of(rng, Sink.KEY, 0, 4)], [listed(rng, 4, 1), []])
    assert result.first("o") - result.first("i") == ListRows.latency


class Proof(wiring.Component):
    """Watch any line: it comes out in its place, as it was read, with the neighbours that count.

    Parameters
    ----------
    shift : int
        Places by which the claim is wrong; 0 to prove it.
    """

    def __init__(self, dut, *, shift=0):
        self.dut, self.shift = dut, shift
        super().__init__({})

    def elaborate(self, platform):
        m = Module()
        dut = m.submodules.dut = self.dut
        p, lanes, chunk, beat = dut.params, row_lanes(dut.params), dut.i.p, dut.o.p
        free_inputs(m, dut)
        m.submodules += HoldRule(dut.o)
        m.d.comb += [
            Assume((chunk.rows != 0) & (chunk.first + chunk.rows <= p.max_keys)),
            Assume(chunk.first % p.groups == 0),
            Assume((chunk.lines == 0) & (chunk.width == 0)),  # of no account here, as these:
            Assume((chunk.base < 2) & (chunk.pitch == 1)),
        ]
        watched = AnyConst(3)
        asked, left = Signal(4), Signal(4)  # lines
        done = Signal(4)  # rows of the chunk
        begins, closes, ends = Signal(), Signal(), Signal()
        place, now = Signal(4), Signal()  # rows of the watched line, and it is on the port
        base, count = Signal.like(chunk.base), Signal.like(beat.count)
        found = Signal.like(dut.list.data)
        read = dut.list.en  # of what was asked for in the cycle before
        past, there, taken = Signal.like(chunk), Signal(), Signal()
        m.d.sync += [past.eq(chunk), there.eq(dut.i.valid), taken.eq(dut.i.valid & dut.i.ready)]
        m.d.comb += [
            Assert(~read | there),
            Assert(~read | (dut.list.line == (past.first + done) // lanes)),
            Assert(~read | (dut.list.query == (past.sink == Sink.QUERY))),
            Assert(taken == (read & (done + lanes >= past.rows))),
        ]
        m.d.sync += now.eq(read & (asked == watched))
        with m.If(now):
            m.d.sync += found.eq(dut.list.data)
        with m.If(read & ~asked.all()):
            m.d.sync += asked.eq(asked + 1)
            m.d.sync += done.eq(done + lanes)
            with m.If(taken):
                m.d.sync += done.eq(0)
            with m.If(asked == watched):
                m.d.sync += [
                    place.eq(done),
                    ends.eq(taken),
                    begins.eq(done % p.groups == 0),
                    closes.eq((done + lanes) % p.groups == 0),
                    base.eq(past.base),
                    count.eq(lanes),
                ]
                with m.If(taken):
                    m.d.sync += count.eq(past.rows - done)
        with m.If(dut.o.valid & dut.o.ready & ~left.all()):
            m.d.sync += left.eq(left + 1)
        with m.If(dut.o.valid & (left == watched + self.shift)):
            m.d.comb += [
                Assert(asked > watched),
                Assert(beat.count == count),
                Assert(beat.base == base),
                Assert(beat.last == ends),
                Cover(beat.last & (place == 2 * lanes) & (left == 4) & (count == lanes)),
            ]
            for n, (row, entry) in enumerate(zip(beat.row, found, strict=True)):
                inner = (n != lanes - 1) | ~closes
                more = ~ends | (n + 1 < count)
                with m.If(n < count):
                    m.d.comb += [
                        Assert(row.index == entry.index),
                        Assert(row.before == (entry.before & (~begins if n == 0 else 1))),
                        Assert(row.after == (entry.after & inner & more)),
                    ]
        return m


def small():
    """Granules of four rows, two lines each."""
    return ListRows(params=make("two lines", max_keys=8, max_queries=8, max_head_dim=16,
                                addr_width=20, operand_bits=8, buffer_elements=1024))


def test_proof():
    prove(Proof(small()), depth=14, name="list rows")


def test_everything_is_reached():
    prove(Proof(small()), depth=13, mode="cover", name="list rows")


def test_a_wrong_claim_is_refuted():
    with pytest.raises(ProofError):
        prove(Proof(small(), shift=1), depth=11, name="list rows")
