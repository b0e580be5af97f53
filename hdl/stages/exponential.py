"""Exponential terms of a row, and the reciprocal of their sum."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
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
from attnsieve.hdl.lib.serial import SerialMultiplier
from attnsieve.hdl.lib.tables import TableLookup, exponential_table
from attnsieve.hdl.params import CoreParams
from attnsieve.hdl.stages.reciprocal import Reciprocal
from attnsieve.hdl.stages.row_sum import RowSum

__all__ = ["Exponential", "ExponentialLane"]

_U_BITS = CoreParams.argument_integer + CoreParams.argument_fraction
_TABLE_OFFSET_BITS = CoreParams.argument_fraction - CoreParams.exp_index_bits


class ExponentialLane(wiring.Component):
    """One lane: ``2**-((maximum - score) * c)`` as a term, in the arithmetic of numbers.md.

    A pipeline without handshake: `latency` cycles in which ``en`` is high, one term in each. One
    18x16 multiplier, one small one in the interpolation. Without hardware multipliers ``en`` comes
    every `pace` cycles only, and they are serial.

    Parameters
    ----------
    params : CoreParams
        The core.

    Members
    -------
    en : In(1)
        Everything moves on.
    phase : In(range(pace))
        Cycles since ``en``, see `SerialMultiplier`.
    score, maximum : In(signed(score_bits))
    valid : In(1)
        0: the term is zero.
    scale : In(head_layout)
    mantissa : Out(mantissa_bits), exponent_class : Out(class_bits)
        Both 0 where the term is zero.
    """

    def __init__(self, *, params: CoreParams) -> None:
        if not isinstance(params, CoreParams):
            raise TypeError(f"Params must be a CoreParams, not {params!r}")
        self.params = params
        self.pace = self.pace_of(params)
        layout = row_beat_layout(params)["maximum"].shape
        super().__init__(
            {
                "en": In(1),
                "phase": In(range(self.pace)),
                "score": In(layout),
                "maximum": In(layout),
                "valid": In(1),
                "scale": In(head_layout(params)),
                "mantissa": Out(params.mantissa_bits),
                "exponent_class": Out(params.class_bits),
            }
        )

    @staticmethod
    def pace_of(params: CoreParams) -> int:
        """Cycles from one term to the next: a key takes the scorer 4 on one lane group."""
        return 1 if params.lut_ram else 4

    @classmethod
    def latency_of(cls, params: CoreParams) -> int:
        """Moves: difference, 2 x shift, product (if not serial), rounding, table, 2 x shift."""
        pace = cls.pace_of(params)
        return (7 if pace == 1 else 6) + TableLookup.latency_of(pace)

    @property
    def latency(self) -> int:
        """Enabled cycles from ``score`` to ``mantissa``."""
        return self.latency_of(self.params)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        argument, zero = self._argument(m)
        term, r, k = self._table(m, argument)
        for _ in range(TableLookup.latency_of(self.pace)):
            zero = self._later(m, zero)
        self._round(m, term, r, k, zero)
        return m

    def _later(self, m: Module, value: Value) -> Signal:
        """The value one enabled cycle later."""
        after = Signal(len(value))
        with m.If(self.en):
            m.d.sync += after.eq(value)
        return after

    def _argument(self, m: Module) -> tuple[Value, Value]:
        """Cycles 1 to 5: ``y``, UQ5.13, and whether the term is zero."""
        p = self.params
        # Cycle 1: distance to the maximum.
        distance = self._later(m, (self.maximum - self.score)[: p.score_bits])
        zero = self._later(m, ~self.valid)
        mantissa = self._later(m, self.scale.mantissa)
        shift = self._later(m, self.scale.shift)
        # Cycle 2: shift by multiples of 16 and of 4. A one above what the rest of the shift can
        # bring down again means saturation.
        kept = _U_BITS + 1 + 15
        wide = Value.cast(distance << (_U_BITS + 1)) >> (shift[4:] << 4)
        over = wide[kept:].any()
        wide = wide[:kept] >> (shift[2:4] << 2)
        kept = _U_BITS + 1 + 3
        over = zero | over | wide[kept:].any()
        wide, zero = self._later(m, wide[:kept]), self._later(m, over)
        shift, mantissa = self._later(m, shift[:2]), self._later(m, mantissa)
        # Cycle 3: the rest of the shift, rounded.
        fine = wide >> shift
        rounded = (fine[: _U_BITS + 1] + 1)[1:]
        over = zero | fine[_U_BITS + 1 :].any() | rounded[_U_BITS]
        u, zero = self._later(m, rounded[:_U_BITS]), self._later(m, over)
        mantissa = self._later(m, mantissa)
        # Cycle 4: product with the mantissa of the scale. Cycle 5: rounded.
        if self.pace == 1:
            product, zero = self._later(m, u * mantissa), self._later(m, zero)
            below = p.scale_mantissa_bits - 1
            y = Value.cast(product[below:] + product[below - 1])[: _U_BITS + 1]
        else:
            y = self._serial(m, u, mantissa)
        return self._later(m, y[:_U_BITS]), self._later(m, zero | y[_U_BITS])

    def _serial(self, m: Module, u: Value, mantissa: Value) -> Value:
        """Rounded product; the top bit of the mantissa is one, and comes with the rounding."""
        below = self.params.scale_mantissa_bits - 1
        m.submodules.multiplier = multiplier = SerialMultiplier(
            a_bits=_U_BITS, b_bits=below, cycles=self.pace
        )
        m.d.comb += [
            multiplier.restart.eq(self.en),
            multiplier.phase.eq(self.phase),
            multiplier.a.eq(u),
            multiplier.b.eq(mantissa[:below]),
        ]
        part = multiplier.o
        total = Cat(Const(1, 1), part[below:]) + Cat(part[below - 1], u)
        return Value.cast(total)[1 : _U_BITS + 2]

    def _table(self, m: Module, y: Value) -> tuple[Value, Value, Value]:
        """Cycles 6 to 8: ``t``, and the shift ``r`` and class ``k`` of the whole part."""
        p = self.params
        table = exponential_table(p.exp_index_bits)
        m.submodules.lookup = lookup = TableLookup(
            values=table, offset_bits=_TABLE_OFFSET_BITS, cycles=self.pace
        )
        m.d.comb += [
            lookup.en.eq(self.en),
            lookup.phase.eq(self.phase),
            lookup.index.eq(y[_TABLE_OFFSET_BITS : p.argument_fraction]),
            lookup.offset.eq(y[:_TABLE_OFFSET_BITS]),
        ]
        r, k = Signal(p.argument_integer), Signal(p.class_bits)
        with m.Switch(y[p.argument_fraction :]):
            for whole in range(1 << p.argument_integer):
                of_whole = min(whole // p.class_step, p.max_class)
                with m.Case(whole):
                    m.d.comb += [k.eq(of_whole), r.eq(whole - p.class_step * of_whole)]
        late_r, late_k = r, k
        for _ in range(lookup.latency):
            late_r, late_k = self._later(m, late_r), self._later(m, late_k)
        return lookup.o, late_r, late_k

    def _round(self, m: Module, term: Value, r: Value, k: Value, zero: Value) -> None:
        """Cycles 9 and 10: ``(t + half(r)) >> r``, as ``((2t >> r) + 1) >> 1``."""
        shifted = self._later(m, (term << 1) >> r)
        zero, k = self._later(m, zero), self._later(m, k)
        none = Signal()
        m.d.comb += none.eq(zero | ~shifted.any())
        with m.If(self.en):
            m.d.sync += [
                self.mantissa.eq(Mux(none, 0, (shifted + 1)[1:])),
                self.exponent_class.eq(Mux(none, Const(0), k)),
            ]


class Exponential(wiring.Component):
    """Terms of each row's keys, and one record of statistics per row.

    Terms leave in the beats in which scores came. The terms of a row are also added, exactly, and
    the reciprocal of the sum follows on ``statistics``, which has a queue of its own: it never
    waits for the terms, and the terms wait for it only when `statistics_depth` rows wait there.

    Latency: `latency` cycles from ``i`` to ``o``; `statistics_latency` from the last beat of a row
    at ``o`` to its statistics. Throughput: one beat per cycle, no gap between rows, not even
    between rows of one beat. Without hardware multipliers a beat takes `pace` = 4 cycles, a row 6,
    and the latencies are those of pipelines that move so.

    Parameters
    ----------
    params : CoreParams
        The core.

    Members
    -------
    i : In(stream(row_beat_layout))
        Scores with the maximum of their row.
    scale : In(stream(head_layout))
        One per row, taken with its last beat.
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
        self.pace = ExponentialLane.pace_of(params)
        self.statistics_depth = 4 if params.lut_ram else 2
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
        """Cycles from ``i`` to ``o``: 10; 29 at a pace of 4."""
        return (ExponentialLane.latency_of(self.params) - 1) * self.pace + 1

    @property
    def statistics_latency(self) -> int:
        """Most cycles from a row's last beat at ``o`` to its statistics: 8 + log2(groups).

        At other paces that is when the reciprocal was idle and just moved.
        """
        moves, pace = Reciprocal.latency_of(self.params), Reciprocal.pace_of(self.params)
        return RowSum.latency_of(self.params) + moves * pace + pace

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        p = self.params
        advance = Signal()
        moves = ExponentialLane.latency_of(p)
        valid, last = Signal(moves), Signal(moves)
        m.submodules.pace = pace = Pace(cycles=self.pace)
        m.d.comb += [
            pace.advance.eq(advance),
            self.i.ready.eq(advance & self.scale.valid),
            self.scale.ready.eq(advance & self.i.valid & self.i.p.last),
        ]
        with m.If(advance):
            m.d.sync += [
                valid.eq(valid << 1 | (self.i.valid & self.scale.valid)),
                last.eq(last << 1 | self.i.p.last),
            ]
        for n in range(self.params.groups):
            m.submodules[f"lane_{n}"] = lane = ExponentialLane(params=self.params)
            m.d.comb += [
                lane.en.eq(advance),
                lane.phase.eq(pace.phase),
                lane.score.eq(self.i.p.score[n]),
                lane.maximum.eq(self.i.p.maximum),
                lane.valid.eq(self.i.p.valid[n]),
                lane.scale.eq(self.scale.p),
                self.o.p.term[n].mantissa.eq(lane.mantissa),
                self.o.p.term[n].exponent_class.eq(lane.exponent_class),
            ]
        m.d.comb += self.o.p.last.eq(last[-1])
        self._fork(m, valid[-1], advance, pace.due)
        return m

    def _fork(self, m: Module, valid: Value, advance: Signal, due: Value) -> None:
        """Give each beat to ``o`` and to the sum, whichever is ready first."""
        m.submodules.row_sum = row_sum = RowSum(params=self.params)
        m.submodules.reciprocal = reciprocal = Reciprocal(params=self.params)
        m.submodules.queue = queue = Queue(
            shape=statistics_layout(self.params),
            depth=self.statistics_depth,
            lut_ram=self.params.lut_ram,
        )
        connect(m, row_sum.o, reciprocal.i)
        connect(m, reciprocal.o, queue.i)
        connect(m, queue.o, self.statistics)
        taken, added = Signal(), Signal()
        m.d.comb += [
            row_sum.i.p.eq(self.o.p),
            self.o.valid.eq(valid & ~taken),
            row_sum.i.valid.eq(valid & ~added),
            advance.eq(due & (~valid | ((taken | self.o.ready) & (added | row_sum.i.ready)))),
        ]
        with m.If(advance):
            m.d.sync += [taken.eq(0), added.eq(0)]
        with m.Elif(valid):
            m.d.sync += [
                taken.eq(taken | self.o.ready),
                added.eq(added | row_sum.i.ready),
            ]
