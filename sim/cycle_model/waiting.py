"""Rows that wait: for the second plane of K, and for the rows of V that they keep."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from attnsieve.hdl.params import CoreParams
from attnsieve.sim.cycle_model.gather import GatherLoaderModel
from attnsieve.sim.cycle_model.held_values import HeldValues, RegionOf
from attnsieve.sim.cycle_model.latency import Latency
from attnsieve.sim.cycle_model.lines import LineTimes, paced
from attnsieve.sim.cycle_model.loader import KEY
from attnsieve.sim.cycle_model.rows import Row
from attnsieve.sim.cycle_model.sparse import SparsePipeline
from attnsieve.sim.driver.image import JobImage

__all__ = ["Pass", "WaitingPipeline"]

#: Regions of K that wait in front of the loader, rows in front of the scorer.
_REGIONS, _ROWS = 4, 8
#: Cycles that the row of each further head takes to come.
_HEAD = 4


@dataclass(frozen=True)
class Pass(Row):
    """A row, for the first time or again.

    Parameters
    ----------
    rank : int
        Which row.
    again : bool
        With the second plane of K.
    """

    rank: int
    again: bool


class WaitingPipeline(SparsePipeline):
    """Jobs of one query whose rows may come again, or ask for their V.

    Parameters
    ----------
    region : callable
        The region of a tensor's head that the loader hears of at some time.
    loader : GatherLoaderModel
        Gets regions of K as rows begin or come again, of V as rows know what they keep.
    others : as `SparsePipeline`; ``rows`` are those of the job, once each
    """

    def __init__(
        self,
        region: RegionOf,
        loader: GatherLoaderModel,
        image: JobImage,
        params: CoreParams,
        latency: Latency,
        rows: Sequence[Row],
        query: LineTimes,
        key: LineTimes,
        value: LineTimes,
        writes: list[tuple[int, int]],
    ) -> None:
        super().__init__(
            image, params, latency, [*rows, *rows], query, key, value, writes
        )
        self.region, self.loader, self.job_rows = region, loader, rows
        self.progressive, self.demand = image.job.progressive, image.job.demand
        living = np.flatnonzero(image.job.alive)
        self.kv = [int(head) // image.job.group for head in living]  # of each row
        self.heads = list(dict.fromkeys(self.kv))  # KV heads in order
        self.recomputed = image.expected.recomputed[living, 0]
        self.beats = int(self.beat[1])
        self.given: list[Row] = [] if self.progressive else list(rows)
        self.rows = self.given
        count = len(rows)
        self.count = count
        # planes
        self.time = 0  # when the sequencer can choose
        self.begun = self.repeated = 0  # KV heads that began; that are known not to come again
        self.sent = 0  # regions of K
        self.chosen: tuple[bool, int] | None = None  # again, and when
        self.accepts: list[int] = []
        self.judged = 0
        self.verdict = np.full(count, -1, np.int64)
        self.final = np.full(count, -1, np.int64)
        # gate, values, demand
        self.gated = self.picked = 0
        self.gate_first = np.zeros(count, np.int64)
        self.gate_last = np.zeros(count, np.int64)
        self.gate_time = self.engine_time = -1
        self.picked_last = np.zeros(count, np.int64)
        self.held = HeldValues(region, loader, latency, self.kv, self.beats)

    def advance(self) -> None:
        moved = True
        while moved:
            moved = False
            for stage in (
                self._score, self._soften, self._judge, self._gate, self._pick, self.held.ask,
                self._pack, self._sum,
            ):  # fmt: skip
                while stage():
                    moved = True

    def force(self) -> bool:
        return self.order(force=True)

    # -- the order of planes -------------------------------------------------------------------

    def order(self, *, force: bool = False) -> bool:
        """The sequencer's next step, if it is known by now; with ``force`` by what is known."""
        if not self.progressive:
            return False
        if self.chosen is None and not self._choose(force):
            return False
        assert self.chosen is not None
        again, now = self.chosen
        waits = self.sent - _REGIONS
        if waits >= 0 and waits >= self._taken():
            return False
        number = self.repeated if again else self.begun
        head = self.heads[number]
        ranks = [r for r, kv in enumerate(self.kv) if kv == head]
        if again:
            ranks = [r for r in ranks if self.recomputed[r]]
        first = len(self.rows) + len(ranks) - 1 - _ROWS
        self._accept_rows()
        if first >= len(self.accepts):
            return False
        taken = self.loader.region_taken[waits] + 1 if waits >= 0 else 0
        now = max(now + 1, taken)
        name = "k_lsb" if again else "k"
        self.loader.offer(KEY, self.region(name, head, now + self.latency.region_queue))
        self.sent += 1
        for place, rank in enumerate(ranks):
            number = len(self.rows)
            held = self.accepts[number - _ROWS] + 1 if number >= _ROWS else 0
            now = max(now + 1, held)
            row = self.job_rows[rank]
            self.given.append(
                Pass(
                    row.keys, row.parts, place == len(ranks) - 1, row.segments, row.write,
                    now + 1, number - 16 if number >= 16 else None, rank, again,
                )
            )  # fmt: skip
        self.time = now + 1
        self.chosen = None
        if again:
            self.repeated += 1
        else:
            self.begun += 1
        return True

    def _taken(self) -> int:
        return len(self.loader.region_taken)

    def _choose(self, force: bool) -> bool:
        """Whether a KV head begins or comes again next, and when."""
        again, new = self._again(), self._new()
        known = [max(self.time, t) for t in (again, new) if t is not None and t >= 0]
        if not known:
            return False
        now = min(known)
        unsure = again is None or new is None
        if unsure and not force and now > self.loader.choose_at:
            return False
        is_again = again is not None and 0 <= again <= now
        self.chosen = (is_again, now)
        return True

    def _again(self) -> int | None:
        """When the next KV head is known to come again; −1: none will of those that began; None:
        that is not known."""
        while self.repeated < self.begun:
            head = self.heads[self.repeated]
            ranks = [r for r, kv in enumerate(self.kv) if kv == head]
            verdicts = self.verdict[ranks]
            if (verdicts < 0).any():
                return None
            if self.recomputed[ranks].any():
                return int(verdicts[-1]) + 2
            self.repeated += 1
        return -1

    def _new(self) -> int | None:
        """When the next KV head can begin: its rows are there, and room for them; −1: none."""
        if self.begun == len(self.heads):
            return -1
        p = self.params
        ranks = [r for r, kv in enumerate(self.kv) if kv == self.heads[self.begun]]
        parts = self.job_rows[0].parts
        most = min(p.held_beats // self.beats, p.held_segments // parts)
        there = self.job_rows[ranks[-1]].start + _HEAD * ranks[-1] + 1
        gone = ranks[-1] + 1 - most
        if gone <= 0:
            return there
        if gone > self.gated:
            return None
        return max(there, int(self.gate_last[gone - 1]) + 3)

    def _accept_rows(self) -> None:
        """When the scorer takes rows, as far as that is known."""
        while len(self.accepts) < len(self.rows):
            number = len(self.accepts)
            row = self.rows[number]
            behind = self._behind(number)
            held = number - self.latency.rows_issued
            if behind is None or held >= self.scored:
                return
            if row.scale is not None and row.scale >= self.softened:
                return
            start = max(row.start, behind)
            if number:
                start = max(start, self.accepts[-1] + 1)
            if row.scale is not None:
                start = max(start, self.left_time_of(row.scale) + self.latency.scale)
            if held >= 0:
                start = max(start, int(self.score_last[held]) + 1)
            self.accepts.append(start)

    def _accept(self, number: int) -> int:
        if not self.progressive:
            return super()._accept(number)
        self._accept_rows()
        return self.accepts[number]

    def _behind(self, number: int) -> int | None:
        if not self.progressive:
            return super()._behind(number)
        before = number - self.latency.rows_ahead
        if before < 0:
            return 0
        if before >= self.softened:
            return None
        return self.left_time_of(before) + self.latency.terms + 1

    def _query_at(self, row: Row) -> int | None:
        return 0 if isinstance(row, Pass) and row.again else super()._query_at(row)

    def _leave_query(self, row: Row, time: int) -> None:
        if not self.progressive:
            super()._leave_query(row, time)

    # -- the gate: which rows are final, and go on in order ------------------------------------

    def _term_room(self, number: int) -> np.ndarray | None:
        first, last = self.beat[number], self.beat[number + 1]
        bounds = np.zeros(last - first, np.int64)
        if self.progressive:  # rows that wait have room
            return bounds
        room, waiting = 2 * self.params.max_beats, self.latency.statistics_ahead
        if self.beat[self.picked] < last - room or self.summed < number - waiting + 1:
            return None
        held = np.arange(first, last) - room
        bounds[held >= 0] = self.beat_free[held[held >= 0]] - self.latency.terms
        if number >= waiting:
            bounds[-1] = max(int(bounds[-1]), int(self.done[number - waiting]) - self.latency.terms)
        if self._alone and number:
            if self.picked < number:
                return None
            bounds[0] = max(int(bounds[0]), self.engine_time - self.latency.terms)
        return bounds

    @property
    def _alone(self) -> bool:
        return self.params.top_k == "quick"

    def _judge(self) -> bool:
        """Verdicts on passes, from their statistics."""
        number = self.judged
        if not self.progressive or number == self.softened:
            return False
        row = self.rows[number]
        assert isinstance(row, Pass)
        known = self.left_time_of(number) + self.latency.terms + self.latency.statistics
        if not row.again:
            self.verdict[row.rank] = known + 2
        if row.again or not self.recomputed[row.rank]:
            self.final[row.rank] = known
        self.judged += 1
        return True

    def _gate(self) -> bool:
        """The oldest row leaves, if it is final."""
        number = self.gated
        if number == self.count:
            return False
        if not self.progressive:
            if number >= self.softened:
                return False
            first, last = self.beat[number], self.beat[number + 1]
            self.gate_first[number] = self.beat_left[first] + self.latency.terms
            self.gate_last[number] = self.beat_left[last - 1] + self.latency.terms
            self.gated += 1
            return True
        room = 2 * self.params.max_beats
        first, last = self.beat[number], self.beat[number + 1]
        if self.final[number] < 0 or self.beat[self.picked] < last - room:
            return False
        waiting = self.latency.statistics_ahead
        if self.summed < number - waiting or (self._alone and self.picked < number):
            return False
        bounds = np.zeros(self.beats, np.int64)
        held = np.arange(first, last) - room
        bounds[held >= 0] = self.beat_free[held[held >= 0]]
        bounds[0] = max(int(bounds[0]), int(self.final[number]) + 4, self.gate_time + 1)
        if number > waiting:
            bounds[0] = max(int(bounds[0]), int(self.done[number - waiting - 1]))
        if self._alone:
            bounds[0] = max(int(bounds[0]), self.engine_time)
        pace = max(1, -(-self.params.groups // self.latency.select_lanes)) if self._alone else 1
        times = paced(bounds, pace)
        self.gate_time = int(times[-1])
        self.gate_first[number], self.gate_last[number] = times[0], times[-1]
        row = self.job_rows[number]
        self.query.take(np.full(row.parts, self.gate_time + 1))
        self.gated += 1
        return True

    # -- values: which terms are kept, and what V that needs -----------------------------------

    def _pick(self) -> bool:
        """A row leaves the value select, into the memory where its KV head waits."""
        number = self.picked
        if number == self.gated:
            return False
        room = self.held.room(number) if self.demand else 0
        if room is None:
            return False
        selected, fill = self.selected[number], self.gate_last[number]
        begin = max(int(fill), self.engine_time)
        if selected.search.alone:
            begin = max(begin, int(self.gate_first[number]) + selected.search.fill)
        self.engine_time = begin + selected.search.busy
        known = self.engine_time + selected.search.wait + 4 + self.params.progressive
        bounds = np.zeros(self.beats, np.int64)
        bounds[0] = max(known, self.passed + 1, room)
        times = paced(bounds)
        self.passed = int(times[-1])
        self.picked_last[number] = self.passed
        first = self.beat[number]
        self.beat_free[first : first + self.beats] = times + 1
        if self.demand:
            self.held.enter(self.passed)
        self.picked += 1
        return True

    def _pack(self) -> bool:
        """A row leaves the memory, packed."""
        return self.demand and self.held.pack(self.summed)

    def _sum(self) -> bool:
        number = self.summed
        if number == (self.held.rows if self.demand else self.picked):
            return False
        row = self.job_rows[number]
        used = self.held.lines_of(number) if self.demand else self.lines[number] * bool(row.keys)
        values = self._values_at(used)
        if values is None:
            return False
        start = int((self.held.packed if self.demand else self.picked_last)[number]) + 4
        start = max(start, values)
        self.held.begins[number] = max(start, self.step_time + 1)
        told = int(self.gate_first[number]) - self.latency.statistics  # by the gate
        self._passes(number, start, told if self.progressive else int(self.gate_last[number]))
        self._end_row(row, used)
        return True
