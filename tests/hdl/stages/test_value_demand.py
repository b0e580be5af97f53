# amaranth: UnusedElaboratable=no
"""Rows whose V is read on demand: packed, in order, at the stated pace, with stalls; proofs."""

from __future__ import annotations

import random

import numpy as np
import pytest
from amaranth.hdl import Assert, Assume, Cat, Cover, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import Out

from attnsieve.hdl.lib.connect import connect
from attnsieve.hdl.params import CoreParams
from attnsieve.hdl.stages.value_demand import ValueDemand
from attnsieve.sim.formal import HoldRule, ProofError, free_inputs, prove
from attnsieve.sim.unit import run_streams

from .demand_rows import beats_of, head_of, packed_head

SMALL = {
    "max_keys": 70, "max_queries": 16, "max_heads": 6, "buffer_elements": 1 << 14,
    "output_lanes": 1, "value_demand": True,
}  # fmt: skip
SIZES = {
    "one": CoreParams(lanes=16, value_lanes=4, token_lanes=4, **SMALL),
    "two": CoreParams(lanes=32, value_lanes=4, token_lanes=4, **SMALL),
    "four": CoreParams(lanes=64, value_lanes=4, token_lanes=4, **SMALL),
    "wide": CoreParams(lanes=512, value_lanes=32, token_lanes=32, channels=16, **SMALL),
    "one beat": CoreParams(lanes=64, value_lanes=4, token_lanes=4, **SMALL | {"max_keys": 3}),
}


def most_rows(p, keys):
    """Most rows of a KV head."""
    return min(p.max_heads, p.held_beats // max(1, -(-keys // p.groups)))


class Work:
    """KV heads, and rows without demand, as the block takes them and what must come."""

    def __init__(self, p):
        self.p = p
        self.beats, self.rows, self.flags, self.out, self.out_rows = [], [], [], [], []

    def head(self, head, parts=1):
        """A KV head with demand."""
        flags, packed, size = packed_head(self.p, head)
        self.flags += flags
        for number, (row, leaves) in enumerate(zip(head, packed, strict=True)):
            last = number == len(head) - 1
            self.beats += beats_of(self.p, row)
            self.rows.append(
                {"parts": parts, "keys": len(row), "last_of_kv": last, "demand": 1}
            )
            self.out += leaves
            self.out_rows.append((parts, size, last))

    def plain(self, row, last, parts=1):
        """A row without demand."""
        beats = beats_of(self.p, row)
        self.beats += beats
        self.out += beats
        self.rows.append({"parts": parts, "keys": len(row), "last_of_kv": last, "demand": 0})
        self.out_rows.append((parts, len(row), last))

    def some(self, rng, heads):
        """KV heads of any sort, as many as fit."""
        p = self.p
        for _ in range(heads):
            keys = rng.choice([0, 1, p.groups, p.max_keys, rng.randrange(p.max_keys + 1)])
            keys = min(keys, p.max_keys)
            rows = rng.randint(1, most_rows(p, keys))
            head = head_of(p, rng, rows, keys, rng.choice([0, 0.05, 0.3, 1]))
            parts = rng.randint(1, p.max_parts)
            if rng.random() < 0.3:
                for number, row in enumerate(head):
                    self.plain(row[: rng.randrange(keys + 1)], number == rows - 1, parts)
            else:
                self.head(head, parts)


def lanes_of(beat):
    return [(t["mantissa"], t["exponent_class"] if t["mantissa"] else 0) for t in beat["term"]]


def run(work, **options):
    inputs = {"i": work.beats, "row": work.rows}
    outputs = {"o": len(work.out), "o_row": len(work.out_rows), "flags": len(work.flags)}
    result = run_streams(ValueDemand(params=work.p), inputs, outputs, **options)
    got = [
        ([(t.mantissa, t.exponent_class if t.mantissa else 0) for t in o.term], bool(o.last))
        for o in result.outputs["o"]
    ]
    assert got == [(lanes_of(beat), beat["last"]) for beat in work.out]
    rows = [(r.parts, r.keys, bool(r.last_of_kv)) for r in result.outputs["o_row"]]
    assert rows == work.out_rows
    flags = [(f.keep, bool(f.last)) for f in result.outputs["flags"]]
    assert flags == [(f["keep"], f["last"]) for f in work.flags]
    return result


@pytest.mark.parametrize("stall", [0.0, 0.4, {"o": 0.8}, {"row": 0.8}, {"flags": 0.8}])
@pytest.mark.parametrize("size", SIZES)
def test_heads_of_any_sort(size, stall):
    work = Work(SIZES[size])
    work.some(random.Random(f"{size} {stall}"), 14)
    run(work, stall=stall, seed=5)


@pytest.mark.parametrize("stall", [0.0, 0.3])
def test_heads_that_fill_the_memory(stall):
    p = SIZES["four"]
    work, rng = Work(p), random.Random(4)
    for density in (0.1, 1, 0, 0.6):
        work.head(head_of(p, rng, 4, p.max_keys, density))
    run(work, stall=stall)


@pytest.mark.parametrize("size", ["two", "one beat"])
def test_rows_of_one_beat(size):
    p = SIZES[size]
    work, rng = Work(p), random.Random(size)
    for number in range(40):
        work.head(head_of(p, rng, rng.randint(1, most_rows(p, 1)), number % 3, 0.3))
    run(work)
    run(work, stall={"i": 0.2})


def test_a_key_that_one_row_keeps_stays_in_all():
    p = SIZES["two"]
    work = Work(p)
    head = np.zeros((3, 5, 2), np.int64)
    head[0, 3, 0], head[1, 0, 0], head[2, 3, 0] = 7, 8, 9
    work.head(head)
    assert [f["keep"] for f in work.flags] == [1, 2, 0]
    assert [lanes_of(b) for b in work.out] == [
        [(0, 0), (7, 0)], [(8, 0), (0, 0)], [(0, 0), (9, 0)]
    ]  # fmt: skip
    run(work)


def test_rows_between_those_of_a_head():
    p = SIZES["two"]
    rng = random.Random(6)
    work = Work(p)
    for _ in range(6):
        head = head_of(p, rng, 3, 9, 0.3)
        work.head(head)
        work.plain(head[0], 0)  # the last of its KV head is another one
    run(work)


class Follower(wiring.Component):
    """The block with a receiver that takes a row with its last beat, as prob·V does.

    ``alone`` is 1 where a beat comes without its row.
    """

    def __init__(self, params):
        self.dut = ValueDemand(params=params)
        names = ("i", "row", "o", "flags")
        members = {name: self.dut.signature.members[name] for name in names}
        super().__init__({**members, "alone": Out(1)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = dut = self.dut
        connect(m, self.i, dut.i)
        connect(m, self.row, dut.row)
        connect(m, dut.flags, self.flags)
        connect(m, dut.o, self.o)
        m.d.comb += [
            dut.o_row.ready.eq(dut.o.valid & dut.o.ready & dut.o.p.last),
            self.alone.eq(dut.o.valid & ~dut.o_row.valid),
        ]
        return m


@pytest.mark.parametrize("size", ["two", "wide", "one beat"])
def test_a_row_is_there_with_its_first_beat(size):
    work, alone = Work(SIZES[size]), []
    work.some(random.Random(2), 20)
    dut = Follower(work.p)

    async def watch(ctx):
        async for _, _, beat in ctx.tick().sample(dut.alone):
            alone.append(beat)

    run_streams(
        dut,
        {"i": work.beats, "row": work.rows},
        {"o": len(work.out), "flags": len(work.flags)},
        testbenches=[watch],
        stall={"o": 0.2},
    )
    assert len(alone) > len(work.out)
    assert not any(alone)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("demand", [0, 1])
def test_latency(size, demand):
    p = SIZES[size]
    work, dut = Work(p), ValueDemand(params=p)
    row = head_of(p, random.Random(1), 1, min(p.groups, p.max_keys), 1)
    if demand:
        work.head(row)
    else:
        work.plain(row[0], 1)
    result = run(work)
    assert result.first("o") - result.first("i") == (
        max(dut.latency, dut.union_latency) if demand else dut.latency
    )
    assert result.first("o_row") < result.first("o")
    if demand:
        assert result.first("flags") - result.first("i") == dut.flags_latency == 2


def test_the_stated_latency():
    """As docs/reference/blocks/value_demand.md has it."""
    for size in ("two", "four"):
        dut = ValueDemand(params=SIZES[size])
        assert (dut.latency, dut.union_latency) == (8, 7)
    dut = ValueDemand(params=SIZES["one beat"])
    assert (dut.latency, dut.union_latency) == (7, 7)


@pytest.mark.parametrize("size", ["one", "four"])
def test_throughput(size):
    p = SIZES[size]
    rng = random.Random(size)
    plain, demand = Work(p), Work(p)
    for _ in range(10):
        rows = head_of(p, rng, 2, p.max_keys, 1)
        plain.plain(rows[0], 0)
        plain.plain(rows[1], 1)
        demand.head(rows)
    result = run(plain)
    assert result.last("i") - result.first("i") == len(plain.beats) - 1
    assert result.last("o") - result.first("o") == len(plain.out) - 1
    result = run(demand)
    assert result.last("i") - result.first("i") < len(demand.beats) + 4 * 5
    assert result.last("o") - result.first("o") < len(demand.out) + 4 * 5


def test_the_next_head_enters_while_one_waits_to_leave():
    p = SIZES["four"]
    work = Work(p)
    rng = random.Random(3)
    for _ in range(3):
        work.head(head_of(p, rng, 2, p.max_keys, 1))
    result = run(work, stall={"o": 0.95})
    head, came, left = len(work.beats) // 3, result.times["i"], result.times["o"]
    assert came[2 * head - 1] < left[head // 2]  # two are in,
    assert left[head - 10] < came[2 * head] < left[head]  # the third when the first has left


def test_parameters_are_checked():
    with pytest.raises(TypeError, match=r"^Params must be a CoreParams, not None$"):
        ValueDemand(params=None)
    with pytest.raises(ValueError, match=r"^value_demand must be true to read values on demand"):
        ValueDemand(params=CoreParams())


class Proof(wiring.Component):
    """The first KV head, of up to two rows: the flags are the union of what its rows keep, the
    rows have its size and the last of them is packed; what waits at an output stays.

    Parameters
    ----------
    claim : str
        A claim that is made wrong: "flags", "size" or "terms"; none to prove them.
    """

    def __init__(self, *, claim=""):
        self.claim = claim
        super().__init__({})

    def elaborate(self, platform):
        m = Module()
        p = CoreParams(
            lanes=32, value_lanes=2, token_lanes=2, value_demand=True, max_keys=4, max_queries=4,
            max_heads=2, buffer_elements=1 << 10, output_lanes=1,
        )  # fmt: skip
        dut = m.submodules.dut = ValueDemand(params=p)
        free_inputs(m, dut)
        m.submodules += [HoldRule(dut.o), HoldRule(dut.o_row), HoldRule(dut.flags)]
        self._assume(m, dut)
        union, terms, complete = Signal(4), Signal(4 * 2), Signal()
        row, place = Signal(range(4)), Signal(1)
        values = Cat(term.mantissa[:2] for term in dut.i.p.term)
        with m.If(dut.i.valid & dut.i.ready & ~complete):
            m.d.sync += [
                union.eq(union | (Cat(t.mantissa != 0 for t in dut.i.p.term) << 2 * place)),
                terms.word_select(place, 4).eq(values),
                place.eq(~dut.i.p.last),
            ]
            with m.If(dut.i.p.last):
                m.d.sync += [row.eq(row + 1), complete.eq(dut.row.p.last_of_kv)]
        self._flags(m, dut, union, complete)
        self._rows(m, dut, union, terms, complete, row)
        return m

    def _assume(self, m, dut):
        """All rows of a KV head have two beats or all have one; there are two at most."""
        long, known, second = Signal(), Signal(), Signal()
        rows = Signal(2)
        beat, row = dut.i.p, dut.row.p
        m.d.comb += [
            Assume(row.demand),
            Assume(~second | beat.last),
            Assume(~known | second | (beat.last == ~long)),
            Assume((rows != 1) | row.last_of_kv),
            *(Assume((t.mantissa < 4) & (t.exponent_class == 0)) for t in beat.term),
            Assume((row.parts == 1) & (row.keys == 4)),
        ]
        with m.If(dut.i.valid & dut.i.ready):
            m.d.sync += [second.eq(~beat.last), known.eq(1), long.eq(second | ~beat.last)]
            with m.If(beat.last):
                m.d.sync += rows.eq(rows + 1)
                with m.If(row.last_of_kv):
                    m.d.sync += [rows.eq(0), known.eq(0)]

    def _flags(self, m, dut, union, complete):
        place, over = Signal(1), Signal()
        wanted = union.word_select(place, 2)
        with m.If(dut.flags.valid & dut.flags.ready & ~over):
            m.d.sync += [place.eq(1), over.eq(dut.flags.p.last)]
        with m.If(dut.flags.valid & ~over & complete):
            m.d.comb += [
                Assert(dut.flags.p.keep == (wanted ^ (self.claim == "flags"))),
                Cover(dut.flags.p.last & (place == 1) & (dut.flags.p.keep == 3)),
            ]

    def _rows(self, m, dut, union, terms, complete, rows):
        """Rows at the output; of the last, its terms."""
        size, row, over, place = Signal(3), Signal(2), Signal(), Signal(2)
        m.d.comb += size.eq(sum(union))
        packed = Signal(8)
        for key in range(4):  # a kept key's term moves down over the keys that are not
            rank = sum(union[:key]) if key else 0
            with m.If(union[key]):
                m.d.comb += packed.word_select(rank, 2).eq(terms.word_select(key, 2))
        taken = Signal(2)
        with m.If(dut.o_row.valid & dut.o_row.ready):
            m.d.sync += taken.eq(Mux(taken == 3, 3, taken + 1))
        with m.If(dut.o_row.valid & (taken < rows) & (taken != 3)):
            m.d.comb += Assert(complete & (dut.o_row.p.keys == size + (self.claim == "size")))
        with m.If(dut.o.valid & dut.o.ready & ~over):
            m.d.sync += place.eq(Mux(dut.o.p.last, 0, place + 1))
            with m.If(dut.o.p.last):
                m.d.sync += [row.eq(row + 1), over.eq(row == rows - 1)]
        with m.If(dut.o.valid & ~over):
            m.d.comb += Assert(complete)
            m.d.comb += Assert(dut.o.p.last == (place * 2 + 2 >= size))
            with m.If(row == rows - 1):
                wanted = packed.word_select(place, 4) ^ (self.claim == "terms")
                m.d.comb += Assert(Cat(t.mantissa[:2] for t in dut.o.p.term) == wanted)
                m.d.comb += [Cover((size == 3) & (place == 1)), Cover((size == 2) & (rows == 2))]


def test_proof():
    prove(Proof(), depth=12, name="value demand")


def test_everything_is_reached():
    prove(Proof(), depth=12, mode="cover", name="value demand")


@pytest.mark.parametrize("claim", ["flags", "size", "terms"])
def test_a_wrong_claim_is_refuted(claim):
    with pytest.raises(ProofError):
        prove(Proof(claim=claim), depth=12, name="value demand")
