# amaranth: UnusedElaboratable=no
"""Counts of jobs: sums of amounts, and rows and scores of a job."""

from __future__ import annotations

import random

import pytest

from attnsieve.hdl.control.row_tally import RowTally
from attnsieve.hdl.control.tally import Tally
from attnsieve.sim.unit import run_streams, simulate

from .jobs import SMALL, TINY


@pytest.mark.parametrize("stall", [0.0, 0.6])
def test_sums_of_each_job(stall):
    """Also where a job's last event follows the last one of the job before in the next cycle."""
    rng = random.Random(f"tally {stall}")
    dut = Tally(widths={"few": (2, 6), "many": (4, 16)}, jobs=8)
    jobs = [[(rng.randrange(4), rng.randrange(16)) for _ in range(rng.choice([1, 1, 2, 9]))]
            for _ in range(8)]
    want = [(sum(a for a, _ in job) % 64, sum(b for _, b in job)) for job in jobs]

    async def events(ctx):
        await ctx.tick().repeat(3)
        for job in jobs:
            for number, (few, many) in enumerate(job):
                ctx.set(dut.amount, {"few": few, "many": many})
                ctx.set(dut.event, 1)
                ctx.set(dut.end, number == len(job) - 1)
                await ctx.tick()
            ctx.set(dut.amount, {"few": 3, "many": 15})
            ctx.set(dut.event, 0)
            ctx.set(dut.end, 0)
            if rng.random() < 0.5:
                await ctx.tick().repeat(rng.choice([1, 5]))

    result = run_streams(dut, {}, {"o": len(jobs)}, stall=stall, testbenches=[events])
    assert [(o.few, o.many) for o in result.outputs["o"]] == want


@pytest.mark.parametrize("most", [2, 3])
def test_all_jobs_wait(most):
    """Sums of as many jobs as there may be are kept until they are asked for."""
    dut = Tally(widths={"few": (2, 6)}, jobs=most)

    async def bench(ctx):
        for number in range(3 * most):
            ctx.set(dut.amount.few, 1 + number % 3)
            ctx.set(dut.event, 1)
            ctx.set(dut.end, 1)
            await ctx.tick()
            ctx.set(dut.event, 0)
            ctx.set(dut.end, 0)
            await ctx.tick().repeat(5)
            if number % most == most - 1:
                for job in range(number - most + 1, number + 1):
                    await ctx.tick().repeat(2)
                    assert ctx.get(dut.o.valid)
                    assert ctx.get(dut.o.p.few) == 1 + job % 3
                    ctx.set(dut.o.ready, 1)
                    await ctx.tick()
                    ctx.set(dut.o.ready, 0)
        await ctx.tick().repeat(5)
        assert not ctx.get(dut.o.valid)

    simulate(dut, bench)


@pytest.mark.parametrize("params", [SMALL, TINY], ids=["small", "tiny"])
def test_rows_and_scores_of_each_job(params):
    """Statistics of a row come any time after its last beat."""
    rng = random.Random(params.lanes)
    dut = RowTally(params=params, rows=4)
    jobs = [[{"beats": [rng.getrandbits(params.groups) for _ in range(rng.randint(1, 5))],
              "write": rng.random() < 0.8, "empty": rng.random() < 0.3}
             for _ in range(rng.randint(1, 6))] for _ in range(6)]
    want = []
    for job in jobs:
        rows = [row for row in job if row["write"]]
        scores = sum(bits.bit_count() for row in rows for bits in row["beats"])
        want.append((len(rows), sum(row["empty"] for row in rows), scores))
    ready, got = [], []  # rows whose statistics may come; results

    async def beats(ctx):
        for job in jobs:
            for number, row in enumerate(job):
                while len(ready) > 2:
                    await ctx.tick()
                for place, bits in enumerate(row["beats"]):
                    while rng.random() < 0.3:
                        ctx.set(dut.beat, 0)
                        ctx.set(dut.valid, rng.getrandbits(params.groups))
                        ctx.set(dut.last, rng.getrandbits(1))
                        await ctx.tick()
                    ctx.set(dut.beat, 1)
                    ctx.set(dut.valid, bits)
                    ctx.set(dut.last, place == len(row["beats"]) - 1)
                    await ctx.tick()
                ctx.set(dut.beat, 0)
                ready.append((row, number == len(job) - 1))

    async def statistics(ctx):
        for _ in range(sum(map(len, jobs))):
            while not ready or rng.random() < 0.5:
                await ctx.tick()
            await ctx.tick().repeat(3)
            row, last = ready[0]
            ctx.set(dut.row.valid, 1)
            ctx.set(dut.row.p, {"write": row["write"], "last_of_job": last})
            ctx.set(dut.empty, row["empty"])
            ctx.set(dut.counted, 1)
            await ctx.tick()
            ctx.set(dut.counted, 0)
            ctx.set(dut.row.valid, 0)
            ready.pop(0)

    async def collect(ctx):
        ctx.set(dut.o.ready, 1)
        for _ in range(3000):
            _, _, valid, o = await ctx.tick().sample(dut.o.valid, dut.o.p)
            if valid:
                got.append((o.rows, o.empty_rows, o.scores))
            if len(got) == len(want):
                break

    simulate(dut, collect, background=[beats, statistics])
    assert got == want
