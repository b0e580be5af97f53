"""Tells when all keys of a part of a row, or of a row, are decided."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from attnsieve.hdl.lib.gates import count_flags
from attnsieve.hdl.params import CoreParams, check_params
from attnsieve.hdl.slices.bit_serial_dot import ended_layout
from attnsieve.hdl.slices.row_parts import keys_dealt
from attnsieve.hdl.slices.slice_params import slice_params, survivor_ways

__all__ = ["RowCount", "dealt_layout"]


def dealt_layout(p: CoreParams) -> data.StructLayout:
    """So many keys have been dealt, for each of some rows."""
    keys = max(keys_dealt(p), p.groups if p.slice_demand else 1)
    return data.StructLayout(
        {
            "rows": unsigned(p.slice_rows),
            "keys": range(keys + 1),
            "end_of_part": unsigned(1),
            "end_of_row": unsigned(1),
        }
    )


class RowCount(wiring.Component):
    """Counts the keys of each row that are dealt and not yet dropped or stored.

    Latency: `latency` cycles from a row's last key being dropped or stored; one less if its end is
    dealt later, without a key.

    Parameters
    ----------
    params : CoreParams
        The core.

    Members
    -------
    dealt : In(stream(dealt_layout, always ready))
        Keys of rows that are on their way to the units.
    ended : In(stream(ended_layout, always ready)).array(units)
        Keys that are decided; those that are kept, or wait, do not count here.
    stored : In(ways), stored_row : In(range(rows)).array(ways)
        Keys that are kept have been stored.
    complete : Out(rows)
        Rows of which all keys are dealt and none is left.
    quiet : Out(rows)
        Rows of which a part is dealt, more will come, and none is left.
    renewed : In(1), renewed_row : In(range(rows))
        The next part of this row may come.
    free : In(1), freed : In(range(rows))
        This row begins anew.
    """

    dealt: stream.Interface
    ended: Any
    stored: Signal
    stored_row: Any
    complete: Signal
    quiet: Signal
    renewed: Signal
    renewed_row: Signal
    free: Signal
    freed: Signal

    #: Cycles from the last key of a row to its being complete.
    latency = 3

    def __init__(self, *, params: CoreParams) -> None:
        check_params(params)
        self.params, self.slices = p, s = params, slice_params(params)
        ended = stream.Signature(ended_layout(s), always_ready=True)
        super().__init__(
            {
                "dealt": In(stream.Signature(dealt_layout(p), always_ready=True)),
                "ended": In(ended).array(s.units),
                "stored": In(survivor_ways(p)),
                "stored_row": In(range(s.rows)).array(survivor_ways(p)),
                "complete": Out(s.rows),
                "quiet": Out(s.rows),
                "renewed": In(1),
                "renewed_row": In(range(s.rows)),
                "free": In(1),
                "freed": In(range(s.rows)),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        p, s = self.params, self.slices
        for row in range(s.rows):
            more = Signal.like(self.dealt.p.keys, name=f"more{row}")
            fewer = Signal(range(s.units + len(self.stored) + 1), name=f"fewer{row}")
            left, end = Signal(p.key_bits + 1, name=f"left{row}"), Signal(name=f"end{row}")
            part = Signal(name=f"part{row}")
            mine = self.dealt.valid & self.dealt.p.rows[row]
            out = [
                *(e.valid & ~e.p.kept & ~e.p.waits & (e.p.row == row) for e in self.ended),
                *(one & (its == row) for one, its in
                  zip(self.stored, self.stored_row, strict=True)),
            ]
            none_left = (left == 0) & (more == 0)
            m.d.sync += [
                more.eq(0),
                fewer.eq(count_flags(out)),
                left.eq(left + more - fewer),
                self.complete[row].eq(end & none_left),
                self.quiet[row].eq(part & none_left),
            ]
            with m.If(mine):
                m.d.sync += more.eq(self.dealt.p.keys)
            with m.If(mine & self.dealt.p.end_of_part):
                m.d.sync += [end.eq(self.dealt.p.end_of_row), part.eq(~self.dealt.p.end_of_row)]
            with m.If(self.renewed & (self.renewed_row == row)):
                m.d.sync += [part.eq(0), self.quiet[row].eq(0)]
            with m.If(self.free & (self.freed == row)):
                m.d.sync += [end.eq(0), self.complete[row].eq(0)]
        return m
