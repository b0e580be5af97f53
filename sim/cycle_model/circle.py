"""Keys on their way through bit-serial units: dealt, read slice by slice, dropped or kept."""

from __future__ import annotations

from collections import deque

import numpy as np

from attnsieve.hdl.params import CoreParams
from attnsieve.hdl.slices.key_dealer import KeyDealer
from attnsieve.hdl.slices.row_parts import keys_dealt
from attnsieve.sim.cycle_model.place_balance import PlaceBalanceModel
from attnsieve.sim.cycle_model.survivors import SurvivorsModel
from attnsieve.sim.cycle_model.units import COUNT, KEPT, ROW, SLICES, WAY, DealtRow, Units

__all__ = ["SLOT", "Circle"]

#: Cycles from a key's turn to its unit; to the row's being complete, where no key is left.
_DEAL, _COUNTED = KeyDealer.latency, 2 + COUNT - 1
#: Turns on their way are in slots by the time of their end: the mask of that.
SLOT = 7
#: Keys of a unit's queue at which no more are dealt.
_FULL = KeyDealer.depth - KeyDealer.latency


class _Members(dict[int, tuple[int, ...]]):
    """The units of a set."""

    def __missing__(self, units: int) -> tuple[int, ...]:
        found = tuple(n for n in range(units.bit_length()) if units >> n & 1)
        self[units] = found
        return found


class Circle(Units):
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
    rows, parts : int
        As in `Units`.
    """

    def __init__(
        self, params: CoreParams, there: np.ndarray, rows: int, parts: int = 1
    ) -> None:
        super().__init__(params, rows, parts)
        s = self.slices
        self.there = there
        self.lanes = keys_dealt(params)
        every = (1 << s.units) - 1
        self.every = every
        self.members = _Members()
        self.there_at = [
            [(unit + self.step * n) % s.units for unit in range(s.units)]
            for n in range(s.slices + 1)
        ]  # where a key is after so many slices
        self.ends = [[1 << unit for unit in units] for units in self.there_at]
        self.spans = [n * self.turn for n in range(s.slices + 1)]
        self.kept = SurvivorsModel(s.units, self.ways, self.turn, self.step, parts)
        balanced = s.units > 1 and not s.static
        self.balance = PlaceBalanceModel(s.units, s.units * self.turn) if balanced else None
        self.time = 0
        self.deal_at: int | None = None  # when the next keys can be dealt, if that is known
        self.whole = False  # all keys of the row are there by then
        longest = (s.slices + 1) * self.turn  # that a place may be away
        self.free = [0] * (1 << longest.bit_length())  # units with a free place
        self.wrap = len(self.free) - 1
        self.free[: self.turn] = [every] * self.turn
        self.queues: list[deque[int]] = [deque() for _ in range(s.units)]
        self.filled = self.full = 0  # units with keys, with many
        self.room = True
        self.dealt: list[tuple[list[int], int] | None] = [None] * (SLOT + 1)
        self.rows: deque[DealtRow] = deque()  # to be dealt
        self.place = 0  # in the first of them
        self.until = [0] * self.turn  # of each cycle of a turn, when the last key leaves

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
            if self.deal_at is None and not self._look(now, wait):
                break
            if dealt[now & SLOT] is not None:
                self._enter(now & SLOT)
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

    def _look(self, now: int, wait: bool) -> bool:
        """When the next keys can be dealt. False if that depends on what is not known."""
        if not self.rows:
            return not wait
        row = self.rows[0]
        last = row.first + min(self.place + self.lanes, len(row.keys)) - 1
        if not row.keys:
            self.deal_at = row.start
        elif last < self.known:
            self.deal_at = max(row.start, int(self.there[last]))
            whole = row.first + len(row.keys) - 1
            self.whole = whole < self.known and int(self.there[whole]) <= self.deal_at
        return self.deal_at is not None or self.blocked

    def _deal(self, now: int) -> None:
        """The next keys are on their way to their queues."""
        row, first = self.rows[0], self.place
        self.place = end = first + self.lanes
        unit = (row.first + first) % self.slices.units
        self.dealt[now + _DEAL & SLOT] = row.keys[first:end], unit
        self.deal_at = now + 1 if self.whole else None
        if end >= len(row.keys):
            self.deal_at, self.whole = None, False
            self.rows.popleft()
            self.place = 0
            self._end_dealt(row.number, now)

    def _end_dealt(self, row: int, now: int) -> None:
        """The last keys of something are dealt."""
        self._end(row, now + _COUNTED)

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
            slices = key & SLICES
            end = now + self.spans[slices]
            if end > latest:
                latest = end
            row = key >> ROW
            time = end
            if key & KEPT:
                there = self.kept.keep(end, self.there_at[slices][unit], key >> WAY & 1, row)
                if there is None:
                    continue
                if not there:
                    free[end & wrap] |= self.ends[slices][unit]
                    continue
                time = there
            free[end & wrap] |= self.ends[slices][unit]
            time += COUNT
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
            self._end(row, time + COUNT)
        kept.left.clear()
        kept.stored.clear()

    def _count(self, now: int) -> None:
        """A cycle in which no slice is read."""
        self._idle(self._waits_for(now))

    def _waits_for(self, now: int) -> str:
        """Why no slice is read."""
        row = self.rows[0] if self.rows else None
        if row is None or now < row.start:
            return self._prepares(now)
        if self.room and (self.deal_at is None or now < self.deal_at):
            return "key"
        return "output"
