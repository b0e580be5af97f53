"""Signed multiplication, for targets with and without hardware multipliers."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Signal, signed, unsigned
from amaranth.lib import enum, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["Multiplier", "MultiplierStyle"]


class MultiplierStyle(enum.Enum, shape=1):
    """How a product is made."""

    NATIVE = 0  #: the target's own multipliers
    FABRIC = 1  #: lookup tables and carry chains


class Multiplier(wiring.Component):
    """Product of two numbers, pipelined.

    Latency is `latency` cycles in which ``enable`` is high: 1 for ``NATIVE``, 2 for ``FABRIC``.
    Throughput is one product per cycle.

    Parameters
    ----------
    a_bits, b_bits : int
        Bits of the operands, at least 2.
    b_signed : bool
        Whether ``b`` is signed; ``a`` is.
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
        style: MultiplierStyle = MultiplierStyle.NATIVE,
    ) -> None:
        for name, value in (("a_bits", a_bits), ("b_bits", b_bits)):
            if isinstance(value, bool) or not isinstance(value, int):
                raise TypeError(f"{name} must be an integer, not {value!r}")
            if value < 2:
                raise ValueError(f"{name} must be at least 2, not {value!r}")
        self.a_bits, self.b_bits, self.b_signed = a_bits, b_bits, b_signed
        self.style = MultiplierStyle(style)
        super().__init__(
            {
                "enable": In(1),
                "a": In(signed(a_bits)),
                "b": In(signed(b_bits) if b_signed else unsigned(b_bits)),
                "o": Out(signed(a_bits + b_bits)),
            }
        )

    @property
    def latency(self) -> int:
        """Enabled cycles from the operands to the product."""
        return 1 if self.style is MultiplierStyle.NATIVE else 2

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        product = self.a * self.b
        with m.If(self.enable):
            if self.style is MultiplierStyle.NATIVE:
                m.d.sync += self.o.eq(product)
            else:
                stage = Signal.like(self.o)
                m.d.sync += [stage.eq(product), self.o.eq(stage)]
        return m
