"""Free places in the circle of units: which of them go on to the next unit."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from attnsieve.hdl.lib.checks import check_int
from attnsieve.hdl.lib.delay import delayed

__all__ = ["PlaceBalance"]


class PlaceBalance(wiring.Component):
    """Spreads places over units whose keys all take as many slices as there are units.

    Such a key gives its place back where it began, so a unit keeps the places that it has, and
    others get them only once its queue is empty: its keys are then gone too early, and those of a
    unit with few places too late. Here a unit lets a free place pass as long as the next one would
    have more than `margin` keys more than itself a turn of the circle later, if both went on
    beginning keys as they did in the last one; fewer than none count as none. So no unit lets a
    place pass unless more than `margin` keys wait at the next one, and never do all at a time.
    (This project.)

    Latency: `latency` cycles from keys that wait, and from beginnings, to ``passes``.

    Parameters
    ----------
    units : int
        In the circle, at least 2.
    turn : int
        Cycles in which a place goes around.
    depth : int
        Most keys that wait for a unit.

    Members
    -------
    waiting : In(range(depth + 1)).array(units)
        Keys that wait for each unit.
    begins : In(units)
        A key begins at a unit.
    passes : Out(units)
        A unit takes no key.
    """

    waiting: Any
    begins: Signal
    passes: Signal

    #: Keys by which two units may differ.
    margin = 12
    latency = 2

    def __init__(self, *, units: int, turn: int, depth: int) -> None:
        check_int("Units", units, 2)
        check_int("Turn", turn, 1)
        check_int("Depth", depth, 1)
        self.units, self.turn, self.depth = units, turn, depth
        super().__init__(
            {
                "waiting": In(range(depth + 1)).array(units),
                "begins": In(units),
                "passes": Out(units),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        gone = delayed(m, self.begins, self.turn)
        left = []  # keys of each unit, a turn later
        for n, waiting in enumerate(self.waiting):
            begun = Signal(range(self.turn + 1), name=f"begun{n}")
            later = Signal(range(self.depth + 1), name=f"later{n}")
            m.d.sync += [
                begun.eq(begun + self.begins[n] - gone[n]),
                later.eq(Mux(waiting > begun, waiting - begun, 0)),
            ]
            left.append(later)
        for n, here in enumerate(left):
            m.d.sync += self.passes[n].eq(left[(n + 1) % self.units] > here + self.margin)
        return m
