"""Signed multiplication, for targets with and without hardware multipliers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import enum, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["Multiplier", "MultiplierStyle", "multiplier_latency"]


class MultiplierStyle(enum.Enum, shape=1):
    """How a product is made."""

    NATIVE = 0  #: the target's own multipliers
    FABRIC = 1  #: lookup tables and carry chains


#: Codes of the multiples 1, 2 and -1; 0 is 0.
_ONE, _TWO, _MINUS = 1, 2, 3


def multiplier_latency(style: MultiplierStyle) -> int:
    """Enabled cycles from the operands to the product."""
    return 1 if style is MultiplierStyle.NATIVE else 3


@dataclass(frozen=True)
class _Row:
    """A signed number times ``2**weight``, and a one at that weight that is still to be added."""

    value: Value
    weight: int
    carry: Value


class Multiplier(wiring.Component):
    """Product of two numbers, pipelined.

    Latency is `latency` cycles in which ``enable`` is high: 1 for ``NATIVE``, 3 for ``FABRIC``.
    Throughput is one product per cycle. ``FABRIC`` recodes the narrower operand, or ``a``, two bits
    at a time; the other one is kept in a register meanwhile, which multipliers that share it
    share too.

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
        return multiplier_latency(self.style)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        if self.style is MultiplierStyle.NATIVE:
            m.d.comb += self.o.eq(self._stage(m, self.a * self.b))
        else:
            self._fabric(m)
        return m

    def _fabric(self, m: Module) -> None:
        """Rows of selected multiples of one operand, joined in pairs by carry chains."""
        x, q = (self.a, self.b) if len(self.b) < len(self.a) else (self.b, self.a)
        x, q = (v if v.shape().signed else Cat(v, 0).as_signed() for v in (x, q))
        rows = self._rows(m, x, q)
        pairs = [self._join(m, *rows[n : n + 2]) for n in range(0, len(rows), 2)]
        sums = [
            _Row(self._stage(m, r.value), r.weight, self._stage(m, r.carry)) for r in pairs
        ]
        while len(sums) > 1:
            sums = [self._join(m, *sums[n : n + 2]) for n in range(0, len(sums), 2)]
        m.d.comb += self.o.eq(self._stage(m, sums[0].value[: len(self.o)]))

    def _stage(self, m: Module, value: Value) -> Value:
        register = Signal(len(value), reset_less=True)
        with m.If(self.enable):
            m.d.sync += register.eq(value)
        return register.as_signed() if value.shape().signed else register

    def _rows(self, m: Module, x: Value, q: Value) -> list[_Row]:
        """Multiples of ``x`` by the digits of ``q``: its lowest bit, pairs of bits, its sign.

        A pair and the carry from the pair below, 0 to 4, is a digit 0, 1, 2, -1 or 0, the last two
        with a carry: one lookup table per bit selects the multiple. Minus is done by inverting, and
        by one more at the row's weight, which the chain takes that joins the row to lower ones.
        """
        if len(q) % 2:  # an even number of bits, so that the sign is alone
            q = Cat(q, q[-1])
        x = self._stage(m, x)
        low = self._stage(m, q[0])
        rows = [_Row(Mux(low, x, 0)[: len(x)].as_signed(), 0, Const(0, 1))]
        carry: Value = Const(0, 1)
        for bit in range(1, len(q) - 1, 2):
            select, carry = self._digit(m, q[bit], q[bit + 1], carry)
            row = Signal(signed(len(x) + 1), name=f"row{bit}")
            with m.Switch(select):
                with m.Case(_ONE):
                    m.d.comb += row.eq(x)
                with m.Case(_TWO):
                    m.d.comb += row.eq(x << 1)
                with m.Case(_MINUS):
                    m.d.comb += row.eq(~x)
            rows.append(_Row(row, bit, select == _MINUS))
        minus = self._stage(m, q[-1] & ~carry)
        plus = self._stage(m, ~q[-1] & carry)
        top = Signal(signed(len(x)), name="row_sign")
        m.d.comb += top.eq(Mux(minus, ~x, Mux(plus, x, 0)))
        rows.append(_Row(top, len(q) - 1, minus))
        return rows

    def _digit(self, m: Module, low: Value, high: Value, carry: Value) -> tuple[Value, Value]:
        """The multiple that a pair of bits selects, in a register, and the carry to the next."""
        total = Signal(range(5))
        m.d.comb += total.eq(Cat(low, high) + carry)
        select = Signal(2)
        with m.Switch(total):
            for value, code in ((1, _ONE), (2, _TWO), (3, _MINUS)):
                with m.Case(value):
                    m.d.comb += select.eq(code)
        return self._stage(m, select), high & (low | carry)

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
