# amaranth: UnusedElaboratable=no
"""Bit-serial dot product: verdict, score and slices of any key; no idle cycle; soundness proved."""

from __future__ import annotations

import random

import numpy as np
import pytest
from amaranth.asserts import AnyConst
from amaranth.hdl import Assert, Assume, Cover, Module, Signal, signed
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from attnsieve.hdl.slices.bit_serial_dot import BitSerialDot, start_layout, verdict_layout
from attnsieve.hdl.slices.exit_bounds import ExitBounds
from attnsieve.hdl.slices.slice_params import SliceParams
from attnsieve.sim.formal import ProofError, prove
from attnsieve.sim.formal.hold import free_inputs
from attnsieve.sim.golden.bit_serial import bit_serial, cut
from attnsieve.sim.unit import run_streams

SIZES = {
    "tap": {"taps": 1, "word_bits": 2, "slice_bits": 4},
    "bits": {"taps": 3, "word_bits": 5, "slice_bits": 1},
    "padded": {"taps": 5, "word_bits": 9, "slice_bits": 2},
    "whole": {"taps": 4, "word_bits": 4, "slice_bits": 4},
    "fours": {"taps": 16, "query_bits": 8, "word_bits": 16, "slice_bits": 4},
    "paper": {"taps": 64},
}


def bounds_of(p, query, threshold):
    """What sums must reach, in whole numbers."""
    most = sum(max(int(v), 0) for v in query)
    each = [-(-(threshold + most) // (1 << p.left(n))) - most for n in range(p.slices - 1)]
    return [*each, threshold << p.pad]


class Unit(wiring.Component):
    """The unit with two queries that never change, and their bounds."""

    def __init__(self, params, memory_latency, given):
        self.params, self.given = params, given
        self.dut = BitSerialDot(params=params, memory_latency=memory_latency)
        super().__init__(
            {
                "i": In(stream.Signature(start_layout(params))),
                "o": Out(stream.Signature(verdict_layout(params), always_ready=True)),
                "read": Out(self.dut.read.signature),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = dut = self.dut
        wiring.connect(m, wiring.flipped(self.i), dut.i)
        wiring.connect(m, dut.o, wiring.flipped(self.o))
        wiring.connect(m, dut.read, wiring.flipped(self.read))
        for number, (query, threshold) in enumerate(self.given):
            bounds = bounds_of(self.params, query, threshold)
            m.d.comb += [
                *(to.eq(v) for to, v in zip(dut.bounds[number], bounds, strict=True)),
                *(to.eq(int(v)) for to, v in zip(dut.queries[number], query, strict=True)),
            ]
        return m


def words(rng, bits, shape):
    """Some small, some large."""
    whole = rng.integers(-(1 << bits - 1), 1 << bits - 1, shape)
    return np.where(rng.random(shape) < 0.2, whole, whole >> bits // 2)


def case(p, seed, count, shares=(0.3, 0.8)):
    """Two queries with a threshold each, and keys."""
    rng = np.random.default_rng(seed)
    keys = words(rng, p.word_bits, (count, p.taps))
    queries = [words(rng, p.query_bits, p.taps) for _ in shares]
    quantiles = [int(np.quantile(keys @ q, s)) for q, s in zip(queries, shares, strict=True)]
    return list(zip(queries, quantiles, strict=True)), keys


def run(p, given, keys, jobs, memory_latency=2, **options):
    """Score keys; check every verdict. Returns the result, and what was read, in order."""
    sliced, asked = cut(keys, p.word_bits, p.slice_bits), []
    dut = Unit(p, memory_latency, given)

    async def memory(ctx):
        rng, way = random.Random(1), []
        while True:
            port = dut.read
            _, _, en, key, number = await ctx.tick().sample(port.en, port.key, port.number)
            found = [rng.randrange(1 << p.slice_bits) for _ in range(p.taps)]
            if en:
                assert number < p.slices
                asked.append((key, number))
                found = [int(bits) for bits in sliced[number, key]]
            way.append(found)
            if len(way) >= memory_latency:
                ctx.set(port.data, way.pop(0))

    items = [{"key": key, "query": query} for key, query in jobs]
    result = run_streams(dut, {"i": items}, {"o": len(items)}, testbenches=[memory], **options)
    want = [
        bit_serial(q, keys, threshold, word_bits=p.word_bits, slice_bits=p.slice_bits)
        for q, threshold in given
    ]
    seen = []
    for verdict in result.outputs["o"]:
        kept, score, slices = (each[verdict.key] for each in want[verdict.query])
        assert (verdict.kept, verdict.slices) == (kept, slices), verdict
        assert not kept or verdict.score == score, verdict
        seen.append((verdict.key, verdict.query))
    assert sorted(seen) == sorted(jobs)
    slices = [(k, n) for k, query in jobs for n in range(want[query].slices[k])]
    assert sorted(asked) == sorted(slices)  # none is read of a key that is decided
    return result, asked


def both(count):
    """All keys for the first query, then all for the second one."""
    return [(key, query) for query in range(2) for key in range(count)]


@pytest.mark.parametrize("stall", [0.0, 0.5])
@pytest.mark.parametrize("memory_latency", [1, 2, 3])
@pytest.mark.parametrize("size", SIZES)
def test_random_keys(size, memory_latency, stall):
    p = SliceParams(**SIZES[size])
    given, keys = case(p, 1, 40)
    run(p, given, keys, both(40), memory_latency, stall={"i": stall})


@pytest.mark.parametrize("threshold", ["all", "none", "largest", "over it"])
@pytest.mark.parametrize("size", SIZES)
def test_thresholds_at_the_ends(size, threshold):
    p = SliceParams(**SIZES[size])
    given, keys = case(p, 2, 20)
    most = (1 << p.score_bits - 1) - 1
    scores = [keys @ q for q, _ in given]
    values = {
        "all": lambda s: -most - 1, "none": lambda s: most, "largest": lambda s: int(s.max()),
        "over it": lambda s: int(s.max()) + 1,
    }  # fmt: skip
    given = [(q, values[threshold](s)) for (q, _), s in zip(given, scores, strict=True)]
    run(p, given, keys, both(20))


@pytest.mark.parametrize("size", SIZES)
def test_largest_operands(size):
    p = SliceParams(**SIZES[size])
    low, high = -(1 << p.word_bits - 1), (1 << p.word_bits - 1) - 1
    keys = np.array([[low] * p.taps, [high] * p.taps, [0] * p.taps, [-1] * p.taps])
    queries = [np.full(p.taps, -(1 << p.query_bits - 1)), np.full(p.taps, 0)]
    for each in range(4):
        run(p, [(q, int(keys[each] @ q)) for q in queries], keys, both(4))


@pytest.mark.parametrize("memory_latency", [1, 2, 4])
def test_a_slice_in_every_cycle(memory_latency):
    p = SliceParams(taps=8)
    given, keys = case(p, 3, 100)
    result, asked = run(p, given, keys, both(100), memory_latency)
    ring = BitSerialDot(params=p, memory_latency=memory_latency).latency
    assert result.cycles <= len(asked) + (p.slices + 1) * ring
    assert result.last("i") - result.first("i") < len(asked)


@pytest.mark.parametrize("memory_latency", [1, 3])
@pytest.mark.parametrize("size", SIZES)
def test_the_stated_latency(size, memory_latency):
    p = SliceParams(**SIZES[size])
    given, keys = case(p, 4, 1, shares=(0, 0))  # it is kept
    result, _ = run(p, given, keys, [(0, 0)], memory_latency)
    ring = BitSerialDot(params=p, memory_latency=memory_latency).latency
    assert result.last("o") - result.first("i") == p.slices * ring


@pytest.mark.parametrize("size", SIZES)
def test_bounds(size):
    p = SliceParams(**SIZES[size])
    given = [pair for seed in range(10) for pair in case(p, seed, 30, shares=(0.1, 0.9))[0]]
    items = [{"query": [int(v) for v in q], "threshold": t} for q, t in given]
    dut = ExitBounds(params=p)
    result = run_streams(dut, {"i": items}, {"o": len(items)})
    assert [list(o) for o in result.outputs["o"]] == [bounds_of(p, *pair) for pair in given]
    assert result.first("o") - result.first("i") == dut.latency
    assert result.last("o") - result.first("o") == len(items) - 1


@pytest.mark.parametrize(
    ("parameter", "message"),
    [
        ({"taps": 129}, r"^taps must be in 1\.\.128, not 129$"),
        ({"slice_bits": 3}, r"^slice_bits must be 1, 2 or 4, not 3$"),
        ({"word_bits": 1}, r"^word_bits must be in 2\.\.16, not 1$"),
    ],
)
def test_bad_parameters(parameter, message):
    with pytest.raises(ValueError, match=message):
        SliceParams(**parameter)


class Proof(wiring.Component):
    """Any query, any key and any threshold: the verdict is that of the whole product, and a slice
    is read only where the score could still reach the threshold. One key is inside: what places of
    the ring have in common, queries, bounds and slices, does not change.

    Parameters
    ----------
    wrong : int
        What is added to the threshold in the claim; 0 to prove it.
    """

    def __init__(self, params, *, wrong=0):
        self.params, self.wrong = params, wrong
        super().__init__({})

    def elaborate(self, platform):
        m = Module()
        p = self.params
        m.submodules.dut = dut = BitSerialDot(params=p, memory_latency=1)
        m.submodules.bounds = bounds = ExitBounds(params=p)
        free_inputs(m, dut, but=("read.data", "queries", "bounds"))
        free_inputs(m, bounds, but=("i",))
        key = [AnyConst(signed(p.word_bits)) for _ in range(p.taps)]
        query = [AnyConst(signed(p.query_bits)) for _ in range(p.taps)]
        threshold = AnyConst(signed(p.score_bits))
        known = Signal(range(2 * bounds.latency))  # cycles
        with m.If(known <= bounds.latency):
            m.d.sync += known.eq(known + 1)
        m.d.comb += Assume(dut.i.valid == (known == bounds.latency))
        score = Signal(signed(p.score_bits))
        m.d.comb += [
            bounds.i.p.threshold.eq(threshold),
            *(to.eq(q) for to, q in zip(bounds.i.p.query, query, strict=True)),
            *(to.eq(q) for port in dut.queries for to, q in zip(port, query, strict=True)),
            *(port.eq(bounds.o.p) for port in dut.bounds),
            score.eq(sum(k * q for k, q in zip(key, query, strict=True))),
        ]
        for number in range(p.slices):
            behind = (p.slices - 1 - number) * p.slice_bits
            with m.If(dut.read.en & (dut.read.number == number)):
                m.d.sync += [
                    bits.eq((word << p.pad) >> behind)
                    for bits, word in zip(dut.read.data, key, strict=True)
                ]
        verdict = dut.o.p
        with m.If(dut.o.valid):
            m.d.comb += [
                Assert(verdict.kept == (score >= threshold + self.wrong)),
                Assert(~verdict.kept | (verdict.score == score)),
                Assert(~verdict.kept | (verdict.slices == p.slices)),
                Cover(verdict.kept),
                Cover(~verdict.kept & (verdict.slices == 1)),
            ]
        self._exact(m, dut, key, query, threshold)
        return m

    def _exact(self, m, dut, key, query, threshold):
        """A slice behind the first is read only if some bits behind what is known would do."""
        p = self.params
        for number in range(1, p.slices):
            rest = p.word_bits - number * p.slice_bits
            best = [
                ((word >> rest << rest) + ((q > 0) * ((1 << rest) - 1))) * q
                for word, q in zip(key, query, strict=True)
            ]
            with m.If(dut.read.en & (dut.read.number == number)):
                m.d.comb += Assert(sum(best) >= threshold)


def small(slice_bits):
    return SliceParams(taps=2, query_bits=3, word_bits=4, slice_bits=slice_bits, keys=2)


@pytest.mark.parametrize("slice_bits", [1, 2, 4])
def test_proof_of_soundness(slice_bits):
    p = small(slice_bits)
    ring = BitSerialDot(params=p, memory_latency=1).latency
    depth = ExitBounds(params=p).latency + p.slices * ring + 3
    prove(Proof(p), depth=depth, name="bit-serial dot product", timeout=600)


def test_everything_is_reached():
    prove(Proof(small(4)), depth=20, mode="cover", name="bit-serial dot product")


def test_a_wrong_claim_is_refuted():
    with pytest.raises(ProofError):
        prove(Proof(small(2), wrong=1), depth=30, name="bit-serial dot product")
