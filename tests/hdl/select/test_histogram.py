# amaranth: UnusedElaboratable=no
"""Histogram and bucket, countdown: the bucket of the k-th largest of any rows; latency; proof."""

from __future__ import annotations

import random

import pytest
from amaranth.asserts import AnyConst, AnySeq
from amaranth.hdl import Assert, Assume, Cat, Cover, Module, Mux, Signal
from amaranth.lib import data, wiring

from attnsieve.hdl.select.bucket_find import BucketFind
from attnsieve.hdl.select.countdown import Countdown
from attnsieve.hdl.select.histogram import Histogram
from attnsieve.sim.formal import ProofError, prove
from attnsieve.sim.unit import run_streams


def rows_of(buckets, lanes, count, seed=1):
    """Rows of one to five beats: (code, keep) by lane."""
    rng = random.Random(f"{buckets} {lanes} {seed}")
    return [
        [
            [(rng.randrange(buckets), rng.random() < 0.7) for _ in range(lanes)]
            for _ in range(rng.randint(1, 5))
        ]
        for _ in range(count)
    ]


def beats_of(rows, buckets):
    return [
        {
            "reach": [
                sum((keep and code >= b) << lane for lane, (code, keep) in enumerate(beat))
                for b in range(buckets)
            ],
            "last": int(n == len(row) - 1),
        }
        for row in rows
        for n, beat in enumerate(row)
    ]


def counts_of(row, buckets):
    codes = [code for beat in row for code, keep in beat if keep]
    return [sum(code >= b for code in codes) for b in range(buckets)]


@pytest.mark.parametrize(("buckets", "lanes"), [(2, 1), (5, 3), (8, 4), (44, 16), (32, 2)])
@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_counts(buckets, lanes, stall):
    rows = rows_of(buckets, lanes, 30)
    beats = beats_of(rows, buckets)
    dut = Histogram(buckets=buckets, lanes=lanes, count_bits=8)
    result = run_streams(dut, {"i": beats}, {"o": len(rows)}, stall={"i": stall})
    got = [list(counts) for counts in result.outputs["o"]]
    assert got == [counts_of(row, buckets) for row in rows]
    ends = [t for t, beat in zip(result.times["i"], beats, strict=True) if beat["last"]]
    assert result.times["o"] == [t + dut.latency for t in ends]


@pytest.mark.parametrize(("buckets", "lanes"), [(2, 1), (5, 3), (44, 16)])
def test_bucket(buckets, lanes):
    counts = [counts_of(row, buckets) for row in rows_of(buckets, lanes, 30)]
    requests, want = [], []
    for count in counts:
        for k in {1, count[0] // 2, count[0]} - {0}:
            if k > count[0]:
                continue
            bucket = max(b for b in range(buckets) if count[b] >= k)
            requests.append({"count": count, "k": k})
            want.append((bucket, [*count, 0][bucket + 1], count[bucket]))
    dut = BucketFind(buckets=buckets, count_bits=8)
    result = run_streams(dut, {"i": requests}, {"o": len(want)})
    assert [(f.bucket, f.above, f.reaching) for f in result.outputs["o"]] == want
    assert result.first("o") == dut.latency


@pytest.mark.parametrize(("buckets", "lanes"), [(2, 1), (5, 3), (32, 16)])
@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_countdown(buckets, lanes, stall):
    rng = random.Random(buckets)
    rows, beats, want, ends = [], [], [], []
    for row in rows_of(buckets, lanes, 60):
        count = counts_of(row, buckets)
        if not count[0]:
            continue
        k = rng.choice([1, count[0], rng.randint(1, count[0])])
        bucket = max(b for b in range(buckets) if count[b] >= k)
        above = [*count, 0][bucket + 1]
        want.append((bucket, k - above - 1, int(count[bucket] - above == 1)))
        mine = beats_of([row], buckets)
        beats += [{**beat, "less": 0 if n else k - 1} for n, beat in enumerate(mine)]
        ends += [beat["last"] for beat in mine]
        rows.append(row)
    dut = Countdown(buckets=buckets, lanes=lanes, count_bits=8)
    result = run_streams(dut, {"i": beats}, {"o": len(want)}, stall={"i": stall})
    assert [(f.bucket, f.less, f.single) for f in result.outputs["o"]] == want
    times = [t for t, last in zip(result.times["i"], ends, strict=True) if last]
    assert result.times["o"] == [t + dut.latency for t in times]


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Histogram(buckets=1, lanes=1, count_bits=4), r"^Buckets must be in 2\.\.4096"),
        (lambda: Histogram(buckets=2, lanes=0, count_bits=4), r"^Lanes must be at least 1, not 0"),
        (lambda: BucketFind(buckets=2, count_bits=0), r"^Count bits must be at least 1, not 0"),
        (lambda: Countdown(buckets=2, lanes=0, count_bits=4), r"^Lanes must be at least 1, not 0"),
    ],
)
def test_bad_parameters(build, message):
    with pytest.raises(ValueError, match=message):
        build()


class Proof(wiring.Component):
    """Any row: the bucket that is found holds the k-th largest of its codes.

    Parameters
    ----------
    down : bool
        Of the countdown; otherwise of the histogram with its bucket.
    off : int
        What is wrong with the claim; 0 to prove it.
    """

    buckets, lanes = 4, 2

    def __init__(self, *, down, off=0):
        self.down, self.off = down, off
        super().__init__({})

    def elaborate(self, platform):
        m = Module()
        k, row, bucket = AnyConst(4), AnyConst(3), AnyConst(2)
        i, found = (self._countdown if self.down else self._histogram)(m, k)
        code, keep = Signal(data.ArrayLayout(2, self.lanes)), Signal(self.lanes)
        m.d.comb += [code.as_value().eq(AnySeq(4)), keep.eq(AnySeq(2))]
        for b, reach in enumerate(i.p.reach):
            m.d.comb += reach.eq(Cat(keep[n] & (code[n] >= b) for n in range(self.lanes)))
        came, told = Signal(3), Signal(3)
        above, reaching, total = Signal(5), Signal(5), Signal(5)
        with m.If(i.valid):
            m.d.sync += came.eq(came + i.p.last)
            with m.If(came == row):
                m.d.sync += [
                    above.eq(above + sum(keep[n] & (code[n] > bucket) for n in (0, 1))),
                    reaching.eq(reaching + sum(keep[n] & (code[n] >= bucket) for n in (0, 1))),
                    total.eq(total + sum(keep)),
                ]
        m.d.comb += [Assume(k != 0), Assume(total < 8), Assume(came != 7)]
        m.d.sync += told.eq(told + found.valid)
        here = found.valid & (told == row)
        with m.If(here & (k <= total)):
            mine = found.p.bucket == bucket
            m.d.comb += [
                Assert(mine == ((above < k) & (reaching >= k + self.off))),
                *(Assert(~mine | claim) for claim in self._claims(found.p, k, above, reaching)),
                Cover(mine & (total == 5) & (row == 1) & (above == 2)),
            ]
        with m.If(found.valid):
            m.d.comb += Assert(came > told)
        return m

    def _histogram(self, m, k):
        histogram = m.submodules.histogram = Histogram(
            buckets=self.buckets, lanes=self.lanes, count_bits=4
        )
        find = m.submodules.find = BucketFind(buckets=self.buckets, count_bits=4)
        m.d.comb += [
            histogram.i.valid.eq(AnySeq(1)),
            histogram.i.p.last.eq(AnySeq(1)),
            find.i.valid.eq(histogram.o.valid),
            find.i.p.count.eq(histogram.o.p),
            find.i.p.k.eq(k),
        ]
        return histogram.i, find.o

    def _countdown(self, m, k):
        dut = m.submodules.countdown = Countdown(
            buckets=self.buckets, lanes=self.lanes, count_bits=4
        )
        first = Signal(init=1)
        with m.If(dut.i.valid):
            m.d.sync += first.eq(dut.i.p.last)
        m.d.comb += [
            dut.i.valid.eq(AnySeq(1)),
            dut.i.p.last.eq(AnySeq(1)),
            dut.i.p.less.eq(Mux(first, k - 1, AnySeq(4))),
        ]
        return dut.i, dut.o

    def _claims(self, found, k, above, reaching):
        if self.down:
            return [found.less == k - above - 1, found.single == (reaching - above == 1)]
        return [found.above == above, found.reaching == reaching]


@pytest.mark.parametrize(("down", "depth"), [(False, 11), (True, 8)])
def test_proof(down, depth):
    prove(Proof(down=down), depth=depth, name="histogram")


@pytest.mark.parametrize("down", [False, True])
def test_everything_is_reached(down):
    prove(Proof(down=down), depth=13, mode="cover", name="histogram")


@pytest.mark.parametrize("down", [False, True])
def test_a_wrong_claim_is_refuted(down):
    with pytest.raises(ProofError):
        prove(Proof(down=down, off=1), depth=11, name="histogram")
