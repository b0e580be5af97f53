"""Finds the bucket of a row's k-th largest code by counting down from k."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Const, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from attnsieve.hdl.lib.checks import check_int
from attnsieve.hdl.lib.gates import count_flags
from attnsieve.hdl.lib.reduce import either

__all__ = ["Countdown"]


class Countdown(wiring.Component):
    """The bucket that holds the k-th largest code of a row, for a k that is known before the row.

    Of each bucket b the codes that are b or more are taken from k - 1: what is left is negative
    where they are k or more, with no comparison. Of the highest such bucket, what is left of
    the one above it is the k - 1 of the search in the bucket. For k = 0 or k above the number of
    codes, the bucket means nothing.

    Latency: `latency` = 3 cycles from a row's last beat. Throughput: one beat per cycle, rows
    follow one another without a gap. Nothing waits.

    Parameters
    ----------
    buckets, lanes, count_bits : int
        See `Histogram`.

    Members
    -------
    i : In(stream({reach[buckets], less, last}, always ready))
        Of each bucket the lanes whose codes take part and are it or more; k less one, read with
        the row's first beat.
    o : Out(stream({bucket, less, single}, always ready))
        The bucket; k less those above it, less one; whether there is but one code in it.
    """

    i: stream.Interface
    o: stream.Interface

    latency = 3

    def __init__(self, *, buckets: int, lanes: int, count_bits: int) -> None:
        check_int("Buckets", buckets, 2, 4096)
        check_int("Lanes", lanes, 1)
        check_int("Count bits", count_bits, 1)
        self.buckets, self.lanes, self.count_bits = buckets, lanes, count_bits
        beat = data.StructLayout(
            {
                "reach": data.ArrayLayout(unsigned(lanes), buckets),
                "less": unsigned(count_bits),
                "last": unsigned(1),
            }
        )
        found = data.StructLayout(
            {
                "bucket": unsigned((buckets - 1).bit_length()),
                "less": unsigned(count_bits),
                "single": unsigned(1),
            }
        )
        super().__init__(
            {
                "i": In(stream.Signature(beat, always_ready=True)),
                "o": Out(stream.Signature(found, always_ready=True)),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        i, bits = self.i, self.count_bits
        valid, last, first, ends = Signal(), Signal(), Signal(init=1), Signal()
        less, start = Signal(bits), Signal(bits)
        m.d.sync += [valid.eq(i.valid), last.eq(i.p.last), less.eq(i.p.less)]
        m.d.sync += [ends.eq(valid & last), self.o.valid.eq(ends)]
        with m.If(valid):
            m.d.sync += first.eq(last)
            with m.If(first):
                m.d.sync += start.eq(less)
        left = []
        for bucket in range(self.buckets):
            of_beat = Signal(range(self.lanes + 1), name=f"of_beat{bucket}")
            rest = Signal(signed(bits + 1), name=f"left{bucket}")
            m.d.sync += of_beat.eq(count_flags(list(i.p.reach[bucket])))
            with m.If(valid):
                m.d.sync += rest.eq(Mux(first, less, rest) - of_beat)
            left.append(rest)
        self._select(m, left, start)
        return m

    def _select(self, m: Module, left: list[Signal], start: Value) -> None:
        """Of the highest bucket that k codes reach, and of the one above it, what is left."""
        over, its, index = [], [], []
        for bucket, rest in enumerate(left):
            top = bucket + 1 == self.buckets
            above = start if top else left[bucket + 1][:-1]
            fails = Const(1) if top else ~left[bucket + 1][-1]
            here = fails & rest[-1] if bucket else fails
            over.append(Mux(here, above, 0))
            its.append(Mux(here, rest, 0).as_unsigned()[: self.count_bits])
            index.append(Mux(here, Const(bucket, len(self.o.p.bucket)), 0))
        own = Signal(self.count_bits)
        m.d.sync += [
            self.o.p.bucket.eq(either(index)), self.o.p.less.eq(either(over)), own.eq(either(its))
        ]  # fmt: skip
        m.d.comb += self.o.p.single.eq((self.o.p.less == 0) & own.all())
