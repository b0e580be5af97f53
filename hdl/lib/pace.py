"""Pipelines that move every few cycles, so that serial multipliers have time."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from attnsieve.hdl.lib.checks import check_int

__all__ = ["Pace"]


class Pace(wiring.Component):
    """Counts the cycles since a pipeline moved.

    Parameters
    ----------
    cycles : int
        From one move to the next, at least. 1: it may move in every cycle.

    Members
    -------
    advance : In(1)
        The pipeline moves; only where ``due``.
    hold : In(1)
        This cycle does not count; only where not ``due``.
    phase : Out(range(cycles))
        Cycles since then; stays at the last.
    due : Out(1)
        The pipeline may move.
    """

    advance: Signal
    hold: Signal
    phase: Signal
    due: Signal

    def __init__(self, *, cycles: int) -> None:
        check_int("Cycles", cycles, 1)
        self.cycles = cycles
        super().__init__(
            {"advance": In(1), "hold": In(1), "phase": Out(range(cycles)), "due": Out(1)}
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.d.comb += self.due.eq(self.phase == self.cycles - 1)
        with m.If(self.advance):
            m.d.sync += self.phase.eq(0)
        with m.Elif(~self.due & ~self.hold):
            m.d.sync += self.phase.eq(self.phase + 1)
        return m
