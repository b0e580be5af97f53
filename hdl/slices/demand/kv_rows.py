"""The rows of a KV head, together."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from attnsieve.hdl.params import CoreParams, check_params
from attnsieve.hdl.slices.demand.packets import kv_rows_layout
from attnsieve.hdl.slices.row_parts import dealt_row_layout

__all__ = ["KvRows", "plane_head_layout"]


def plane_head_layout(p: CoreParams) -> data.StructLayout:
    """Where the planes of a KV head are, in units."""
    fields = kv_rows_layout(p).members
    return data.StructLayout({name: fields[name] for name in ("unit", "plane")})


class KvRows(wiring.Component):
    """Collects the rows that share the keys of a KV head; of all of them what the last one says
    holds: they see the same keys.

    Throughput: a row per cycle. Latency: a cycle from a KV head's last row.

    Parameters
    ----------
    params : CoreParams

    Members
    -------
    row : In(stream(dealt_row_layout))
    head : In(stream(plane_head_layout))
        One for each KV head.
    o : Out(stream(kv_rows_layout))
    """

    row: stream.Interface
    head: stream.Interface
    o: stream.Interface

    def __init__(self, *, params: CoreParams) -> None:
        check_params(params)
        self.params = params
        super().__init__(
            {
                "row": In(stream.Signature(dealt_row_layout(params))),
                "head": In(stream.Signature(plane_head_layout(params))),
                "o": Out(stream.Signature(kv_rows_layout(params))),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        row, o, take, free = self.row.p, self.o, Signal(), Signal()
        rows, written = Signal.like(o.p.rows), Signal.like(o.p.rows)
        before, scored = Signal.like(rows), Signal.like(rows)
        m.d.comb += [
            free.eq(~o.valid | o.ready),
            self.row.ready.eq(~row.last_of_kv | (free & self.head.valid)),
            take.eq(self.row.valid & self.row.ready),
            self.head.ready.eq(take & row.last_of_kv),
            rows.eq(before | (1 << row.row)),
            written.eq(scored | (row.write << row.row)),
        ]
        with m.If(take):
            m.d.sync += [
                before.eq(Mux(row.last_of_kv, 0, rows)),
                scored.eq(Mux(row.last_of_kv, 0, written)),
            ]
        with m.If(free):
            m.d.sync += [
                o.valid.eq(take & row.last_of_kv),
                o.p.rows.eq(rows),
                o.p.written.eq(written),
                o.p.pin_from.eq(Mux(row.pin_newest > row.keys, 0, row.keys - row.pin_newest)),
                *(o.p[n].eq(row[n]) for n in
                  ("keys", "key_mask", "bank", "number", "pin_first", "own")),
                *(o.p[n].eq(self.head.p[n]) for n in ("unit", "plane")),
            ]
        return m
