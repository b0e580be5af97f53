"""Signed multiplication, for targets with and without hardware multipliers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import enum, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["Multiplier", "MultiplierStyle"]


class MultiplierStyle(enum.Enum, shape=1):
    """How a product is made."""

    NATIVE = 0  #: the target's own multipliers
    FABRIC = 1  #: lookup tables and carry chains


@dataclass(frozen=True)
class _Row:
    """A signed number times ``2**weight``, and a one at that weight that is still to be added."""

    value: Value
    weight: int
    carry: Value


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
        if self.style is MultiplierStyle.NATIVE:
            with m.If(self.enable):
                m.d.sync += self.o.eq(self.a * self.b)
        else:
            self._fabric(m)
        return m

    def _fabric(self, m: Module) -> None:
        """Rows of selected multiples of one operand, joined in pairs by carry chains."""
        x, q = (self.a, self.b) if len(self.b) < len(self.a) else (self.b, self.a)
        x, q = (v if v.shape().signed else Cat(v, 0).as_signed() for v in (x, q))
        rows = self._rows(m, x, q)
        pairs = [self._join(m, *rows[n : n + 2]) for n in range(0, len(rows), 2)]
        stage = [self._stage(m, pair) for pair in pairs]
        while len(stage) > 1:
            stage = [self._join(m, *stage[n : n + 2]) for n in range(0, len(stage), 2)]
        with m.If(self.enable):
            m.d.sync += self.o.eq(stage[0].value)

    def _rows(self, m: Module, x: Value, q: Value) -> list[_Row]:
        """Multiples of ``x`` by the digits of ``q``: its lowest bit, pairs of bits, its sign.

        A pair and the carry from the pair below, 0 to 4, is a digit 0, 1, 2, -1 or 0, the last two with
        a carry: one lookup table per bit selects the multiple. Minus is done by inverting, and by
        one more at the row's weight, which the chain takes that joins the row to lower ones.
        """
        n = len(q)
        if n % 2:  # an even number of bits, so that the sign is alone
            q, n = Cat(q, q[-1]), n + 1
        wide = Signal(signed(len(x) + 1), name="multiplicand")
        m.d.comb += wide.eq(x)
        rows = [_Row(Mux(q[0], wide, 0)[: len(x)].as_signed(), 0, Const(0, 1))]
        carry: Value = Const(0, 1)
        for bit in range(1, n - 1, 2):
            pair = Cat(q[bit], q[bit + 1])
            negative = Signal(name=f"negative{bit}")
            row = Signal(signed(len(x) + 1), name=f"row{bit}")
            one, two, minus = Signal(), Signal(), Signal()
            m.d.comb += [
                minus.eq((pair == 3) & ~carry | (pair == 2) & carry),
                one.eq((pair == 1) & ~carry | (pair == 0) & carry),
                two.eq((pair == 2) & ~carry | (pair == 1) & carry),
                negative.eq(minus),
            ]
            select = Signal(2, name=f"select{bit}")
            m.d.comb += select.eq(Cat(one | minus, two | minus))
            with m.Switch(select):
                with m.Case(1):
                    m.d.comb += row.eq(wide)
                with m.Case(2):
                    m.d.comb += row.eq(wide << 1)
                with m.Case(3):
                    m.d.comb += row.eq(~wide)
            rows.append(_Row(row, bit, negative))
            following = Signal(name=f"carry{bit}")
            m.d.comb += following.eq(q[bit + 1] & (q[bit] | carry))
            carry = following
        sign = q[-1]
        top = Signal(signed(len(x)), name="row_sign")
        with m.If(sign & ~carry):
            m.d.comb += top.eq(~wide)
        with m.If(~sign & carry):
            m.d.comb += top.eq(wide)
        rows.append(_Row(top, n - 1, sign & ~carry))
        return rows

    def _join(self, m: Module, low: _Row, high: _Row | None = None) -> _Row:
        """Sum of two rows; the chain starts at the higher one's weight and takes its carry."""
        if high is None:
            return low
        shift = high.weight - low.weight
        rest = low.value[shift:].as_signed()
        size = max(len(rest), len(high.value)) + 1
        chain = Signal(signed(size + 1))
        # a lowest bit that is one in one operand makes the carry into the chain
        m.d.comb += chain.eq(Cat(1, rest).as_signed() + Cat(high.carry, high.value).as_signed())
        return _Row(Cat(low.value[:shift], chain[1:]).as_signed(), low.weight, low.carry)

    def _stage(self, m: Module, row: _Row) -> _Row:
        value = Signal(signed(len(row.value)))
        carry = Signal()
        with m.If(self.enable):
            m.d.sync += [value.eq(row.value), carry.eq(row.carry)]
        return _Row(value, row.weight, carry)
