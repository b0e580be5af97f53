"""Which rows of V are asked for: all that a job lists, or those that rows keep."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from attnsieve.hdl.layouts import region_layout
from attnsieve.hdl.params import CoreParams, check_params

__all__ = ["ValueRequests"]


class ValueRequests(wiring.Component):
    """Joins the regions of V with the lists of what is kept of them.

    Regions without ``demand`` pass. One with it waits for its list, and asks for the rows of that
    list only. A list is free when its last line has been read. An empty list has no line: it is
    free as its region passes, which waits for the lists before it to be read.

    Latency: none. Throughput: a region per cycle.

    Parameters
    ----------
    params : CoreParams
        The core; with value_demand.

    Members
    -------
    i : In(stream(region_layout))
        Regions of KV heads.
    count : In(stream({count}))
        Lists of those with ``demand``, in the same order.
    o : Out(stream(region_layout))
        Regions to read; some have no row.
    end : In(1)
        The last line of the oldest list is read.
    free : Out(1)
        The oldest list is not read again.
    """

    i: stream.Interface
    count: stream.Interface
    o: stream.Interface
    end: Signal
    free: Signal

    def __init__(self, *, params: CoreParams) -> None:
        check_params(params)
        if not params.value_demand:
            raise ValueError("value_demand must be true to read values on demand, not false")
        self.params = params
        region = stream.Signature(region_layout(params))
        super().__init__(
            {
                "i": In(region),
                "count": In(stream.Signature(data.StructLayout({"count": params.key_bits}))),
                "o": Out(region),
                "end": In(1),
                "free": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        some, known, ask = Signal(), Signal(), Signal()
        half, reading = Signal(), Signal(range(3))  # lists that are being read
        m.d.comb += [
            some.eq(self.count.p.count != 0),
            known.eq(self.count.valid & (some | (reading == 0))),
            self.o.valid.eq(self.i.valid & (known | ~self.i.p.demand)),
            self.i.ready.eq(self.o.ready & (known | ~self.i.p.demand)),
            self.o.p.eq(self.i.p),
            ask.eq(self.o.valid & self.o.ready & self.i.p.demand),
            self.count.ready.eq(ask),
            self.free.eq(self.end | (ask & ~some)),
        ]
        with m.If(self.i.p.demand):
            m.d.comb += [self.o.p.rows.eq(self.count.p.count), self.o.p.half.eq(half)]
        m.d.sync += [half.eq(half ^ ask), reading.eq(reading + (ask & some) - self.end)]
        return m
