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

    Without ``demand`` regions pass. With it each waits for its list, and asks for the rows of that
    list only. A list is free when its last line has been read. An empty list has no line: its
    region is dropped, and the list is free at once, but not before those before it.

    Latency: none. Throughput: a region per cycle.

    Parameters
    ----------
    params : CoreParams
        The core; with value_demand.

    Members
    -------
    demand : In(1)
        Of the job.
    i : In(stream(region_layout))
        Regions of KV heads.
    count : In(stream({count}))
        Lists of KV heads, in the same order.
    o : Out(stream(region_layout))
        Regions to read.
    end : In(1)
        The last line of the oldest list is read.
    free : Out(1)
        The oldest list is not read again.
    """

    demand: Signal
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
                "demand": In(1),
                "i": In(region),
                "count": In(stream.Signature(data.StructLayout({"count": params.key_bits}))),
                "o": Out(region),
                "end": In(1),
                "free": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        both, some, drop, ask = Signal(), Signal(), Signal(), Signal()
        half, reading = Signal(), Signal(range(3))  # lists that are being read
        m.d.comb += [
            both.eq(self.i.valid & self.count.valid),
            some.eq(self.count.p.count != 0),
            self.o.p.eq(self.i.p),
            self.free.eq(self.end | drop),
        ]
        with m.If(self.demand):
            m.d.comb += [
                self.o.valid.eq(both & some),
                ask.eq(self.o.valid & self.o.ready),
                drop.eq(both & ~some & (reading == 0)),
                self.i.ready.eq(ask | drop),
                self.count.ready.eq(ask | drop),
                self.o.p.rows.eq(self.count.p.count),
                self.o.p.demand.eq(1),
                self.o.p.half.eq(half),
            ]
        with m.Else():
            m.d.comb += [self.o.valid.eq(self.i.valid), self.i.ready.eq(self.o.ready)]
        m.d.sync += [half.eq(half ^ (ask | drop)), reading.eq(reading + ask - self.end)]
        return m
