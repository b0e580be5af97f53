# amaranth: UnusedElaboratable=no
"""Heads of jobs one after another: scores kept or cleared, selections, software's access."""

from __future__ import annotations

import random

import numpy as np

from attnsieve.hdl.observers.head_unit import HeadUnit
from attnsieve.hdl.params import CoreParams
from attnsieve.sim.golden.head_importance import head_shares, select_heads
from attnsieve.sim.unit import simulate

PARAMS = CoreParams(
    max_heads=5, max_keys=64, max_queries=16, buffer_elements=1 << 14, value_lanes=16,
    token_lanes=16,
)  # fmt: skip


async def job(ctx, dut, rng, scores, *, clear, select):
    """A job of a row of 16 elements in each living head; what must become of the scores."""
    p = dut.params
    alive = np.array([rng.random() < 0.7 for _ in range(p.max_heads)])
    alive[rng.randrange(p.max_heads)] = True
    keep, before = rng.randrange(p.max_heads + 1), ctx.get(dut.next)
    for name, value in (("clear", clear), ("select", select), ("keep", keep), ("begin", 1)):
        ctx.set(getattr(dut, name), value)
    ctx.set(dut.alive, sum(int(a) << n for n, a in enumerate(alive)))
    await ctx.tick()
    ctx.set(dut.begin, 0)
    assert not ctx.get(dut.finished)
    if clear:
        scores[:] = 0
    for head in np.flatnonzero(alive):
        row, weight = [rng.randrange(-32767, 32768) for _ in range(16)], rng.randrange(1024)
        scores[head] += head_shares(np.array([[row]]), [weight])[0]
        last = head == np.flatnonzero(alive)[-1]
        for beat in range(0, 16, p.output_lanes):
            end = beat + p.output_lanes == 16
            ctx.set(dut.i, {"element": row[beat : beat + p.output_lanes], "last": end})
            ctx.set(dut.row.payload, {"write": 1, "last_of_head": 1, "last_of_job": bool(last)})
            ctx.set(dut.head.payload, {"head": int(head), "weight": weight})
            for port in (dut.row.valid, dut.head.valid, dut.beat):
                ctx.set(port, 1)
            await ctx.tick()
    ctx.set(dut.beat, 0)
    for _ in range(30):
        await ctx.tick()
    assert ctx.get(dut.finished)
    kept = select_heads(scores, alive, keep)
    want = sum(int(k) << n for n, k in enumerate(kept)) if select else before
    assert ctx.get(dut.next) == want


async def read(ctx, dut):
    found = []
    for half in range(2 * dut.params.max_heads):
        ctx.set(dut.half, half)
        found.append(ctx.get(dut.score))
    return [low | high << 32 for low, high in zip(found[::2], found[1::2], strict=True)]


def test_jobs():
    dut, rng, scores = HeadUnit(params=PARAMS), random.Random(1), np.zeros(5, np.int64)

    async def bench(ctx):
        for number in range(12):
            clear, select = number % 4 == 0, bool(number % 3)
            await job(ctx, dut, rng, scores, clear=clear, select=select)
            assert await read(ctx, dut) == list(scores)

    simulate(dut, bench)


def test_halves():
    dut, rng = HeadUnit(params=PARAMS), random.Random(2)

    async def bench(ctx):
        want, lower = await read(ctx, dut), 0  # which waits for the upper half of any head
        for _ in range(30):
            half, value = rng.randrange(10), rng.getrandbits(32)
            for name, wire in (("half", half), ("write", 1), ("data", value)):
                ctx.set(getattr(dut, name), wire)
            await ctx.tick()
            if half % 2 == 0:
                lower = value
            else:
                want[half // 2] = (lower | value << 32) & ((1 << 36) - 1)
            ctx.set(dut.write, 0)
            assert await read(ctx, dut) == want

    simulate(dut, bench)
