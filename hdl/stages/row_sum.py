"""The exact sum of a row's terms."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Array, Module, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from attnsieve.hdl.layouts import term_beat_layout
from attnsieve.hdl.params import CoreParams, check_params

__all__ = ["RowSum"]


class RowSum(wiring.Component):
    """Adds the terms of each row: ``sum of mantissa << 5 * (max_class - class)``.

    Exact, ``sum_bits`` wide with ``sum_fraction`` fraction bits, so it cannot overflow with up to
    ``max_keys`` terms of at most one. It is the sum of the very terms that prob·V multiplies.

    A pipeline that never stands: alignment, an adder tree over the lanes, an accumulator. Latency
    `latency` cycles from the last beat of a row to its sum, one beat per cycle, no gap between
    rows. Where beats come every few cycles only (``lut_ram`` false) it is all done in one cycle,
    and the accumulator takes no beat while it shows the sum of a row.

    Parameters
    ----------
    params : CoreParams
        The core.

    Members
    -------
    i : In(stream(term_beat_layout))
    o : Out(stream(unsigned(sum_bits)))
        One sum per row. Both are always ready, but not where ``lut_ram`` is false.
    """

    i: stream.Interface
    o: stream.Interface

    def __init__(self, *, params: CoreParams) -> None:
        check_params(params)
        self.params = params
        self.levels = (params.groups - 1).bit_length()
        super().__init__(
            {
                "i": In(stream.Signature(term_beat_layout(params), always_ready=params.lut_ram)),
                "o": Out(stream.Signature(params.sum_bits, always_ready=params.lut_ram)),
            }
        )

    @staticmethod
    def latency_of(params: CoreParams) -> int:
        """Cycles from the last beat of a row to its sum: 2 + log2(groups), or 1."""
        return 2 + (params.groups - 1).bit_length() if params.lut_ram else 1

    @property
    def latency(self) -> int:
        """Cycles from the last beat of a row to its sum."""
        return self.latency_of(self.params)

    def _align(self, term: Any) -> Value:
        p = self.params
        shifted = [
            term.mantissa << p.class_step * (p.max_class - k) for k in range(p.max_class + 1)
        ]
        return Value.cast(Array(shifted)[term.exponent_class])

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        if self.params.lut_ram:
            self._pipeline(m)
        else:
            self._accumulate(m)
        return m

    def _accumulate(self, m: Module) -> None:
        done = Signal()
        terms = [self._align(term) for term in self.i.p.term]
        m.d.comb += [self.o.valid.eq(done), self.i.ready.eq(~done)]
        with m.If(done):
            with m.If(self.o.ready):
                m.d.sync += [done.eq(0), self.o.payload.eq(0)]
        with m.Elif(self.i.valid):
            m.d.sync += [done.eq(self.i.p.last), self.o.payload.eq(self.o.payload + sum(terms))]

    def _pipeline(self, m: Module) -> None:
        p = self.params
        valid, last = Signal(1 + self.levels), Signal(1 + self.levels)
        bits = p.sum_fraction + 1
        values = [Signal(bits, name=f"aligned_{n}", reset_less=True) for n in range(p.groups)]
        total, accumulator = Signal(p.sum_bits), Signal(p.sum_bits)
        m.d.sync += [valid.eq(valid << 1 | self.i.valid), last.eq(last << 1 | self.i.p.last)]
        # Cycle 1: every class to the same place.
        m.d.sync += [v.eq(self._align(self.i.p.term[n])) for n, v in enumerate(values)]
        # Cycles 2 ...: the tree.
        for level in range(self.levels):
            bits += 1
            pairs = list(zip(values[::2], values[1::2], strict=True))
            values = [
                Signal(bits, name=f"tree_{level}_{n}", reset_less=True) for n in range(len(pairs))
            ]
            m.d.sync += [v.eq(a + b) for v, (a, b) in zip(values, pairs, strict=True)]
        # Last cycle: the accumulator, or the sum of the row.
        m.d.comb += total.eq(accumulator + values[0])
        m.d.sync += [self.o.valid.eq(valid[-1] & last[-1]), self.o.payload.eq(total)]
        with m.If(valid[-1]):
            m.d.sync += accumulator.eq(total)
            with m.If(last[-1]):
                m.d.sync += accumulator.eq(0)
