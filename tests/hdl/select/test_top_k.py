# amaranth: UnusedElaboratable=no
"""Top-k engines: the k-th largest of any rows, back to back, with stalls; proof."""

from __future__ import annotations

import random

import pytest
from amaranth.hdl import Assert, Assume, Cover, Module, Signal
from amaranth.lib import wiring

from attnsieve.hdl.select.quick_select import QuickSelect
from attnsieve.hdl.select.radix_select import RadixSelect
from attnsieve.hdl.select.top_k import TopKParams
from attnsieve.sim.formal import HoldRule, ProofError, free_inputs, prove
from attnsieve.sim.golden.top_k import top_k, top_k_threshold
from attnsieve.sim.unit import run_streams
from tests.variants import mostly_full

from .rows import ADVERSARIAL, random_row, run

ENGINES = {"radix": RadixSelect, "quick": QuickSelect}

SIZES = [(1, 8, 40), (2, 6, 9), (3, 12, 100), (4, 16, 130), (16, 12, 300), (32, 32, 200)]
#: Some sizes with stalls on both sides only, the others in the full suite.
STALLED = [
    pytest.param(*size, stall, marks=[pytest.mark.full] * (size[0] in (2, 4, 32) and stall != 0.4))
    for size in SIZES for stall in (0.0, 0.4, {"o": 0.8}, {"i": 0.8})
]  # fmt: skip


def test_a_threshold_tells_the_set():
    """What the engine says keeps what the golden model keeps."""
    rng = random.Random(1)
    params = TopKParams(lanes=4, value_bits=6, max_values=40)
    for _ in range(200):
        values, k = random_row(params, rng, 40)
        value, equal = top_k_threshold(values, k, params.value_bits)
        kept = []
        for v in values:
            kept.append(v > value or (v == value and equal > 0))
            equal -= v == value
        assert kept == list(top_k(values, k))


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(("lanes", "bits", "longest", "stall"), STALLED)
def test_random_rows(engine, lanes, bits, longest, stall):
    rng = random.Random(f"{lanes} {bits}")
    params = TopKParams(lanes=lanes, value_bits=bits, max_values=2 * longest)
    rows = [random_row(params, rng, longest) for _ in range(25)]
    run(ENGINES[engine](params=params), rows, stall, gaps=rng)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("n", mostly_full([1, 2, 15, 33, 64], 1, 33))
@pytest.mark.parametrize("kind", ADVERSARIAL)
def test_adversarial_rows(engine, kind, n):
    params = TopKParams(lanes=4, value_bits=10, max_values=64)
    values = ADVERSARIAL[kind](n, 1 << 10)
    ks = sorted({0, 1, n // 2, n - 1, n, n + 1})
    run(ENGINES[engine](params=params), [(values, k) for k in ks])


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("lanes", mostly_full([2, 4, 16], 2))
def test_lists_that_end_in_two_beats_at_once(engine, lanes):
    """Every second list of candidates fills two beats, the others one: the packer falls behind."""
    params = TopKParams(lanes=lanes, value_bits=32, max_values=2 * lanes)
    rows = [([3_000_000_000] * n, 1) for n in (2 * lanes, lanes)] * 30
    run(ENGINES[engine](params=params), rows)


@pytest.mark.parametrize("engine", ENGINES)
def test_rows_without_a_value_that_takes_part(engine):
    params = TopKParams(lanes=2, value_bits=6, max_values=4)
    beats = [{"value": [3, 5], "keep": 0, "k": k, "last": 1} for k in (0, 1, 3)]
    result = run_streams(ENGINES[engine](params=params), {"i": beats}, {"o": 3})
    assert [(t.value, t.equal) for t in result.outputs["o"]] == [(63, 0), (0, 0), (0, 0)]


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"lanes": 33}, r"^lanes must be in 1\.\.32, not 33$"),
        ({"value_bits": 1}, r"^value_bits must be in 2\.\.40, not 1$"),
        ({"max_values": 5000}, r"^max_values must be in 1\.\.4096, not 5000$"),
    ],
)
def test_bad_sizes(kwargs, message):
    with pytest.raises(ValueError, match=message):
        TopKParams(**kwargs)


def small(engine):
    """An engine for proofs: rows of two beats of two lanes of 3 bits."""
    params = TopKParams(lanes=2, value_bits=3, max_values=4)
    options = {"fraction": 0, "digit_bits": 1, "rows": 2} if engine == "radix" else {}
    return ENGINES[engine](params=params, **options)


class Proof(wiring.Component):
    """Any row of up to four values, any k: the threshold is that of the k largest.

    Parameters
    ----------
    off : int
        What is wrong with the claim; 0 to prove it.
    """

    def __init__(self, engine, *, off=0):
        self.dut, self.off = small(engine), off
        super().__init__({})

    def elaborate(self, platform):
        m = Module()
        dut = m.submodules.dut = self.dut
        free_inputs(m, dut)
        m.submodules += HoldRule(dut.o)
        came, ended, told = Signal(2), Signal(), Signal()
        values = [Signal(3, name=f"value{n}") for n in range(4)]
        keep, k = Signal(4), Signal.like(dut.i.p.k)
        with m.If(dut.i.valid & dut.i.ready & ~ended):  # the first row
            m.d.comb += Assume(dut.i.p.last | (came == 0))
            m.d.sync += [ended.eq(dut.i.p.last), came.eq(came + 1), k.eq(dut.i.p.k)]
            for beat in range(2):
                with m.If(came == beat):
                    m.d.sync += keep[2 * beat : 2 * beat + 2].eq(dut.i.p.keep)
                    for lane in range(2):
                        m.d.sync += values[2 * beat + lane].eq(dut.i.p.value[lane])
        o = dut.o.p
        above = sum(keep[n] & (value > o.value) for n, value in enumerate(values))
        reaching = sum(keep[n] & (value >= o.value) for n, value in enumerate(values))
        total = sum(keep)
        with m.If(dut.o.valid & ~told):
            m.d.sync += told.eq(dut.o.ready)
            m.d.comb += Assert(ended)
            with m.If(k == 0):
                m.d.comb += Assert((o.value == 7) & (o.equal == 0))
            with m.Elif(k >= total):
                m.d.comb += Assert((o.value == 0) & (o.equal == total))
            with m.Else():
                m.d.comb += [
                    Assert((above < k) & (reaching >= k)),
                    Assert(o.equal == k - above + self.off),
                    Cover((o.value == 5) & (o.equal == 2) & (above == 1)),
                ]
        return m


@pytest.mark.parametrize(("engine", "depth"), [("radix", 26), ("quick", 26)])
def test_proof(engine, depth):
    prove(Proof(engine), depth=depth, name=f"{engine} select", timeout=300)


@pytest.mark.parametrize("engine", ENGINES)
def test_everything_is_reached(engine):
    prove(Proof(engine), depth=34, mode="cover", name=f"{engine} select", timeout=300)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_wrong_claim_is_refuted(engine):
    with pytest.raises(ProofError):
        prove(Proof(engine, off=1), depth=34, name=f"{engine} select", timeout=300)


class Bound(wiring.Component):
    """Any row of up to four values, any k: a row that is alone has its threshold in time.

    Parameters
    ----------
    less : int
        Cycles that the claim is short of the engine's own bound; 0 to prove it.
    """

    def __init__(self, engine, *, less=0):
        self.dut, self.less = small(engine), less
        super().__init__({})

    def elaborate(self, platform):
        m = Module()
        dut = m.submodules.dut = self.dut
        free_inputs(m, dut)
        beats, ended, told, cycles = Signal(2), Signal(), Signal(), Signal(8)
        m.d.comb += [Assume(dut.o.ready), Assume(~(ended & dut.i.valid))]
        with m.If(dut.i.valid & dut.i.ready):
            m.d.comb += Assume(dut.i.p.last | (beats == 0))
            m.d.sync += [ended.eq(dut.i.p.last), beats.eq(beats + 1)]
        with m.If(dut.o.valid):
            m.d.sync += told.eq(1)
        with m.Elif(ended & ~told):
            m.d.sync += cycles.eq(cycles + 1)
        for n in (1, 2):  # of the beat's cycle, none is counted
            late = ended & ~told & (beats == n) & (cycles + 1 > dut.worst(n) - self.less)
            m.d.comb += Assert(~late)
        return m


#: Cycles by which no row of this size is as late as the engine's bound has it.
SPARE = {"radix": 0, "quick": 3}


@pytest.mark.parametrize("engine", ENGINES)
def test_proof_of_the_bound(engine):
    proof = Bound(engine)
    prove(proof, depth=proof.dut.worst(2) + 6, name=f"{engine} bound", timeout=300)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_tighter_bound_is_refuted(engine):
    proof = Bound(engine, less=SPARE[engine] + 1)
    with pytest.raises(ProofError):
        prove(proof, depth=proof.dut.worst(2) + 6, name=f"{engine} bound", timeout=300)
