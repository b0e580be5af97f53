# amaranth: UnusedElaboratable=no
"""Resets of blocks."""

from __future__ import annotations

import random

import pytest
from amaranth.hdl import Assert, Module, Mux, Signal
from amaranth.lib import wiring

from attnsieve.hdl.lib.reset import LocalResets
from attnsieve.sim.formal import free_inputs, prove
from attnsieve.sim.unit import simulate


@pytest.mark.parametrize("count, error", [(0, ValueError), (True, TypeError), ("1", TypeError)])
def test_count_is_checked(count, error):
    with pytest.raises(error, match="^Count must be"):
        LocalResets(count=count)


@pytest.mark.parametrize("count", [1, 3])
def test_blocks_come_out_together(count):
    dut, rng = LocalResets(count=count), random.Random(count)

    async def bench(ctx):
        given = [1, 1]  # what it knows of the time before
        for _ in range(300):
            high = any(given[-dut.after :])
            assert ctx.get(dut.o) == ((1 << count) - 1 if high else 0)
            given.append(rng.random() < 0.2)
            ctx.set(dut.i, given[-1])
            await ctx.tick()

    simulate(dut, bench)


class Together(wiring.Component):
    """All are high while the reset is, and for two cycles behind it."""

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = dut = LocalResets(count=3)
        free_inputs(m, dut)
        left = Signal(2, init=2)  # cycles for which they stay high
        m.d.sync += left.eq(Mux(dut.i, dut.after, Mux(left == 0, 0, left - 1)))
        m.d.comb += Assert(dut.o == (left != 0).replicate(3))
        return m


def test_together():
    prove(Together({}), depth=12)
