"""Finds the bucket in which the k-th largest value lies."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from attnsieve.hdl.lib.checks import check_int
from attnsieve.hdl.lib.reduce import either

__all__ = ["BucketFind"]


class BucketFind(wiring.Component):
    """The highest bucket that k values reach, of a cumulative histogram.

    Counts fall from bucket to bucket, so the comparisons "count >= k" are ones up to that bucket
    and zeros above. For k = 0 or k above the total, the bucket means nothing.

    Latency: `latency` = 2 cycles. Throughput: one row per cycle. Nothing waits.

    Parameters
    ----------
    buckets, count_bits : int
        See `Histogram`.

    Members
    -------
    i : In(stream({count[buckets], k}, always ready))
    o : Out(stream({bucket, above, reaching}, always ready))
        Values above the bucket, and values above or in it.
    """

    i: stream.Interface
    o: stream.Interface

    latency = 2

    def __init__(self, *, buckets: int, count_bits: int) -> None:
        check_int("Buckets", buckets, 2, 4096)
        check_int("Count bits", count_bits, 1)
        self.buckets, self.count_bits = buckets, count_bits
        counts = data.ArrayLayout(unsigned(count_bits), buckets)
        found = data.StructLayout(
            {
                "bucket": unsigned((buckets - 1).bit_length()),
                "above": unsigned(count_bits),
                "reaching": unsigned(count_bits),
            }
        )
        request = data.StructLayout({"count": counts, "k": unsigned(count_bits)})
        super().__init__(
            {
                "i": In(stream.Signature(request, always_ready=True)),
                "o": Out(stream.Signature(found, always_ready=True)),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        i, o, buckets = self.i, self.o, self.buckets
        valid, reached = Signal(), Signal(buckets)
        count = Signal(i.p.count.shape())
        m.d.sync += [
            valid.eq(i.valid),
            o.valid.eq(valid),
            reached.eq(Cat(Const(1), *(i.p.count[b] >= i.p.k for b in range(1, buckets)))),
            count.eq(i.p.count),
        ]
        here = Signal(buckets)
        m.d.comb += here.eq(reached & ~(reached >> 1))
        above, reaching, index = [], [], []
        for b in range(buckets):
            over = count[b + 1] if b + 1 < buckets else Const(0, self.count_bits)
            above.append(Mux(here[b], over, 0))
            reaching.append(Mux(here[b], count[b], 0))
            index.append(Mux(here[b], Const(b, len(o.p.bucket)), 0))
        m.d.sync += [
            o.p.bucket.eq(either(index)),
            o.p.above.eq(either(above)),
            o.p.reaching.eq(either(reaching)),
        ]
        return m
