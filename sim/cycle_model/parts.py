"""Keys of rows whose bounds follow their maximum: dealt part by part."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np

from attnsieve.hdl.params import CoreParams
from attnsieve.hdl.slices.key_dealer import KeyDealer
from attnsieve.hdl.slices.row_parts import RowParts
from attnsieve.sim.cycle_model.circle import SLOT, Circle
from attnsieve.sim.cycle_model.units import KEPT, PARTS, DealtRow

__all__ = ["PartedCircle"]

#: Parts of a row at most.
_MOST = len(RowParts.ENDS) + 1
#: Cycles from a row's being quiet to its first new bound; to its being renewed, without a score.
_WRITE, _NONE = 4, 3
#: Cycles from a row's bounds being there to its being looked at; from then, or from its last key
#: being there, to that being known.
_QUEUE, _KNOWN = 1, 1
#: Cycles from a row's being renewed to the next one's being looked for, and to its next part.
_NEXT, _SETTLED = 2, 1
_NEVER = 1 << 60


@dataclass(frozen=True)
class _Part:
    """A part of a row.

    Parameters
    ----------
    number : int
        Which, over all rows.
    turns : tuple of (list of int, int)
        Keys that are dealt together, and the unit of the first.
    scored : bool
        When it is decided, the row has a score.
    """

    number: int
    turns: tuple[tuple[list[int], int], ...]
    scored: bool


class PartedCircle(Circle):
    """Rows come when all their keys are there, in up to three parts. A part waits for the bounds
    that follow from the one before, and these for all keys of it; other rows go on meanwhile.

    Parameters
    ----------
    params : CoreParams
        The core.
    there : int array
        As in `Circle`.
    rows : int
        Rows of the job.
    """

    def __init__(self, params: CoreParams, there: np.ndarray, rows: int) -> None:
        super().__init__(params, there, rows, _MOST)
        self.bounds = self.slices.bounds
        self.parts: dict[int, deque[_Part]] = {}  # of each row those that have not come
        self.later: list[deque[int]] = [deque() for _ in RowParts.ENDS]  # rows, by their next part
        self.scored: dict[int, bool] = {}  # rows with a part in units: whether they have a score
        self.quiet: dict[int, int] = {}  # rows that wait for their bounds, and since when
        self.settled: dict[int, int] = {}  # rows that have them, and since when
        self.renews_at = 0  # when bounds can be made for another row
        self.writes: deque[int] = deque(maxlen=self.slices.rows)  # when bounds of new rows are
        self.turns: deque[tuple[list[int], int]] = deque()  # of the part at hand
        self.part = -1  # its number
        self.part_at = self.part_free = 0  # when it was there, and another one can be
        self.chosen: tuple[tuple[list[int], int], int] = ([], 0), -1  # to be dealt, and the part
        self.turn_free = 0  # when another one can be

    def codes(self, row: int | np.ndarray, slices: np.ndarray, kept: np.ndarray) -> list[int]:
        block = np.arange(len(slices)) // self.lanes
        turn = np.where(block == 0, 0, -(-len(slices) // self.lanes) - block)
        part = np.searchsorted(RowParts.ENDS, turn, side="right")
        return super().codes(_MOST * row + part, slices, kept)

    def give(self, row: DealtRow) -> None:
        self.rows.append(row)
        self.causes.append(row.causes)
        self.writes.append(row.start - PARTS - self.bounds)
        parts = self._parts(row)
        for part in parts:
            keys = sum(bool(key) for turn, _ in part.turns for key in turn)
            self.left[part.number] = 1 + keys
        self.parts[row.number] = deque(parts)
        self.inside += len(parts)

    def _parts(self, row: DealtRow) -> list[_Part]:
        """A row that is scored upwards from its first turn on, which is followed by the last one,
        and so on down; another one is a part, like a row without a key."""
        turns = [
            (row.keys[n : n + self.lanes], (row.first + n) % self.slices.units)
            for n in range(0, max(1, len(row.keys)), self.lanes)
        ]
        ends = [len(turns)]
        if row.write:
            turns[1:] = turns[:0:-1]
            ends = [end for end in RowParts.ENDS if end < len(turns)] + ends
        parts, scored = [], False
        for place, (first, end) in enumerate(zip([0, *ends], ends, strict=False)):
            mine = tuple(turns[first:end])
            scored |= any(key & KEPT for turn, _ in mine for key in turn)
            parts.append(_Part(_MOST * row.number + place, mine, scored))
        return parts

    def advance(self, wait: bool) -> list[int]:
        while True:
            parts = super().advance(wait)
            whole = []
            for part in parts:
                row = part // _MOST
                if self.parts[row]:
                    self.quiet[row] = self.ended[part]
                else:
                    self.ended[row] = self.ended[part]
                    whole.append(row)
            if whole or not parts:
                return whole

    # -- bounds that follow the maximum --------------------------------------------------------

    def _renew(self, now: int) -> None:
        """Rows that are quiet get their bounds one by one, of several the lowest in its place."""
        while self.quiet:
            begin = max(self.renews_at, min(self.quiet.values()))
            if begin > now:
                return
            waiting = [row for row, since in self.quiet.items() if since <= begin]
            row = min(waiting, key=lambda row: row % self.slices.rows)
            del self.quiet[row]
            renewed = self._written(begin + _WRITE) if self.scored[row] else begin + _NONE
            self.settled[row] = renewed + _SETTLED
            self.renews_at = renewed + _NEXT

    def _written(self, begin: int) -> int:
        """When all bounds of a row are written: those of rows that begin go before."""
        end = begin + self.bounds
        for since in self.writes:
            if since < end and since + self.bounds > begin:
                end += since + self.bounds - max(since, begin)
        return end

    # -- parts and turns -----------------------------------------------------------------------

    def _look(self, now: int, wait: bool) -> bool:
        """The next turn, as soon as there is one and place for it."""
        if not self.turns and not self._choose(now, wait):
            return False
        if self.turns:
            there = max(self.turn_free, self.part_at)
            turn, last = self.turns.popleft(), not self.turns
            self.chosen = turn, self.part if last else -1
            self.deal_at = there + 1
            if last:
                self.part_free = there
        return True

    def _choose(self, now: int, wait: bool) -> bool:
        """The next part: a first one, else a second, else a third. False if which is not known."""
        self._renew(now)
        first = self._first_at(wait)
        if first is None:
            return False
        times = [first, *(self.settled.get(q[0], _NEVER) if q else _NEVER for q in self.later)]
        time = max(self.part_free, min(times))
        if time > now:
            return True
        which = next(n for n, there in enumerate(times) if there <= time)
        row = self.later[which - 1].popleft() if which else self.rows.popleft().number
        part = self.parts[row].popleft()
        self.settled.pop(row, None)
        self.scored[row] = part.scored
        if self.parts[row]:
            self.later[which].append(row)
        self.turns, self.part, self.part_at = deque(part.turns), part.number, time + 1
        return True

    def _first_at(self, wait: bool) -> int | None:
        """When the next row comes, with all its keys; None if that is not known."""
        if not self.rows:
            return None if wait else _NEVER
        row = self.rows[0]
        last = row.first + len(row.keys) - 1
        if last >= self.known:
            return _NEVER if self.blocked else None
        came = row.start - PARTS + _QUEUE
        return max(came, int(self.there[last]) if last >= 0 else 0) + _KNOWN

    def _deal(self, now: int) -> None:
        keys, part = self.chosen
        self.dealt[now + KeyDealer.latency & SLOT] = keys
        self.turn_free, self.deal_at = now, None
        if part >= 0:
            self._end_dealt(part, now)

    def _waits_for(self, now: int) -> str:
        """Rows inside that wait for their bounds are no reason of their own."""
        if self.deal_at is not None and now >= self.deal_at:
            return "output"
        came = self.rows and now >= self.rows[0].start - PARTS + _QUEUE
        return "key" if came and not self.turns else self._prepares(now)
