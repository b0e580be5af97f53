# amaranth: UnusedElaboratable=no
"""Bounds below the largest score so far: value, order, cycles; of any numbers, and none without a
score (proof)."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import pytest
from amaranth.asserts import AnyConst
from amaranth.hdl import Assert, Assume, Cover, Module, Mux, Signal, signed
from amaranth.lib import wiring

from attnsieve.hdl.params import CoreParams
from attnsieve.hdl.slices.relative_bounds import RelativeBounds
from attnsieve.hdl.slices.slice_params import slice_params
from attnsieve.sim.formal import HoldRule, ProofError, free_inputs, prove
from attnsieve.sim.unit import simulate

from .front_cores import CORES


class Words(CoreParams):
    """Words of any length, also such that no core has."""

    def __post_init__(self):
        pass


def words(bits, slice_bits, taps=1, rows=2):
    return Words(operand_bits=bits, slice_bits=slice_bits, max_head_dim=taps, slice_units=1,
                 slice_rows=rows)  # fmt: skip


SIZES = {**CORES, "padded": words(10, 4, 5, 4), "three": words(9, 4, 3)}


def slices(p):
    return -(-p.operand_bits // p.slice_bits)


def bound_count(p):
    """Of a row; where keys have signs of their own only its threshold."""
    return 1 if p.slice_words == "sign_magnitude" else slices(p)


def score_bits(p):
    return 2 * p.operand_bits + (p.max_head_dim - 1).bit_length()


def bounds_of(p, maximum, margin, most):
    """What the sum up to each slice must reach, with the bits behind it open."""
    threshold, found = max(maximum - margin, -(1 << score_bits(p) - 1)), []
    if bound_count(p) == 1:
        return [threshold]
    for n in range(slices(p) - 1):
        unit = 1 << p.operand_bits - (n + 1) * p.slice_bits
        # least s with s * unit + (unit - 1) * most >= threshold
        found.append(-((most * (unit - 1) - threshold) // unit))
    return [*found, threshold << slices(p) * p.slice_bits - p.operand_bits]


def numbers(p, rng):
    """A maximum or none, a margin, and a sum of positive elements; often the ends."""
    top = 1 << score_bits(p) - 1
    maximum = rng.choice([-top, top - 1, 0, -1, rng.randrange(-top, top), None])
    margin = rng.choice([0, 1, top - 1, 2 * top - 1, rng.randrange(2 * top), rng.randrange(999)])
    return maximum, margin, rng.choice([0, 1, top - 1, rng.randrange(top), rng.randrange(999)])


@dataclass
class Bench:
    """Rows that begin in turn, wait for their bounds and get them, twice each.

    Parameters
    ----------
    visits : int
        How often a row waits, altogether.
    take : float
        Chance that a bound is taken.
    pace : float
        Chance that a row begins, and that one waits, in a cycle.
    """

    p: CoreParams
    visits: int
    take: float = 1.0
    pace: float = 0.3
    seed: int = 0
    rows: dict = field(default_factory=dict)  # numbers of the rows that are inside
    begun: int = 0
    waited: dict = field(default_factory=dict)  # how often each of them has
    quiet: set = field(default_factory=set)
    kinds: set = field(default_factory=set)  # (whether there was a score, how often it waited)
    written: list = field(default_factory=list)  # the row at hand, for each of its bounds
    held: tuple | None = None  # a bound that was not taken
    cycle: int = 0
    renewed: list = field(default_factory=list)  # (row, cycle)

    async def run(self, ctx, dut):
        p, rng, asked = self.p, random.Random(f"bench {self.seed}"), 0
        while len(self.renewed) < self.visits:
            assert self.cycle < 2000 + self.visits * 300
            begins = self.begin(rng)
            slot = rng.randrange(p.slice_rows) if begins is None else begins
            _, margin, most = self.rows.get(slot, numbers(p, rng))
            ctx.set(dut.row.valid, begins is not None)
            ctx.set(dut.row.p, {"row": slot, "margin": margin, "most": most})
            ctx.set(dut.quiet, sum(1 << n for n in self.quiet))
            maximum = self.rows.get(asked, numbers(p, rng))[0] if asked in self.quiet else None
            ctx.set(dut.maximum.known, maximum is not None)
            ctx.set(dut.maximum.score, numbers(p, rng)[2] if maximum is None else maximum)
            ready = rng.random() < self.take
            ctx.set(dut.bound.ready, ready)
            asked = ctx.get(dut.maximum.row)
            bound = ctx.get(dut.bound.p)
            found = (bound.row, bound.number, bound.bound) if ctx.get(dut.bound.valid) else None
            self.check(found, ready, ctx.get(dut.renewed), ctx.get(dut.renewed_row))
            await ctx.tick()
            self.wait(rng, begins)
            self.cycle += 1

    def begin(self, rng):
        """The next row, if its place is free."""
        row = self.begun % self.p.slice_rows
        if row in self.rows or rng.random() >= self.pace:
            return None
        self.rows[row] = numbers(self.p, rng)
        self.begun += 1
        return row

    def wait(self, rng, begins):
        """A row that waits, now or again: what it has stored may be its largest score."""
        able = [n for n in self.rows if n not in self.quiet and n != begins]
        if not able or rng.random() >= self.pace:
            return
        row = rng.choice(able)
        maximum, margin, most = self.rows[row]
        more = numbers(self.p, rng)[0]
        if self.waited.get(row) and more is not None:
            self.rows[row] = (more if maximum is None else max(more, maximum), margin, most)
        self.waited[row] = self.waited.get(row, 0) + 1
        self.quiet.add(row)

    def check(self, bound, ready, renewed, row):
        assert self.held in (None, bound)
        self.held = None if ready else bound
        if bound is not None:
            assert bound[0] in self.quiet
            assert self.rows[bound[0]][0] is not None
            want, place = bounds_of(self.p, *self.rows[bound[0]]), len(self.written)
            assert bound[1:] == (place, want[place]), self.rows[bound[0]]
            assert {*self.written} <= {bound[0]}
            if ready:
                self.written.append(bound[0])
        if renewed:
            assert row in self.quiet
            assert {*self.written} <= {row}
            known = self.rows[row][0] is not None
            assert len(self.written) == (bound_count(self.p) if known else 0)
            self.renewed.append((row, self.cycle))
            self.quiet.discard(row)
            self.written = []
            self.kinds.add((known, self.waited[row]))
            if self.waited[row] == 2:
                del self.rows[row], self.waited[row]


def run(p, visits, **options):
    dut, bench = RelativeBounds(params=p), Bench(p, visits, **options)

    async def drive(ctx):
        await bench.run(ctx, dut)

    simulate(dut, drive)
    return bench


@pytest.mark.parametrize("take", [1.0, 0.3])
@pytest.mark.parametrize("pace", [0.05, 0.9])
@pytest.mark.parametrize("name", SIZES)
def test_random_rows(name, pace, take):
    bench = run(SIZES[name], 60, pace=pace, take=take, seed=name)
    assert bench.kinds >= {(False, 1), (True, 1), (True, 2)}


async def pulse(ctx, signal):
    ctx.set(signal, 1)
    await ctx.tick()
    ctx.set(signal, 0)


async def renew(ctx, dut, row, maximum, known=1):
    """Let a row wait. Returns its bounds and the cycles until it is renewed."""
    found, cycles = [], 0
    ctx.set(dut.quiet, 1 << row)
    ctx.set(dut.maximum.known, known)
    ctx.set(dut.maximum.score, maximum)
    ctx.set(dut.bound.ready, 1)
    while not ctx.get(dut.renewed):
        if ctx.get(dut.bound.valid):
            assert ctx.get(dut.bound.p.number) == len(found)
            found.append(ctx.get(dut.bound.p.bound))
        await ctx.tick()
        cycles += 1
    assert ctx.get(dut.renewed_row) == row
    await ctx.tick()
    ctx.set(dut.quiet, 0)
    await ctx.tick()
    return found, cycles + 2


@pytest.mark.parametrize("name", SIZES)
def test_all_ends(name):
    """Every maximum with every margin, and every sum of positive elements; thresholds below the
    least score are it."""
    p, dut = SIZES[name], RelativeBounds(params=SIZES[name])
    top = 1 << score_bits(p) - 1

    async def bench(ctx):
        for margin in (0, 1, top - 1, top, 2 * top - 1):
            for most in (0, 1, top - 1):
                ctx.set(dut.row.p, {"row": 1, "margin": margin, "most": most})
                await pulse(ctx, dut.row.valid)
                for maximum in (-top, 1 - top, -1, 0, 1, top - 1):
                    found, _ = await renew(ctx, dut, 1, maximum)
                    assert found == bounds_of(p, maximum, margin, most), (margin, most, maximum)

    simulate(dut, bench)


@pytest.mark.parametrize("name", SIZES)
def test_the_stated_throughput(name):
    """A row after the other; one without a score is passed over, and keeps its bounds."""
    p, dut = SIZES[name], RelativeBounds(params=SIZES[name])

    async def bench(ctx):
        for row in range(p.slice_rows):
            _, cycles = await renew(ctx, dut, row, 7)
            assert cycles == bound_count(p) + 6
            assert await renew(ctx, dut, row, 7, known=0) == ([], 5)

    simulate(dut, bench)


@pytest.mark.parametrize("name", SIZES)
def test_rows_wait_for_each_other(name):
    """All wait at once: each gets its bounds, one behind the other, at the stated pace."""
    p, dut = SIZES[name], RelativeBounds(params=SIZES[name])
    rows, found, interval = p.slice_rows, [], bound_count(p) + 6

    async def bench(ctx):
        quiet = (1 << rows) - 1
        ctx.set(dut.maximum.known, 1)
        ctx.set(dut.bound.ready, 1)
        for cycle in range(rows * interval + 9):
            ctx.set(dut.quiet, quiet)
            if ctx.get(dut.renewed):
                found.append((ctx.get(dut.renewed_row), cycle))
                quiet &= ~(1 << found[-1][0])
            await ctx.tick()

    simulate(dut, bench)
    assert [cycle for _, cycle in found] == [interval * n + bound_count(p) + 4 for n in range(rows)]
    assert sorted(row for row, _ in found) == list(range(rows))


class Contract(wiring.Component):
    """Any rows that wait, with a score or without: the bounds of the one that is watched come in
    order and it is renewed behind the last one; if it has no score it is renewed without any.
    Nothing of it comes unless it waits.

    Parameters
    ----------
    more : int
        By which the claim about bounds is wrong; 0 to prove it.
    """

    def __init__(self, params, *, more=0):
        self.params, self.more = params, more
        super().__init__({})

    def elaborate(self, platform):
        m, s = Module(), slice_params(self.params)
        m.submodules.dut = dut = RelativeBounds(params=self.params)
        free_inputs(m, dut)
        m.submodules += HoldRule(dut.bound)
        row, known = AnyConst(range(s.rows)), AnyConst(1)
        quiet, waits, asked = dut.quiet.bit_select(row, 1), Signal.like(dut.quiet), Signal()
        m.d.sync += [
            asked.eq(dut.maximum.row == row),
            waits.eq(dut.quiet & ~(dut.renewed << dut.renewed_row)),
        ]
        m.d.comb += [
            Assume((waits & ~dut.quiet) == 0),  # a row waits until it is renewed
            Assume(~(dut.row.valid & dut.quiet.bit_select(dut.row.p.row, 1))),
            Assume(~asked | (dut.maximum.known == known)),
        ]
        count = Signal(range(s.slices + 1))
        with m.If(dut.bound.valid & (dut.bound.p.row == row)):
            m.d.comb += [Assert(quiet & known), Assert(dut.bound.p.number == count)]
            with m.If(dut.bound.ready):
                m.d.sync += count.eq(count + 1)
        with m.If(dut.renewed & (dut.renewed_row == row)):
            m.d.sync += count.eq(0)
            m.d.comb += [
                Assert(quiet), Assert(count == Mux(known, s.slices + self.more, 0)),
                Cover(known), Cover(~known),
            ]  # fmt: skip
        return m


class Exact(wiring.Component):
    """Any margin, sum of positive elements and maximum: each bound lets the score just reach the
    threshold, which is that far below the maximum, or the least score.

    Parameters
    ----------
    more : int
        By which the claim is wrong; 0 to prove it.
    """

    def __init__(self, params, *, more=0):
        self.params, self.more = params, more
        super().__init__({})

    def elaborate(self, platform):
        m, s = Module(), slice_params(self.params)
        m.submodules.dut = dut = RelativeBounds(params=self.params)
        margin, most = AnyConst(s.score_bits), AnyConst(s.score_bits - 1)
        maximum, cycle = AnyConst(signed(s.score_bits)), Signal(range(32))
        lowest, below = -(1 << s.score_bits - 1), Signal(signed(s.score_bits + 2))
        threshold, found = Signal(signed(s.score_bits)), dut.bound.p.bound
        m.d.sync += cycle.eq(cycle + 1)
        m.d.comb += [
            dut.row.valid.eq(cycle == 0), dut.row.p.margin.eq(margin), dut.row.p.most.eq(most),
            dut.quiet.eq(cycle != 0), dut.maximum.known.eq(1), dut.maximum.score.eq(maximum),
            dut.bound.ready.eq(1), below.eq(maximum - margin),
            threshold.eq(Mux(below < lowest, lowest, below)),
        ]  # fmt: skip
        for n in range(s.slices):
            left = s.left(n)
            with m.If(cycle == 5 + n):
                m.d.comb += [Assert(dut.bound.valid), Assert(dut.bound.p.number == n)]
                if n < s.slices - 1:
                    best = ((found + most) << left) + self.more
                    m.d.comb += [
                        Assert(best >= threshold + most),
                        Assert(best - (1 << left) < threshold + most),
                    ]
                else:
                    m.d.comb += [Assert(found == threshold << s.pad), Cover(below < lowest)]
        with m.If(cycle == 5 + s.slices):
            m.d.comb += Assert(dut.renewed)
        return m


@pytest.mark.parametrize(
    ("bits", "slice_bits", "rows", "depth"), [(2, 2, 2, 20), (3, 2, 2, 16), (4, 1, 4, 16)]
)
def test_proof(bits, slice_bits, rows, depth):
    prove(Contract(words(bits, slice_bits, rows=rows)), depth=depth, name="relative bounds")


@pytest.mark.parametrize(
    ("bits", "slice_bits", "taps"),
    [(3, 2, 1), (5, 4, 3), (8, 2, 16), (12, 4, 64), (12, 2, 64)],
)
def test_proof_of_bounds(bits, slice_bits, taps):
    p = words(bits, slice_bits, taps)
    prove(Exact(p), depth=6 + slices(p), name="relative bounds")


def test_everything_is_reached():
    for proof in (Contract(words(3, 2)), Exact(words(3, 2))):
        prove(proof, depth=12, mode="cover", name="relative bounds")


@pytest.mark.parametrize("proof", [Contract, Exact])
def test_a_wrong_claim_is_refuted(proof):
    with pytest.raises(ProofError):
        prove(proof(words(3, 2), more=1), depth=12, name="relative bounds")
