"""Keeps the k largest values of a row, once their threshold is known."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Const, Module, Signal, Value, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from attnsieve.hdl.lib.gates import add, count_flags, less
from attnsieve.hdl.select.top_k import TopKParams

__all__ = ["Keep"]


class Keep(wiring.Component):
    """Flags the values above a row's threshold, and the first ``equal`` of those that equal it.

    The other half of a top-k engine: it reads the row again, in beats of any width, in order.

    Two registers: latency `latency` cycles. Throughput: one beat per cycle, no gap between rows. A
    row's threshold is taken with its last beat, and its beats wait for it.

    Parameters
    ----------
    params : TopKParams
        Of the engine.
    lanes : int
        Values of a beat here.

    Members
    -------
    i : In(stream({value[lanes], keep, last}))
        Values; those without ``keep`` take no part.
    threshold : In(stream(threshold_layout))
        One per row.
    o : Out(stream({keep, last}))
        Of each beat, the values that stay.
    """

    i: stream.Interface
    threshold: stream.Interface
    o: stream.Interface

    #: Cycles from a beat to its flags.
    latency = 2

    def __init__(self, *, params: TopKParams, lanes: int) -> None:
        self.params, self.lanes = params, lanes
        values = data.ArrayLayout(unsigned(params.value_bits), lanes)
        flags = {"keep": unsigned(lanes), "last": unsigned(1)}
        beat = data.StructLayout({"value": values, **flags})
        super().__init__(
            {
                "i": In(stream.Signature(beat)),
                "threshold": In(stream.Signature(params.threshold_layout())),
                "o": Out(stream.Signature(data.StructLayout(flags))),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        beat, limit, o = self.i.p, self.threshold.p, self.o
        above, equal, last, valid = (
            Signal(self.lanes, name="above"),
            Signal(self.lanes, name="equal"),
            Signal(name="last"),
            Signal(name="valid"),
        )
        advance, takes = Signal(), Signal()
        m.d.comb += [
            advance.eq(~o.valid | o.ready),
            takes.eq(self.i.valid & self.threshold.valid),
            self.i.ready.eq(advance & self.threshold.valid),
            self.threshold.ready.eq(advance & self.i.valid & beat.last),
        ]
        with m.If(advance):
            m.d.sync += [
                valid.eq(takes),
                last.eq(beat.last),
                above.eq(Cat(k & (v > limit.value) for k, v in self._lanes())),
                equal.eq(Cat(k & (v == limit.value) for k, v in self._lanes())),
                o.valid.eq(valid),
                o.p.last.eq(last),
                o.p.keep.eq(above | (equal & self._allowed(m, advance, takes, valid, equal))),
            ]
        return m

    def _allowed(
        self, m: Module, advance: Value, takes: Value, valid: Value, equal: Signal
    ) -> Value:
        """Lanes of the first register whose value may stay if it equals the threshold. How many
        still may counts down, below zero too, from beat to beat."""
        left = Signal(signed(self.params.count_bits + 1))
        first = Signal(init=1)
        with m.If(advance & valid):
            m.d.sync += left.eq(left - count_flags(list(equal)))
        with m.If(advance & takes):
            m.d.sync += first.eq(self.i.p.last)
            with m.If(first):
                m.d.sync += left.eq(self.threshold.p.equal)
        before = self._before(m, equal)
        bits = len(before[0])
        few, none = left.as_unsigned()[:bits], left[-1]
        enough = left.as_unsigned()[bits:].any()
        return Cat(~none & (enough | less(its, few)) for its in before)

    def _before(self, m: Module, equal: Signal) -> list[Value]:
        """Of each lane, how many in the lanes below it are equal: four lanes share a sum."""
        bits = (self.lanes - 1).bit_length()
        none = Const(0, bits)
        groups = [list(equal[at : at + 4]) for at in range(0, self.lanes, 4)]
        counts: list[Value] = [_named(m, count_flags(g), "equals") for g in groups[:-1]]
        below = [none, *self._sums(m, counts)]
        return [
            _named(m, Cat(add(total, count_flags(group[:lane]) if lane else none), none)[:bits])
            for total, group in zip(below, groups, strict=True)
            for lane in range(len(group))
        ]

    def _sums(self, m: Module, numbers: list[Value]) -> list[Value]:
        """The sums of the first one, two, … numbers, each by a tree."""
        if len(numbers) < 2:
            return numbers
        half = len(numbers) // 2
        low, high = self._sums(m, numbers[:half]), self._sums(m, numbers[half:])
        return [*low, *(_named(m, add(low[-1], number)) for number in high)]

    def _lanes(self) -> list[tuple[Any, Any]]:
        return list(zip(self.i.p.keep, self.i.p.value, strict=True))


def _named(m: Module, value: Value, name: str = "before") -> Signal:
    """A value as a signal: its gates are there once, however often its bits are used."""
    named = Signal(len(value), name=name)
    m.d.comb += named.eq(value)
    return named
