# amaranth: UnusedElaboratable=no
"""Bit-serial dot product: verdict, score and slices of any key; no idle cycle; soundness proved."""

from __future__ import annotations

import random
from collections import Counter

import numpy as np
import pytest
from amaranth.asserts import AnyConst
from amaranth.hdl import Array, Assert, Cat, Const, Cover, Module, Mux, Signal, signed
from amaranth.lib import wiring

from attnsieve.hdl.slices.bit_serial_dot import BitSerialDot
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
SIZES |= {f"{name}-signs": {**size, "sign_magnitude": True} for name, size in SIZES.items()}


def golden(p, query, keys, threshold, pinned=False):
    return bit_serial(query, keys, threshold, pinned, word_bits=p.word_bits,
                      slice_bits=p.slice_bits, sign_magnitude=p.sign_magnitude)  # fmt: skip


def bounds_of(p, query, threshold):
    """What sums must reach, in whole numbers; with signs the threshold, of which each key has its
    own."""
    if p.sign_magnitude:
        return [threshold]
    most = sum(max(int(v), 0) for v in query)
    each = [-(-(threshold + most) // (1 << p.left(n))) - most for n in range(p.slices - 1)]
    return [*each, threshold << p.pad]


class Unit(wiring.Component):
    """The unit with its places in a circle; keys start once queries and bounds are there."""

    def __init__(self, params, memory_latency, writes):
        self.params, self.writes = params, writes
        self.dut = BitSerialDot(params=params, memory_latency=memory_latency)
        names = ("start", "query", "bound", "o", "ended", "read")
        super().__init__({name: self.dut.signature.members[name] for name in names})

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = dut = self.dut
        for name in ("query", "bound"):
            wiring.connect(m, wiring.flipped(getattr(self, name)), getattr(dut, name))
        for name in ("o", "read"):
            wiring.connect(m, getattr(dut, name), wiring.flipped(getattr(self, name)))
        m.d.comb += [  # not the turns that keys wait
            self.ended.valid.eq(dut.ended.valid & ~dut.ended.p.waits),
            self.ended.p.eq(dut.ended.p),
        ]
        cycle = Signal(range(self.writes + 2))
        go = cycle == self.writes + 1
        m.d.sync += cycle.eq(cycle + ~go)
        m.d.comb += [
            dut.arrive.eq(dut.leave),
            dut.start.valid.eq(self.start.valid & go),
            dut.start.p.eq(self.start.p),
            self.start.ready.eq(dut.start.ready & go),
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


def is_pinned(key, row):
    """Some keys, of each row others."""
    return (key + 3 * row) % 7 == 5


def run(p, given, keys, jobs, memory_latency=2, **options):
    """Score keys; check every verdict. Returns the result, and what was read, in order."""
    sliced = cut(keys, p.word_bits, p.slice_bits, sign_magnitude=p.sign_magnitude)
    asked = []
    bounds = [
        {"row": row, "number": n, "bound": bound}
        for row, pair in enumerate(given)
        for n, bound in enumerate(bounds_of(p, *pair))
    ]
    dut = Unit(p, memory_latency, len(bounds))

    async def memory(ctx):
        rng, way = random.Random(1), []
        while True:
            port = dut.read
            _, _, en, address = await ctx.tick().sample(port.en, port.address)
            found = [rng.randrange(1 << p.slice_bits) for _ in range(p.taps)]
            if en:
                key, number = divmod(address, p.slices)
                asked.append((key, number))
                found = [int(bits) for bits in sliced[number, key]]
            way.append(found)
            if len(way) >= memory_latency:
                ctx.set(port.data, way.pop(0))

    places = range(len(keys))
    pins = [np.array([is_pinned(key, row) for key in places]) for row in range(len(given))]
    want = [golden(p, q, keys, threshold, pins[row]) for row, (q, threshold) in enumerate(given)]
    kept = sorted((key, row) for key, row in jobs if want[row].kept[key])
    inputs = {
        "start": [
            {"key": key, "row": row, "number": 0, "address": key * p.slices,
             "pinned": is_pinned(key, row)}
            for key, row in jobs
        ],
        "query": [{"row": row, "query": [int(v) for v in q]} for row, (q, _) in enumerate(given)],
        "bound": bounds,
    }
    result = run_streams(
        dut, inputs, {"o": len(kept), "ended": len(jobs)}, testbenches=[memory], **options
    )
    assert sorted((found.key, found.row) for found in result.outputs["o"]) == kept
    for found in result.outputs["o"]:
        assert found.score == want[found.row].score[found.key], found
        assert found.pinned == is_pinned(found.key, found.row)
    ended = Counter((each.row, each.number + 1, each.kept) for each in result.outputs["ended"])
    assert ended == Counter(
        (row, int(want[row].slices[key]), int(want[row].kept[key])) for key, row in jobs
    )
    slices = [(k, n) for k, row in jobs for n in range(want[row].slices[k])]
    assert sorted(asked) == sorted(slices)  # none is read of a key that is decided
    return result, asked


def both(count):
    """All keys for the first query, then all for the second one."""
    return [(key, row) for row in range(2) for key in range(count)]


@pytest.mark.parametrize("stall", [0.0, 0.5])
@pytest.mark.parametrize("memory_latency", [1, 2, 3])
@pytest.mark.parametrize("size", SIZES)
def test_random_keys(size, memory_latency, stall):
    p = SliceParams(**SIZES[size])
    given, keys = case(p, 1, 40)
    run(p, given, keys, both(40), memory_latency, stall={"start": stall, "o": stall})


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
        run(p, [(q, int(golden(p, q, keys, 0).score[each])) for q in queries], keys, both(4))


@pytest.mark.parametrize("signs", [False, True])
@pytest.mark.parametrize("memory_latency", [1, 2, 4])
def test_a_slice_in_every_cycle(memory_latency, signs):
    p = SliceParams(taps=8, sign_magnitude=signs)
    given, keys = case(p, 3, 100)
    result, asked = run(p, given, keys, both(100), memory_latency)
    ring = BitSerialDot(params=p, memory_latency=memory_latency).latency
    assert result.cycles - result.first("start") <= len(asked) + (p.slices + 1) * ring
    assert result.last("start") - result.first("start") < len(asked)


@pytest.mark.parametrize("memory_latency", [1, 3])
@pytest.mark.parametrize("size", SIZES)
def test_the_stated_latency(size, memory_latency):
    p = SliceParams(**SIZES[size])
    given, keys = case(p, 4, 1, shares=(0, 0))
    given = [(q, min(t, int(golden(p, q, keys, t).score[0]))) for q, t in given]  # it is kept
    result, _ = run(p, given, keys, [(0, 0)], memory_latency)
    levels = next(n for n in range(9) if 4**n >= p.taps)
    ring = 1 + memory_latency + 1 + levels + (2 if p.sign_magnitude else 0) + 2
    assert BitSerialDot(params=p, memory_latency=memory_latency).latency == ring
    assert result.last("o") - result.first("start") == p.slices * ring


@pytest.mark.parametrize("signs", [False, True])
@pytest.mark.parametrize("slice_bits", [2, 4])
def test_nobody_takes_what_is_kept(slice_bits, signs):
    p = SliceParams(taps=4, word_bits=4, slice_bits=slice_bits, sign_magnitude=signs)
    given, keys = case(p, 5, 30, shares=(0, 0))  # all are
    run(p, given, keys, both(30), stall={"o": 0.95})


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
    """Any query, any key and any threshold: the verdict is that of the whole product, but for a
    pinned key, which is kept, and a slice is read only where the score could still reach the
    threshold, or of a pinned key, whoever takes what is kept, and when. Two keys are inside, which
    are the same: places have nothing else in common.

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
        free_inputs(m, dut, but=("read.data", "query", "bound", "arrive", "start"))
        free_inputs(m, bounds, but=("i",))
        words = [AnyConst(p.word_bits) for _ in range(p.taps)]
        key = [self._value(word) for word in words]
        query = [AnyConst(signed(p.query_bits)) for _ in range(p.taps)]
        threshold, pinned = AnyConst(signed(p.score_bits)), AnyConst(1)
        written = bounds.latency + p.bounds
        cycle = Signal(range(written + 3))
        with m.If(cycle < written + 2):
            m.d.sync += cycle.eq(cycle + 1)
        score = Signal(signed(p.score_bits))
        m.d.comb += [
            bounds.i.p.threshold.eq(threshold),
            *(to.eq(q) for to, q in zip(bounds.i.p.query, query, strict=True)),
            *(to.eq(q) for to, q in zip(dut.query.p.query, query, strict=True)),
            dut.query.valid.eq(cycle == 0),
            dut.bound.valid.eq((cycle >= bounds.latency) & (cycle < written)),
            dut.bound.p.number.eq(cycle - bounds.latency),
            dut.bound.p.bound.eq(Array(bounds.o.p)[dut.bound.p.number]),
            dut.start.valid.eq((cycle >= written) & (cycle < written + 2)),
            dut.start.p.pinned.eq(pinned),
            dut.arrive.eq(dut.leave),
            score.eq(sum(k * q for k, q in zip(key, query, strict=True))),
        ]
        for number in range(p.slices):
            behind = (p.slices - 1 - number) * p.slice_bits
            with m.If(dut.read.en & (dut.read.address == number)):
                m.d.sync += [
                    bits.eq((word << p.pad) >> behind)
                    for bits, word in zip(dut.read.data, words, strict=True)
                ]
        ended, kept = dut.ended, dut.o
        with m.If(ended.valid & ended.p.waits):
            m.d.comb += [Assert(~ended.p.kept), Assert(pinned | (score >= threshold)), Cover(1)]
        with m.If(ended.valid & ~ended.p.waits):
            m.d.comb += [
                Assert(ended.p.kept == (pinned | (score >= threshold + self.wrong))),
                Assert(~ended.p.kept | (ended.p.number == p.slices - 1)),
                Assert(~ended.p.kept | kept.valid),
                Cover(ended.p.kept),
                Cover(~ended.p.kept & (ended.p.number == 0)),
            ]
        with m.If(kept.valid):
            m.d.comb += [
                Assert(kept.p.score == score),
                Assert(kept.p.pinned == pinned),
                Cover(cycle > written),
            ]
        self._exact(m, dut, words, query, threshold, pinned)
        return m

    def _value(self, word):
        """Of a word: with signs zero has two."""
        if not self.params.sign_magnitude:
            return word.as_signed()
        return Mux(word[-1], -word[:-1], word[:-1])

    def _exact(self, m, dut, words, query, threshold, pinned):
        """A slice behind the first is read only if some bits behind what is known would do."""
        p = self.params
        for number in range(1, p.slices):
            rest = p.word_bits - number * p.slice_bits
            ends = [
                [self._value(Cat(Const(end, rest), word[rest:])) * q for end in (0, -1)]
                for word, q in zip(words, query, strict=True)
            ]
            best = [Mux(zeros > ones, zeros, ones) for zeros, ones in ends]
            with m.If(dut.read.en & (dut.read.address == number)):
                m.d.comb += Assert(pinned | (sum(best) >= threshold))


def small(slice_bits, signs=False):
    return SliceParams(
        taps=2, query_bits=3, word_bits=4, slice_bits=slice_bits, keys=2, rows=2, stored=1,
        sign_magnitude=signs,
    )  # fmt: skip


@pytest.mark.parametrize("signs", [False, True])
@pytest.mark.parametrize("slice_bits", [1, 2, 4])
def test_proof_of_soundness(slice_bits, signs):
    p = small(slice_bits, signs)
    ring = BitSerialDot(params=p, memory_latency=1).latency
    depth = ExitBounds(params=p).latency + p.slices * (ring + 1) + 4
    prove(Proof(p), depth=depth, name="bit-serial dot product", timeout=600)


@pytest.mark.parametrize("signs", [False, True])
def test_everything_is_reached(signs):
    prove(Proof(small(4, signs)), depth=30, mode="cover", name="bit-serial dot product")


@pytest.mark.parametrize("signs", [False, True])
def test_a_wrong_claim_is_refuted(signs):
    with pytest.raises(ProofError):
        prove(Proof(small(2, signs), wrong=1), depth=30, name="bit-serial dot product")
