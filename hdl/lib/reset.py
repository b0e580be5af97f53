"""Resets of blocks, from one that they share."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from attnsieve.hdl.lib.checks import check_int

__all__ = ["LocalResets"]


class LocalResets(wiring.Component):
    """A register for each block's reset, so that none drives all of a device.

    A bit of ``o`` is high from the cycle after ``i`` rises to `after` cycles after it falls. That
    it stays high by itself also keeps synthesis from merging the registers of several blocks.

    Parameters
    ----------
    count : int
        Blocks, at least 1.

    Members
    -------
    i : In(1)
        A register: reset.
    o : Out(count)
        Resets of the blocks, high at first.
    """

    i: Signal
    o: Signal

    #: Cycles by which ``o`` falls after ``i``.
    after = 2

    def __init__(self, *, count: int) -> None:
        check_int("Count", count, 1)
        super().__init__({"i": In(1), "o": Out(count, init=(1 << count) - 1)})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        before = Signal(init=1)
        m.d.sync += before.eq(self.i)
        m.d.sync += [bit.eq(self.i | (bit & before)) for bit in self.o]
        return m
