"""Keys that are kept: where they wait, and when their scores are stored."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from attnsieve.hdl.slices.survivor_rows import SurvivorRows

__all__ = ["SurvivorsModel"]

#: Keys of a way that wait at a unit: in a queue, and one before it.
_WAITING = 5
#: Cycles from a key's leaving its place to its being taken, if none is before it; from then to its
#: score's being stored.
_QUEUE, _STORE = 1, 1
#: Cycles from a beat's being read to its bits' being cleared.
_CLEAR = 1
_NEVER = 1 << 60


class SurvivorsModel:
    """A queue per unit and way; of each way one key per cycle is taken, from each unit in turn.

    Keys come in the order of their times: all that are kept take as many slices. One whose unit has
    no room keeps its place, and tries again at the next unit. Scores of a row wait while another
    one is read from the same memory.

    Parameters
    ----------
    units, ways : int
        How many there are.
    turn : int
        Cycles to the next unit.
    step : int
        How much further that is: 0 with static dealing.
    parts : int
        Numbers of rows that are one row.
    """

    def __init__(self, units: int, ways: int, turn: int, step: int, parts: int = 1) -> None:
        self.units, self.turn, self.step, self.parts = units, turn, step, parts
        self.cleared: list[set[int]] = [set() for _ in range(SurvivorRows.BANKS)]
        self.queues: list[list[deque[int]]] = [
            [deque() for _ in range(units)] for _ in range(ways)
        ]
        self.some = [0] * ways  # units that have keys
        self.last = [0] * ways  # the unit from which one was taken
        self.time = [0] * ways  # when the next one can be taken
        self.held: deque[tuple[int, int, int, int]] = deque()
        self.due = _NEVER  # when something happens to those that wait, at the earliest
        self.stored: list[tuple[int, int]] = []  # rows of keys, and when they are stored
        self.left: list[tuple[int, int]] = []  # when places that were held are free, and where

    @property
    def busy(self) -> bool:
        """Some keys wait."""
        return any(self.some) or bool(self.held)

    def keep(self, end: int, unit: int, way: int, row: int) -> int | None:
        """A key leaves its place at ``end``. When it is stored; 0 if that is not yet known; None
        if it has to stay."""
        if self.held:
            self._retry(end)
        if self.some[way]:
            self._take(way, end)
        if not self.some[way] and self.time[way] <= end + _QUEUE + 1:  # hardly any is before it
            self.time[way] = time = self._store(row, max(self.time[way], end + _QUEUE))
            return time
        self.due = min(self.due, end + _QUEUE)
        return 0 if self._enter(end, unit, way, row) else None

    def read(self, row: int, times: Iterable[int]) -> None:
        """Beats of a row are read at these times."""
        self.cleared[row % SurvivorRows.BANKS].update(time + _CLEAR for time in times)

    def _store(self, row: int, taken: int) -> int:
        """When the score of a key is stored that is taken then: also when the next one is."""
        cleared, time = self.cleared[row // self.parts % SurvivorRows.BANKS], taken + _STORE
        while time in cleared:
            time += 1
        return time

    def advance(self, now: int) -> None:
        """Keys are taken, and others try again, up to ``now``."""
        self._retry(now)
        self.due = self.held[0][0] if self.held else _NEVER
        for way, some in enumerate(self.some):
            if some:
                self._take(way, now)
                self.due = min(self.due, now + 1)

    def _retry(self, now: int) -> None:
        """Keys that had no room try again."""
        while self.held and self.held[0][0] <= now:
            end, unit, way, row = self.held.popleft()
            if self._enter(end, unit, way, row):
                self.left.append((end, unit))

    def _enter(self, end: int, unit: int, way: int, row: int) -> bool:
        """Whether there was room for a key at its unit."""
        for number, queues in enumerate(self.queues):
            if len(queues[unit]) >= _WAITING:
                self._take(number, end)
            if len(queues[unit]) >= _WAITING:
                self.held.append((end + self.turn, (unit + self.step) % self.units, way, row))
                return False
        self.queues[way][unit].append(row)
        if not self.some[way]:
            self.time[way] = max(self.time[way], end + _QUEUE)
        self.some[way] |= 1 << unit
        return True

    def _take(self, way: int, now: int) -> None:
        """Keys of a way are taken, one per cycle, up to ``now``."""
        some, time, last, queues = self.some[way], self.time[way], self.last[way], self.queues[way]
        while some and time <= now:
            first = some >> last + 1 << last + 1 or some  # behind the last one, if there is any
            last = (first & -first).bit_length() - 1
            row = queues[last].popleft()
            time = self._store(row, time)
            self.stored.append((row, time))
            if not queues[last]:
                some ^= 1 << last
        self.some[way], self.time[way], self.last[way] = some, time, last
