"""One lane of the exponential: a score to a term."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Shape, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from attnsieve.hdl.layouts import head_layout, row_beat_layout
from attnsieve.hdl.lib.serial import SerialMultiplier, SerialShifter
from attnsieve.hdl.lib.tables import SerialLookup, TableLookup, exponential_table
from attnsieve.hdl.params import CoreParams, check_params

__all__ = ["ExponentialLane", "SerialExponentialLane"]

_U_BITS = CoreParams.argument_integer + CoreParams.argument_fraction
_OFFSET_BITS = CoreParams.argument_fraction - CoreParams.exp_index_bits


def _shift_and_class(m: Module, params: CoreParams, whole: Value) -> tuple[Signal, Signal]:
    """Shift ``r`` and class ``k`` of the whole part of the argument."""
    r, k = Signal(params.argument_integer), Signal(params.class_bits)
    with m.Switch(whole):
        for number in range(1 << params.argument_integer):
            of_number = min(number // params.class_step, params.max_class)
            with m.Case(number):
                m.d.comb += [k.eq(of_number), r.eq(number - params.class_step * of_number)]
    return r, k


class ExponentialLane(wiring.Component):
    """One lane: ``2**-((maximum - score) * c)`` as a term, in the arithmetic of numbers.md.

    A pipeline without handshake: `moves` cycles in which ``en`` is high, one term in each. One
    18x16 multiplier, one small one in the interpolation.

    Parameters
    ----------
    params : CoreParams
        The core.

    Members
    -------
    en : In(1)
        Everything moves on.
    score, maximum : In(signed(score_bits))
    valid : In(1)
        0: the term is zero.
    scale : In(head_layout)
    mantissa : Out(mantissa_bits), exponent_class : Out(class_bits)
        Both 0 where the term is zero.
    """

    #: Enabled cycles from ``score`` to ``mantissa``.
    moves = 11

    def __init__(self, *, params: CoreParams) -> None:
        check_params(params)
        self.params = params
        layout = row_beat_layout(params)["maximum"].shape
        super().__init__(
            {
                "en": In(1),
                "score": In(layout),
                "maximum": In(layout),
                "valid": In(1),
                "scale": In(head_layout(params)),
                "mantissa": Out(params.mantissa_bits),
                "exponent_class": Out(params.class_bits),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        argument, zero = self._argument(m)
        term, r, k = self._table(m, argument)
        for _ in range(TableLookup.latency):
            zero = self._later(m, zero)
        self._round(m, term, r, k, zero)
        return m

    def _later(self, m: Module, value: Value) -> Signal:
        """The value one enabled cycle later."""
        after = Signal(len(value), reset_less=True)
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
        product, zero = self._later(m, u * mantissa), self._later(m, zero)
        below = p.scale_mantissa_bits - 1
        y = Value.cast(product[below:] + product[below - 1])[: _U_BITS + 1]
        return self._later(m, y[:_U_BITS]), self._later(m, zero | y[_U_BITS])

    def _table(self, m: Module, y: Value) -> tuple[Value, Value, Value]:
        """Cycles 6 to 9: ``t``, and the shift ``r`` and class ``k`` of the whole part."""
        p = self.params
        table = exponential_table(p.exp_index_bits)
        m.submodules.lookup = lookup = TableLookup(values=table, offset_bits=_OFFSET_BITS)
        m.d.comb += [
            lookup.en.eq(self.en),
            lookup.index.eq(y[_OFFSET_BITS : p.argument_fraction]),
            lookup.offset.eq(y[:_OFFSET_BITS]),
        ]
        r, k = _shift_and_class(m, p, y[p.argument_fraction :])
        for _ in range(lookup.latency):
            r, k = self._later(m, r), self._later(m, k)
        return lookup.o, r, k

    def _round(self, m: Module, term: Value, r: Value, k: Value, zero: Value) -> None:
        """Cycles 10 and 11: ``(t + half(r)) >> r``, as ``((2t >> r) + 1) >> 1``."""
        shifted = self._later(m, (term << 1) >> r)
        zero, k = self._later(m, zero), self._later(m, k)
        none = Signal()
        m.d.comb += none.eq(zero | ~shifted.any())
        with m.If(self.en):
            m.d.sync += [
                self.mantissa.eq(Mux(none, 0, (shifted + 1)[1:])),
                self.exponent_class.eq(Mux(none, Const(0), k)),
            ]


class SerialExponentialLane(wiring.Component):
    """The same lane over several cycles, for targets without hardware multipliers.

    It moves with ``move``, `moves` times from ``score`` to ``mantissa``, and there are three cycles
    with ``step`` between two moves, ``turn`` 0 to 2. All that is shifted or multiplied is worked on
    in three chunks, one per step, the lowest first.

    Parameters
    ----------
    params : CoreParams
        The core.

    Members
    -------
    move, step : In(1), turn : In(2)
        ``turn`` counts steps since the last move, and is 3 in a move.
    score, maximum : In(signed(score_bits)), valid : In(1)
        For the move.
    scale : In(head_layout)
        Of what came with the last move.
    mantissa : Out(mantissa_bits), exponent_class : Out(class_bits)
        While ``turn`` is 3. Both 0 where the term is zero.
    """

    #: Moves from ``score`` to ``mantissa``.
    moves = 3
    #: Cycles from one move to the next, at least.
    pace = 4

    def __init__(self, *, params: CoreParams) -> None:
        check_params(params)
        self.params = params
        layout = row_beat_layout(params)["maximum"].shape
        super().__init__(
            {
                "move": In(1),
                "step": In(1),
                "turn": In(range(self.pace)),
                "score": In(layout),
                "maximum": In(layout),
                "valid": In(1),
                "scale": In(head_layout(params)),
                "mantissa": Out(params.mantissa_bits),
                "exponent_class": Out(params.class_bits),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        y, zero = self._argument(m)
        term, r, k = self._table(m, y, zero)
        self._round(m, term, r, k)
        return m

    def _chunks(self, m: Module, name: str, value: Value, shift: Value, step: int) -> SerialShifter:
        """``((value >> shift) + 1) >> 1``, each chunk from one step to the next or the move."""
        m.submodules[name] = shifter = SerialShifter(
            shape=Shape(len(value)), shift_bits=len(shift), step=step, turns=self.pace - 1
        )
        m.d.comb += [
            shifter.en.eq(self.step),
            shifter.turn.eq(self.turn),
            shifter.value.eq(value),
            shifter.shift.eq(shift),
        ]
        return shifter

    def _argument(self, m: Module) -> tuple[Value, Value]:
        """First move to second: ``y``, UQ6.13, and whether the term is zero."""
        p = self.params
        distance, void = Signal(p.score_bits), Signal()
        chunks = self._chunks(
            m, "distance_shifter", distance << (_U_BITS + 1), self.scale.shift, _U_BITS // 3
        )
        below = p.scale_mantissa_bits - 1
        low, zero = Signal(_U_BITS - below), Signal()
        m.submodules.multiplier = multiplier = SerialMultiplier(
            a_bits=p.scale_mantissa_bits, step=chunks.step, init=1 << (below - 1)
        )
        m.d.comb += [
            multiplier.restart.eq(self.step & (self.turn == 0)),
            multiplier.en.eq((self.step & (self.turn != 0)) | self.move),
            multiplier.a.eq(self.scale.mantissa),
            multiplier.chunk.eq(chunks.chunk),
        ]
        with m.If(self.move):
            m.d.sync += [
                # The difference; that it is written so saves the inversion of an operand.
                distance.eq(~(~self.maximum + self.score)),
                void.eq(~self.valid),
                low.eq(multiplier.o[below - 2 * chunks.step :]),
                zero.eq(void | chunks.over),
            ]
        return Cat(low, multiplier.held), zero

    def _table(self, m: Module, y: Value, zero: Value) -> tuple[Value, Value, Value]:
        """Second move to third: ``t``, and the shift ``r`` and class ``k`` of the whole part."""
        p = self.params
        m.submodules.lookup = lookup = SerialLookup(
            values=exponential_table(p.exp_index_bits), offset_bits=_OFFSET_BITS, step=3
        )
        start = self.step & (self.turn == 0)
        offset, whole, none = Signal(_OFFSET_BITS), Signal(p.argument_integer), Signal()
        m.d.comb += [
            lookup.read.eq(start),
            lookup.index.eq(y[_OFFSET_BITS : p.argument_fraction]),
            lookup.en.eq(self.step & (self.turn != 0)),
            lookup.chunk.eq(offset),
        ]
        with m.If(self.step):
            m.d.sync += offset.eq(Mux(self.turn == 0, y, offset >> lookup.step))
        with m.If(start):
            m.d.sync += [whole.eq(y[p.argument_fraction :]), none.eq(zero | y[_U_BITS])]
        r, k = _shift_and_class(m, p, whole)
        term, late_r, late_k = Signal.like(lookup.o), Signal.like(r), Signal.like(k)
        with m.If(self.move):
            # A zero term is shifted away.
            m.d.sync += [term.eq(lookup.o), late_r.eq(r | none.replicate(len(r))), late_k.eq(k)]
        return term, late_r, late_k

    def _round(self, m: Module, term: Value, r: Value, k: Value) -> None:
        """Behind the third move: ``(t + half(r)) >> r``, as ``((2t >> r) + 1) >> 1``."""
        chunks = self._chunks(m, "term_shifter", term << 1, r, len(term) // 3 + 1)
        behind, some = Signal(2 * chunks.step), Signal()
        m.d.comb += [
            self.mantissa.eq(Cat(behind, chunks.chunk)),
            self.exponent_class.eq(Mux(some | chunks.chunk.any(), k, 0)),
        ]
        with m.If(self.step):
            m.d.sync += [
                behind.eq(Cat(behind, chunks.chunk)[chunks.step :]),
                some.eq((some & (self.turn != 1)) | chunks.chunk.any()),
            ]
