"""Which rows of a list follow each other in memory, once it is known which of them stay."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from attnsieve.hdl.axi.row_units import listed_row_layout
from attnsieve.hdl.lib.checks import check_int
from attnsieve.hdl.lib.ragged import flagged_layout

__all__ = ["Neighbours"]


class Neighbours(wiring.Component):
    """Clears a row's ``before`` and ``after`` where the lane below or above is not kept.

    Lanes go on from beat to beat of a group: so a beat waits for the next one, but for the last.
    ``o.valid`` and ``i.ready`` depend combinationally on ``i.valid`` and ``o.ready``.

    Latency: `latency` = 1 cycle, of a beat that is not the last one from the next beat's offer on.
    Throughput: one beat per cycle.

    Parameters
    ----------
    index_bits : int
        Of a row's index.
    lanes : int
        Rows of a beat.

    Members
    -------
    i : In(stream(flagged_layout of listed_row_layout))
        ``before`` and ``after``: the neighbour in memory is the one in the next lane.
    o : Out(stream(flagged_layout of listed_row_layout))
        ``before`` and ``after``: and it is kept.
    """

    i: stream.Interface
    o: stream.Interface

    #: Cycles from the group's last beat.
    latency = 1

    def __init__(self, *, index_bits: int, lanes: int) -> None:
        check_int("Index bits", index_bits, 1)
        check_int("Lanes", lanes, 1)
        self.lanes = lanes
        beat = flagged_layout(shape=listed_row_layout(index_bits=index_bits), lanes=lanes)
        super().__init__({"i": In(stream.Signature(beat)), "o": Out(stream.Signature(beat))})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        held, full = Signal(self.i.p.shape(), reset_less=True), Signal()
        below, above = Signal(), Signal()  # kept: the lanes around the beat
        take = Signal()
        m.d.comb += [
            self.i.ready.eq(~full | self.o.ready),
            take.eq(self.i.valid & self.i.ready),
            self.o.valid.eq(full & (held.last | self.i.valid)),
            above.eq(self.i.p.keep[0] & ~held.last),
            self.o.p.keep.eq(held.keep),
            self.o.p.last.eq(held.last),
        ]
        kept: list[Value] = [below, *held.keep, above]
        for lane, (row, out) in enumerate(zip(held.item, self.o.p.item, strict=True)):
            m.d.comb += [
                out.index.eq(row.index),
                out.before.eq(row.before & kept[lane]),
                out.after.eq(row.after & kept[lane + 2]),
            ]
        with m.If(take):
            m.d.sync += [
                full.eq(1),
                held.eq(self.i.p),
                below.eq(full & held.keep[-1] & ~held.last),
            ]
        with m.Elif(self.o.valid & self.o.ready):
            m.d.sync += full.eq(0)
        return m
