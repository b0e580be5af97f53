"""Exponential terms of a row, and the reciprocal of their sum."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from attnsieve.hdl.layouts import (
    head_layout,
    row_beat_layout,
    statistics_layout,
    term_beat_layout,
)
from attnsieve.hdl.lib.connect import connect
from attnsieve.hdl.lib.pace import Pace
from attnsieve.hdl.lib.queue import Queue
from attnsieve.hdl.params import CoreParams
from attnsieve.hdl.stages.exponential_lane import ExponentialLane, SerialExponentialLane
from attnsieve.hdl.stages.reciprocal import Reciprocal, SerialReciprocal
from attnsieve.hdl.stages.row_sum import RowSum

__all__ = ["Exponential"]


class Exponential(wiring.Component):
    """Terms of each row's keys, and one record of statistics per row.

    Terms leave in the beats in which scores came. The terms of a row are also added, exactly, and
    the reciprocal of the sum follows on ``statistics``, which has a queue of its own: it never
    waits for the terms, and the terms wait for it only when `statistics_depth` rows wait there.

    Latency: `latency` cycles from ``i`` to ``o``; `statistics_latency` from the last beat of a row
    at ``o`` to its statistics. Throughput: one beat per cycle, no gap between rows, not even
    between rows of one beat. Without hardware multipliers a beat takes `pace` = 4 cycles, and a row
    as long as `SerialReciprocal` at least.

    Parameters
    ----------
    params : CoreParams
        The core.

    Members
    -------
    i : In(stream(row_beat_layout))
        Scores with the maximum of their row.
    scale : In(stream(head_layout))
        One per row, taken with its last beat or, without hardware multipliers, a move later.
    o : Out(stream(term_beat_layout))
    statistics : Out(stream(statistics_layout))
    """

    i: stream.Interface
    scale: stream.Interface
    o: stream.Interface
    statistics: stream.Interface

    def __init__(self, *, params: CoreParams) -> None:
        if not isinstance(params, CoreParams):
            raise TypeError(f"Params must be a CoreParams, not {params!r}")
        self.params = params
        self.moves = (ExponentialLane if params.lut_ram else SerialExponentialLane).moves
        self.pace = 1 if params.lut_ram else SerialExponentialLane.pace
        self.statistics_depth = 4 if params.lut_ram else 1
        super().__init__(
            {
                "i": In(stream.Signature(row_beat_layout(params))),
                "scale": In(stream.Signature(head_layout(params))),
                "o": Out(stream.Signature(term_beat_layout(params))),
                "statistics": Out(stream.Signature(statistics_layout(params))),
            }
        )

    @property
    def latency(self) -> int:
        """Cycles from ``i`` to ``o``: 10, or 12 at a pace of 4."""
        return self.moves * self.pace

    @property
    def statistics_latency(self) -> int:
        """Cycles from a row's last beat at ``o`` to its statistics: 8 + log2(groups).

        Without hardware multipliers that is the most, with an idle reciprocal.
        """
        of_sum = RowSum.latency_of(self.params)
        if self.params.lut_ram:
            return of_sum + Reciprocal.latency + 1
        return of_sum + SerialReciprocal.latency_of(self.params)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        valid, last = Signal(self.moves), Signal(self.moves)
        advance = Signal()
        m.submodules.pace = pace = Pace(cycles=self.pace)
        m.d.comb += [pace.advance.eq(advance), self.o.p.last.eq(last[-1])]
        if self.pace == 1:
            entering = self._enter(m, advance)
        else:
            entering = self._enter_serial(m, advance, pace, valid[0], last[0])
        with m.If(advance):
            m.d.sync += [valid.eq(valid << 1 | entering), last.eq(last << 1 | self.i.p.last)]
        for n in range(self.params.groups):
            m.submodules[f"lane_{n}"] = lane = self._lane(m, advance, pace)
            m.d.comb += [
                lane.score.eq(self.i.p.score[n]),
                lane.maximum.eq(self.i.p.maximum),
                lane.valid.eq(self.i.p.valid[n]),
                lane.scale.eq(self.scale.p),
                self.o.p.term[n].mantissa.eq(lane.mantissa),
                self.o.p.term[n].exponent_class.eq(lane.exponent_class),
            ]
        self._fork(m, valid[-1], advance, pace.due)
        return m

    def _enter(self, m: Module, advance: Signal) -> Value:
        """Take a beat with its scale; whether there is one."""
        m.d.comb += [
            self.i.ready.eq(advance & self.scale.valid),
            self.scale.ready.eq(advance & self.i.valid & self.i.p.last),
        ]
        return self.i.valid & self.scale.valid

    def _enter_serial(
        self, m: Module, advance: Signal, pace: Pace, valid: Value, last: Value
    ) -> Value:
        """Take a beat; the scale must be there in the move behind, and goes with its end."""
        m.d.comb += [
            self.i.ready.eq(advance),
            self.scale.ready.eq(advance & valid & last),
            pace.hold.eq((pace.phase == 0) & valid & ~self.scale.valid),
        ]
        return self.i.valid

    def _lane(self, m: Module, advance: Signal, pace: Pace) -> Any:
        if self.pace == 1:
            lane = ExponentialLane(params=self.params)
            m.d.comb += lane.en.eq(advance)
            return lane
        serial = SerialExponentialLane(params=self.params)
        m.d.comb += [
            serial.move.eq(advance),
            serial.step.eq(~pace.due & ~pace.hold),
            serial.turn.eq(pace.phase),
        ]
        return serial

    def _fork(self, m: Module, valid: Value, advance: Signal, due: Value) -> None:
        """Give each beat to ``o`` and to the sum, whichever is ready first."""
        m.submodules.row_sum = row_sum = RowSum(params=self.params)
        self._divide(m, row_sum)
        taken, added = Signal(), Signal()
        m.d.comb += [
            row_sum.i.p.eq(self.o.p),
            self.o.valid.eq(due & valid & ~taken),
            row_sum.i.valid.eq(due & valid & ~added),
            advance.eq(due & (~valid | ((taken | self.o.ready) & (added | row_sum.i.ready)))),
        ]
        with m.If(advance):
            m.d.sync += [taken.eq(0), added.eq(0)]
        with m.Elif(due & valid):
            m.d.sync += [
                taken.eq(taken | self.o.ready),
                added.eq(added | row_sum.i.ready),
            ]

    def _divide(self, m: Module, row_sum: RowSum) -> None:
        """The sums' reciprocals; those of a pipeline wait in a queue."""
        if not self.params.lut_ram:
            m.submodules.reciprocal = serial = SerialReciprocal(params=self.params)
            connect(m, row_sum.o, serial.i)
            connect(m, serial.o, self.statistics)
            return
        m.submodules.reciprocal = reciprocal = Reciprocal(params=self.params)
        m.submodules.queue = queue = Queue(
            shape=statistics_layout(self.params), depth=self.statistics_depth
        )
        connect(m, row_sum.o, reciprocal.i)
        connect(m, reciprocal.o, queue.i)
        connect(m, queue.o, self.statistics)
