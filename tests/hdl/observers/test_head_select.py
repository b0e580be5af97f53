# amaranth: UnusedElaboratable=no
"""Heads: scores and selection against the golden model."""

from __future__ import annotations

import random

import numpy as np
import pytest

from attnsieve.hdl.observers.head_scores import HeadScores
from attnsieve.hdl.observers.head_select import HeadSelect
from attnsieve.hdl.params import CoreParams
from attnsieve.sim.golden.head_importance import head_shares, select_heads
from attnsieve.sim.unit import simulate

SMALL = {"max_keys": 64, "max_queries": 16, "buffer_elements": 1 << 14, "value_lanes": 16,
         "token_lanes": 16}
CORES = {
    "one": CoreParams(max_heads=1, **SMALL),
    "five": CoreParams(max_heads=5, **SMALL),
    "many": CoreParams(max_heads=32, output_lanes=16, **SMALL),
}


@pytest.mark.parametrize("core", CORES)
def test_selection(core):
    rng = random.Random(core)
    p = CORES[core]
    dut = HeadSelect(params=p)

    async def bench(ctx):
        for _ in range(40):
            top = rng.choice([2, 1 << 36])
            scores = np.array([rng.randrange(top) for _ in range(p.max_heads)], np.int64)
            alive = np.array([rng.random() < 0.7 for _ in range(p.max_heads)])
            keep = rng.randrange(p.max_heads + 1)
            for port, score in zip(dut.score, scores, strict=True):
                ctx.set(port, int(score))
            ctx.set(dut.alive, sum(int(a) << n for n, a in enumerate(alive)))
            ctx.set(dut.keep, keep)
            ctx.set(dut.start, 1)
            await ctx.tick()
            ctx.set(dut.start, 0)
            cycles = 1
            while ctx.get(dut.busy):
                await ctx.tick()
                cycles += 1
            assert cycles == p.max_heads + dut.extra_latency
            got = [bool(ctx.get(dut.next) >> n & 1) for n in range(p.max_heads)]
            assert got == list(select_heads(scores, alive, keep))

    simulate(dut, bench)


def rows_of(rng, p, heads, rows):
    """Output rows of each head, and whether each is written."""
    dim = 16 * rng.randrange(1, 5)
    out = [[[rng.choice([-32767, 32767, 0, rng.randrange(-32767, 32768)]) for _ in range(dim)]
            for _ in range(rows)] for _ in range(heads)]
    return np.array(out), [[rng.random() < 0.8 for _ in range(rows)] for _ in range(heads)]


@pytest.mark.parametrize("pause", [0.0, 0.5])
@pytest.mark.parametrize("core", CORES)
def test_scores(core, pause):
    rng = random.Random(f"{core} {pause}")
    p = CORES[core]
    dut, want = HeadScores(params=p), np.zeros(p.max_heads, np.int64)

    async def bench(ctx):
        for job in range(4):
            if job == 2:
                ctx.set(dut.clear, 1)
                await ctx.tick()
                ctx.set(dut.clear, 0)
                want[:] = 0
                ctx.set(dut.write, 1)
                ctx.set(dut.number, p.max_heads - 1)
                ctx.set(dut.data, (1 << 36) - 9)  # saturates
                await ctx.tick()
                ctx.set(dut.write, 0)
                want[-1] = (1 << 36) - 9
            alive = [h for h in range(p.max_heads - 1) if rng.random() < 0.6] + [p.max_heads - 1]
            out, write = rows_of(rng, p, len(alive), rng.randrange(1, 4))
            weights = [rng.choice([0, 1023, rng.randrange(1024)]) for _ in alive]
            counted = np.where(np.array(write)[:, :, None], out, 0)
            shares = head_shares(counted, weights)
            want[alive] = np.minimum(want[alive] + shares, (1 << 36) - 1)
            ended = await run_job(ctx, alive, out, write, weights)
            assert ended
            assert [ctx.get(s) for s in dut.score] == list(want)

    async def run_job(ctx, alive, out, write, weights):
        for number, head in enumerate(alive):
            for r, row in enumerate(out[number]):
                flags = {"write": write[number][r], "last_of_head": r == len(out[number]) - 1,
                         "last_of_job": r == len(out[number]) - 1 and head == alive[-1]}
                beats = row.reshape(-1, p.output_lanes)
                for b, beat in enumerate(beats):
                    while rng.random() < pause:
                        ctx.set(dut.beat, 0)
                        await ctx.tick()
                    ctx.set(dut.beat, 1)
                    ctx.set(dut.i, {"element": beat.tolist(), "last": b == len(beats) - 1})
                    ctx.set(dut.row.payload, flags)
                    ctx.set(dut.row.valid, 1)
                    ctx.set(dut.head.payload, {"head": head, "weight": weights[number]})
                    ctx.set(dut.head.valid, 1)
                    await ctx.tick()
        ctx.set(dut.beat, 0)
        for cycle in range(1, dut.latency + 1):
            if cycle == dut.latency:
                return ctx.get(dut.ended)
            await ctx.tick()

    simulate(dut, bench)
