# amaranth: UnusedElaboratable=no
"""Rows whose keys are all decided: in every cycle, and none too early (proof)."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import pytest
from amaranth.asserts import AnyConst
from amaranth.hdl import Assert, Assume, Cover, Module, Mux, Signal
from amaranth.lib import wiring

from attnsieve.hdl.params import CoreParams
from attnsieve.hdl.slices.row_count import RowCount
from attnsieve.sim.formal import ProofError, free_inputs, prove
from attnsieve.sim.unit import simulate


def core(groups=1, **changes):
    values = {"lanes": 16 * groups, "max_head_dim": 16, "max_keys": 64, "output_lanes": 1,
              "slice_units": 2, "slice_rows": 4}  # fmt: skip
    return CoreParams(**(values | changes))


CORES = {
    "unit": core(slice_units=1, slice_rows=2),
    "group": core(slice_units=3),
    "eight": core(4, slice_units=4, slice_rows=8),
    "pair": core(4, slice_units=6, slice_rows=2),
    "sixteen": core(8, slice_units=16, slice_rows=4, max_keys=200),
    "key": core(2, slice_units=5, max_keys=1),
}


def lanes_of(p):
    """Most keys that are dealt at once: a power of two, of units and of groups."""
    return max(n for n in (1, 2, 4, 8, 16) if n <= min(p.slice_units, p.groups))


@dataclass
class Row:
    """What is still to come of a row, and when it is complete."""

    turns: list  # keys of each turn in which some are dealt
    kept: float = 0.5  # share of its keys that are kept
    undecided: int = 0
    to_store: int = 0
    decided_at: int = -9
    dealt_at: int | None = None
    free_after: int = 0  # cycles that it is left complete
    seen: int = 0

    def complete(self, cycle):
        if self.dealt_at is None or self.undecided or self.to_store:
            return False
        return cycle >= max(self.dealt_at + 2, self.decided_at + RowCount.latency)


def ends(last):
    """Of what is dealt with the last turn of a row, or before."""
    return {"end_of_part": last, "end_of_row": last}


def ways(p):
    """Scores that can be stored in a cycle."""
    return 2 if p.groups > 1 else 1


@dataclass
class Bench:
    """Draws what happens in each cycle, and knows which rows are complete in it."""

    params: CoreParams
    rows: list
    pace: float = 0.7  # chance that a thing that could happen does
    first: int = 0  # the oldest row inside
    dealing: int = 0
    cycle: int = 0
    inside: list = field(default_factory=list)

    def inputs(self, rng):
        """Of the next cycle: dealt, ended of all units, rows stored by the ways, freed row."""
        p = self.params
        slots = p.slice_rows
        dealt = freed = None
        stored = [None] * ways(p)
        ended = [None] * p.slice_units
        inside = list(range(self.first, self.dealing))  # before what is dealt now
        if self.dealing < len(self.rows) and self.dealing < self.first + slots:
            row = self.rows[self.dealing]
            if rng.random() < self.pace:
                keys = row.turns.pop(0)
                dealt = {"rows": 1 << self.dealing % slots, "keys": keys, **ends(not row.turns)}
        pick = [n for n in [*inside, self.dealing][: slots] if n < len(self.rows)]
        for unit in range(p.slice_units):
            able = [n for n in pick if self.rows[n].undecided]
            if able and rng.random() < self.pace:
                n = rng.choice(able)
                row = self.rows[n]
                kind = "waits" if rng.random() < 0.2 else "kept" if rng.random() < row.kept else ""
                number = rng.getrandbits(2)
                ended[unit] = {"row": n % slots, "number": number, "kept": kind == "kept",
                               "waits": kind == "waits"}  # fmt: skip
                if kind != "waits":
                    row.undecided -= 1
                    row.to_store += kind == "kept"
                    row.decided_at = self.cycle if not kind else row.decided_at
        for way in range(ways(p)):
            able = [n for n in pick if self.rows[n].to_store]
            if able and rng.random() < self.pace:
                row = self.rows[n := rng.choice(able)]
                row.to_store -= 1
                row.decided_at = self.cycle
                stored[way] = n % slots
        if self.first < self.dealing and self.rows[self.first].complete(self.cycle):
            oldest = self.rows[self.first]
            oldest.seen += 1
            if oldest.seen > oldest.free_after:
                freed = self.first % slots
        return dealt, ended, stored, freed

    def expected(self):
        """Flags of the rows that are complete in this cycle."""
        numbers = range(self.first, self.dealing)
        return sum(
            self.rows[n].complete(self.cycle) << n % self.params.slice_rows for n in numbers
        )

    def advance(self, dealt, freed):
        if dealt is not None:
            row = self.rows[self.dealing]
            row.undecided += dealt["keys"]
            if dealt["end_of_row"]:
                row.dealt_at = self.cycle
                self.dealing += 1
        self.first += freed is not None
        self.cycle += 1


def run(p, rows, seed=1, **options):
    """Compare in every cycle. Returns the cycles that it took."""
    dut, bench, rng = RowCount(params=p), Bench(p, rows, **options), random.Random(seed)

    async def drive(ctx):
        while bench.first < len(rows):
            assert bench.cycle < 20000
            dealt, ended, stored, freed = bench.inputs(rng)
            ctx.set(dut.dealt.valid, dealt is not None)
            noise = {"rows": rng.getrandbits(p.slice_rows), "keys": 1, **ends(True)}
            ctx.set(dut.dealt.p, dealt or noise)
            for port, one in zip(dut.ended, ended, strict=True):
                ctx.set(port.valid, one is not None)
                noise = {"row": rng.randrange(p.slice_rows), "kept": 0, "waits": 0}
                ctx.set(port.p, one or noise)
            ctx.set(dut.stored, sum((row is not None) << n for n, row in enumerate(stored)))
            for port, row in zip(dut.stored_row, stored, strict=True):
                ctx.set(port, rng.randrange(p.slice_rows) if row is None else row)
            ctx.set(dut.free, freed is not None)
            ctx.set(dut.freed, rng.randrange(p.slice_rows) if freed is None else freed)
            assert ctx.get(dut.complete) == bench.expected(), bench.cycle
            await ctx.tick()
            bench.advance(dealt, freed)

    simulate(dut, drive)
    return bench.cycle


def random_row(p, rng):
    lanes = lanes_of(p)
    keys = rng.choice((0, 1, p.max_keys, rng.randint(1, p.max_keys)))
    seen = rng.choice((0.0, 0.5, 1.0, 1.0))  # the mask hides the others
    turns = [
        sum(rng.random() < seen for _ in range(min(lanes, keys - start)))
        for start in range(0, keys, lanes)
    ]
    return Row(turns or [0], kept=rng.choice((0.0, 0.3, 1.0)), free_after=rng.choice((0, 0, 9)))


@pytest.mark.parametrize("pace", [1.0, 0.7, 0.3])
@pytest.mark.parametrize("name", CORES)
def test_random_rows(name, pace):
    p, rng = CORES[name], random.Random(f"{name} {pace}")
    run(p, [random_row(p, rng) for _ in range(20)], pace=pace)


@pytest.mark.parametrize("kept", [0.0, 1.0])
@pytest.mark.parametrize("name", CORES)
def test_all_or_none_are_kept(name, kept):
    p = CORES[name]
    lanes = lanes_of(p)
    turns = [min(lanes, p.max_keys - start) for start in range(0, p.max_keys, lanes)]
    run(p, [Row(list(turns), kept=kept) for _ in range(6)])


@pytest.mark.parametrize("name", CORES)
def test_rows_without_a_key(name):
    """They follow each other in every cycle, as far as their numbers go."""
    p = CORES[name]
    rows = 3 * p.slice_rows
    cycles = run(p, [Row([0]) for _ in range(rows)], pace=1.0)
    # a number is dealt, complete after two cycles, freed, and dealt again in the next cycle
    assert cycles == (rows + 2 if p.slice_rows > 2 else 3 * rows // 2 + 1)


@pytest.mark.parametrize("way", ["dropped", "stored", "dealt", "dealt-after"])
@pytest.mark.parametrize("name", CORES)
def test_the_stated_latency(name, way):
    """From what completes a row; one less if that is its end, without a key."""
    p, dut = CORES[name], RowCount(params=CORES[name])
    assert dut.latency == 3
    row = p.slice_rows - 1

    async def pulse(ctx, *signals):
        for signal in signals:
            ctx.set(signal, 1)
        await ctx.tick()
        for signal in signals:
            ctx.set(signal, 0)

    async def bench(ctx):
        unit = dut.ended[-1]
        first = {"keys": way != "dealt", **ends(way != "dealt-after")}
        ctx.set(dut.dealt.p, {"rows": 1 << row} | first)
        ctx.set(unit.p, {"row": row, "kept": way == "stored"})
        ctx.set(dut.stored_row[-1], row)
        await pulse(ctx, dut.dealt.valid)
        latency = dut.latency - way.startswith("dealt")
        if way != "dealt":
            await ctx.tick().repeat(5)
            assert ctx.get(dut.complete) == 0
            await pulse(ctx, unit.valid)
        if way in ("stored", "dealt-after"):
            await ctx.tick().repeat(5)
            assert ctx.get(dut.complete) == 0
        if way == "stored":
            await pulse(ctx, dut.stored[-1])
        if way == "dealt-after":
            ctx.set(dut.dealt.p, {"rows": 1 << row, "keys": 0, **ends(True)})
            await pulse(ctx, dut.dealt.valid)
        for cycle in range(1, latency + 4):
            assert ctx.get(dut.complete) == (cycle >= latency) << row
            await ctx.tick()
        ctx.set(dut.freed, row)
        await pulse(ctx, dut.free)
        for _ in range(3):
            assert ctx.get(dut.complete) == 0
            await ctx.tick()

    simulate(dut, bench)


@pytest.mark.parametrize("keys", [0, 1])
@pytest.mark.parametrize("name", CORES)
def test_parts(name, keys):
    """A row is quiet between two parts: three cycles after its last key is decided, or two after
    the part ends without one, until it is renewed; never complete before its last part."""
    p, dut = CORES[name], RowCount(params=CORES[name])
    row = p.slice_rows - 1

    async def deal(ctx, end_of_row):
        ctx.set(dut.dealt.valid, 1)
        ctx.set(dut.dealt.p, {"rows": 1 << row, "keys": keys, "end_of_part": 1,
                              "end_of_row": end_of_row})  # fmt: skip
        await ctx.tick()
        ctx.set(dut.dealt.valid, 0)
        if keys:
            for _ in range(5):
                assert ctx.get(dut.quiet) == ctx.get(dut.complete) == 0
                await ctx.tick()
            ctx.set(dut.ended[0].valid, 1)
            ctx.set(dut.ended[0].p, {"row": row})
            await ctx.tick()
            ctx.set(dut.ended[0].valid, 0)

    async def bench(ctx):
        latency = dut.latency - (not keys)
        for part in range(3):
            await deal(ctx, part == 2)
            flag, other = (dut.complete, dut.quiet) if part == 2 else (dut.quiet, dut.complete)
            for cycle in range(1, latency + 5):
                assert ctx.get(flag) == (cycle >= latency) << row
                assert ctx.get(other) == 0
                await ctx.tick()
            ctx.set(dut.renewed_row, row - 1)  # it is another one
            ctx.set(dut.renewed, 1)
            await ctx.tick()
            assert ctx.get(flag) == 1 << row
            ctx.set(dut.renewed_row, row)
            await ctx.tick()
            ctx.set(dut.renewed, 0)
            for _ in range(4):
                assert ctx.get(flag) == (part == 2) << row
                await ctx.tick()

    simulate(dut, bench)


@pytest.mark.parametrize("name", [name for name, p in CORES.items() if p.max_keys > 1])
def test_as_many_keys_as_can_be_at_once(name):
    """Every unit drops one, and each way stores one."""
    p, lanes = CORES[name], lanes_of(CORES[name])
    dut, count = RowCount(params=p), p.slice_units + ways(p)

    async def bench(ctx):
        for left in range(count, 0, -lanes):
            ctx.set(dut.dealt.valid, 1)
            ctx.set(dut.dealt.p, {"rows": 1 << 1, "keys": min(left, lanes), **ends(left <= lanes)})
            await ctx.tick()
        ctx.set(dut.dealt.valid, 0)
        await ctx.tick().repeat(5)
        for port in dut.ended:
            ctx.set(port.valid, 1)
            ctx.set(port.p, {"row": 1})
        ctx.set(dut.stored, (1 << ways(p)) - 1)
        for port in dut.stored_row:
            ctx.set(port, 1)
        await ctx.tick()
        for port in dut.ended:
            ctx.set(port.valid, 0)
        ctx.set(dut.stored, 0)
        for cycle in range(1, 6):
            assert ctx.get(dut.complete) == (cycle >= dut.latency) << 1
            await ctx.tick()

    simulate(dut, bench)


@pytest.mark.parametrize("name", CORES)
def test_keys_of_several_rows(name):
    """They count for each of these, until it is decided for that row."""
    p = CORES[name]
    dut, first, last = RowCount(params=p), 1, 1 << p.slice_rows - 1

    async def bench(ctx):
        ctx.set(dut.dealt.valid, 1)
        ctx.set(dut.dealt.p, {"rows": first | last, "keys": 1, **ends(True)})
        await ctx.tick()
        ctx.set(dut.dealt.valid, 0)
        for rows, row in ((0, p.slice_rows - 1), (last, 0)):
            await ctx.tick().repeat(5)
            assert ctx.get(dut.complete) == rows
            ctx.set(dut.ended[0].valid, 1)
            ctx.set(dut.ended[0].p, {"row": row})
            await ctx.tick()
            ctx.set(dut.ended[0].valid, 0)
        await ctx.tick().repeat(5)
        assert ctx.get(dut.complete) == first | last

    simulate(dut, bench)


class Proof(wiring.Component):
    """A row is complete only if its end has been dealt and all its keys were dropped or stored, and
    it is so three cycles after; between two parts it is quiet in the same way, until it is renewed.
    Any row is watched; no key is decided before it is dealt.

    Parameters
    ----------
    units : int
    late : int
        Cycles by which the claim about the latency is wrong; 0 to prove it.
    """

    def __init__(self, *, units, late=0):
        self.units, self.late = units, late
        super().__init__({})

    def elaborate(self, platform):
        m = Module()
        p = core(2, slice_units=self.units, slice_rows=2, max_keys=15)
        m.submodules.dut = dut = RowCount(params=p)
        free_inputs(m, dut)
        row = AnyConst(1)
        left, total, ended, parted = Signal(5), Signal(5), Signal(), Signal()
        dealt, decided = Signal(2), Signal(3)
        mine = dut.dealt.valid & dut.dealt.p.rows.bit_select(row, 1)
        m.d.comb += [
            dealt.eq(Mux(mine, dut.dealt.p.keys, 0)),
            decided.eq(
                sum(e.valid & ~e.p.waits & ~e.p.kept & (e.p.row == row) for e in dut.ended)
                + sum(one & (its == row) for one, its in
                      zip(dut.stored, dut.stored_row, strict=True))
            ),
            Assume(decided <= left),
            Assume(dut.dealt.p.keys <= 2),
            Assume(total + dealt <= p.max_keys),
        ]
        free, renewed = Signal(), Signal()
        quiet, part = dut.quiet.bit_select(row, 1), Signal()  # more of the row will come
        m.d.comb += [
            free.eq(dut.free & (dut.freed == row)),
            Assume(~free | dut.complete.bit_select(row, 1)),
            Assume(~(mine & (ended | parted))),
            Assume(~dut.dealt.p.end_of_row | dut.dealt.p.end_of_part),
            part.eq(dut.dealt.p.end_of_part & ~dut.dealt.p.end_of_row),
            renewed.eq(dut.renewed & (dut.renewed_row == row)),
            Assume(~renewed | quiet),
        ]
        still = Signal(3)  # cycles that it has been complete
        whole = (ended | parted) & (left == 0)
        m.d.sync += [
            left.eq(left + dealt - decided),
            total.eq(total + dealt),
            ended.eq(ended | (mine & dut.dealt.p.end_of_row)),
            parted.eq((parted & ~renewed) | (mine & part)),
            still.eq(Mux(whole, still + (still != 7), 0)),
        ]
        with m.If(free):
            m.d.sync += [ended.eq(0), total.eq(0), still.eq(0)]
        with m.If(renewed):
            m.d.sync += still.eq(0)
        with m.If(dut.complete.bit_select(row, 1)):
            m.d.comb += [Assert(whole & ended), Cover(total == 0), Cover(total == 3)]
        with m.If(quiet):
            m.d.comb += [Assert(whole & parted), Cover(total == 2)]
        with m.If(whole & (still >= dut.latency - 1 - self.late)):
            m.d.comb += Assert(Mux(ended, dut.complete.bit_select(row, 1), quiet))
        return m


@pytest.mark.parametrize("units", [1, 2, 3])
def test_proof(units):
    prove(Proof(units=units), depth=12, name="row count")


def test_everything_is_reached():
    prove(Proof(units=2), depth=14, mode="cover", name="row count")


def test_a_wrong_claim_is_refuted():
    with pytest.raises(ProofError):
        prove(Proof(units=2, late=1), depth=12, name="row count")
