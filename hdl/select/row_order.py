"""Thresholds that come in any order, given out in the order of their rows."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from attnsieve.hdl.lib.checks import check_power_of_two

__all__ = ["RowOrder"]


class RowOrder(wiring.Component):
    """Keeps the thresholds of rows until those of all earlier rows are out.

    Latency: 1 cycle. Throughput: one row per cycle. The places are its users': a tag may come again
    only after its row was taken at the output.

    Parameters
    ----------
    found : StructLayout
        ``tag`` and ``threshold``.
    rows : int
        Tags, a power of two.
    sources : int
        Inputs.

    Members
    -------
    i : In(stream(found, always ready)) of ``sources``
        No two with one tag.
    o : Out(stream(found["threshold"]))
        Tags 0, 1, … rows - 1 in turn.
    """

    o: stream.Interface

    latency = 1

    def __init__(self, *, found: data.StructLayout, rows: int, sources: int) -> None:
        check_power_of_two("Rows", rows, 2)
        self.rows, self.threshold = rows, found["threshold"].shape
        super().__init__(
            {
                "i": In(stream.Signature(found, always_ready=True)).array(sources),
                "o": Out(stream.Signature(self.threshold)),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        there = Signal(self.rows)
        kept = Signal(data.ArrayLayout(self.threshold, self.rows))
        oldest = Signal(range(self.rows))
        taken = self.o.valid & self.o.ready
        m.d.comb += [
            self.o.valid.eq(there.bit_select(oldest, 1)),
            self.o.payload.eq(kept[oldest]),
        ]
        m.d.sync += oldest.eq(oldest + taken)
        for row in range(self.rows):
            with m.If(taken & (oldest == row)):
                m.d.sync += there[row].eq(0)
            for source in self.i:
                with m.If(source.valid & (source.p.tag == row)):
                    m.d.sync += [there[row].eq(1), kept[row].eq(source.p.threshold)]
        return m
