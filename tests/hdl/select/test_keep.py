# amaranth: UnusedElaboratable=no
"""Flags of the k largest: the golden set, with stalls; proof."""

from __future__ import annotations

import random

import pytest
from amaranth.hdl import Assert, Assume, Cover, Module, Mux, Signal
from amaranth.lib import wiring

from attnsieve.hdl.select.keep import Keep
from attnsieve.hdl.select.top_k import TopKParams
from attnsieve.sim.formal import HoldRule, ProofError, free_inputs, prove
from attnsieve.sim.golden.top_k import top_k, top_k_threshold
from attnsieve.sim.unit import run_streams

from .rows import ADVERSARIAL, beats_of, random_row


def run(dut, rows, gaps=None, **options):
    """Flags of rows of (values, k), each with the threshold that an engine would give."""
    lanes = TopKParams(lanes=dut.lanes, value_bits=dut.params.value_bits, max_values=4096)
    beats, thresholds, want = [], [], []
    for values, k in rows:
        value, equal = top_k_threshold(values, k, dut.params.value_bits)
        thresholds.append({"value": value, "equal": equal})
        kept = iter(top_k(values, k))
        for beat in beats_of(lanes, values, k, gaps):
            beats.append({name: beat[name] for name in ("value", "keep", "last")})
            flags = [bool(beat["keep"] >> n & 1) and bool(next(kept)) for n in range(dut.lanes)]
            want.append((sum(f << n for n, f in enumerate(flags)), beat["last"]))
    inputs = {"i": beats, "threshold": thresholds}
    result = run_streams(dut, inputs, {"o": len(want)}, **options)
    assert [(o.keep, o.last) for o in result.outputs["o"]] == want
    return result


@pytest.mark.parametrize("stall", [0.0, 0.4, {"threshold": 0.8}, {"o": 0.8}])
@pytest.mark.parametrize("lanes", [1, 3, 4, 9, 16, 32])
def test_random_rows(lanes, stall):
    rng = random.Random(lanes)
    params = TopKParams(lanes=16, value_bits=7, max_values=90)
    rows = [random_row(params, rng, 80) for _ in range(30)]
    run(Keep(params=params, lanes=lanes), rows, gaps=rng, stall=stall)


@pytest.mark.parametrize("kind", ADVERSARIAL)
def test_adversarial_rows(kind):
    params = TopKParams(lanes=4, value_bits=10, max_values=64)
    values = ADVERSARIAL[kind](33, 1 << 10)
    run(Keep(params=params, lanes=4), [(values, k) for k in (0, 1, 16, 32, 33, 34)])


def test_latency_and_throughput():
    params = TopKParams(lanes=4, value_bits=6, max_values=64)
    rows = [([n % 50 for n in range(length)], 3) for length in (1, 4, 17, 2, 9)]
    result = run(Keep(params=params, lanes=4), rows)
    assert result.first("o") - result.first("i") == Keep.latency == 2
    assert result.last("o") - result.first("o") == len(result.times["o"]) - 1


class Proof(wiring.Component):
    """Of any row with any threshold, what is kept is what is above, and the first that equal.

    Parameters
    ----------
    more : int
        By how many the claim is wrong; 0 to prove it.
    """

    def __init__(self, *, more=0):
        self.more = more
        super().__init__({})

    def elaborate(self, platform):
        m = Module()
        params = TopKParams(lanes=2, value_bits=2, max_values=8)
        dut = m.submodules.dut = Keep(params=params, lanes=2)
        free_inputs(m, dut)
        m.submodules += HoldRule(dut.o)
        limit, beat = dut.threshold.p, dut.i.p
        equal, above = Signal(6), Signal(6)  # so far, of the first row
        kept, ended, over = Signal(6), Signal(), Signal()
        takes = [beat.keep[n] & (beat.value[n] > limit.value) for n in range(2)]
        equals = [beat.keep[n] & (beat.value[n] == limit.value) for n in range(2)]
        with m.If(dut.i.valid & dut.i.ready & ~ended):
            m.d.sync += [
                above.eq(above + takes[0] + takes[1]),
                equal.eq(equal + equals[0] + equals[1]),
                ended.eq(beat.last),
            ]
        allowed = Signal.like(limit.equal)
        with m.If(dut.threshold.valid & ~ended):
            m.d.sync += allowed.eq(limit.equal)
        with m.If(dut.o.valid & dut.o.ready & ~over):
            m.d.sync += [kept.eq(kept + dut.o.p.keep[0] + dut.o.p.keep[1]), over.eq(dut.o.p.last)]
        want = above + Mux(equal < allowed, equal, allowed)
        m.d.comb += Assume(limit.equal < 8)
        m.d.comb += Assert(~over | (kept == want + self.more))
        m.d.comb += Cover(over & (kept == 3) & (equal == 3) & (above == 2))
        return m


def test_proof():
    prove(Proof(), depth=8, name="keep")


def test_everything_is_reached():
    prove(Proof(), depth=10, mode="cover", name="keep")


def test_a_wrong_claim_is_refuted():
    with pytest.raises(ProofError):
        prove(Proof(more=1), depth=8, name="keep")
