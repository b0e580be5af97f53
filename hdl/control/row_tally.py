"""Counts rows, empty rows and scores of each job."""

from __future__ import annotations

from amaranth.hdl import Module, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from attnsieve.hdl.control.tally import Tally
from attnsieve.hdl.layouts import row_layout
from attnsieve.hdl.lib.connect import connect
from attnsieve.hdl.params import CoreParams

__all__ = ["RowTally", "row_tally_layout"]


def row_tally_layout(p: CoreParams) -> data.StructLayout:
    """Counts of a job, wide enough for the largest."""
    rows = p.max_heads * p.max_queries
    return data.StructLayout(
        {
            "rows": unsigned(rows.bit_length()),
            "empty_rows": unsigned(rows.bit_length()),
            "scores": unsigned((rows * p.max_keys).bit_length()),
        }
    )


class RowTally(wiring.Component):
    """Watches score beats and row statistics and adds up what a job computed.

    Pairs are added up for each row where scores appear and wait until the row's statistics do;
    with them the row is counted. Rows that are not written are not counted.

    Parameters
    ----------
    params : CoreParams
        The core.
    rows : int
        Most rows from their first beat of scores to their statistics, which come 3 cycles or more
        after the last beat.

    Members
    -------
    row : In(stream(row_layout))
        Rows, one transfer in the cycle after each row's statistics.
    valid : In(groups), beat : In(1), last : In(1)
        A beat of scores passes; it is the row's last.
    counted : In(1), empty : In(1)
        Statistics of a row pass; the row is empty.
    o : Out(stream(row_tally_layout))
        Counts of a job, after its last row.
    """

    def __init__(self, *, params: CoreParams, rows: int) -> None:
        self.params, self.rows = params, rows
        super().__init__(
            {
                "row": In(stream.Signature(row_layout(params))),
                "valid": In(params.groups),
                "beat": In(1),
                "last": In(1),
                "counted": In(1),
                "empty": In(1),
                "o": Out(stream.Signature(row_tally_layout(params))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        p = self.params
        pairs = {"pairs": (p.groups.bit_length(), p.key_bits)}
        m.submodules.waiting = waiting = Tally(widths=pairs, jobs=self.rows, lut_ram=p.lut_ram)
        amounts = {"rows": 1, "empty_rows": 1, "scores": p.key_bits}
        widths = {n: (amounts[n], f.width) for n, f in row_tally_layout(p)}
        m.submodules.tally = tally = Tally(widths=widths, jobs=p.queue_depth + 1)
        connect(m, tally.o, self.o)
        counted, empty = Signal(), Signal()  # a cycle later: no part of a long path
        m.d.sync += [
            counted.eq(self.counted),
            empty.eq(self.empty),
            waiting.amount.pairs.eq(sum(self.valid)),
            waiting.event.eq(self.beat),
            waiting.end.eq(self.beat & self.last),
        ]
        m.d.comb += [
            waiting.o.ready.eq(counted),
            self.row.ready.eq(counted),
            tally.event.eq(counted & self.row.p.write),
            tally.end.eq(counted & self.row.p.last_of_job),
            tally.amount.rows.eq(1),
            tally.amount.empty_rows.eq(empty),
            tally.amount.scores.eq(waiting.o.p.pairs),
        ]
        return m
