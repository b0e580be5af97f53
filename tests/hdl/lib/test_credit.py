# amaranth: UnusedElaboratable=no
"""Credits."""

from __future__ import annotations

import random

import pytest
from amaranth.hdl import Assert, Assume, Module, Signal
from amaranth.lib import wiring

from attnsieve.hdl.lib.credit import Credit
from attnsieve.sim.formal import free_inputs, prove
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


class Counted(wiring.Component):
    """``some`` tells whether fewer were taken than were there at first or given back."""

    def __init__(self, dut):
        self.dut = dut
        super().__init__({})

    def elaborate(self, platform):
        m = Module()
        dut = m.submodules.dut = self.dut
        free_inputs(m, dut)
        left = Signal(range(dut.count + 1), init=dut.first)
        m.d.sync += left.eq(left + dut.give - dut.take)
        m.d.comb += [
            Assume(~dut.take | dut.some),
            Assume(~dut.give | (left != dut.count)),
            Assert(dut.some == (left != 0)),
        ]
        return m


@pytest.mark.parametrize("count, first", [(1, None), (1, 0), (3, 1), (4, None), (7, 0)])
def test_proof(count, first):
    prove(Counted(Credit(count=count, first=first)), depth=2 * count + 3)
