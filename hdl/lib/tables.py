"""Function tables, computed exactly, and their linear interpolation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from amaranth.hdl import Module, Signal, unsigned
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

from attnsieve.hdl.lib.serial import SerialMultiplier

__all__ = ["TableLookup", "exponential_table", "reciprocal_table"]

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
    return tuple(
        ((2 << _FRACTION) * size + size + i) // (2 * (size + i)) for i in range(size + 1)
    )


class TableLookup(wiring.Component):
    """A falling function by table and linear interpolation.

    ``o = values[index] - ((slope * offset + half) >> offset_bits)`` with
    ``slope = values[index] - values[index + 1]`` and ``half = 2**(offset_bits - 1)``.

    A pipeline without handshake: `latency` cycles in which ``en`` is high, one lookup in each. The
    table is read synchronously, so that it fits block RAM; the product is one multiplier of
    ``slope_bits`` by ``offset_bits``. Where ``en`` comes every ``cycles`` cycles only, that is a
    serial one.

    Parameters
    ----------
    values : sequence of int
        Falling, 2**n + 1 of them, at least two.
    offset_bits : int
        Bits between two entries.
    cycles : int
        Least number of cycles from one ``en`` to the next.

    Members
    -------
    en : In(1)
        Everything moves on.
    phase : In(range(cycles))
        Cycles since ``en``, see `SerialMultiplier`.
    index : In(n)
    offset : In(offset_bits)
    o : Out(value_bits)
    """

    en: Signal
    phase: Signal
    index: Signal
    offset: Signal
    o: Signal

    def __init__(self, *, values: Sequence[int], offset_bits: int, cycles: int = 1) -> None:
        size = len(values) - 1
        if size < 1 or size & (size - 1):
            raise ValueError(f"Table must have 2**n + 1 values, not {len(values)!r}")
        if any(b > a for a, b in zip(values, values[1:], strict=False)) or values[-1] < 0:
            raise ValueError("Table must fall and not be negative")
        if isinstance(offset_bits, bool) or not isinstance(offset_bits, int):
            raise TypeError(f"Offset bits must be an integer, not {offset_bits!r}")
        if offset_bits < 1:
            raise ValueError(f"Offset bits must be at least 1, not {offset_bits!r}")
        self.cycles = cycles
        self.values = tuple(values)
        self.offset_bits = offset_bits
        self.value_bits = self.values[0].bit_length()
        super().__init__(
            {
                "en": In(1),
                "phase": In(range(cycles)),
                "index": In(size.bit_length() - 1),
                "offset": In(offset_bits),
                "o": Out(self.value_bits),
            }
        )

    @staticmethod
    def latency_of(cycles: int) -> int:
        """Enabled cycles from ``index`` to ``o``: a serial product is there with the table."""
        return 3 if cycles == 1 else 2

    @property
    def latency(self) -> int:
        """Enabled cycles from ``index`` to ``o``."""
        return self.latency_of(self.cycles)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        slopes = [a - b for a, b in zip(self.values, self.values[1:], strict=False)]
        slope_bits = max(slopes).bit_length()
        entry = data.StructLayout({"value": self.value_bits, "slope": slope_bits})
        init = [{"value": v, "slope": s} for v, s in zip(self.values, slopes, strict=False)]
        m.submodules.table = table = memory.Memory(shape=entry, depth=len(init), init=init)
        port = table.read_port()
        m.d.comb += [port.addr.eq(self.index), port.en.eq(self.en)]
        offset = Signal(self.offset_bits)
        with m.If(self.en):
            # First move: the table is read.
            m.d.sync += offset.eq(self.offset)
        value, product = self._product(m, port.data, offset, slope_bits)
        with m.If(self.en):
            # Last move: rounding and difference in one carry chain.
            step = product[self.offset_bits :]
            m.d.sync += self.o.eq(value - step - product[self.offset_bits - 1])
        return m

    def _product(self, m: Module, entry: Any, offset: Signal, slope_bits: int) -> Any:
        if self.cycles > 1:
            m.submodules.multiplier = multiplier = SerialMultiplier(
                a_bits=slope_bits, b_bits=self.offset_bits, cycles=self.cycles
            )
            m.d.comb += [
                multiplier.restart.eq(self.en),
                multiplier.phase.eq(self.phase),
                multiplier.a.eq(entry.slope),
                multiplier.b.eq(offset),
            ]
            return entry.value, multiplier.o
        value = Signal(self.value_bits)
        product = Signal(unsigned(slope_bits + self.offset_bits))
        with m.If(self.en):
            m.d.sync += [value.eq(entry.value), product.eq(entry.slope * offset)]
        return value, product
