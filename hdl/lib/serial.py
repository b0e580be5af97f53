"""Arithmetic over several cycles, for targets without hardware multipliers."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Shape, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from attnsieve.hdl.lib.checks import check_int

__all__ = ["SerialMultiplier", "SerialShifter"]


class SerialMultiplier(wiring.Component):
    """A multiplier that takes one operand in chunks, the lowest first.

    ``o`` is ``held + chunk * a``, combinationally. ``en`` holds what is above its ``step`` lowest
    bits for the next chunk, so behind ``n`` chunks of ``b`` ``held`` is
    ``(init + b * a) >> (n * step)``. ``restart`` goes before ``en`` and puts ``init`` back.

    Each bit of a chunk has a row of logic as wide as ``a``, which adds ``a`` where the bit is one.

    Parameters
    ----------
    a_bits : int
        Bits of the unsigned operand, at least 1.
    step : int
        Bits of a chunk, at least 1.
    init : int
        What the product is added to, at least 0: half, for rounding.
    signed : bool
        Chunks are signed, and so is the product.

    Members
    -------
    restart, en : In(1)
    a : In(a_bits), chunk : In(step)
    held : Out
    o : Out
        ``step`` bits more than ``held``.
    """

    restart: Signal
    en: Signal
    a: Signal
    chunk: Signal
    held: Signal
    o: Signal

    def __init__(self, *, a_bits: int, step: int, init: int = 0, signed: bool = False) -> None:
        check_int("a_bits", a_bits, 1)
        check_int("step", step, 1)
        check_int("init", init, 0)
        self.step, self.init, self.signed = step, init, signed
        bits = max(a_bits, init.bit_length()) + signed
        super().__init__(
            {
                "restart": In(1),
                "en": In(1),
                "a": In(a_bits),
                "chunk": In(Shape(step, signed=signed)),
                "held": Out(Shape(bits, signed=signed), init=init),
                "o": Out(Shape(bits + step, signed=signed)),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        low, high = [], self.held
        for number in range(self.step):
            total = Signal(Shape(len(self.held) + 1, signed=self.signed), name=f"row_{number}")
            if self.signed and number == self.step - 1:
                row = ~(~high + self.a)  # the difference: inverted outputs cost nothing
            else:
                row = high + self.a
            m.d.comb += total.eq(Mux(self.chunk[number], row, high))
            low.append(total[0])
            high = total >> 1
        m.d.comb += self.o.eq(Cat(low, high))
        with m.If(self.restart):
            m.d.sync += self.held.eq(self.init)
        with m.Elif(self.en):
            m.d.sync += self.held.eq(high)
        return m


class SerialShifter(wiring.Component):
    """Shifts right and rounds half up, and gives the result in chunks, the lowest first.

    The result is ``((value >> shift) + 1) >> 1``: ``value`` has one fraction bit more than what is
    asked for. Operands stay from ``turn`` 0 to the last; with ``en`` ``chunk`` becomes the turn's
    ``step`` bits.

    Parameters
    ----------
    shape : Shape
        Of the value.
    shift_bits : int
        At least 1.
    step : int
        Bits of a chunk, at least 1.
    turns : int
        Chunks, at least 2.

    Members
    -------
    en : In(1)
    turn : In(range(turns))
    value : In(shape), shift : In(shift_bits)
    chunk : Out(step)
        Signed if the value is: what it is short of its unsigned value is in the next one.
    over : Out(1)
        Of an unsigned value: the result is not below what the chunks so far can hold.
    """

    en: Signal
    turn: Signal
    value: Signal
    shift: Signal
    chunk: Signal
    over: Signal

    def __init__(self, *, shape: Shape, shift_bits: int, step: int, turns: int) -> None:
        check_int("shift_bits", shift_bits, 1)
        check_int("step", step, 1)
        check_int("turns", turns, 2)
        self.step, self.turns = step, turns
        super().__init__(
            {
                "en": In(1),
                "turn": In(range(turns)),
                "value": In(shape),
                "shift": In(shift_bits),
                "chunk": Out(Shape(step, signed=shape.signed)),
                "over": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        last = (1 << len(self.shift)) - 1 + self.step * (self.turns - 1)
        position, start = Signal(range(last + 1)), Signal(range(last + 1))
        with m.Switch(self.turn):
            for turn in range(self.turns):
                with m.Case(turn):
                    m.d.comb += start.eq(self.step * turn)
        m.d.comb += position.eq(self.shift + start)
        carry, onward = Signal(), Signal()
        m.d.comb += onward.eq(carry | (self.chunk[-1] if self.value.shape().signed else 0))
        window, above = self._window(position)
        total = window[1:] + Mux(self.turn == 0, window[0], onward)
        left = Signal()
        m.d.comb += self.over.eq(left | carry)
        with m.If(self.en):
            m.d.sync += [Cat(self.chunk, carry).eq(total), left.eq(above)]
        return m

    def _window(self, position: Signal) -> tuple[Value, Value]:
        """``step + 1`` bits from ``position``, and whether there are ones above them.

        A choice between far places, most of which have few bits in reach, then powers of two.
        """
        value: Value = self.value
        if value.shape().signed:
            value = Cat(value, value[-1].replicate((1 << len(position)) + self.step))
        low = (len(position) + 1) // 2
        kept = self.step + (1 << low)
        above: Value = Const(0)
        near: Value = Const(0, kept)
        for place in range(0, min(len(value), 1 << len(position)), 1 << low):
            here = position[low:] == place >> low
            near = near | Mux(here, value[place:][:kept], 0)
            above = above | (here & value[place:][kept:].any())
        for bit in reversed(range(low)):
            kept = self.step + (1 << bit)
            moved = Mux(position[bit], near[1 << bit :], near)
            above, near = above | moved[kept:].any(), moved[:kept]
        return near, above
