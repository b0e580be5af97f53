"""The reciprocal of a row's sum."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from attnsieve.hdl.layouts import statistics_layout
from attnsieve.hdl.lib.pace import Pace
from attnsieve.hdl.lib.tables import TableLookup, reciprocal_table
from attnsieve.hdl.params import CoreParams

__all__ = ["Reciprocal"]

_NORMAL_BITS = CoreParams.recip_index_bits + CoreParams.recip_offset_bits


class Reciprocal(wiring.Component):
    """Turns sums of terms into reciprocals with an exponent.

    With ``e = floor(log2(sum)) - sum_fraction`` and the 18 bits behind the leading one of the sum,
    ``1 / sum`` is ``mantissa * 2**-(16 + e)``: a table of 256 intervals, linear in between
    (docs/reference/numbers.md). A sum under one can only be zero, an empty row, and gives zeros
    and the flag ``empty``.

    A pipeline with one enable, which moves every `pace` cycles at most: every cycle, but every 6
    without hardware multipliers. Latency is `latency` moves, `latency` cycles at the pace of 1.

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
        if not isinstance(params, CoreParams):
            raise TypeError(f"Params must be a CoreParams, not {params!r}")
        self.params = params
        self.pace = self.pace_of(params)
        super().__init__(
            {
                "i": In(stream.Signature(params.sum_bits)),
                "o": Out(stream.Signature(statistics_layout(params))),
            }
        )

    @staticmethod
    def pace_of(params: CoreParams) -> int:
        """Cycles from one sum to the next."""
        return 1 if params.lut_ram else 6

    @classmethod
    def latency_of(cls, params: CoreParams) -> int:
        """Moves from ``i`` to ``o``: leading one, alignment, table."""
        return 2 + TableLookup.latency_of(cls.pace_of(params))

    @property
    def latency(self) -> int:
        """Moves from ``i`` to ``o``."""
        return self.latency_of(self.params)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        p = self.params
        advance = Signal()
        valid = Signal(self.latency)
        m.submodules.pace = pace = Pace(cycles=self.pace)
        m.d.comb += [
            pace.advance.eq(advance),
            advance.eq(pace.due & (~valid[-1] | self.o.ready)),
            self.i.ready.eq(advance),
            self.o.valid.eq(pace.due & valid[-1]),
        ]
        whole = self.i.payload[p.sum_fraction :]
        exponent, empty = Signal(p.exponent_bits), Signal()
        low = Signal(p.sum_bits - p.sum_fraction + _NORMAL_BITS)
        normal = Signal(_NORMAL_BITS)
        table = reciprocal_table(p.recip_index_bits)
        m.submodules.lookup = lookup = TableLookup(
            values=table, offset_bits=p.recip_offset_bits, cycles=self.pace
        )
        m.d.comb += [
            lookup.en.eq(advance),
            lookup.phase.eq(pace.phase),
            lookup.index.eq(normal[p.recip_offset_bits :]),
            lookup.offset.eq(normal[: p.recip_offset_bits]),
        ]
        delayed = [(exponent, empty)]
        with m.If(advance):
            m.d.sync += valid.eq(valid << 1 | self.i.valid)
            # Move 1: leading one.
            m.d.sync += [
                empty.eq(whole == 0),
                exponent.eq(0),
                low.eq(self.i.payload[p.sum_fraction - _NORMAL_BITS :]),
            ]
            for place in range(1, len(whole)):
                with m.If(whole[place]):
                    m.d.sync += exponent.eq(place)
            # Move 2: alignment.
            m.d.sync += normal.eq(low >> exponent)
            # Move 2 and after: what waits for the table.
            for stage in range(2, self.latency + 1):
                before = delayed[-1]
                after = (
                    Signal(p.exponent_bits, name=f"exponent_{stage}"),
                    Signal(name=f"empty_{stage}"),
                )
                m.d.sync += [a.eq(b) for a, b in zip(after, before, strict=True)]
                delayed.append(after)
        exponent, empty = delayed[-1]
        m.d.comb += [
            self.o.p.mantissa.eq(Mux(empty, 0, lookup.o)),
            self.o.p.exponent.eq(exponent),
            self.o.p.empty.eq(empty),
        ]
        return m
