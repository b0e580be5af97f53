"""Which units let free places pass to the next."""

from __future__ import annotations

from attnsieve.hdl.slices.place_balance import PlaceBalance

__all__ = ["PlaceBalanceModel"]

_MARGIN = PlaceBalance.margin


class PlaceBalanceModel:
    """Keys that each unit would have a turn of the circle later, and who lets places pass for it.

    Parameters
    ----------
    units : int
        How many there are.
    turn : int
        Cycles in which a place goes around.
    """

    def __init__(self, units: int, turn: int) -> None:
        self.turn = turn
        self.left = [0] * units  # keys that wait, less those that began in the last turn
        self.begun: list[tuple[int, ...]] = [()] * turn  # where keys began, by cycle of a turn
        self.next = [(n + 1) % units for n in range(units)]
        self.passes = [0] * PlaceBalance.latency  # units, by cycle of the latency

    def step(self, now: int) -> int:
        """Units that let places pass in a cycle, in which all keys that come have come."""
        slot, left = now % PlaceBalance.latency, self.left
        passes, found = self.passes[slot], 0
        if max(left) > _MARGIN:
            for unit, other in enumerate(self.next):
                if left[other] > max(left[unit], 0) + _MARGIN:
                    found |= 1 << unit
        self.passes[slot] = found
        return passes

    def begin(self, now: int, units: tuple[int, ...]) -> None:
        """Keys begin at these units; what began a turn ago counts no more."""
        slot, left = now % self.turn, self.left
        for unit in self.begun[slot]:
            left[unit] += 1
        for unit in units:
            left[unit] -= 2  # one waits less, one has begun more
        self.begun[slot] = units
