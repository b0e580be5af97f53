# amaranth: UnusedElaboratable=no
"""Rows of V that are kept, counted for each job."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from attnsieve.gen import config
from attnsieve.hdl.control.value_tally import ValueTally
from attnsieve.sim.unit import run_streams, simulate

from .jobs import SMALL

CORES = {"small": replace(SMALL, value_lanes=8), "tiny": config.load("spatten-tiny").core}


def run(params, jobs, *, pause, stall):
    """Beats of all rows of all jobs; a row is (whether it is written, its beats)."""
    rng = random.Random(f"value tally {pause} {stall}")
    dut = ValueTally(params=params)
    want = [sum(bits.bit_count() for write, beats in job if write for bits in beats)
            for job in jobs]
    begun, reported = [], []

    async def beats(ctx):
        for job in jobs:
            while len(begun) - len(reported) > params.queue_depth:
                await ctx.tick()
            begun.append(job)
            for _, row in job:
                for place, bits in enumerate(row):
                    while rng.random() < pause:
                        ctx.set(dut.beat, 0)
                        ctx.set(dut.kept, rng.getrandbits(params.groups))
                        ctx.set(dut.last, rng.getrandbits(1))
                        await ctx.tick()
                    ctx.set(dut.beat, 1)
                    ctx.set(dut.kept, bits)
                    ctx.set(dut.last, place == len(row) - 1)
                    await ctx.tick()
                    assert ctx.get(dut.row.ready) == (place == len(row) - 1)
                ctx.set(dut.beat, 0)

    async def reports(ctx):
        while True:
            _, _, taken = await ctx.tick().sample(dut.o.valid & dut.o.ready)
            reported.extend([True] * taken)

    rows = [{"write": write, "last_of_job": number == len(job) - 1}
            for job in jobs for number, (write, _) in enumerate(job)]
    result = run_streams(dut, {"row": rows}, {"o": len(jobs)}, stall={"o": stall},
                         max_cycles=20000, testbenches=[beats, reports])
    assert [o["values"] for o in result.outputs["o"]] == want


@pytest.mark.parametrize("core", CORES)
@pytest.mark.parametrize("pause, stall", [(0.0, 0.0), (0.3, 0.0), (0.3, 0.8)])
def test_values_of_each_job(core, pause, stall):
    params = CORES[core]
    rng = random.Random(core)
    jobs = [[(int(rng.random() < 0.7),
              [rng.getrandbits(params.groups) for _ in range(rng.randint(1, 5))])
             for _ in range(rng.choice([1, 1, 2, 6]))] for _ in range(20)]
    run(params, jobs, pause=pause, stall=stall)


def test_nothing_is_kept_or_written():
    some = (1 << SMALL.groups) - 1
    jobs = [[(1, [0])], [(0, [some, some])], [(1, [0, 0]), (0, [some])], [(1, [some])]]
    run(CORES["small"], jobs, pause=0.0, stall=0.0)


def test_the_largest_job_fits():
    """Every row of every head keeps all: the count is as large as it can be."""
    params = replace(CORES["small"], max_keys=8, max_queries=4, max_heads=2, max_head_dim=64)
    some = (1 << params.groups) - 1
    rows = params.max_heads * params.max_queries
    run(params, [[(1, [some] * params.max_beats)] * rows], pause=0.0, stall=0.0)


def test_latency():
    dut = ValueTally(params=CORES["small"])

    async def bench(ctx):
        ctx.set(dut.row.valid, 1)
        ctx.set(dut.row.p, {"write": 1, "last_of_job": 1})
        ctx.set(dut.kept, 5)
        ctx.set(dut.beat, 1)
        ctx.set(dut.last, 1)
        await ctx.tick()
        ctx.set(dut.beat, 0)
        for _ in range(2):
            assert not ctx.get(dut.o.valid)
            await ctx.tick()
        assert ctx.get(dut.o.valid)
        assert ctx.get(dut.o.p["values"]) == 2

    simulate(dut, bench)


@pytest.mark.parametrize("stall", [0.0, 0.8])
def test_rows_that_come_again(stall):
    """They are counted between the beats of their job, whether or not a beat passes."""
    params = replace(CORES["tiny"], progressive=True)
    rng = random.Random(f"again {stall}")
    dut, want, reported = ValueTally(params=params), [], []

    async def beats(ctx):
        for job in range(12):
            while job - len(reported) > params.queue_depth:
                await ctx.tick()
            values = again = 0
            rows = rng.choice([1, 3, 9])
            for row in range(rows):
                write = rng.getrandbits(1)
                for place, (beat, last) in enumerate([(0, 0), (0, 0), (1, 0), (0, 0), (1, 1)]):
                    if place == 1:  # the last beat of the row before has been counted
                        ctx.set(dut.row.valid, 1)
                        ctx.set(dut.row.p, {"write": write, "last_of_job": row == rows - 1})
                    now = rng.random() < 0.4 and again < params.max_heads
                    kept = rng.getrandbits(params.groups)
                    ctx.set(dut.again, now)
                    ctx.set(dut.beat, beat)
                    ctx.set(dut.last, last)
                    ctx.set(dut.kept, kept)
                    again += now
                    values += beat * write * kept.bit_count()
                    if last and row == rows - 1:
                        want.append((values, again))
                    await ctx.tick()
            ctx.set(dut.beat, 0)
            ctx.set(dut.again, 0)
            await ctx.tick()
            ctx.set(dut.row.valid, 0)

    async def reports(ctx):
        while True:
            _, _, taken = await ctx.tick().sample(dut.o.valid & dut.o.ready)
            reported.extend([True] * taken)

    result = run_streams(dut, {}, {"o": 12}, stall=stall, max_cycles=20000,
                         testbenches=[beats, reports])
    assert [(o["values"], o.recomputed) for o in result.outputs["o"]] == want
