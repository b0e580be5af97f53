# amaranth: UnusedElaboratable=no
"""Credits."""

from __future__ import annotations

import random

import pytest

from attnsieve.hdl.lib.credit import Credit
from attnsieve.sim.unit import simulate


@pytest.mark.parametrize("count, error", [(0, ValueError), (True, TypeError), ("1", TypeError)])
def test_count_is_checked(count, error):
    with pytest.raises(error, match="^Count must be"):
        Credit(count=count)


@pytest.mark.parametrize("first, error", [(-1, ValueError), (3, ValueError), ("1", TypeError)])
def test_first_is_checked(first, error):
    with pytest.raises(error, match="^First must be"):
        Credit(count=2, first=first)


@pytest.mark.parametrize("count, first", [(1, None), (2, 0), (5, None), (16, 3)])
def test_some_tells_whether_there_are_any(count, first):
    dut, rng = Credit(count=count, first=first), random.Random(count)

    async def bench(ctx):
        left = count if first is None else first
        for cycle in range(400):
            assert ctx.get(dut.some) == (left > 0)
            few = cycle // 50 % 2  # by turns more taken than given back
            take = left > 0 and rng.random() < (0.8 if few else 0.4)
            give = left < count and rng.random() < (0.4 if few else 0.8)
            ctx.set(dut.take, take)
            ctx.set(dut.give, give)
            await ctx.tick()
            left += give - take

    simulate(dut, bench)
