# amaranth: UnusedElaboratable=no
"""Slices at which the keys of a job ended, and turns that they waited: two jobs at once; proof."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import pytest
from amaranth.hdl import Assert, Assume, Cover, Module, Signal
from amaranth.lib import wiring

from attnsieve.hdl.params import CoreParams
from attnsieve.hdl.slices.exit_tally import ExitTally
from attnsieve.sim.formal import HoldRule, ProofError, free_inputs, prove
from attnsieve.sim.unit import run_streams, simulate


def core(**changes):
    values = {"lanes": 16, "max_head_dim": 16, "max_keys": 64, "max_queries": 64, "output_lanes": 1,
              "slice_units": 2, "slice_rows": 4}  # fmt: skip
    return CoreParams(**(values | changes))


CORES = {
    "unit": core(slice_units=1, slice_rows=2),
    "bits": core(slice_units=3, slice_bits=1),
    "fours": core(slice_units=8, slice_bits=4, slice_rows=8, queue_depth=1),
    "bytes": core(slice_units=5, operand_bits=8),
    "paper": core(slice_units=6, slice_bits=2, slice_rows=8, queue_depth=4),
}


def slices_of(p, wide=True):
    return -(-(p.operand_bits if wide else 8) // p.slice_bits)


@dataclass
class Row:
    exits: list  # of each key how many slices were read
    begun: int = -1
    last: int = -9  # cycle of the latest event


@dataclass
class Job:
    wide: bool
    rows: list
    waits: int = 0  # found as they are drawn
    ended: list = field(default_factory=list)

    def counts(self, p):
        exits = [e for row in self.ended for e in row]
        return [*(exits.count(n + 1) for n in range(slices_of(p))), self.waits]


def random_job(p, rng, size):
    wide = p.operand_bits == 8 or rng.random() < 0.5
    slices = slices_of(p, wide)
    some = rng.choice((range(1, slices + 1), (1,), (slices,), (1, slices)))
    rows = [
        Row([rng.choice(some) for _ in range(rng.choice((0, 1, rng.randrange(size))))])
        for _ in range(rng.choice((1, 1, 2, rng.randint(1, 7))))
    ]
    return Job(wide, rows)


def run(p, jobs, *, pace=0.7, stall=0.0, seed=1):
    """Rows of two jobs at a time, each with what units report of its keys; compare the counts."""
    dut, rng = ExitTally(params=p), random.Random(f"{pace} {stall} {seed}")
    rows = [(number, row) for number, job in enumerate(jobs) for row in job.rows]
    open_rows, reported, state = {}, [], {"ended": 0, "cycle": 0}
    left = {id(row): list(row.exits) for _, row in rows}

    def may_begin(place):
        """Whether its number is free, and its job one of two."""
        number, _ = rows[place]
        return place - p.slice_rows < min(open_rows, default=place) and number < state["ended"] + 2

    def ended(n):
        """What a unit reports."""
        able = [(place, *rows[place]) for place in open_rows if left[id(rows[place][1])]]
        if not able or rng.random() >= pace:
            return None
        place, number, row = rng.choice(able)
        row.last, job = state["cycle"], jobs[number]
        waits, numbers = rng.random() < 0.2, slices_of(p) - slices_of(p, job.wide)
        report = {"row": place % p.slice_rows, "kept": rng.getrandbits(1), "waits": waits}
        if waits:
            job.waits += 1
            return report | {"number": slices_of(p) - 1, "kept": 0}
        return report | {"number": numbers + left[id(row)].pop() - 1}

    def ends():
        """Whether the older job is over."""
        now = state["ended"]
        if now == len(jobs) or state["ended"] - len(reported) > p.queue_depth:
            return False
        its = jobs[now].rows
        return all(
            row.begun >= 0 and not left[id(row)] and state["cycle"] >= row.last + 2
            and state["cycle"] > row.begun for row in its
        ) and rng.random() < pace  # fmt: skip

    async def events(ctx):
        begun = 0
        while True:
            for place in sorted(open_rows):  # the oldest row is free when all of it has ended
                if left[id(rows[place][1])]:
                    break
                if rng.random() < 0.5 and rows[place][1].begun < state["cycle"] - 2:
                    del open_rows[place]
            end = ends()
            begins = begun < len(rows) and may_begin(begun) and rng.random() < pace
            number = rows[begun][0] if begun < len(rows) else 0
            ctx.set(dut.row.valid, begins)
            ctx.set(dut.row.p, {
                "row": (begun if begins else rng.getrandbits(3)) % p.slice_rows,
                "job": number % 2 if begins else rng.getrandbits(1),
                "wide": jobs[number].wide if begins else rng.getrandbits(1)})  # fmt: skip
            ctx.set(dut.end, end)
            for n, port in enumerate(dut.ended):
                report = ended(n)
                ctx.set(port.valid, report is not None)
                ctx.set(port.p, report or {"row": 0, "number": 0, "waits": rng.getrandbits(1)})
            await ctx.tick()
            if begins:
                rows[begun][1].begun = state["cycle"]
                open_rows[begun] = True
                begun += 1
            state["ended"] += end
            state["cycle"] += 1

    async def reports(ctx):
        while True:
            _, _, taken = await ctx.tick().sample(dut.o.valid & dut.o.ready)
            reported.extend([True] * taken)

    for job in jobs:
        job.ended = [list(row.exits) for row in job.rows]
    result = run_streams(dut, {}, {"o": len(jobs)}, stall={"o": stall}, max_cycles=20000,
                         testbenches=[events, reports])  # fmt: skip
    for got, job in zip(result.outputs["o"], jobs, strict=True):
        found = [got[f"exits_{n + 1}"] for n in range(slices_of(p))]
        assert [*found, got.queue_stalls] == job.counts(p)


@pytest.mark.parametrize("pace, stall", [(1.0, 0.0), (0.6, 0.0), (0.8, 0.9)])
@pytest.mark.parametrize("name", CORES)
def test_random_jobs(name, pace, stall):
    p, rng = CORES[name], random.Random(f"{name} {pace}")
    run(p, [random_job(p, rng, 30) for _ in range(12)], pace=pace, stall=stall)


@pytest.mark.parametrize("name", CORES)
def test_jobs_without_a_key(name):
    run(CORES[name], [Job(True, [Row([])]) for _ in range(8)], pace=1.0)


@pytest.mark.parametrize("slices", [1, 6])
def test_the_largest_job_fits(slices):
    """All keys of all rows end at the same slice."""
    p = core(max_keys=16, max_queries=4, max_heads=2, slice_units=4)
    run(p, [Job(True, [Row([slices] * 16) for _ in range(8)]) for _ in range(2)], pace=1.0)


def report(ctx, dut, **what):
    """What the last unit says of a key."""
    port = dut.ended[-1]
    ctx.set(port.valid, bool(what))
    ctx.set(port.p, what)


async def begin(ctx, dut, row, job, wide=1):
    ctx.set(dut.row.valid, 1)
    ctx.set(dut.row.p, {"row": row, "job": job, "wide": wide})
    await ctx.tick()
    ctx.set(dut.row.valid, 0)


@pytest.mark.parametrize("name", CORES)
def test_the_stated_latency(name):
    """A key counts if it ended two cycles before its job; the counts are there a cycle later."""
    p = CORES[name]
    dut = ExitTally(params=p)

    async def bench(ctx):
        await begin(ctx, dut, 0, 0)
        await begin(ctx, dut, 1, 1)
        report(ctx, dut, row=0, number=1)
        await ctx.tick()
        report(ctx, dut, row=1, number=1)
        await ctx.tick()
        report(ctx, dut)
        ctx.set(dut.end, 1)
        assert not ctx.get(dut.o.valid)
        await ctx.tick()
        ctx.set(dut.end, 0)
        assert ctx.get(dut.o.valid)
        assert (ctx.get(dut.o.p.exits_1), ctx.get(dut.o.p.exits_2)) == (0, 1)
        ctx.set(dut.o.ready, 1)
        await ctx.tick()
        assert not ctx.get(dut.o.valid)
        ctx.set(dut.end, 1)  # of the other job
        await ctx.tick()
        ctx.set(dut.end, 0)
        assert ctx.get(dut.o.valid)
        assert (ctx.get(dut.o.p.exits_1), ctx.get(dut.o.p.exits_2)) == (0, 1)

    simulate(dut, bench)


@pytest.mark.parametrize("name", CORES)
def test_counts_of_as_many_jobs_wait(name):
    """One more than there are places for jobs."""
    p = CORES[name]
    dut, most = ExitTally(params=p), p.queue_depth + 1

    async def bench(ctx):
        for turn in range(2):
            for job in range(most):
                number = turn * most + job
                await begin(ctx, dut, number % 2, number % 2)
                for _ in range(job + 1):
                    report(ctx, dut, row=number % 2, number=0, waits=turn)
                    await ctx.tick()
                report(ctx, dut)
                await ctx.tick()
                ctx.set(dut.end, 1)
                await ctx.tick()
                ctx.set(dut.end, 0)
            for job in range(most):
                assert ctx.get(dut.o.valid)
                found = ctx.get(dut.o.p.exits_1), ctx.get(dut.o.p.queue_stalls)
                assert found == ((0, job + 1) if turn else (job + 1, 0))
                ctx.set(dut.o.ready, 1)
                await ctx.tick()
                ctx.set(dut.o.ready, 0)
            assert not ctx.get(dut.o.valid)

    simulate(dut, bench)


class Proof(wiring.Component):
    """Whatever units report of two rows, one of each job: the first counts are those of the first
    job, the second ones those of the other.

    Parameters
    ----------
    units : int
    quiet : int
        Cycles before a job's end, that one included, without a key of it; 2 to prove it.
    """

    def __init__(self, *, units, quiet=2):
        self.units, self.quiet = units, quiet
        super().__init__({})

    def elaborate(self, platform):
        m = Module()
        p = core(slice_units=self.units, slice_rows=2, slice_bits=4, max_keys=4, max_queries=2,
                 max_heads=2)  # fmt: skip
        m.submodules.dut = dut = ExitTally(params=p)
        free_inputs(m, dut, but=("row",))
        m.submodules += HoldRule(dut.o)
        cycle, ends, given = Signal(2), Signal(2), Signal(2)
        m.d.sync += [
            cycle.eq(cycle + (cycle < 2)),
            ends.eq(ends + dut.end),
            given.eq(given + (dut.o.valid & dut.o.ready)),
        ]
        m.d.comb += [
            dut.row.valid.eq(cycle < 2),
            dut.row.p.row.eq(cycle),
            dut.row.p.job.eq(cycle),
            dut.row.p.wide.eq(1),
            Assume(~dut.end | ((cycle == 2) & (ends < 2))),
            *(Assume(~e.valid | ((cycle == 2) & (e.p.number < 3))) for e in dut.ended),
        ]
        for job in range(2):
            mine = [e.valid & (e.p.row == job) for e in dut.ended]
            latest, over = Signal(name=f"latest{job}"), Signal(name=f"over{job}")
            some = sum(mine) != 0
            m.d.sync += [latest.eq(some), over.eq(over | (dut.end & (ends == job)))]
            now = dut.end & (ends == job)
            m.d.comb += Assume(~now | ~some)
            if self.quiet > 1:
                m.d.comb += Assume(~now | ~latest)
            m.d.comb += Assume(~over | ~some)
            for n, name in enumerate(("exits_1", "exits_2", "exits_3", "queue_stalls")):
                total = Signal(6, name=f"total{job}_{n}")
                counted = [
                    one & (e.p.waits if n == 3 else ~e.p.waits & (e.p.number == n))
                    for one, e in zip(mine, dut.ended, strict=True)
                ]
                m.d.sync += total.eq(total + sum(counted))
                with m.If(dut.o.valid & (given == job)):
                    m.d.comb += [Assert(over), Assert(dut.o.p[name] == total), Cover(total == 2)]
        m.d.comb += Assert(~dut.o.valid | (given < 2))
        return m


@pytest.mark.parametrize("units", [1, 2])
def test_proof(units):
    prove(Proof(units=units), depth=11, name="exit tally")


def test_everything_is_reached():
    prove(Proof(units=2), depth=12, mode="cover", name="exit tally")


def test_a_wrong_claim_is_refuted():
    """The cycle before the end is too late for a key."""
    with pytest.raises(ProofError):
        prove(Proof(units=1, quiet=1), depth=9, name="exit tally")
