"""Counts the rows of V that a job multiplies."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from attnsieve.hdl.control.tally import Tally
from attnsieve.hdl.layouts import row_layout
from attnsieve.hdl.lib.connect import connect
from attnsieve.hdl.lib.gates import count_flags
from attnsieve.hdl.params import CoreParams

__all__ = ["ValueTally", "value_tally_layout"]


def value_tally_layout(p: CoreParams) -> data.StructLayout:
    """Counts of a job, wide enough for the largest."""
    values = (p.max_heads * p.max_queries * p.max_keys).bit_length()
    planes = {"recomputed": p.head_bits}
    return data.StructLayout({"values": values, **(planes if p.progressive else {})})


class ValueTally(wiring.Component):
    """Watches the beats of terms that values were selected from. Rows that are not written are not
    counted. With progressive quantisation counts rows that come again too.

    Latency: one cycle more than that of `Tally`, from the last beat of a job to its count.

    Parameters
    ----------
    params : CoreParams
        The core.

    Members
    -------
    row : In(stream({write, last_of_job}))
        Rows, taken a cycle after their last beats, in front of which they come.
    kept : In(groups), beat : In(1), last : In(1)
        A beat of terms passes; it is the row's last.
    again : In(1)
        With progressive quantisation: a row is to come again.
    o : Out(stream(value_tally_layout))
        Count of a job, after its last row.
    """

    row: stream.Interface
    kept: Any
    beat: Any
    last: Any
    o: stream.Interface

    def __init__(self, *, params: CoreParams) -> None:
        self.params = params
        fields = ("write", "last_of_job")
        row = data.StructLayout({name: row_layout(params)[name].shape for name in fields})
        super().__init__(
            {
                "row": In(stream.Signature(row)),
                "kept": In(params.groups),
                "beat": In(1),
                "last": In(1),
                **({"again": In(1)} if params.progressive else {}),
                "o": Out(stream.Signature(value_tally_layout(params))),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        p = self.params
        amounts = {"values": p.groups.bit_length(), "recomputed": 1}
        widths = {n: (amounts[n], f.width) for n, f in value_tally_layout(p)}
        m.submodules.tally = tally = Tally(widths=widths, jobs=p.queue_depth + 1)
        connect(m, tally.o, self.o)
        beat, last, kept = Signal(), Signal(), Signal(p.groups)
        m.d.sync += [beat.eq(self.beat), last.eq(self.last), kept.eq(self.kept)]
        counts = beat & self.row.p.write
        again = Signal()
        if p.progressive:
            m.d.sync += again.eq(self.again)
            m.d.comb += tally.amount.recomputed.eq(again)
        m.d.comb += [
            self.row.ready.eq(beat & last),
            tally.amount.values.eq(Mux(counts, count_flags(list(kept)), 0)),
            tally.event.eq(counts | again),
            tally.end.eq(beat & last & self.row.p.last_of_job),
        ]
        return m
