"""Function tables, computed exactly, and their linear interpolation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from amaranth.hdl import Module, Signal, Value, unsigned
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

from attnsieve.hdl.lib.checks import check_int
from attnsieve.hdl.lib.serial import SerialMultiplier

__all__ = ["SerialLookup", "TableLookup", "exponential_table", "reciprocal_table"]

_FRACTION = 16  # fraction bits of the values


def _rounded_root(power: int, degree: int) -> int:
    """The integer nearest to ``power ** (1 / degree)``."""
    low, high = 0, 1 << (power.bit_length() // degree + 2)
    while high - low > 1:  # largest n with n - 1/2 below the root
        n = (low + high) // 2
        low, high = (n, high) if (2 * n - 1) ** degree <= power << degree else (low, n)
    return low


def exponential_table(index_bits: int) -> tuple[int, ...]:
    """``round(2**16 * 2**(-i / 2**index_bits))`` for ``i`` in 0 .. 2**index_bits."""
    degree = 1 << index_bits
    return tuple(_rounded_root(1 << (_FRACTION * degree - i), degree) for i in range(degree + 1))


def reciprocal_table(index_bits: int) -> tuple[int, ...]:
    """``round(2**16 / (1 + i / 2**index_bits))`` for ``i`` in 0 .. 2**index_bits."""
    size = 1 << index_bits
    return tuple(((2 << _FRACTION) * size + size + i) // (2 * (size + i)) for i in range(size + 1))


def _check_table(values: Sequence[int], offset_bits: int) -> None:
    size = len(values) - 1
    if size < 1 or size & (size - 1):
        raise ValueError(f"Table must have 2**n + 1 values, not {len(values)!r}")
    if any(b > a for a, b in zip(values, values[1:], strict=False)) or values[-1] < 0:
        raise ValueError("Table must fall and not be negative")
    check_int("Offset bits", offset_bits, 1)


def _slopes(values: Sequence[int]) -> list[int]:
    return [a - b for a, b in zip(values, values[1:], strict=False)]


class TableLookup(wiring.Component):
    """A falling function by table and linear interpolation.

    ``o = values[index] - ((slope * offset + half) >> offset_bits)`` with
    ``slope = values[index] - values[index + 1]`` and ``half = 2**(offset_bits - 1)``.

    A pipeline without handshake: `latency` cycles in which ``en`` is high, one lookup in each. The
    table is read synchronously, so that it fits block RAM; the product is one multiplier of
    ``slope_bits`` by ``offset_bits``.

    Parameters
    ----------
    values : sequence of int
        Falling, 2**n + 1 of them, at least two.
    offset_bits : int
        Bits between two entries.

    Members
    -------
    en : In(1)
        Everything moves on.
    index : In(n)
    offset : In(offset_bits)
    o : Out(value_bits)
    """

    en: Signal
    index: Signal
    offset: Signal
    o: Signal

    #: Enabled cycles from ``index`` to ``o``.
    latency = 4

    def __init__(self, *, values: Sequence[int], offset_bits: int) -> None:
        _check_table(values, offset_bits)
        self.values = tuple(values)
        self.offset_bits = offset_bits
        self.value_bits = self.values[0].bit_length()
        super().__init__(
            {
                "en": In(1),
                "index": In((len(values) - 1).bit_length() - 1),
                "offset": In(offset_bits),
                "o": Out(self.value_bits),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        slopes = _slopes(self.values)
        slope_bits = max(slopes).bit_length()
        entry = data.StructLayout({"value": self.value_bits, "slope": slope_bits})
        init = [{"value": v, "slope": s} for v, s in zip(self.values, slopes, strict=False)]
        m.submodules.table = table = memory.Memory(shape=entry, depth=len(init), init=init)
        port = table.read_port()
        m.d.comb += [port.addr.eq(self.index), port.en.eq(self.en)]
        offset, value = self.offset, port.data.value
        slope = Signal(slope_bits, reset_less=True)
        product = Signal(unsigned(slope_bits + self.offset_bits), reset_less=True)
        # First cycle: the table is read. Second: registers, as block RAM answers late in the cycle.
        for stage in range(2):
            offset = self._later(m, offset, f"offset_{stage}")
            value = self._later(m, value, f"value_{stage}")
        with m.If(self.en):
            m.d.sync += slope.eq(port.data.slope)
            # Third cycle: product. Fourth: rounding and difference in one carry chain.
            m.d.sync += product.eq(slope * offset)
            step = product[self.offset_bits :]
            m.d.sync += self.o.eq(value - step - product[self.offset_bits - 1])
        return m

    def _later(self, m: Module, value: Value, name: str) -> Signal:
        after = Signal(len(value), name=name, reset_less=True)
        with m.If(self.en):
            m.d.sync += after.eq(value)
        return after


class SerialLookup(wiring.Component):
    """The same function with the offset in chunks, for targets without hardware multipliers.

    ``read`` reads the table at ``index`` and starts a product; then ``en`` takes a chunk of the
    offset, the lowest first. Behind the last one ``o`` is there and stays, combinationally.

    Parameters
    ----------
    values : sequence of int
        Falling, 2**n + 1 of them, at least two.
    offset_bits : int
        Bits between two entries.
    step : int
        Bits of a chunk, a divisor of ``offset_bits``.

    Members
    -------
    read, en : In(1)
    index : In(n)
    chunk : In(step)
    o : Out(value_bits)
    """

    read: Signal
    en: Signal
    index: Signal
    chunk: Signal
    o: Signal

    def __init__(self, *, values: Sequence[int], offset_bits: int, step: int) -> None:
        _check_table(values, offset_bits)
        if step < 1 or offset_bits % step:
            raise ValueError(f"Step must be a divisor of {offset_bits}, not {step!r}")
        self.values = tuple(values)
        self.offset_bits, self.step = offset_bits, step
        self.value_bits = self.values[0].bit_length()
        super().__init__(
            {
                "read": In(1),
                "en": In(1),
                "index": In((len(values) - 1).bit_length() - 1),
                "chunk": In(step),
                "o": Out(self.value_bits),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        slopes = _slopes(self.values)
        slope_bits = max(slopes).bit_length()
        entry = data.StructLayout({"inverted": self.value_bits, "slope": slope_bits})
        ones = (1 << self.value_bits) - 1
        pairs = zip(self.values, slopes, strict=False)
        init = [{"inverted": ones - v, "slope": s} for v, s in pairs]
        m.submodules.table = table = memory.Memory(shape=entry, depth=len(init), init=init)
        m.submodules.multiplier = multiplier = SerialMultiplier(
            a_bits=slope_bits, step=self.step, init=1 << (self.offset_bits - 1)
        )
        port = table.read_port()
        m.d.comb += [
            port.addr.eq(self.index),
            port.en.eq(self.read),
            multiplier.restart.eq(self.read),
            multiplier.en.eq(self.en),
            multiplier.a.eq(port.data.slope),
            multiplier.chunk.eq(self.chunk),
            # A difference; inverting the memory's content is for free.
            self.o.eq(~(port.data.inverted + multiplier.held)),
        ]
        return m
