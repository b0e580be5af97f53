"""Counts how many codes of a row reach each bucket."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Mux, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from attnsieve.hdl.lib.checks import check_int
from attnsieve.hdl.lib.gates import count_flags

__all__ = ["Histogram"]


class Histogram(wiring.Component):
    """Cumulative histogram: for each bucket b, the codes of a row that are b or more.

    Codes come compared with every bucket; the ones of a bucket are summed. So the counts
    come summed from above, as `BucketFind` wants them, with no pass over the buckets.

    Latency: `latency` = 2 cycles from a row's last beat. Throughput: one beat per cycle, rows
    follow one another without a gap. Nothing waits: counts are valid for one cycle.

    Parameters
    ----------
    buckets : int
        Codes are 0 to buckets - 1.
    lanes : int
        Codes of a beat.
    count_bits : int
        Bits of a count.

    Members
    -------
    i : In(stream({reach[buckets], last}, always ready))
        Of each bucket the lanes whose codes take part and are it or more.
    o : Out(stream(ArrayLayout(unsigned(count_bits), buckets), always ready))
        Counts of a row; element 0 is the number of codes.
    """

    i: stream.Interface
    o: stream.Interface

    latency = 2

    def __init__(self, *, buckets: int, lanes: int, count_bits: int) -> None:
        check_int("Buckets", buckets, 2, 4096)
        check_int("Lanes", lanes, 1)
        check_int("Count bits", count_bits, 1)
        self.buckets, self.lanes, self.count_bits = buckets, lanes, count_bits
        beat = data.StructLayout(
            {"reach": data.ArrayLayout(unsigned(lanes), buckets), "last": unsigned(1)}
        )
        counts = data.ArrayLayout(unsigned(count_bits), buckets)
        super().__init__(
            {
                "i": In(stream.Signature(beat, always_ready=True)),
                "o": Out(stream.Signature(counts, always_ready=True)),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        i, o = self.i, self.o
        valid, last, first = Signal(), Signal(), Signal(init=1)
        m.d.sync += [valid.eq(i.valid), last.eq(i.p.last), o.valid.eq(valid & last)]
        with m.If(valid):
            m.d.sync += first.eq(last)
        for bucket in range(self.buckets):
            of_beat = Signal(range(self.lanes + 1), name=f"of_beat{bucket}")
            m.d.sync += of_beat.eq(count_flags(list(i.p.reach[bucket])))
            with m.If(valid):
                m.d.sync += o.p[bucket].eq(Mux(first, 0, o.p[bucket]) + of_beat)
        return m
