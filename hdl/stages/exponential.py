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
from attnsieve.hdl.lib.credit import Credit
from attnsieve.hdl.lib.pace import Pace
from attnsieve.hdl.lib.queue import Queue
from attnsieve.hdl.params import CoreParams, check_params
from attnsieve.hdl.stages.exponential_lane import ExponentialLane, SerialExponentialLane
from attnsieve.hdl.stages.reciprocal import Reciprocal, SerialReciprocal
from attnsieve.hdl.stages.row_sum import RowSum

__all__ = ["Exponential"]


class Exponential(wiring.Component):
    """Terms of each row's keys, and one record of statistics per row.

    Terms leave in the beats in which scores came. The terms of a row are also added, exactly, and
    the reciprocal of the sum follows on ``statistics``, which has a queue of its own: it never
    waits for the terms, and the terms wait for it only when `statistics_depth` rows wait there or,
    with hardware multipliers, are on their way there.

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
        check_params(params)
        self.params = params
        self.moves = (ExponentialLane if params.lut_ram else SerialExponentialLane).moves
        self.pace = 1 if params.lut_ram else SerialExponentialLane.pace
        self.statistics_depth = 16 if params.lut_ram else 1
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
        """Cycles from ``i`` to ``o``: 13, of them two in queues, or 12 at a pace of 4."""
        return self.moves * self.pace + 2 * (self.pace == 1)

    @property
    def statistics_latency(self) -> int:
        """Cycles from a row's last beat at ``o`` to its statistics: 9 + log2(groups).

        Without hardware multipliers that is the most, with an idle reciprocal.
        """
        of_sum = RowSum.latency_of(self.params)
        if self.params.lut_ram:
            return of_sum + Reciprocal.latency + 1
        return of_sum + SerialReciprocal.latency_of(self.params)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        valid, last = Signal(self.moves), Signal(self.moves)
        advance, beat = Signal(), Signal(self.o.p.shape())
        self._beat = given = Signal(self.i.p.shape())  # what enters
        m.submodules.pace = pace = Pace(cycles=self.pace)
        m.d.comb += [pace.advance.eq(advance), beat.last.eq(last[-1])]
        enter = self._enter if self.pace == 1 else self._enter_serial
        entering = enter(m, advance, pace, valid, last, beat)
        with m.If(advance):
            m.d.sync += [valid.eq(valid << 1 | entering), last.eq(last << 1 | given.last)]
        for n in range(self.params.groups):
            m.submodules[f"lane_{n}"] = lane = self._lane(m, advance, pace)
            m.d.comb += [
                lane.score.eq(given.score[n]),
                lane.maximum.eq(given.maximum),
                lane.valid.eq(given.valid[n]),
                lane.scale.eq(self.scale.p),
                beat.term[n].mantissa.eq(lane.mantissa),
                beat.term[n].exponent_class.eq(lane.exponent_class),
            ]
        return m

    def _enter(
        self, m: Module, advance: Signal, pace: Pace, valid: Signal, last: Signal, beat: Any
    ) -> Value:
        """Take a beat with its scale if there is room for its terms behind the lanes, which never
        stand. Returns whether one is taken."""
        depth = 1 << (self.latency + 2 - 1).bit_length()
        m.submodules.terms = terms = Queue(shape=self.o.p.shape(), depth=depth)
        m.submodules.credit = credit = Credit(count=depth)
        m.submodules.beats = beats = Queue(shape=self.i.p.shape(), depth=2)
        connect(m, self.i, beats.i)
        entering = beats.o.valid & self.scale.valid & credit.some
        m.d.comb += [
            advance.eq(1),
            self._beat.eq(beats.o.p),
            beats.o.ready.eq(self.scale.valid & credit.some),
            self.scale.ready.eq(beats.o.valid & beats.o.p.last & credit.some),
            terms.i.valid.eq(valid[-1]),
            terms.i.p.eq(beat),
            terms.o.ready.eq(self._fork(m, terms.o.valid, terms.o.p)),
            credit.take.eq(entering),
            credit.give.eq(terms.o.valid & terms.o.ready),
        ]
        return entering

    def _enter_serial(
        self, m: Module, advance: Signal, pace: Pace, valid: Signal, last: Signal, beat: Any
    ) -> Value:
        """Take a beat; the scale must be there in the move behind, and goes with its end."""
        moved = self._fork(m, pace.due & valid[-1], beat)
        m.d.comb += [
            advance.eq(pace.due & (~valid[-1] | moved)),
            self._beat.eq(self.i.p),
            self.i.ready.eq(advance),
            self.scale.ready.eq(advance & valid[0] & last[0]),
            pace.hold.eq((pace.phase == 0) & valid[0] & ~self.scale.valid),
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

    def _fork(self, m: Module, valid: Value, beat: Any) -> Value:
        """Give each beat to ``o`` and to the sum, whichever is ready first. Returns whether both
        have it."""
        m.submodules.row_sum = row_sum = RowSum(params=self.params)
        taken, added, both, adds = Signal(), Signal(), Signal(), Signal()
        m.d.comb += adds.eq(self._divide(m, row_sum, valid & ~added & beat.last))
        m.d.comb += [
            self.o.p.eq(beat),
            row_sum.i.p.eq(beat),
            self.o.valid.eq(valid & ~taken),
            row_sum.i.valid.eq(valid & ~added & adds),
            both.eq((taken | self.o.ready) & (added | adds)),
        ]
        with m.If(valid & ~both):
            m.d.sync += [taken.eq(taken | self.o.ready), added.eq(added | adds)]
        with m.Else():
            m.d.sync += [taken.eq(0), added.eq(0)]
        return both

    def _divide(self, m: Module, row_sum: RowSum, last: Value) -> Value:
        """The sums' reciprocals; those of a pipeline wait in a queue. Returns whether the sum can
        take a beat, a row's last one if so it says."""
        if not self.params.lut_ram:
            m.submodules.reciprocal = serial = SerialReciprocal(params=self.params)
            connect(m, row_sum.o, serial.i)
            connect(m, serial.o, self.statistics)
            return row_sum.i.ready
        m.submodules.reciprocal = reciprocal = Reciprocal(params=self.params)
        m.submodules.queue = queue = Queue(
            shape=statistics_layout(self.params), depth=self.statistics_depth
        )
        m.submodules.rows = rows = Credit(count=self.statistics_depth)
        connect(m, row_sum.o, reciprocal.i)
        m.d.comb += [
            queue.i.valid.eq(reciprocal.o.valid),
            queue.i.p.eq(reciprocal.o.p),
            rows.take.eq(last & rows.some),
            rows.give.eq(self.statistics.valid & self.statistics.ready),
        ]
        connect(m, queue.o, self.statistics)
        return rows.some
