"""Leading codes: every value of small widths; order, start and rest."""

from __future__ import annotations

import pytest
from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from attnsieve.hdl.select.leading_code import (
    code_bits,
    code_count,
    code_reached,
    code_rest,
    code_start,
    leading_ones,
)
from attnsieve.sim.unit import simulate


class Coder(wiring.Component):
    """A value, its code, and what the code says of the value."""

    def __init__(self, bits, fraction):
        self.bits, self.fraction = bits, fraction
        codes = code_count(bits, fraction)
        super().__init__(
            {"value": In(bits), "reached": Out(codes), "code": Out(code_bits(bits, fraction)),
             "start": Out(bits), "rest": Out(6)}
        )  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        code = Signal(code_bits(self.bits, self.fraction))
        m.d.comb += [
            self.reached.eq(Cat(code_reached(self.value, leading_ones(self.value), self.fraction))),
            code.eq(sum(self.reached) - 1),
            self.code.eq(code),
            self.start.eq(code_start(code, self.bits, self.fraction)),
            self.rest.eq(code_rest(code, self.fraction)),
        ]
        return m


@pytest.mark.parametrize(
    ("bits", "fraction"), [(2, 0), (2, 1), (4, 0), (4, 1), (4, 2), (4, 3), (8, 2), (9, 3), (10, 0)]
)
def test_every_value(bits, fraction):
    seen = []

    async def bench(ctx):
        for value in range(1 << bits):
            ctx.set(dut.value, value)
            code = ctx.get(dut.code)
            assert ctx.get(dut.reached) == (2 << code) - 1  # it and all below
            seen.append((code, ctx.get(dut.start), ctx.get(dut.rest)))

    dut = Coder(bits, fraction)
    simulate(dut, bench)
    codes = [code for code, _, _ in seen]
    assert codes == sorted(codes)
    assert set(codes) == set(range(code_count(bits, fraction)))
    for value, (code, start, rest) in enumerate(seen):
        assert start <= value < start + (1 << rest)
        assert codes[start] == code == codes[start + (1 << rest) - 1]
        assert rest == (0 if value < 1 << fraction else value.bit_length() - 1 - fraction)
