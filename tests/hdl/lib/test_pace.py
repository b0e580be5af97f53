# amaranth: UnusedElaboratable=no
"""Pace: when a pipeline may move."""

from __future__ import annotations

import random

import pytest

from attnsieve.hdl.lib.pace import Pace
from attnsieve.sim.unit import simulate


@pytest.mark.parametrize("cycles", [1, 2, 3, 4, 7])
def test_due_after_so_many_cycles(cycles):
    """``cycles`` that count after a move it may move again, and later too."""
    rng = random.Random(cycles)
    dut = Pace(cycles=cycles)

    async def bench(ctx):
        since = 0
        for _ in range(200):
            assert ctx.get(dut.phase) == min(since, cycles - 1)
            assert ctx.get(dut.due) == (since >= cycles - 1)
            move = ctx.get(dut.due) and rng.random() < 0.4
            hold = not ctx.get(dut.due) and rng.random() < 0.3
            ctx.set(dut.advance, move)
            ctx.set(dut.hold, hold)
            await ctx.tick()
            since = 0 if move else since + (not hold)

    simulate(dut, bench)


@pytest.mark.parametrize(
    ("cycles", "error", "message"),
    [
        (0, ValueError, r"^Cycles must be at least 1, not 0$"),
        ("2", TypeError, r"^Cycles must be an integer, not '2'$"),
    ],
)
def test_cycles_are_checked(cycles, error, message):
    with pytest.raises(error, match=message):
        Pace(cycles=cycles)
