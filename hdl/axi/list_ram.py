"""A memory of lists: written in beats of rows, read in lines."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from attnsieve.hdl.axi.row_units import listed_row_layout
from attnsieve.hdl.lib.checks import check_int
from attnsieve.hdl.lib.ram import Ram

__all__ = ["ListRam"]


class ListRam(wiring.Component):
    """Keeps beats of rows in LUT RAM; a line is a beat, or a part of one.

    Latency: `latency` = 1 cycle to read a line. Throughput: a beat in and a line out per cycle.

    Parameters
    ----------
    index_bits : int
        Of a row's index.
    lanes : int
        Rows of a beat.
    line : int
        Rows of a line; they divide a beat into a power of two.
    depth : int
        Beats.

    Members
    -------
    write : In({"address": range(depth), "data": beat, "en": 1})
    line : In, en : In(1)
        Line to read, not in the cycle in which its beat is written.
    data : Out(line)
        One cycle after ``en``, and until the next.
    """

    write: Any
    line: Signal
    en: Signal
    data: Any

    #: Cycles from ``en`` to ``data``.
    latency = Ram.latency

    def __init__(self, *, index_bits: int, lanes: int, line: int, depth: int) -> None:
        check_int("Line", line, 1, lanes)
        lines = lanes // line
        if lanes % line or lines & (lines - 1):
            raise ValueError(f"Line must divide {lanes} into a power of two, not {line!r}")
        row = listed_row_layout(index_bits=index_bits)
        self.lines = lines
        self.ram = Ram(shape=data.ArrayLayout(row, lanes), depth=depth, distributed=True)
        super().__init__(
            {
                "write": self.ram.signature.members["write"],
                "line": In(range(depth * lines)),
                "en": In(1),
                "data": Out(data.ArrayLayout(row, line)),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.ram = ram = self.ram
        bits, which = (self.lines - 1).bit_length(), Signal(range(self.lines))
        found = Value.cast(ram.read[0].data)
        m.d.comb += [
            ram.write.address.eq(self.write.address),
            ram.write.data.eq(self.write.data),
            ram.write.en.eq(self.write.en),
            ram.read[0].address.eq(self.line >> bits),
            ram.read[0].en.eq(self.en),
            self.data.as_value().eq(found.word_select(which, len(self.data.as_value()))),
        ]
        if bits:
            with m.If(self.en):
                m.d.sync += which.eq(self.line[:bits])
        return m
