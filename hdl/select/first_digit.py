"""The first step of a radix select: buckets the values of a row as they arrive."""

from __future__ import annotations

from typing import Any, NamedTuple

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from attnsieve.hdl.lib.checks import check_int
from attnsieve.hdl.lib.delay import delayed
from attnsieve.hdl.select.bucket_find import BucketFind
from attnsieve.hdl.select.histogram import Histogram
from attnsieve.hdl.select.leading_code import (
    code_bits,
    code_count,
    code_reached,
    code_rest,
    code_start,
    leading_ones,
)
from attnsieve.hdl.select.search import found_layout, search_layout
from attnsieve.hdl.select.top_k import TopKParams

__all__ = ["WIDE", "FirstDigit"]

#: Bits of a value from which on its leading one is looked for in a cycle of its own.
WIDE = 24


class _Row(NamedTuple):
    """What else is known of a row as its bucket is found."""

    k: Value
    less: Value  # k less one
    total: Value  # values
    none: Value  # k is 0
    every: Value  # k is no less than the values


class FirstDigit(wiring.Component):
    """Beats of values in; per row, the bucket of leading codes that holds the k-th largest.

    Where that decides the threshold (k = 0, k no less than the values, a code of one value), it is
    given out at once, and the search only says that the row is known.

    Latency: `latency` = 6 cycles from a row's last beat, 7 from `WIDE` bits on. Throughput: one
    beat per cycle. Nothing waits. Rows get the tags 0, 1, … ``rows`` - 1 in turn.

    Parameters
    ----------
    params : TopKParams
    fraction : int
        Bits of the code after the leading one.
    rows : int
        Tags, a power of two.

    Members
    -------
    i : In(stream(TopKParams.beat_layout(), always ready))
    o : Out(stream(search_layout, always ready))
    found : Out(stream(found_layout, always ready))
    """

    i: stream.Interface
    o: stream.Interface
    found: stream.Interface

    def __init__(self, *, params: TopKParams, fraction: int, rows: int) -> None:
        check_int("Fraction", fraction, 0, params.value_bits - 1)
        self.params, self.fraction = params, fraction
        self.leads_latency = int(params.value_bits >= WIDE)
        self.tag_bits = (rows - 1).bit_length()
        self.buckets = code_count(params.value_bits, fraction)
        streams = {
            "o": search_layout(params, self.tag_bits),
            "found": found_layout(params, self.tag_bits),
        }
        super().__init__(
            {
                "i": In(stream.Signature(params.beat_layout(), always_ready=True)),
                **{
                    name: Out(stream.Signature(layout, always_ready=True))
                    for name, layout in streams.items()
                },
            }
        )

    @property
    def latency(self) -> int:
        """Cycles from a row's last beat to its search."""
        return self.leads_latency + 1 + Histogram.latency + BucketFind.latency + 1

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        p, bits = self.params, self.params.value_bits
        m.submodules.histogram = histogram = Histogram(
            buckets=self.buckets, lanes=p.lanes, count_bits=p.count_bits
        )
        m.submodules.find = find = BucketFind(buckets=self.buckets, count_bits=p.count_bits)
        self._count(m, histogram.i)
        since = self.leads_latency + 1 + Histogram.latency
        k, total = delayed(m, self.i.p.k, since), histogram.o.p[0]
        m.d.comb += [
            find.i.valid.eq(histogram.o.valid),
            find.i.p.count.eq(histogram.o.p),
            find.i.p.k.eq(k),
        ]
        row = _Row(
            *(
                delayed(m, each, BucketFind.latency)
                for each in (k, (k - 1)[: p.count_bits], total, k == 0, k >= total)
            )
        )
        code = Signal(code_bits(bits, self.fraction))
        m.d.comb += code.eq(find.o.p.bucket)
        self._tell(m, find.o, code, row)
        return m

    def _count(self, m: Module, reach: Any) -> None:
        """Of each bucket the lanes that reach it. It takes first where a value has ones."""
        i, late = self.i, self.leads_latency
        leads = [delayed(m, leading_ones(value), late) for value in i.p.value]
        values = [delayed(m, value, late) for value in i.p.value]
        keep = delayed(m, i.p.keep, late)
        codes = (
            code_reached(*each, self.fraction) for each in zip(values, leads, strict=True)
        )
        m.d.sync += [
            reach.valid.eq(delayed(m, i.valid, late)),
            reach.p.last.eq(delayed(m, i.p.last, late)),
            *(
                flags.eq(keep & Cat(lanes))
                for flags, lanes in zip(reach.p.reach, zip(*codes, strict=True), strict=True)
            ),
        ]

    def _tell(self, m: Module, bucket: Any, code: Signal, row: _Row) -> None:
        """The search, and the threshold if it is known."""
        p, o, found = self.params, self.o, self.found
        rest = code_rest(code, self.fraction)
        start = code_start(code, p.value_bits, self.fraction)
        known = row.none | row.every | (rest == 0)
        tag = Signal(self.tag_bits)
        with m.If(bucket.valid):
            m.d.sync += tag.eq(tag + 1)
        value = Mux(row.none, (1 << p.value_bits) - 1, Mux(row.every, 0, start))
        inside = row.k - bucket.p.above
        m.d.sync += [
            o.valid.eq(bucket.valid),
            o.p.tag.eq(tag),
            o.p.value.eq(start),
            o.p.rest.eq(rest),
            o.p.less.eq(row.less - bucket.p.above),
            o.p.single.eq((bucket.p.above == row.less) & (bucket.p.reaching == row.k)),
            o.p.known.eq(known),
            found.valid.eq(bucket.valid & known),
            found.p.tag.eq(tag),
            found.p.threshold.value.eq(value),
            found.p.threshold.equal.eq(Mux(row.none, 0, Mux(row.every, row.total, inside))),
        ]
