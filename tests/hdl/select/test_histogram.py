# amaranth: UnusedElaboratable=no
"""Histogram and bucket: counts of any rows; the bucket of the k-th largest; latency; proof."""

from __future__ import annotations

import random

import pytest
from amaranth.asserts import AnyConst
from amaranth.hdl import Assert, Assume, Cover, Module, Signal
from amaranth.lib import wiring

from attnsieve.hdl.select.bucket_find import BucketFind
from attnsieve.hdl.select.histogram import Histogram
from attnsieve.sim.formal import ProofError, free_inputs, prove
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


def beats_of(rows):
    return [
        {
            "code": [code for code, _ in beat],
            "keep": sum(keep << lane for lane, (_, keep) in enumerate(beat)),
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
    beats = beats_of(rows)
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


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Histogram(buckets=1, lanes=1, count_bits=4), r"^Buckets must be in 2\.\.4096"),
        (lambda: Histogram(buckets=2, lanes=0, count_bits=4), r"^Lanes must be at least 1, not 0"),
        (lambda: BucketFind(buckets=2, count_bits=0), r"^Count bits must be at least 1, not 0"),
    ],
)
def test_bad_parameters(build, message):
    with pytest.raises(ValueError, match=message):
        build()


class Proof(wiring.Component):
    """Any row: the bucket that is found holds the k-th largest of its codes.

    Parameters
    ----------
    off : int
        What is wrong with the claim; 0 to prove it.
    """

    buckets, lanes = 4, 2

    def __init__(self, *, off=0):
        self.off = off
        super().__init__({})

    def elaborate(self, platform):
        m = Module()
        histogram = m.submodules.histogram = Histogram(
            buckets=self.buckets, lanes=self.lanes, count_bits=4
        )
        find = m.submodules.find = BucketFind(buckets=self.buckets, count_bits=4)
        free_inputs(m, histogram)
        k, row, bucket = AnyConst(4), AnyConst(3), AnyConst(2)
        m.d.comb += [
            find.i.valid.eq(histogram.o.valid),
            find.i.p.count.eq(histogram.o.p),
            find.i.p.k.eq(k),
        ]
        came, told = Signal(3), Signal(3)
        above, reaching, total = Signal(5), Signal(5), Signal(5)
        i = histogram.i
        with m.If(i.valid):
            m.d.sync += came.eq(came + i.p.last)
            with m.If(came == row):
                kept = [i.p.keep[lane] for lane in range(self.lanes)]
                m.d.sync += [
                    above.eq(above + sum(kept[n] & (i.p.code[n] > bucket) for n in (0, 1))),
                    reaching.eq(reaching + sum(kept[n] & (i.p.code[n] >= bucket) for n in (0, 1))),
                    total.eq(total + sum(kept)),
                ]
        m.d.comb += [Assume(k != 0), Assume(total < 8), Assume(came != 7)]
        m.d.sync += told.eq(told + find.o.valid)
        here = find.o.valid & (told == row)
        with m.If(here & (k <= total)):
            mine = find.o.p.bucket == bucket
            m.d.comb += [
                Assert(mine == ((above < k) & (reaching >= k + self.off))),
                Assert(~mine | (find.o.p.above == above)),
                Assert(~mine | (find.o.p.reaching == reaching)),
                Cover(mine & (total == 5) & (row == 1) & (above == 2)),
            ]
        with m.If(find.o.valid):
            m.d.comb += Assert(came > told)
        return m


def test_proof():
    prove(Proof(), depth=11, name="histogram")


def test_everything_is_reached():
    prove(Proof(), depth=13, mode="cover", name="histogram")


def test_a_wrong_claim_is_refuted():
    with pytest.raises(ProofError):
        prove(Proof(off=1), depth=11, name="histogram")
