"""Times at which the lines of a ring come and go."""

from __future__ import annotations

import numpy as np

__all__ = ["LineTimes", "paced"]


def paced(bounds: np.ndarray, pace: int = 1) -> np.ndarray:
    """Earliest times, ``pace`` apart or more, of events in order that have lower bounds."""
    index = np.arange(len(bounds)) * pace
    return np.maximum.accumulate(bounds - index) + index


class LineTimes:
    """Arrivals and releases of a ring's lines, numbered over all jobs.

    Parameters
    ----------
    depth : int
        Lines that the ring holds.
    total : int
        Lines that will pass through it.
    """

    def __init__(self, depth: int, total: int) -> None:
        self.depth = depth
        self.arrive = np.zeros(total, np.int64)
        self.free = np.zeros(total, np.int64)
        self.arrived = 0  # lines whose arrival is known
        self.freed = 0  # lines whose release is known
        self.asked = 0  # lines that were asked for

    def put(self, times: np.ndarray) -> None:
        """Arrivals of the next lines."""
        self.arrive[self.arrived : self.arrived + len(times)] = times
        self.arrived += len(times)

    def take(self, times: np.ndarray) -> None:
        """Releases of the next lines."""
        self.free[self.freed : self.freed + len(times)] = times
        self.freed += len(times)

    def room(self, now: int) -> int:
        """Lines that may be asked for at ``now``."""
        gone = int(np.searchsorted(self.free[: self.freed], now, side="right"))
        return self.depth - self.asked + gone

    def room_from(self, lines: int) -> int | None:
        """When there will be room for so many lines; None if that is not known yet."""
        index = self.asked + lines - self.depth - 1
        if index < 0:
            return 0
        return int(self.free[index]) if index < self.freed else None
