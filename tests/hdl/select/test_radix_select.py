# amaranth: UnusedElaboratable=no
"""Radix select: the k-th largest of any rows, back to back, with stalls; cycles; proof."""

from __future__ import annotations

import random

import pytest
from amaranth.hdl import Assert, Assume, Cover, Module, Signal
from amaranth.lib import wiring

from attnsieve.hdl.select.leading_code import code_count
from attnsieve.hdl.select.radix_select import RadixSelect
from attnsieve.hdl.select.top_k import TopKParams
from attnsieve.sim.formal import HoldRule, ProofError, free_inputs, prove
from attnsieve.sim.golden.top_k import top_k, top_k_threshold
from attnsieve.sim.unit import run_streams

from .rows import ADVERSARIAL, beats_of, expected, random_row

SIZES = [(1, 8, 40), (2, 6, 9), (3, 12, 100), (4, 16, 130), (16, 12, 300), (32, 32, 200)]


def run(params, jobs, stall=0.0, gaps=None, **options):
    """Rows of (values, k)."""
    dut = RadixSelect(params=params, **options)
    beats = [beat for values, k in jobs for beat in beats_of(params, values, k, gaps)]
    result = run_streams(dut, {"i": beats}, {"o": len(jobs)}, stall=stall)
    assert [(t.value, t.equal) for t in result.outputs["o"]] == expected(params, jobs)
    return result


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


@pytest.mark.parametrize("stall", [0.0, 0.4, {"o": 0.8}, {"i": 0.8}])
@pytest.mark.parametrize(("lanes", "bits", "longest"), SIZES)
def test_random_rows(lanes, bits, longest, stall):
    rng = random.Random(f"{lanes} {bits}")
    params = TopKParams(lanes=lanes, value_bits=bits, max_values=2 * longest)
    rows = [random_row(params, rng, longest) for _ in range(25)]
    run(params, rows, stall, gaps=rng)


@pytest.mark.parametrize("n", [1, 2, 15, 33, 64])
@pytest.mark.parametrize("kind", ADVERSARIAL)
def test_adversarial_rows(kind, n):
    params = TopKParams(lanes=4, value_bits=10, max_values=64)
    values = ADVERSARIAL[kind](n, 1 << 10)
    ks = sorted({0, 1, n // 2, n - 1, n, n + 1})
    run(params, [(values, k) for k in ks])


@pytest.mark.parametrize(
    ("fraction", "digit_bits", "rows"), [(0, 1, 2), (1, 3, 4), (3, 8, 2), (2, 10, 16)]
)
def test_options(fraction, digit_bits, rows):
    rng = random.Random(digit_bits)
    params = TopKParams(lanes=3, value_bits=10, max_values=50)
    run(
        params, [random_row(params, rng, 50) for _ in range(25)], 0.2,
        fraction=fraction, digit_bits=digit_bits, rows=rows,
    )  # fmt: skip


def test_rows_without_a_value_that_takes_part():
    params = TopKParams(lanes=2, value_bits=6, max_values=4)
    beats = [{"value": [3, 5], "keep": 0, "k": k, "last": 1} for k in (0, 1, 3)]
    result = run_streams(RadixSelect(params=params), {"i": beats}, {"o": 3})
    assert [(t.value, t.equal) for t in result.outputs["o"]] == [(63, 0), (0, 0), (0, 0)]


def passes_of(values, k, bits, lanes, fraction=2, digit=5):
    """Beats of each pass that a row takes, from the definition of the digits."""
    value, _ = top_k_threshold(values, k, bits)
    if k == 0 or k >= len(values):
        return []
    rest = max(0, value.bit_length() - 1 - fraction)
    beats, passes = -(-len(values) // lanes), []
    while rest:
        candidates = [v for v in values if v >> rest == value >> rest]
        passes.append(beats)
        if len(candidates) == 1:
            break
        beats, rest = -(-len(candidates) // lanes), max(0, rest - digit)
    return passes


@pytest.mark.parametrize(("bits", "skew"), [(12, 1), (16, 8), (32, 3)])
def test_latency(bits, skew):
    """Cycles of a row that is alone, as the docstring says; candidates may come late."""
    params = TopKParams(lanes=16, value_bits=bits, max_values=256)
    rng = random.Random(bits)
    dut = RadixSelect(params=params)
    assert code_count(bits, 2) == dut.first.buckets
    for n, k in [(256, 16), (256, 200), (100, 30), (16, 3), (7, 0), (7, 7)]:
        values = [int((1 << bits) * rng.random() ** skew) for _ in range(n)]
        result = run(params, [(values, k)])
        cycles = result.last("o") - result.last("i")
        passes = passes_of(values, k, bits, 16)
        if not passes:
            assert cycles == dut.known_latency
            continue
        least = dut.first_latency + passes[0]
        least += sum(beats + dut.pass_latency for beats in passes[1:])
        assert least <= cycles <= least + dut.late * (len(passes) - 1)


@pytest.mark.parametrize("n", [1, 5, 33, 64, 113])
def test_rows_follow_one_another_without_a_gap(n):
    """Initiation interval: ceil(2 n / P) + 4 cycles at most."""
    params = TopKParams(lanes=4, value_bits=12, max_values=128)
    rng = random.Random(n)
    rows = [([rng.randrange(4096) for _ in range(n)], rng.randint(0, n)) for _ in range(40)]
    times = run(params, rows).times["o"]
    interval = (times[-1] - times[9]) / (len(times) - 10)
    assert interval <= -(-2 * n // 4) + 4


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


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"rows": 3}, r"^rows must be a power of two, not 3$"),
        ({"fraction": 12}, r"^Fraction must be in 0\.\.11, not 12$"),
        ({"digit_bits": 13}, r"^Digit bits must be in 1\.\.12, not 13$"),
    ],
)
def test_bad_options(kwargs, message):
    with pytest.raises(ValueError, match=message):
        RadixSelect(params=TopKParams(), **kwargs)


class Proof(wiring.Component):
    """Any row of up to four values, any k: the threshold is that of the k largest.

    Parameters
    ----------
    off : int
        What is wrong with the claim; 0 to prove it.
    """

    def __init__(self, *, off=0):
        self.off = off
        super().__init__({})

    def elaborate(self, platform):
        m = Module()
        params = TopKParams(lanes=2, value_bits=3, max_values=4)
        dut = m.submodules.dut = RadixSelect(params=params, fraction=0, digit_bits=1, rows=2)
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


def test_proof():
    prove(Proof(), depth=26, name="radix select", timeout=300)


def test_everything_is_reached():
    prove(Proof(), depth=34, mode="cover", name="radix select", timeout=300)


def test_a_wrong_claim_is_refuted():
    with pytest.raises(ProofError):
        prove(Proof(off=1), depth=34, name="radix select", timeout=300)
