# amaranth: UnusedElaboratable=no
"""Arithmetic in gates: every number of small widths, random ones of large."""

from __future__ import annotations

import random

import pytest
from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from attnsieve.hdl.lib.gates import add, count_flags, less, reached
from attnsieve.sim.unit import simulate


class Gates(wiring.Component):
    """All functions of two numbers."""

    def __init__(self, bits, other, reaches):
        self.bits, self.other, self.reaches = bits, other, reaches
        super().__init__(
            {"a": In(bits), "b": In(other), "count": Out(8), "sum": Out(12), "less": Out(1),
             "reached": Out(reaches)}
        )  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        same = Signal(self.bits)  # as many bits of the other number
        m.d.comb += [
            same.eq(self.b),
            self.count.eq(count_flags(list(self.a))),
            self.sum.eq(add(self.a, self.b)),
            self.less.eq(less(self.a, same)),
            self.reached.eq(Cat(reached(self.a, self.reaches))),
        ]
        return m


@pytest.mark.parametrize(
    ("bits", "other"), [(1, 1), (2, 2), (3, 5), (4, 4), (5, 2), (7, 3), (9, 9), (11, 8)]
)
def test_numbers(bits, other):
    rng = random.Random(bits)
    every = [(a, b) for a in range(1 << bits) for b in range(1 << other)]
    pairs = every if len(every) <= 300 else rng.sample(every, 300)
    reaches = min((1 << bits) - (bits > 3), 64)
    dut = Gates(bits, other, reaches)

    async def bench(ctx):
        for a, b in pairs:
            ctx.set(dut.a, a)
            ctx.set(dut.b, b)
            assert ctx.get(dut.count) == a.bit_count()
            assert ctx.get(dut.sum) == a + b
            assert ctx.get(dut.less) == (a < b % (1 << bits))
            assert ctx.get(dut.reached) == sum((a >= n) << n for n in range(reaches))

    simulate(dut, bench)


def test_a_sum_has_a_bit_more():
    assert len(add(Signal(3), Signal(5))) == len(add(Signal(5), Signal(3))) == 6


def test_numbers_of_other_lengths_are_not_compared():
    with pytest.raises(ValueError, match=r"^Numbers must have as many bits, not 2 and 3$"):
        less(Signal(2), Signal(3))
