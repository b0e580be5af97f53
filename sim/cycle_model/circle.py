"""Keys on their way through bit-serial units: dealt, read slice by slice, dropped or kept."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np

from attnsieve.hdl.params import CoreParams
from attnsieve.hdl.slices.key_dealer import KeyDealer
from attnsieve.hdl.slices.row_count import RowCount
from attnsieve.hdl.slices.row_parts import keys_dealt
from attnsieve.hdl.slices.slice_params import slice_params, survivor_ways
from attnsieve.hdl.slices.unit_circle import UnitCircle
from attnsieve.sim.cycle_model.place_balance import PlaceBalanceModel
from attnsieve.sim.cycle_model.survivors import SurvivorsModel

__all__ = ["Circle", "DealtRow"]

#: Cycles from a key's turn to its unit.
_DEAL = KeyDealer.latency
#: Turns on their way are in slots by the time of their end: the mask of that.
_SLOT = 7
#: Keys of a unit's queue at which no more are dealt.
_FULL = KeyDealer.depth - KeyDealer.latency
#: A key in a number: the row above these bits, the way, that it is kept, its slices.
_ROW, _WAY, _KEPT, _SLICES = 6, 5, 16, 15
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
    goes on: if there is none, or if places are to pass that unit (`PlaceBalanceModel`). Keys are
    dealt in order, some in a cycle, while no unit's queue is nearly full. Those that are kept are
    stored one per way and cycle; as long as too many wait, places are held.

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
        self.there_at = [
            [(unit + self.step * n) % s.units for unit in range(s.units)]
            for n in range(s.slices + 1)
        ]  # where a key is after so many slices
        self.ends = [[1 << unit for unit in units] for units in self.there_at]
        self.spans = [n * self.turn for n in range(s.slices + 1)]
        self.kept = SurvivorsModel(s.units, self.ways, self.turn, self.step)
        balanced = s.units > 1 and not s.static
        self.balance = PlaceBalanceModel(s.units, s.units * self.turn) if balanced else None
        self.finished: list[int] = []
        self.time = 0
        self.inside = 0  # rows of which not all keys are in units
        self.deal_at: int | None = None  # when the next keys can be dealt, if that is known
        self.whole = False  # all keys of the row are there by then
        longest = (s.slices + 1) * self.turn  # that a place may be away
        self.free = [0] * (1 << longest.bit_length())  # units with a free place
        self.wrap = len(self.free) - 1
        self.free[: self.turn] = [every] * self.turn
        self.queues: list[deque[int]] = [deque() for _ in range(s.units)]
        self.filled = self.full = 0  # units with keys, with many
        self.room = True
        self.dealt: list[tuple[list[int], int] | None] = [None] * (_SLOT + 1)
        self.rows: deque[DealtRow] = deque()  # to be dealt
        self.place = 0  # in the first of them
        self.left = [-1] * rows  # keys of each row that are not in a unit; -1: not yet dealt
        self.ended = [0] * rows  # when the last one of each will be decided, or stored
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
        free, wrap, turn, dealt = self.free, self.wrap, self.turn, self.dealt
        until, kept, now = self.until, self.kept, self.time
        balance = self.balance
        step, every, back = self.step, self.every, self.slices.units - 1 if self.step else 0
        finished = self.finished
        finished.clear()
        while self.inside and not finished:
            if self.deal_at is None:
                self._look()
                if self.deal_at is None and (self.rows or wait):
                    break
            if dealt[now & _SLOT] is not None:
                self._enter(now & _SLOT)
            full = self.full
            if kept.due <= now:
                kept.advance(now)
                self._collect()
            places, taken = free[now & wrap], 0
            passes = balance.step(now) if balance else 0
            if places:
                free[now & wrap] = 0
                taken = places & self.filled & ~passes
                if taken:
                    self._take(now, taken)
                    places ^= taken
                if places:  # at the next unit a turn later
                    free[now + turn & wrap] |= (places << step | places >> back) & every
            if balance:
                balance.begin(now, self.members[taken])
            if until[now % turn] <= now:
                self._count(now)
            if self.deal_at is not None and self.deal_at <= now and self.room:
                self._deal(now)
            self.room = not full
            now += 1
        self.time = now
        return list(finished)

    def _look(self) -> None:
        """When the next keys can be dealt, if that is known."""
        if not self.rows:
            return
        row = self.rows[0]
        last = row.first + min(self.place + self.lanes, len(row.keys)) - 1
        if not row.keys:
            self.deal_at = row.start
        elif last < self.known:
            self.deal_at = max(row.start, int(self.there[last]))
            whole = row.first + len(row.keys) - 1
            self.whole = whole < self.known and int(self.there[whole]) <= self.deal_at

    def _deal(self, now: int) -> None:
        """The next keys are on their way to their queues."""
        row, first = self.rows[0], self.place
        self.place = end = first + self.lanes
        unit = (row.first + first) % self.slices.units
        self.dealt[now + _DEAL & _SLOT] = row.keys[first:end], unit
        self.deal_at = now + 1 if self.whole else None
        if end >= len(row.keys):
            self.deal_at, self.whole = None, False
            self.rows.popleft()
            self.place = 0
            self._end(row.number, now + _DEAL + 1)

    def _end(self, row: int, time: int) -> None:
        """Something of a row ends: a key, or that it is dealt."""
        if time > self.ended[row]:
            self.ended[row] = time
        self.left[row] -= 1
        if not self.left[row]:
            self.finished.append(row)
            self.inside -= 1

    def _enter(self, slot: int) -> None:
        """Keys enter the queues of their units."""
        block = self.dealt[slot]
        assert block is not None
        self.dealt[slot] = None
        keys, unit = block
        for key in keys:
            if key:
                queue = self.queues[unit]
                queue.append(key)
                if self.balance:
                    self.balance.left[unit] += 1
                self.filled |= 1 << unit
                if len(queue) == _FULL:
                    self.full |= 1 << unit
            unit += 1
            if unit == len(self.queues):
                unit = 0

    def _take(self, now: int, taken: int) -> None:
        """Free places take the next keys of these units."""
        free, wrap, queues, left, ended = self.free, self.wrap, self.queues, self.left, self.ended
        latest = 0
        for unit in self.members[taken]:
            queue = queues[unit]
            key = queue.popleft()
            level = len(queue)
            if level == _FULL - 1:
                self.full ^= 1 << unit
            elif not level:
                self.filled ^= 1 << unit
            slices = key & _SLICES
            end = now + self.spans[slices]
            if end > latest:
                latest = end
            row = key >> _ROW
            time = end
            if key & _KEPT:
                there = self.kept.keep(end, self.there_at[slices][unit], key >> _WAY & 1, row)
                if there is None:
                    continue
                if not there:
                    free[end & wrap] |= self.ends[slices][unit]
                    continue
                time = there
            free[end & wrap] |= self.ends[slices][unit]
            time += _COUNT
            if time > ended[row]:
                ended[row] = time
            left[row] -= 1
            if not left[row]:
                self.finished.append(row)
                self.inside -= 1
        if self.kept.stored or self.kept.left:
            self._collect()
        until = max(self.until[now % self.turn], now)
        if latest > until:
            self.busy += (latest - until) // self.turn
            self.until[now % self.turn] = latest

    def _collect(self) -> None:
        """Keys that waited are stored, places that were held are free."""
        kept = self.kept
        for time, unit in kept.left:
            self.free[time & self.wrap] |= 1 << unit
        for row, time in kept.stored:
            self._end(row, time + _COUNT)
        kept.left.clear()
        kept.stored.clear()

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
        if not self.busy and cause == "row":
            self.setup += 1

    def _prepares(self, now: int) -> str:
        """What the next row waits for before it is prepared."""
        while self.asked < len(self.causes):
            for cause, until in self.causes[self.asked]:
                if now < until:
                    return cause
            self.asked += 1
        return "row" if now < self.turn_at or len(self.causes) == len(self.left) else "output"
