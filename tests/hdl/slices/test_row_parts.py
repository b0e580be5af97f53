# amaranth: UnusedElaboratable=no
"""Rows part by part: which part comes in every cycle, whatever waits; in order, each turn once,
none before the row is renewed (proof)."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import pytest
from amaranth.hdl import Assert, Assume, Cover, Module, Mux, Signal
from amaranth.lib import wiring

from attnsieve.hdl.params import CoreParams
from attnsieve.hdl.slices.row_parts import RowParts, keys_dealt, row_turns
from attnsieve.sim.formal import HoldRule, ProofError, free_inputs, prove
from attnsieve.sim.unit import simulate

from .front_cores import CORES, core, keys_at_once

#: Cores whose rows have more than eight turns, with a lane, two and four.
LONG = {
    "lane": CORES["one"],
    "two": core(lanes=32, slice_units=3, max_keys=27, slice_rows=4),
    "four": core(lanes=64, slice_units=5, max_keys=50),
}
PASSED_ON = ("row", "number", "keys", "key_mask", "bank", "write", "pin_first", "own")


def capacity(p):
    keys = 2 * p.buffer_elements // p.max_head_dim
    return -(-keys // p.slice_units) * p.slice_units


@dataclass
class Row:
    """A row, and what is known of it as it goes.

    Parameters
    ----------
    item : dict
        As it comes.
    start : int
        Keys of the heads before.
    """

    item: dict
    start: int
    parts: list = field(default_factory=list)  # that are still to come
    taken: int = 0  # cycle in which its latest part was
    through: bool = False

    @property
    def down(self):
        return self.item["relative"] and self.item["write"]

    def cut(self, p):
        """Its parts as they must come out."""
        item, turns = self.item, -(-self.item["keys"] // keys_at_once(p))
        ends = [*(end for end in (2, 8) if self.down and end < turns), turns]
        common = {
            **{name: item[name] for name in PASSED_ON},
            "pin_from": max(0, item["keys"] - item["pin_newest"]), "down": self.down,
            "base": self.start % capacity(p), "start": self.start, "turns": turns,
        }  # fmt: skip
        self.parts = [
            {**common, "first": first, "end": end, "opens": first == 0, "last": end == turns}
            for first, end in zip([0, *ends[:-1]], ends, strict=True)
        ]
        return self


def work(p, heads, seed=0):
    """Rows of heads, each ``(keys, [changes of a row, ..])``; the last row of a head sees all."""
    rng, rows, start = random.Random(f"work {seed}"), [], 0
    for keys, each in heads:
        for n, changes in enumerate(each):
            last = n == len(each) - 1
            item = {
                "row": len(rows) % p.slice_rows, "key_mask": rng.randrange(2),
                "number": rng.randrange(p.operand_bits // p.slice_bits),
                "bank": rng.randrange(p.banks), "margin": rng.getrandbits(9),
                **{n: rng.randint(0, p.max_keys) for n in ("pin_first", "pin_newest", "own")},
                "write": 1, "relative": 1, "keys": keys, **changes, "last_of_kv": last,
            }  # fmt: skip
            rows.append(Row(item | ({"keys": keys} if last else {}), start).cut(p))
        start += keys
    return rows


def random_work(p, seed, heads=24):
    """Relative, absolute and masked rows, in heads of their own and mixed."""
    rng, found = random.Random(f"heads {seed}"), []
    for _ in range(heads):
        keys, relative = rng.choice([1, p.max_keys, rng.randint(1, p.max_keys)]), rng.random()
        rows = [
            {"keys": rng.choice([0, 1, keys, rng.randint(0, keys)]), "write": rng.random() < 0.8,
             "relative": relative > 0.7 or (relative > 0.3 and rng.random() < 0.5)}
            for _ in range(rng.randint(1, 4))
        ]  # fmt: skip
        found.append((keys, rows))
    return work(p, found, seed)


@dataclass
class Bench:
    """What is around, and which part must be there in each cycle.

    Parameters
    ----------
    offer, take : float
        Chance that a row is offered, and a part taken, in a cycle.
    rate : float
        Chance that a key comes.
    renew : float
        Chance that a row is renewed.
    """

    p: CoreParams
    rows: list
    offer: float = 1.0
    take: float = 1.0
    rate: float = 1.0
    renew: float = 1.0
    seed: int = 0
    next: int = 0  # row that comes
    old: int = 0  # the oldest one inside
    there: int = 0  # keys
    part: dict | None = None  # at the output
    later: tuple = field(default_factory=lambda: ([], []))  # rows with a second, a third part left
    cycle: int = 0
    log: list = field(default_factory=list)  # (row, first turn), and the cycle it was there
    enough: bool = False  # the row that comes was there a cycle ago, with all its keys
    short: bool = False  # and without one of them
    renewed: set = field(default_factory=set)

    async def run(self, ctx, dut):
        rng, offering = random.Random(f"bench {self.seed}"), False
        while self.old < len(self.rows):
            assert self.cycle < 60 * len(self.rows) + 4000
            room = self.next < min(len(self.rows), self.old + self.p.slice_rows)
            offering = offering or (room and rng.random() < self.offer)
            row = self.rows[self.next] if offering else None
            append, ready = rng.random() < self.rate and self.room(), rng.random() < self.take
            ready = ready and (self.part is None or self.may_be_taken())
            anew = self.choose(rng)
            ctx.set(dut.row.valid, offering)
            if row is not None:
                ctx.set(dut.row.p, row.item)
            ctx.set(dut.append, append)
            ctx.set(dut.o.ready, ready)
            ctx.set(dut.renewed, anew is not None)
            slot = rng.randrange(self.p.slice_rows) if anew is None else anew % self.p.slice_rows
            ctx.set(dut.renewed_row, slot)
            chosen, begun = self.check(ctx, dut, row), self.next
            await ctx.tick()
            self.advance(chosen, ready, anew)
            offering = offering and self.next == begun
            there = offering and self.there - row.start >= row.item["keys"]
            self.enough, self.short = there, offering and not there
            self.there += append

    def room(self):
        """Whether a key may come: those of heads that are through have left."""
        freed = max((r.start + r.item["keys"] for r in self.rows[: self.old]
                     if r.item["last_of_kv"]), default=0)  # fmt: skip
        total = self.rows[-1].start + self.rows[-1].item["keys"]
        return self.there < total and self.there - freed < capacity(self.p)

    def may_be_taken(self):
        """The last turn of a part is taken once the keys of those before are there."""
        before = (self.part["turns"] - 1) * keys_at_once(self.p)
        return self.part["down"] or self.there >= self.part["start"] + before

    def choose(self, rng):
        """A row to be renewed, in any order."""
        able = [n for n in range(self.old, self.next) if n not in self.renewed
                and self.rows[n].parts and self.cycle > self.rows[n].taken > 0]  # fmt: skip
        return rng.choice(able) if able and rng.random() < self.renew else None

    def chosen(self, row):
        """The row of which a part comes now, and from which of the waiting ones."""
        if row is not None:
            if self.enough or not (row.item["relative"] or any(self.later)):
                return self.next, None
        for waiting in self.later:
            if waiting and waiting[0] in self.renewed:
                return waiting[0], waiting
        return None, None

    def check(self, ctx, dut, row):
        """Outputs in this cycle. Returns the row of the part that comes next, if one does, and
        where it waited."""
        shape = dut.o.p.shape()
        assert ctx.get(dut.o.valid) == (self.part is not None), self.cycle
        if self.part is not None:
            got = ctx.get(dut.o.p)
            wrap = 1 << shape["start"].width
            assert (got.start - self.part["start"]) % wrap == 0
            assert {name: got[name] for name in self.part} == self.part | {"start": got.start}
        wrap = 1 << len(dut.arrived)
        assert (ctx.get(dut.arrived) - self.there) % wrap == 0
        assert ctx.get(dut.wait_key) == (self.short and self.part is None)
        free = self.part is None or ctx.get(dut.o.ready)
        number, waiting = self.chosen(row) if free else (None, None)
        assert ctx.get(dut.row.ready) == (number is not None and waiting is None), self.cycle
        return number, waiting

    def advance(self, chosen, ready, anew):
        number, waiting = chosen
        if self.part is not None and ready:
            row = self.rows[self.log[-1][0]]
            row.taken, row.through, self.part = self.cycle, not row.parts, None
        if number is not None:
            row = self.rows[number]
            self.part = row.parts.pop(0)
            self.log.append((number, self.part["first"], self.cycle + 1))
            if waiting is None:
                self.next += 1
            else:
                waiting.pop(0)
                self.renewed.discard(number)
            row.taken = 0
            if row.parts:
                self.later[self.part["first"] > 0].append(number)
        if anew is not None:
            self.renewed.add(anew)
        while self.old < self.next and self.rows[self.old].through:
            self.old += 1
        self.cycle += 1


def run(p, rows, **options):
    """Compare in every cycle. Returns what came, and when."""
    dut, bench = RowParts(params=p), Bench(p, rows, **options)

    async def drive(ctx):
        await bench.run(ctx, dut)

    simulate(dut, drive)
    assert len(bench.log) == len({entry[:2] for entry in bench.log})
    return bench.log


OPTIONS = [
    {}, {"take": 0.4}, {"offer": 0.3}, {"rate": 0.2}, {"renew": 0.1},
    {"offer": 0.7, "take": 0.7, "rate": 0.6, "renew": 0.4},
]  # fmt: skip


@pytest.mark.parametrize("options", OPTIONS, ids=lambda o: "-".join(o) or "all")
@pytest.mark.parametrize("name", [*CORES, *LONG])
def test_random_rows(name, options):
    """Among them more keys than the counters count."""
    p = {**CORES, **LONG}[name]
    rows = random_work(p, f"{name} {options}")
    run(p, rows, seed=name, **options)
    width = len(RowParts(params=p).arrived)
    assert rows[-1].start > 1 << width


@pytest.mark.parametrize("name", LONG)
def test_the_ends_of_parts(name):
    """Rows of a turn, of those before a second and a third part, one less, one more; the last turn
    full, or of one key."""
    p = LONG[name]
    size = keys_at_once(p)
    ends = {1: [0], 2: [0], 3: [0, 2], 7: [0, 2], 8: [0, 2], 9: [0, 2, 8], 10: [0, 2, 8]}
    heads = [(keys, [{}]) for turns in ends for keys in (turns * size, (turns - 1) * size + 1)]
    log = run(p, work(p, heads), renew=0.5)
    for number, (keys, _) in enumerate(heads):
        assert [first for row, first, _ in log if row == number] == ends[-(-keys // size)]


@pytest.mark.parametrize("row", [{"relative": 0}, {"write": 0}])
@pytest.mark.parametrize("name", LONG)
def test_other_rows_have_one_part(name, row):
    p = LONG[name]
    log = run(p, work(p, [(p.max_keys, [row] * 5)]))
    assert [entry[:2] for entry in log] == [(n, 0) for n in range(5)]


@pytest.mark.parametrize("name", CORES)
def test_a_part_in_every_cycle(name):
    """A cycle after its row; of rows that wait for their keys, all of which are there, every second
    one."""
    p = CORES[name]
    rows = work(p, [(0, [{"relative": 0}] * 9), (0, [{}] * 9)])
    assert [cycle for *_, cycle in run(p, rows)] == [*range(1, 10), *range(11, 29, 2)]


@pytest.mark.parametrize("name", CORES)
def test_rows_before_their_keys(name):
    """One without a maximum begins before its keys are there; one with it two cycles after the last
    of them, if it has any."""
    p = CORES[name]
    log = run(p, work(p, [(p.max_keys, [{"relative": 0}])]), rate=0.1)
    assert log == [(0, 0, 1)]
    for row in ({}, {"write": 0}):
        log = run(p, work(p, [(p.max_keys, [row])]))
        assert log[0] == (0, 0, p.max_keys + 2)


@pytest.mark.parametrize("name", LONG)
def test_older_parts_first(name):
    """First parts of all rows, then second ones, then third ones, each in the order of rows though
    the rows are renewed from the last on; nothing comes before the oldest one is renewed."""
    p, dut = LONG[name], RowParts(params=LONG[name])
    rows, found = work(p, [(p.max_keys, [{}] * p.slice_rows)]), []

    async def collect(ctx):
        ctx.set(dut.o.ready, 1)
        while True:
            _, _, valid, part = await ctx.tick().sample(dut.o.valid, dut.o.p)
            if valid:
                found.append((part.first, part.row))

    async def bench(ctx):
        ctx.set(dut.append, 1)
        await ctx.tick().repeat(p.max_keys)
        ctx.set(dut.append, 0)
        for row in rows:
            ctx.set(dut.row.valid, 1)
            ctx.set(dut.row.p, row.item)
            await ctx.tick().until(dut.row.ready)
        ctx.set(dut.row.valid, 0)
        await ctx.tick().repeat(3)
        for first in (0, 2):
            before = len(found)
            for row in reversed(range(p.slice_rows)):
                assert len(found) == before
                ctx.set(dut.renewed, 1)
                ctx.set(dut.renewed_row, row)
                await ctx.tick()
            ctx.set(dut.renewed, 0)
            await ctx.tick().repeat(p.slice_rows + 3)
            assert found[:before][-1][0] == first

    simulate(dut, bench, background=[collect])
    assert found == [(first, row) for first in (0, 2, 8) for row in range(p.slice_rows)]


@pytest.mark.parametrize("name", CORES)
def test_turns_and_keys_dealt(name):
    """Units and lane groups, both, bound the keys of a turn."""
    p = CORES[name]
    assert keys_dealt(p) == keys_at_once(p)
    assert row_turns(p) == -(-p.max_keys // keys_at_once(p))


def test_keys_dealt():
    got = [keys_dealt(core(lanes=64, slice_units=units)) for units in (1, 2, 3, 4, 7, 16)]
    assert got == [1, 2, 2, 4, 4, 4]


class Short(RowParts):
    """Parts that are soon over."""

    ENDS = (1, 2)


class Contract(wiring.Component):
    """Any rows, of which each number is taken again when it is free, and keys, parts taken and rows
    renewed at any time: a part begins where the one before ended, the last one ends with the row,
    and none comes before the row was renewed after the one before was taken. A row begins with all
    its keys, or if it has one part and no part of a row inside is left.

    Parameters
    ----------
    more : int
        By which the claim about turns is wrong; 0 to prove it.
    """

    def __init__(self, params, *, more=0):
        self.params, self.more = params, more
        super().__init__({})

    def elaborate(self, platform):
        m, p = Module(), self.params
        m.submodules.dut = dut = Short(params=p)
        free_inputs(m, dut)
        m.submodules += HoldRule(dut.o)
        row, there, start, left = dut.row.p, Signal(8), Signal(8), Signal(4)
        begins = dut.row.valid & dut.row.ready
        enough, short = there >= start + row.keys, Signal()
        m.d.comb += [
            Assume(row.keys <= p.max_keys),
            Assume(~dut.append | (there < start + capacity(p))),
            Assume(start <= there + 2 * p.max_keys),  # parts are not taken long before their keys
            Assert(~begins | enough | (~row.relative & (left == 0))),
            Assert((dut.arrived - there)[: len(dut.arrived)] == 0),
            Assert(dut.wait_key == (short & ~dut.o.valid)),
        ]
        m.d.sync += [
            there.eq(there + dut.append), short.eq(dut.row.valid & ~dut.row.ready & ~enough)
        ]  # fmt: skip
        with m.If(begins & row.last_of_kv):
            m.d.sync += start.eq(start + row.keys)
        rows = [self._row(m, dut, n, begins) for n in range(p.slice_rows)]
        m.d.comb += left.eq(sum(rows))
        return m

    def _row(self, m, dut, n, begins):
        """The row of this number. Returns whether a part of it is left that is not out."""
        o, size = dut.o.p, keys_at_once(self.params)
        inside, waits, may, down = (Signal(name=f"{name}{n}") for name in
                                    ("inside", "waits", "may", "down"))  # fmt: skip
        turns, at, want = (Signal.like(o.turns, name=f"{x}{n}") for x in ("turns", "at", "want"))
        comes, out = dut.row.valid & (dut.row.p.row == n), dut.o.valid & (o.row == n)
        renewed = dut.renewed & (dut.renewed_row == n)
        m.d.comb += [Assume(~(comes & inside)), Assume(~renewed | waits)]
        with m.If(begins & comes):
            m.d.sync += [
                inside.eq(1), may.eq(1), at.eq(0), down.eq(dut.row.p.relative & dut.row.p.write),
                turns.eq((dut.row.p.keys + size - 1) // size),
            ]  # fmt: skip
        ends = Mux(at == 0, Short.ENDS[0], Mux(at == Short.ENDS[0], Short.ENDS[1], turns))
        m.d.comb += want.eq(Mux(down & (ends < turns), ends, turns))
        with m.If(out):
            m.d.comb += [
                Assert(inside & may), Assert(o.first == at), Assert(o.end == want + self.more),
                Assert(o.turns == turns), Assert(o.last == (want == turns)),
                Assert(o.opens == (at == 0)), Assert(o.down == down),
                Cover((at == Short.ENDS[1]) & (turns == 3)), Cover(turns == 0),
            ]  # fmt: skip
        with m.If(out & dut.o.ready):
            m.d.sync += [at.eq(o.end), may.eq(0), waits.eq(~o.last), inside.eq(~o.last)]
        with m.If(renewed):
            m.d.sync += [waits.eq(0), may.eq(1)]
        return inside & ~(out & o.last)


def small(units, groups, keys, rows=2):
    return core(
        lanes=16 * groups, max_head_dim=16, max_keys=keys, slice_units=units, slice_rows=rows
    )


@pytest.mark.parametrize(
    ("units", "groups", "keys", "rows", "depth"),
    [(1, 1, 1, 2, 14), (1, 1, 3, 2, 14), (2, 2, 6, 2, 14), (1, 1, 3, 4, 9)],
)
def test_proof(units, groups, keys, rows, depth):
    prove(Contract(small(units, groups, keys, rows)), depth=depth, name="row parts")


def test_everything_is_reached():
    prove(Contract(small(1, 1, 3)), depth=14, mode="cover", name="row parts")


def test_a_wrong_claim_is_refuted():
    with pytest.raises(ProofError):
        prove(Contract(small(1, 1, 3), more=1), depth=8, name="row parts")
