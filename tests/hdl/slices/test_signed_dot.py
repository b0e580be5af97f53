# amaranth: UnusedElaboratable=no
"""Sums of products with signs: all small operands, the largest ones, a sum in every cycle; proof
with the unit, in test_bit_serial_dot.py."""

from __future__ import annotations

import random
from itertools import product

import pytest
from amaranth.asserts import AnySeq
from amaranth.hdl import Assert, Module, Signal, signed
from amaranth.lib import wiring
from amaranth.sim import Simulator

from attnsieve.hdl.slices.signed_dot import SignedDot
from attnsieve.hdl.slices.slice_params import SliceParams
from attnsieve.sim.formal import ProofError, prove

SIZES = {"tap": (1, 2, 1), "pair": (2, 3, 1), "three": (3, 4, 2), "five": (5, 12, 2),
         "more": (17, 8, 4), "paper": (64, 12, 2)}  # fmt: skip


def params(size):
    taps, query_bits, bits = SIZES[size]
    return SliceParams(taps=taps, query_bits=query_bits), bits


def run(p, bits, cases):
    """One after the other; check each sum at its time."""
    dut = SignedDot(params=p, bits=bits)
    taps = 0
    while 4**taps < p.taps:
        taps += 1
    assert dut.latency == 2 + taps
    want = [
        sum(-v * m if negative else v * m for v, m, negative in each) for each in cases
    ]

    async def bench(ctx):
        found = []
        for cycle in range(len(cases) + dut.latency):
            for tap, (value, magnitude, negative) in enumerate(cases[min(cycle, len(cases) - 1)]):
                ctx.set(dut.value[tap], value)
                ctx.set(dut.magnitude[tap], magnitude)
                ctx.set(dut.negative[tap], negative)
            if cycle >= dut.latency:
                found.append(ctx.get(dut.o))
            await ctx.tick()
        assert found == want

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()


def test_all_operands_of_one_tap():
    p, bits = SliceParams(taps=1, query_bits=4), 2
    run(p, bits, [[each] for each in product(range(-8, 8), range(4), range(2))])


@pytest.mark.parametrize("size", SIZES)
def test_random_operands(size):
    p, bits = params(size)
    rng, top = random.Random(size), 1 << p.query_bits - 1
    run(p, bits, [
        [(rng.randrange(-top, top), rng.randrange(1 << bits), rng.randrange(2))
         for _ in range(p.taps)] for _ in range(60)
    ])  # fmt: skip


@pytest.mark.parametrize("size", SIZES)
def test_largest_operands(size):
    p, bits = params(size)
    top = 1 << p.query_bits - 1
    ends = product((-top, top - 1), (0, (1 << bits) - 1), (0, 1))
    run(p, bits, [[each] * p.taps for each in ends])


@pytest.mark.parametrize("bits", [0, 5])
def test_bad_bits(bits):
    with pytest.raises(ValueError, match=rf"^Bits must be in 1\.\.4, not {bits}$"):
        SignedDot(params=SliceParams(), bits=bits)


class Proof(wiring.Component):
    """Any operands in any cycle: the sum is that of the products, as many cycles later as stated.

    Parameters
    ----------
    late : int
        Cycles by which the claim is wrong; 0 to prove it.
    """

    def __init__(self, *, late=0):
        self.late = late
        super().__init__({})

    def elaborate(self, platform):
        m = Module()
        p = SliceParams(taps=2, query_bits=3)
        m.submodules.dut = dut = SignedDot(params=p, bits=2)
        want = 0
        for tap in range(p.taps):
            value, magnitude, negative = AnySeq(signed(3)), AnySeq(2), AnySeq(1)
            m.d.comb += [
                dut.value[tap].eq(value), dut.magnitude[tap].eq(magnitude),
                dut.negative[tap].eq(negative),
            ]  # fmt: skip
            want = want + value * magnitude - 2 * value * magnitude * negative
        cycle = Signal(4)
        m.d.sync += cycle.eq(cycle + (cycle != 15))
        for _ in range(dut.latency + self.late):
            later = Signal(signed(8))
            m.d.sync += later.eq(want)
            want = later
        with m.If(cycle >= dut.latency + self.late):
            m.d.comb += Assert(dut.o == want)
        return m


def test_proof():
    prove(Proof(), depth=8, name="signed dot product")


def test_a_wrong_claim_is_refuted():
    with pytest.raises(ProofError):
        prove(Proof(late=1), depth=8, name="signed dot product")
