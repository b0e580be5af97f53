# amaranth: UnusedElaboratable=no
"""Bounds from thresholds and margins: all of small words, the ends of large ones; exactness is
proved, and with the unit in test_bit_serial_dot.py."""

from __future__ import annotations

import random
from itertools import product

import pytest
from amaranth.asserts import AnyConst
from amaranth.hdl import Assert, Assume, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.sim import Simulator

from attnsieve.hdl.slices.concordant_bound import ConcordantBound
from attnsieve.hdl.slices.slice_params import SliceParams
from attnsieve.sim.formal import ProofError, prove

SIZES = {
    "tap": {"taps": 1, "query_bits": 2, "word_bits": 2, "slice_bits": 4},
    "bits": {"taps": 3, "word_bits": 5, "slice_bits": 1},
    "padded": {"taps": 5, "word_bits": 9, "slice_bits": 2},
    "fours": {"taps": 16, "query_bits": 8, "word_bits": 16, "slice_bits": 4},
    "paper": {"taps": 64},
}


def params(size):
    return SliceParams(**SIZES[size], sign_magnitude=True)


def bound_of(p, threshold, margin, number):
    """The least sum with which ones in all open bits reach the threshold."""
    if number == p.slices - 1:
        return threshold * 2**p.pad
    unit = 2 ** (p.word_bits - (number + 1) * p.slice_bits)
    return -(((unit - 1) * margin - threshold) // unit)


def run(p, cases):
    """One after the other; check each bound at its time."""
    dut = ConcordantBound(params=p)

    async def bench(ctx):
        found = []
        for cycle in range(len(cases) + dut.latency):
            threshold, margin, number = cases[min(cycle, len(cases) - 1)]
            ctx.set(dut.threshold, threshold)
            ctx.set(dut.margin, -margin)
            ctx.set(dut.number, number)
            if cycle >= dut.latency:
                found.append(ctx.get(dut.o))
            await ctx.tick()
        assert found == [bound_of(p, *each) for each in cases]

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()


def test_all_small_values():
    p = SliceParams(taps=1, query_bits=3, word_bits=3, slice_bits=1, sign_magnitude=True)
    run(p, list(product(range(-32, 32), range(5), range(3))))


@pytest.mark.parametrize("size", SIZES)
def test_random_values(size):
    p, rng = params(size), random.Random(size)
    top, most = 1 << p.score_bits - 1, p.taps << p.query_bits - 1
    run(p, [
        (rng.choice([rng.randrange(-top, top), rng.randrange(-2, 3)]), rng.randrange(most + 1),
         rng.randrange(p.slices)) for _ in range(100)
    ])  # fmt: skip


@pytest.mark.parametrize("size", SIZES)
def test_values_at_the_ends(size):
    p = params(size)
    top, most = 1 << p.score_bits - 1, p.taps << p.query_bits - 1
    run(p, list(product((-top, -1, 0, 1, top - 1), (0, 1, most - 1, most), range(p.slices))))


class Proof(wiring.Component):
    """Any threshold, margin, slice and sum: the sum is under the bound if and only if ones in all
    open bits leave the score under the threshold.

    Parameters
    ----------
    wrong : int
        What is added to the threshold in the claim; 0 to prove it.
    """

    def __init__(self, *, wrong=0):
        self.wrong = wrong
        super().__init__({})

    def elaborate(self, platform):
        m = Module()
        p = SliceParams(taps=2, query_bits=3, word_bits=5, slice_bits=2, sign_magnitude=True)
        m.submodules.dut = dut = ConcordantBound(params=p)
        threshold, total = AnyConst(signed(p.score_bits)), AnyConst(signed(p.sum_bits))
        margin, number = AnyConst(range(9)), AnyConst(range(3))
        best = Signal(signed(2 * p.sum_bits))
        cycle = Signal(2)
        m.d.sync += cycle.eq(cycle + (cycle != 3))
        m.d.comb += [
            Assume(margin <= 8), Assume(number < 3),
            Assume((number < 2) | (total[: p.pad] == 0)),
            dut.threshold.eq(threshold), dut.margin.eq(-margin), dut.number.eq(number),
            best.eq(Mux(number == 0, total * 8 + 7 * margin,
                        Mux(number == 1, total * 2 + margin, total >> p.pad))),
        ]  # fmt: skip
        with m.If(cycle >= dut.latency):
            m.d.comb += Assert((total < dut.o) == (best < threshold + self.wrong))
        return m


def test_proof():
    prove(Proof(), depth=4, name="concordant bound")


def test_a_wrong_claim_is_refuted():
    with pytest.raises(ProofError):
        prove(Proof(wrong=1), depth=4, name="concordant bound")
