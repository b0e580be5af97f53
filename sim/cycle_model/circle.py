"""Keys on their way through bit-serial units: dealt, read slice by slice, dropped or kept."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np

from attnsieve.hdl.params import CoreParams
from attnsieve.hdl.slices.key_dealer import KeyDealer, keys_dealt
from attnsieve.hdl.slices.row_count import RowCount
from attnsieve.hdl.slices.slice_params import slice_params, survivor_ways
from attnsieve.hdl.slices.unit_circle import UnitCircle

__all__ = ["Circle", "DealtRow"]

#: Cycles from a key's turn to its unit.
_DEAL = 3
#: Keys of a unit's queue at which no more are dealt.
_FULL = KeyDealer.depth - 3
#: Cycles from a key's leaving its place to its score in the row, if it is kept.
_STORE = 2
#: Kept keys of a unit that wait for their turn.
_WAITING = 5
#: A key in a number: the row above these bits, the way, that it is kept, its slices.
_ROW, _WAY, _KEPT, _SLICES = 6, 5, 16, 15
#: Turns that a place is held, at most.
_HELD = 16
#: Cycles from a key's being dropped or stored to the row's being complete.
_COUNT = RowCount.latency


class _Members(dict[int, tuple[int, ...]]):
    """The units of a set."""

    def __missing__(self, units: int) -> tuple[int, ...]:
        found = tuple(n for n in range(units.bit_length()) if units >> n & 1)
        self[units] = found
        return found


@dataclass(frozen=True)
class DealtRow:
    """A row that is prepared.

    Parameters
    ----------
    number : int
        Which.
    start : int
        From when on its keys can be dealt.
    keys : list of int
        Of each key its slices and what becomes of it (`Circle.codes`); 0 for one that is masked.
    first : int
        The first of its keys, over all KV heads.
    causes : tuple of (str, int)
        What it waits for before it is prepared, in order, and until when.
    """

    number: int
    start: int
    keys: list[int]
    first: int
    causes: tuple[tuple[str, int], ...]


class Circle:
    """Places that go from unit to unit. Each is known by when it is free again, and where.

    A key that reads n slices gives its place back n turns later, n units further on (at its own
    unit with static dealing). A place that is free takes the next key of the unit that it is at, or
    goes on. Keys are dealt in order, some in a cycle, while no unit's queue is nearly full. Those
    that are kept are stored one per way and cycle; as long as too many wait, places are held.

    Parameters
    ----------
    params : CoreParams
        The core.
    there : int array
        When each key is in the store, over all KV heads; filled as that becomes known.
    rows : int
        Rows of the job.
    """

    def __init__(self, params: CoreParams, there: np.ndarray, rows: int) -> None:
        self.slices = s = slice_params(params)
        self.there = there
        self.known = 0  # keys of which ``there`` is
        self.turn = UnitCircle(params=s).latency
        self.lanes = keys_dealt(params)
        self.ways = survivor_ways(params)
        self.step = 0 if s.static else 1
        every = (1 << s.units) - 1
        self.every = every
        self.members = _Members()
        self.ends = [
            [1 << (unit + self.step * n) % s.units for unit in range(s.units)]
            for n in range(s.slices + _HELD + 1)
        ]
        sides = self.ways if s.units % self.ways == 0 else 1  # a way's keys come from some units
        self.waiting = _WAITING * s.units // sides  # kept keys before places are held
        self.time = 0
        self.inside = 0  # rows of which not all keys are in units
        self.deal_at: int | None = None  # when the next keys can be dealt, if that is known
        longest = s.slices + _HELD  # turns that a place may be away
        self.free = [0] * (1 << (longest * self.turn + 1).bit_length())  # units with a free place
        self.wrap = len(self.free) - 1
        self.free[: self.turn] = [every] * self.turn
        self.queues: list[deque[int]] = [deque() for _ in range(s.units)]
        self.filled = self.full = 0  # units with keys, with many
        self.room = True
        self.dealt: list[tuple[list[int], int] | None] = [None] * 4
        self.rows: deque[DealtRow] = deque()  # to be dealt
        self.place = 0  # in the first of them
        self.left = [-1] * rows  # keys of each row that are not in a unit; -1: not yet dealt
        self.ended = [0] * rows  # when the last one of each will be decided, or stored
        self.stored = [0] * self.ways
        self.until = [0] * self.turn  # of each cycle of a turn, when the last key leaves
        self.busy = 0
        self.causes: list[tuple[tuple[str, int], ...]] = []  # of all rows
        self.turn_at = 0  # when the row behind them can be prepared, if there is room
        self.asked = 0  # the first row that is not prepared
        self.setup = 0  # cycles for want of a row before the first key
        self.idle = {"row": 0, "output": 0, "query": 0, "key": 0}

    def codes(self, row: int, slices: np.ndarray, kept: np.ndarray) -> list[int]:
        """Keys of a row, for `DealtRow`, by the slices that are read of each and whether it is
        kept."""
        ways = np.arange(len(slices)) % self.ways
        code = slices + (kept * _KEPT) + (ways << _WAY) + (row << _ROW)
        return np.where(slices > 0, code, 0).tolist()

    def give(self, row: DealtRow) -> None:
        """One more row."""
        self.rows.append(row)
        self.causes.append(row.causes)
        self.left[row.number] = 1 + sum(map(bool, row.keys))
        self.inside += 1

    def advance(self, wait: bool) -> list[int]:
        """Go on until some rows have all their keys in units, and return these; none if what comes
        next is not known: a key, or with ``wait`` the next row."""
        finished: list[int] = []
        while self.inside and not finished:
            now = self.time
            if self.deal_at is None:
                self._look()
            if self.deal_at is None and (self.rows or wait):
                break
            pushed = self.dealt[now & 3]
            if pushed is not None:
                self.dealt[now & 3] = None
                self._enter(*pushed)
            room = not self.full
            places = self.free[now & self.wrap]
            if places:
                self.free[now & self.wrap] = 0
                taken = places & self.filled
                if taken:
                    self._take(now, taken, finished)
                rest = places ^ taken
                if rest:
                    self.free[now + self.turn & self.wrap] |= self._turned(rest)
            if self.until[now % self.turn] <= now:
                self._count(now)
            if self.room and self.deal_at is not None and self.deal_at <= now:
                self._deal(now, finished)
            self.room = room
            self.time += 1
        return finished

    def _look(self) -> None:
        """When the next keys can be dealt, if that is known."""
        if not self.rows:
            return
        row = self.rows[0]
        if not row.keys:
            self.deal_at = row.start
            return
        last = row.first + min(self.place + self.lanes, len(row.keys)) - 1
        if last < self.known:
            self.deal_at = max(row.start, int(self.there[last]))

    def _deal(self, now: int, finished: list[int]) -> None:
        """The next keys are on their way to their queues."""
        row = self.rows[0]
        first = self.place
        self.place += self.lanes
        self.dealt[now + _DEAL & 3] = (
            row.keys[first : self.place], (row.first + first) % self.slices.units
        )
        self.deal_at = None
        if self.place >= len(row.keys):
            self.rows.popleft()
            self.place = 0
            self._end(row.number, now + _DEAL + 1, finished)

    def _end(self, row: int, time: int, finished: list[int]) -> None:
        """Something of a row ends: a key, or that it is dealt."""
        if time > self.ended[row]:
            self.ended[row] = time
        self.left[row] -= 1
        if not self.left[row]:
            finished.append(row)
            self.inside -= 1

    def _enter(self, keys: list[int], unit: int) -> None:
        """Keys enter the queues of their units, from ``unit`` on."""
        for key in keys:
            if key:
                queue = self.queues[unit]
                queue.append(key)
                self.filled |= 1 << unit
                if len(queue) >= _FULL:
                    self.full |= 1 << unit
            unit += 1
            if unit == self.slices.units:
                unit = 0

    def _take(self, now: int, taken: int, finished: list[int]) -> None:
        """Free places take the next keys of these units."""
        latest = 0
        if not self.busy:
            self.setup = self.idle["row"]
        for unit in self.members[taken]:
            queue = self.queues[unit]
            key = queue.popleft()
            if len(queue) < _FULL:
                self.full &= ~(1 << unit)
                if not queue:
                    self.filled &= ~(1 << unit)
            slices = key & _SLICES
            end = now + slices * self.turn
            if end > latest:
                latest = end
            if key & _KEPT:
                stored, held = self._store(end, key >> _WAY & 1)
                self._end(key >> _ROW, stored + _COUNT, finished)
                slices += held
            else:
                self._end(key >> _ROW, end + _COUNT, finished)
            self.free[now + slices * self.turn & self.wrap] |= self.ends[slices][unit]
        until = max(self.until[now % self.turn], now)
        if latest > until:
            self.busy += (latest - until) // self.turn
            self.until[now % self.turn] = latest

    def _store(self, end: int, way: int) -> tuple[int, int]:
        """When a key that is kept is stored, and how many turns its place is held."""
        stored = max(end + _STORE, self.stored[way] + 1)
        self.stored[way] = stored
        waits = stored - end - _STORE
        if waits < self.waiting:
            return stored, 0
        return stored, min(_HELD, -(-(waits + 1 - self.waiting) // self.turn))

    def _turned(self, places: int) -> int:
        """Units that these places come to next."""
        if not self.step:
            return places
        return (places << 1 | places >> self.slices.units - 1) & self.every

    def _count(self, now: int) -> None:
        """A cycle in which no slice is read."""
        row = self.rows[0] if self.rows else None
        if row is None or now < row.start:
            cause = self._prepares(now)
        elif self.room and (self.deal_at is None or now < self.deal_at):
            cause = "key"
        else:
            cause = "output"
        self.idle[cause] += 1

    def _prepares(self, now: int) -> str:
        """What the next row waits for before it is prepared."""
        while self.asked < len(self.causes):
            for cause, until in self.causes[self.asked]:
                if now < until:
                    return cause
            self.asked += 1
        return "row" if now < self.turn_at or len(self.causes) == len(self.left) else "output"
