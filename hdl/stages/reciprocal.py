"""The reciprocal of a row's sum."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from attnsieve.hdl.layouts import statistics_layout
from attnsieve.hdl.lib.tables import SerialLookup, TableLookup, reciprocal_table
from attnsieve.hdl.params import CoreParams, check_params

__all__ = ["Reciprocal", "SerialReciprocal"]

_NORMAL_BITS = CoreParams.recip_index_bits + CoreParams.recip_offset_bits


class Reciprocal(wiring.Component):
    """Turns sums of terms into reciprocals with an exponent.

    With ``e = floor(log2(sum)) - sum_fraction`` and the 18 bits behind the leading one of the sum,
    ``1 / sum`` is ``mantissa * 2**-(16 + e)``: a table of 256 intervals, linear in between
    (docs/reference/numbers.md). A sum under one can only be zero, an empty row, and gives zeros
    and the flag ``empty``.

    A pipeline that never stands: one sum per cycle, `latency` cycles.

    Parameters
    ----------
    params : CoreParams
        The core.

    Members
    -------
    i : In(stream(unsigned(sum_bits), always_ready))
    o : Out(stream(statistics_layout, always_ready))
    """

    i: stream.Interface
    o: stream.Interface

    #: Cycles from ``i`` to ``o``: leading one, alignment, table.
    latency = 2 + TableLookup.latency

    def __init__(self, *, params: CoreParams) -> None:
        check_params(params)
        self.params = params
        super().__init__(
            {
                "i": In(stream.Signature(params.sum_bits, always_ready=True)),
                "o": Out(stream.Signature(statistics_layout(params), always_ready=True)),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        p = self.params
        valid = Signal(self.latency)
        m.d.comb += self.o.valid.eq(valid[-1])
        m.d.sync += valid.eq(valid << 1 | self.i.valid)
        whole = self.i.payload[p.sum_fraction :]
        exponent, empty = Signal(p.exponent_bits), Signal()
        low = Signal(p.sum_bits - p.sum_fraction + _NORMAL_BITS, reset_less=True)
        normal = Signal(_NORMAL_BITS, reset_less=True)
        table = reciprocal_table(p.recip_index_bits)
        m.submodules.lookup = lookup = TableLookup(values=table, offset_bits=p.recip_offset_bits)
        m.d.comb += [
            lookup.en.eq(1),
            lookup.index.eq(normal[p.recip_offset_bits :]),
            lookup.offset.eq(normal[: p.recip_offset_bits]),
        ]
        # Cycle 1: leading one.
        m.d.sync += [
            empty.eq(whole == 0),
            exponent.eq(0),
            low.eq(self.i.payload[p.sum_fraction - _NORMAL_BITS :]),
        ]
        for place in range(1, len(whole)):
            with m.If(whole[place]):
                m.d.sync += exponent.eq(place)
        # Cycle 2: alignment.
        m.d.sync += normal.eq(low >> exponent)
        # Cycle 2 and after: what waits for the table.
        for stage in range(2, self.latency + 1):
            before = (exponent, empty)
            exponent = Signal(p.exponent_bits, name=f"exponent_{stage}", reset_less=True)
            empty = Signal(name=f"empty_{stage}", reset_less=True)
            m.d.sync += [exponent.eq(before[0]), empty.eq(before[1])]
        m.d.comb += [
            self.o.p.mantissa.eq(Mux(empty, 0, lookup.o)),
            self.o.p.exponent.eq(exponent),
            self.o.p.empty.eq(empty),
        ]
        return m


class SerialReciprocal(wiring.Component):
    """The same over several cycles, for targets without hardware multipliers.

    A sum is shifted left until its leading one is at the top, then the table is read, then it is
    interpolated bit by bit. The result waits at the output while the next sum is worked on.

    Latency is `latency` cycles at most, one less for each power of two that the sum is larger.

    Parameters
    ----------
    params : CoreParams
        The core.

    Members
    -------
    i : In(stream(unsigned(sum_bits)))
    o : Out(stream(statistics_layout))
    """

    i: stream.Interface
    o: stream.Interface

    def __init__(self, *, params: CoreParams) -> None:
        check_params(params)
        self.params = params
        super().__init__(
            {
                "i": In(stream.Signature(params.sum_bits)),
                "o": Out(stream.Signature(statistics_layout(params))),
            }
        )

    @staticmethod
    def latency_of(params: CoreParams) -> int:
        """Most cycles from ``i`` to ``o``: shifts, table, one per bit of the offset, output."""
        return params.sum_bits - params.sum_fraction + params.recip_offset_bits + 2

    @property
    def latency(self) -> int:
        """Most cycles from ``i`` to ``o``."""
        return self.latency_of(self.params)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        p = self.params
        largest = p.sum_bits - p.sum_fraction - 1
        busy, aligned, done = Signal(), Signal(), Signal()
        exponent = Signal(range(largest + 1))
        normal = Signal(largest + 1 + _NORMAL_BITS)
        top = normal[-1]
        m.d.comb += self.i.ready.eq(~busy)
        with m.If(~busy):
            m.d.sync += [
                busy.eq(self.i.valid),
                normal.eq(self.i.payload[p.sum_fraction - _NORMAL_BITS :]),
                exponent.eq(largest),
            ]
        with m.Elif(~aligned):
            with m.If(top | (exponent == 0)):
                m.d.sync += aligned.eq(1)
            with m.Else():
                m.d.sync += [normal.eq(normal << 1), exponent.eq(exponent - 1)]
        with m.Elif(done & (~self.o.valid | self.o.ready)):
            m.d.sync += [busy.eq(0), aligned.eq(0)]
        mantissa = self._interpolate(m, normal[-1 - _NORMAL_BITS : -1], aligned, done)
        self._output(m, busy & aligned & done, mantissa, exponent, ~top)
        return m

    def _interpolate(self, m: Module, x: Value, aligned: Value, done: Signal) -> Value:
        """Mantissa of the reciprocal of ``1 + x``; it is ``done`` some cycles after ``aligned``."""
        p = self.params
        m.submodules.lookup = lookup = SerialLookup(
            values=reciprocal_table(p.recip_index_bits), offset_bits=p.recip_offset_bits, step=1
        )
        bit = Signal(range(p.recip_offset_bits + 1))
        m.d.comb += [
            done.eq(bit == p.recip_offset_bits),
            lookup.read.eq(~aligned),
            lookup.index.eq(x[p.recip_offset_bits :]),
            lookup.en.eq(aligned & ~done),
            lookup.chunk.eq(x[: p.recip_offset_bits].bit_select(bit, 1)),
        ]
        with m.If(~aligned):
            m.d.sync += bit.eq(0)
        with m.Elif(~done):
            m.d.sync += bit.eq(bit + 1)
        return lookup.o

    def _output(self, m: Module, ready: Value, mantissa: Value, exponent: Value, empty: Value):
        with m.If(~self.o.valid | self.o.ready):
            m.d.sync += self.o.valid.eq(ready)
            with m.If(ready):
                m.d.sync += [
                    self.o.p.mantissa.eq(Mux(empty, 0, mantissa)),
                    self.o.p.exponent.eq(exponent),
                    self.o.p.empty.eq(empty),
                ]
