"""Makes wide beats of narrow ones."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from attnsieve.hdl.lib.checks import check_int
from attnsieve.hdl.lib.ragged import flagged_layout

__all__ = ["Widener"]


class Widener(wiring.Component):
    """Lays ``ratio`` beats of a group side by side.

    A wide beat leaves when it is full or with the group's last beat; lanes that no beat has filled
    are not kept. Latency: `latency` = 1 cycle from the narrow beat that completes a wide one.
    Throughput: one narrow beat per cycle; ``i.ready`` depends on ``o.ready`` combinationally.

    Parameters
    ----------
    shape : ShapeLike
        Of an item.
    lanes : int
        Items of a narrow beat.
    ratio : int
        Narrow beats of a wide one.

    Members
    -------
    i : In(stream(flagged_layout))
    o : Out(stream(flagged_layout))
    """

    i: stream.Interface
    o: stream.Interface

    #: Cycles from the beat that completes a wide one to the wide one.
    latency = 1

    def __init__(self, *, shape: Any, lanes: int, ratio: int) -> None:
        check_int("Lanes", lanes, 1)
        check_int("Ratio", ratio, 1)
        self.lanes, self.ratio = lanes, ratio
        narrow, wide = (flagged_layout(shape=shape, lanes=n) for n in (lanes, lanes * ratio))
        super().__init__({"i": In(stream.Signature(narrow)), "o": Out(stream.Signature(wide))})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        place, o = Signal(range(self.ratio)), self.o
        take = Signal()
        m.d.comb += [
            self.i.ready.eq(~o.valid | o.ready),
            take.eq(self.i.valid & self.i.ready),
        ]
        with m.If(o.ready):
            m.d.sync += o.valid.eq(0)
        with m.If(take):
            complete = self.i.p.last | (place == self.ratio - 1)
            m.d.sync += [o.valid.eq(complete), o.p.last.eq(self.i.p.last)]
            m.d.sync += place.eq(place + 1)
            with m.If(complete):
                m.d.sync += place.eq(0)
            with m.If(place == 0):
                m.d.sync += o.p.keep.eq(0)
            for n in range(self.ratio):  # no switch: with one place it would have no bits
                first, end = n * self.lanes, (n + 1) * self.lanes
                with m.If(place == n):
                    m.d.sync += o.p.keep[first:end].eq(self.i.p.keep)
                    m.d.sync += [
                        o.p.item[first + lane].eq(self.i.p.item[lane])
                        for lane in range(self.lanes)
                    ]
        return m
