"""Keeps the k largest values of a row, once their threshold is known."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from attnsieve.hdl.lib.reduce import count_ones
from attnsieve.hdl.select.top_k import TopKParams

__all__ = ["Keep"]


class Keep(wiring.Component):
    """Flags the values above a row's threshold, and the first ``equal`` of those that equal it.

    The other half of a top-k engine: it reads the row again, in beats of any width, in order.

    Two registers: latency `latency` cycles. Throughput: one beat per cycle, no gap between rows. A
    row's threshold is taken with its last beat, and its beats wait for it.

    Parameters
    ----------
    params : TopKParams
        Of the engine.
    lanes : int
        Values of a beat here.

    Members
    -------
    i : In(stream({value[lanes], keep, last}))
        Values; those without ``keep`` take no part.
    threshold : In(stream(threshold_layout))
        One per row.
    o : Out(stream({keep, last}))
        Of each beat, the values that stay.
    """

    i: stream.Interface
    threshold: stream.Interface
    o: stream.Interface

    #: Cycles from a beat to its flags.
    latency = 2

    def __init__(self, *, params: TopKParams, lanes: int) -> None:
        self.params, self.lanes = params, lanes
        values = data.ArrayLayout(unsigned(params.value_bits), lanes)
        flags = {"keep": unsigned(lanes), "last": unsigned(1)}
        beat = data.StructLayout({"value": values, **flags})
        super().__init__(
            {
                "i": In(stream.Signature(beat)),
                "threshold": In(stream.Signature(params.threshold_layout())),
                "o": Out(stream.Signature(data.StructLayout(flags))),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        beat, limit, o = self.i.p, self.threshold.p, self.o
        above, equal, last, allowed, valid = (
            Signal(self.lanes, name="above"),
            Signal(self.lanes, name="equal"),
            Signal(name="last"),
            Signal(self.params.count_bits, name="allowed"),
            Signal(name="valid"),
        )
        advance = Signal()
        m.d.comb += [
            advance.eq(~o.valid | o.ready),
            self.i.ready.eq(advance & self.threshold.valid),
            self.threshold.ready.eq(advance & self.i.valid & beat.last),
        ]
        with m.If(advance):
            m.d.sync += [
                valid.eq(self.i.valid & self.threshold.valid),
                last.eq(beat.last),
                allowed.eq(limit.equal),
                above.eq(Cat(k & (v > limit.value) for k, v in self._lanes())),
                equal.eq(Cat(k & (v == limit.value) for k, v in self._lanes())),
                o.valid.eq(valid),
                o.p.last.eq(last),
            ]
        # The second register: equal values count, from lane to lane and from beat to beat.
        seen = Signal(self.params.count_bits)
        for lane in range(self.lanes):
            before = seen + count_ones(equal[:lane]) if lane else seen
            with m.If(advance):
                m.d.sync += o.p.keep[lane].eq(above[lane] | (equal[lane] & (before < allowed)))
        with m.If(advance & valid):
            m.d.sync += seen.eq(Mux(last, 0, seen + count_ones(equal)))
        return m

    def _lanes(self) -> list[tuple[Any, Any]]:
        return list(zip(self.i.p.keep, self.i.p.value, strict=True))
