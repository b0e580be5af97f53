"""The units that walk jobs, and the dispatcher that feeds them."""

from __future__ import annotations

from amaranth.hdl import Module, Mux
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, flipped

from attnsieve.hdl.control.dispatcher import UNITS, Dispatcher
from attnsieve.hdl.control.job_store import verdict_layout
from attnsieve.hdl.control.regions import RegionSequencer
from attnsieve.hdl.control.rows import RowSequencer
from attnsieve.hdl.layouts import head_layout, region_layout, request_layout, row_layout
from attnsieve.hdl.params import CoreParams

__all__ = ["Sequencers"]

#: Members of the dispatcher that are passed on as they are.
_DISPATCH = {"waiting": In, "request": In, "verdict": In, "hold": In,
             "judge": Out, "judgement": Out, "advance": Out, "offering": Out}


class Sequencers(wiring.Component):
    """Dispatcher, one region sequencer per input tensor, and the row sequencer.

    The head table has one port: the row sequencer is served first, the checker waits.

    Parameters
    ----------
    params : CoreParams
        The core.

    Members
    -------
    waiting, request, verdict, hold, judge, judgement, advance, offering
        See `Dispatcher`.
    query, key, value : Out(stream(region_layout))
        Regions to fetch.
    row : Out(stream(row_layout))
        Rows to compute.
    table_bank, table_head, table_en : Out, table_data : In(head_layout)
        Head table, data one cycle after ``table_en``.
    query_bank, query_index, query_en : Out, query_valid : In(1)
        Query mask, the bit one cycle after ``query_en``.
    walking : Out(1)
        Rows of a job are still to be issued.
    """

    def __init__(self, *, params: CoreParams) -> None:
        self.params = params
        count, region = range(params.queue_depth + 2), stream.Signature(region_layout(params))
        super().__init__(
            {
                "waiting": In(count),
                "request": In(request_layout(params)),
                "verdict": In(verdict_layout(params)),
                "hold": In(1),
                "judge": Out(1),
                "judgement": Out(verdict_layout(params)),
                "advance": Out(1),
                "offering": Out(1),
                "query": Out(region),
                "key": Out(region),
                "value": Out(region),
                "row": Out(stream.Signature(row_layout(params))),
                "table_bank": Out(params.bank_bits),
                "table_head": Out(params.head_bits),
                "table_en": Out(1),
                "table_data": In(head_layout(params)),
                "query_bank": Out(params.bank_bits),
                "query_index": Out(params.query_bits),
                "query_en": Out(1),
                "query_valid": In(1),
                "walking": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.dispatcher = dispatcher = Dispatcher(params=self.params)
        for name, direction in _DISPATCH.items():
            inner, outer = getattr(dispatcher, name), getattr(self, name)
            m.d.comb += inner.eq(outer) if direction is In else outer.eq(inner)
        for unit in UNITS[:3]:
            regions = RegionSequencer(params=self.params, tensor=unit[0])
            m.submodules[unit] = regions
            wiring.connect(m, getattr(dispatcher, unit), regions.job)
            wiring.connect(m, regions.o, flipped(getattr(self, unit)))
        m.submodules.row = rows = RowSequencer(params=self.params)
        wiring.connect(m, dispatcher.row, rows.job)
        wiring.connect(m, rows.o, flipped(self.row))
        first = rows.table_en
        m.d.comb += [
            self.table_bank.eq(Mux(first, rows.bank, self.request.bank)),
            self.table_head.eq(Mux(first, rows.table_head, dispatcher.table_head)),
            self.table_en.eq(first | dispatcher.table_en),
            dispatcher.table_grant.eq(~first),
            dispatcher.table_data.eq(self.table_data),
            rows.table_data.eq(self.table_data),
            self.query_bank.eq(rows.bank),
            self.query_index.eq(rows.query),
            self.query_en.eq(rows.query_en),
            rows.query_valid.eq(self.query_valid),
            self.walking.eq(rows.busy),
        ]
        return m
