"""Signed multiplication, for targets with and without hardware multipliers."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import enum, wiring
from amaranth.lib.wiring import In, Out

from attnsieve.hdl.lib.checks import check_int

__all__ = ["Multiplier", "MultiplierStyle"]


class MultiplierStyle(enum.Enum, shape=1):
    """How a product is made."""

    NATIVE = 0  #: the target's own multipliers
    FABRIC = 1  #: lookup tables and carry chains


class Multiplier(wiring.Component):
    """Product of two numbers, pipelined.

    Latency is `latency` cycles in which ``enable`` is high: 2 or, of ``FABRIC``, 1. Throughput is
    one product per cycle. ``NATIVE`` has registers at the operands and at the product, without
    reset, as multipliers of FPGAs have them inside. ``FABRIC`` has its register in the middle: from
    there to the product is as far as from the operands to there.

    Parameters
    ----------
    a_bits, b_bits : int
        Bits of the operands, at least 2.
    b_signed : bool
        Whether ``b`` is signed; ``a`` is.
    b_most : int or None
        Largest value of an unsigned ``b``; None: any.
    style : MultiplierStyle
        What it is made of.

    Members
    -------
    enable : In(1)
        The pipeline moves.
    a : In(signed(a_bits)), b : In(b_bits)
        Operands.
    o : Out(signed(a_bits + b_bits))
        Product.
    """

    enable: Signal
    a: Signal
    b: Signal
    o: Signal

    def __init__(
        self,
        *,
        a_bits: int,
        b_bits: int,
        b_signed: bool = True,
        b_most: int | None = None,
        style: MultiplierStyle = MultiplierStyle.NATIVE,
    ) -> None:
        check_int("a_bits", a_bits, 2)
        check_int("b_bits", b_bits, 2)
        check_int("b_most", 1 if b_most is None else b_most, 1)
        self.a_bits, self.b_bits, self.b_signed = a_bits, b_bits, b_signed
        self.b_most = (1 << b_bits) - 1 if b_most is None else b_most
        self.style = MultiplierStyle(style)
        super().__init__(
            {
                "enable": In(1),
                "a": In(signed(a_bits)),
                "b": In(signed(b_bits) if b_signed else unsigned(b_bits)),
                "o": Out(signed(a_bits + b_bits)),
            }
        )

    @staticmethod
    def latency_of(style: MultiplierStyle) -> int:
        """Enabled cycles from the operands to the product."""
        return 2 if style is MultiplierStyle.NATIVE else 1

    @property
    def latency(self) -> int:
        """Enabled cycles from the operands to the product."""
        return self.latency_of(self.style)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        if self.style is MultiplierStyle.NATIVE:
            a, b = self._stage(m, self.a), self._stage(m, self.b)
            m.d.comb += self.o.eq(self._stage(m, a * b))
        else:
            self._fabric(m)
        return m

    def _stage(self, m: Module, value: Value) -> Value:
        register = Signal(len(value), reset_less=True)
        with m.If(self.enable):
            m.d.sync += register.eq(value)
        return register.as_signed() if value.shape().signed else register

    def _fabric(self, m: Module) -> None:
        """A row per bit of ``a``, lowest first; the lowest bit of its sum is one of the product.

        The sign's row subtracts, as a sum of complements: those cost nothing.
        """
        a, b = self.a, self.b
        low: Value = Const(0, 0)
        rest: Value = Const(0, 1)
        for n in range(self.a_bits):
            if n == self.a_bits // 2:
                a, b, low, rest = (self._stage(m, v) for v in (a, b, low, rest))
            if n < self.a_bits - 1:
                total = self._row(m, a[n], rest, b)
                low = Cat(low, total[0])
                rest = total[1:].as_signed() if self.b_signed else total[1:]
        wide = Signal(signed(self._row_bits))
        m.d.comb += wide.eq(rest)
        top = ~self._row(m, a[-1], ~wide, b)
        m.d.comb += self.o.eq(Cat(low, top).as_signed())

    @property
    def _row_bits(self) -> int:
        """Bits of the sum of ``b`` and half of another such sum."""
        return self.b_bits + 1 if self.b_signed else (2 * self.b_most - 1).bit_length()

    def _row(self, m: Module, bit: Value, rest: Value, b: Value) -> Signal:
        """``rest + b`` or ``rest``: a lookup table per bit, since the choice is behind the carry
        chain and not in front of it."""
        bits = self._row_bits
        total = Signal(signed(bits) if self.b_signed else unsigned(bits), name="row")
        m.d.comb += total.eq(Mux(bit, rest + b, rest))
        return total
