"""Counts what may still be sent to where there is room for so much only."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from attnsieve.hdl.lib.checks import check_int

__all__ = ["Credit"]


class Credit(wiring.Component):
    """A number of credits that are taken one by one and given back.

    Whether there are any is a register.

    Parameters
    ----------
    count : int
        Most credits, at least 1.
    first : int or None
        Credits at first; None: all.

    Members
    -------
    take : In(1)
        A credit is taken in this cycle; only while there is one.
    give : In(1)
        One is given back.
    some : Out(1)
        There is one.
    """

    take: Signal
    give: Signal
    some: Signal

    def __init__(self, *, count: int, first: int | None = None) -> None:
        first = count if first is None else first
        check_int("Count", count, 1)
        check_int("First", first, 0)
        if first > count:
            raise ValueError(f"First must be at most {count}, not {first!r}")
        self.count, self.first = count, first
        super().__init__({"take": In(1), "give": In(1), "some": Out(1, init=int(first > 0))})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        left = Signal(range(self.count + 1), init=self.first)
        with m.If(self.take & ~self.give):
            m.d.sync += [left.eq(left - 1), self.some.eq(left != 1)]
        with m.If(self.give & ~self.take):
            m.d.sync += [left.eq(left + 1), self.some.eq(1)]
        return m
