# amaranth: UnusedElaboratable=no
"""Division by a constant: every number of small widths, by number and by proof; ends of large."""

from __future__ import annotations

import random

import pytest
from amaranth.asserts import AnyConst
from amaranth.hdl import Assert, Cover, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from attnsieve.hdl.lib.quotient import quotient
from attnsieve.sim.formal import ProofError, prove
from attnsieve.sim.unit import simulate

DIVISORS = range(1, 17)


class Quotients(wiring.Component):
    """A number by each of some divisors."""

    def __init__(self, bits, divisors):
        self.divisors = divisors
        super().__init__({"value": In(bits), "o": Out(bits).array(len(divisors))})

    def elaborate(self, platform):
        m = Module()
        for o, divisor in zip(self.o, self.divisors, strict=True):
            m.d.comb += o.eq(quotient(self.value, divisor))
        return m


def run(bits, divisors, values):
    dut = Quotients(bits, divisors)

    async def bench(ctx):
        for value in values:
            ctx.set(dut.value, value)
            got = [ctx.get(o) for o in dut.o]
            assert got == [value // divisor for divisor in divisors], value

    simulate(dut, bench)


@pytest.mark.parametrize("bits", range(1, 11))
def test_every_number(bits):
    run(bits, list(DIVISORS), range(1 << bits))


@pytest.mark.parametrize("bits", [1, 7, 12, 17, 24])
def test_large_divisors(bits):
    """At the ends of the divisors' multiples; divisors may be larger than all numbers."""
    rng = random.Random(bits)
    divisors = [*DIVISORS, 100, 127, 128, 129, 999, 4095, 1 << bits]
    top = (1 << bits) - 1
    ends = [rng.randrange(top // d + 1) * d for d in divisors for _ in range(10)]
    ends += [top // d * d for d in divisors]
    values = {value + off for value in [*ends, top] for off in (-1, 0, 1)}
    run(bits, divisors, sorted(value for value in values if 0 <= value <= top))


@pytest.mark.parametrize("divisor", [0, -1])
def test_bad_divisors(divisor):
    with pytest.raises(ValueError, match=f"^Divisor must be at least 1, not {divisor}$"):
        quotient(Signal(4), divisor)


class Proof(wiring.Component):
    """Of any number: so often the divisor fits, and the rest is smaller.

    Parameters
    ----------
    off : int
        By which the claim about the rest is wrong; 0 to prove it.
    """

    def __init__(self, bits, *, off=0):
        self.bits, self.off = bits, off
        super().__init__({})

    def elaborate(self, platform):
        m = Module()
        value = AnyConst(self.bits)
        for divisor in DIVISORS:
            product = quotient(value, divisor) * divisor
            m.d.comb += [
                Assert(product <= value),
                Assert(value < product + divisor - self.off),
                Cover(value == product + divisor - 1),
            ]
        return m


@pytest.mark.parametrize("bits", range(1, 13))
def test_proof(bits):
    prove(Proof(bits), depth=1, name="quotient")


def test_everything_is_reached():
    prove(Proof(4), depth=1, mode="cover", name="quotient")


def test_a_wrong_claim_is_refuted():
    with pytest.raises(ProofError):
        prove(Proof(4, off=1), depth=1, name="quotient")
