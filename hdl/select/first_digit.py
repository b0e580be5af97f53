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
)
from attnsieve.hdl.select.search import found_layout, search_layout
from attnsieve.hdl.select.top_k import TopKParams

__all__ = ["FirstDigit"]


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

    Latency: `latency` = 6 cycles from a row's last beat. Throughput: one beat per cycle. Nothing
    waits. Rows get the tags 0, 1, … ``rows`` - 1 in turn.

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
        return 1 + Histogram.latency + BucketFind.latency + 1

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        p, bits = self.params, self.params.value_bits
        m.submodules.histogram = histogram = Histogram(
            buckets=self.buckets, lanes=p.lanes, count_bits=p.count_bits
        )
        m.submodules.find = find = BucketFind(buckets=self.buckets, count_bits=p.count_bits)
        m.d.sync += [histogram.i.valid.eq(self.i.valid), histogram.i.p.last.eq(self.i.p.last)]
        flags = zip(*(code_reached(v, self.fraction) for v in self.i.p.value), strict=True)
        for reach, lanes in zip(histogram.i.p.reach, flags, strict=True):
            m.d.sync += reach.eq(self.i.p.keep & Cat(lanes))
        k, total = delayed(m, self.i.p.k, 1 + Histogram.latency), histogram.o.p[0]
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
