"""Multiplication over several cycles, for targets without hardware multipliers."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["SerialMultiplier"]


class SerialMultiplier(wiring.Component):
    """Product of two operands that stay for some cycles.

    Operands may change with ``restart``; from the next cycle on they stay until the next one. The
    user counts the cycles since then on ``phase``: 0, 1, … and stays at ``cycles - 1``. There the
    product is at ``o``, combinationally, for as long as ``phase`` stays.

    In a cycle ``ceil((b_bits + 1) / cycles)`` bits of ``b``, rounded up to even, are worked on: for
    every two of them an adder and a row of lookup tables as wide as ``a``.

    Parameters
    ----------
    a_bits, b_bits : int
        Bits of the operands, at least 2.
    a_signed : bool
        Whether ``a`` is signed; ``b`` is not.
    cycles : int
        At least 2.

    Members
    -------
    restart : In(1)
    phase : In(range(cycles))
    a : In(a_bits), b : In(unsigned(b_bits))
    o : Out(a_bits + b_bits)
    """

    restart: Signal
    phase: Signal
    a: Signal
    b: Signal
    o: Signal

    def __init__(self, *, a_bits: int, b_bits: int, cycles: int, a_signed: bool = False) -> None:
        for name, value in (("a_bits", a_bits), ("b_bits", b_bits), ("cycles", cycles)):
            if isinstance(value, bool) or not isinstance(value, int):
                raise TypeError(f"{name} must be an integer, not {value!r}")
            if value < 2:
                raise ValueError(f"{name} must be at least 2, not {value!r}")
        self.a_bits, self.b_bits, self.a_signed, self.cycles = a_bits, b_bits, a_signed, cycles
        self.step = 2 * -(-(b_bits + 1) // (2 * cycles))
        shape = signed if a_signed else unsigned
        super().__init__(
            {
                "restart": In(1),
                "phase": In(range(cycles)),
                "a": In(shape(a_bits)),
                "b": In(unsigned(b_bits)),
                "o": Out(shape(a_bits + b_bits)),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        a = Cat(self.a, Const(0, 0 if self.a_signed else 1)).as_signed()
        held = Signal(signed(len(a) + 2))
        low = Signal(self.step * (self.cycles - 1))
        carry = Signal()
        bits, high, onward = [], held, carry
        chunk = self._chunk(m)
        for number in range(0, self.step, 2):
            odd, top = Signal(), Signal()
            digit, after = Signal(2), Signal()
            total = Signal.like(held)
            m.d.comb += [
                odd.eq(chunk[number] ^ onward),
                top.eq(chunk[number + 1]),
                digit.eq(Cat(odd, (top & odd) | (~odd & (top ^ (chunk[number] & onward))))),
                after.eq(top & (chunk[number] | onward)),
                total.eq(_add_digit(high, a, digit)),
            ]
            bits += [total[0], total[1]]
            high, onward = total >> 2, after
        m.d.comb += self.o.eq(Cat(low, *bits, high))
        with m.If(self.restart):
            m.d.sync += [held.eq(0), carry.eq(0)]
        with m.Elif(self.phase != self.cycles - 1):
            m.d.sync += [held.eq(high), carry.eq(onward), low.eq(Cat(low, *bits)[self.step :])]
        return m

    def _chunk(self, m: Module) -> Value:
        """Bits of ``b`` for this phase."""
        chunk = Signal(self.step)
        with m.Switch(self.phase):
            for phase in range(self.cycles):
                with m.Case(phase) if phase < self.cycles - 1 else m.Default():
                    m.d.comb += chunk.eq(self.b[self.step * phase : self.step * (phase + 1)])
        return chunk


def _add_digit(high: Value, a: Value, digit: Value) -> Value:
    """``high + digit * a`` for digits 0, 1, 2 and -1, encoded as 0, 1, 2 and 3."""
    once = [*a, a[-1]]
    twice = [Const(0, 1), *a]
    row = Cat(
        Mux(digit[1], Mux(digit[0], ~x, y), digit[0] & x)[:1]
        for x, y in zip(once, twice, strict=True)
    ).as_signed()
    total = Cat(Const(1, 1), high).as_signed() + Cat(digit.all(), row).as_signed()
    return total[1 : len(a) + 3].as_signed()
