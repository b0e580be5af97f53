"""Rows on their way through scorer, softmax and prob·V."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from attnsieve.hdl.params import CoreParams
from attnsieve.sim.cycle_model.latency import Latency
from attnsieve.sim.cycle_model.lines import LineTimes, paced

__all__ = ["Pipeline", "Row"]


@dataclass(frozen=True)
class Row:
    """One query of one head.

    Parameters
    ----------
    keys : int
        Keys that the row spans; 0 for a masked query.
    parts : int
        Segments of a key.
    last_of_kv : bool
        Last row that uses the K and V lines on chip: it releases them.
    segments : int
        Segments of queries up to and with this row, over all jobs.
    write : bool
        Its output is written.
    start : int
        When the row sequencer gives it, if nothing holds it up.
    scale : int or None
        Row with whose last beat the scale leaves that makes room for this row's; None: there is.
    """

    keys: int
    parts: int
    last_of_kv: bool
    segments: int
    write: bool
    start: int
    scale: int | None


class Pipeline:
    """Times of all rows at every stage, as far as the arrivals of lines are known.

    A stage acts on the lines or beats of a row at the earliest times that are one cycle apart, not
    before what it acts on has come, nor before there is room behind it. Times are those of the
    stage's own action; latencies lie between the stages.

    Parameters
    ----------
    params : CoreParams
        The core.
    latency : Latency
        Of its blocks.
    rows : sequence of Row
        In the order in which they are computed.
    query, key, value : LineTimes
        What is on chip; ``query`` counts segments.
    writes : list
        Gets the time and the beats of each output row on a channel.
    """

    def __init__(
        self,
        params: CoreParams,
        latency: Latency,
        rows: Sequence[Row],
        query: LineTimes,
        key: LineTimes,
        value: LineTimes,
        writes: list[tuple[int, int]],
    ) -> None:
        self.params, self.latency, self.rows = params, latency, rows
        self.query, self.key, self.value = query, key, value
        self.writes = writes
        self.lines = [max(1, params.row_lines(r.keys, r.parts * params.segment)) for r in rows]
        beats = [max(1, -(-row.keys // params.groups)) for row in rows]
        self.beat = np.concatenate([[0], np.cumsum(beats)]).astype(np.int64)
        total = int(self.beat[-1])
        self.beat_scored = np.zeros(total, np.int64)  # the beat's last line was scored
        self.beat_left = np.zeros(total, np.int64)  # the beat left the row buffer
        self.beat_free = np.zeros(total, np.int64)  # its terms were read for the last time
        count = len(rows)
        self.scored = self.softened = self.summed = 0  # rows through each stage
        self.score_first = np.zeros(count, np.int64)
        self.score_last = np.zeros(count, np.int64)
        self.done = np.zeros(count, np.int64)  # last elements at the writer
        self.gaps: list[dict[str, int]] = []
        self.stands: list[tuple[int, int]] = []  # the scorer, from and until: a beat waits
        self.accepted = -1
        self.key_base = self.value_base = 0
        self.score_time = self.left_time = self.step_time = self.drained = -1
        self.passes: list[tuple[int, int]] = []  # of prob·V: when each ended, its transfers
        self.left: list[int] = []  # when each transfer left

    def advance(self) -> None:
        """Move all rows as far as they can be followed."""
        while self._score() or self._soften() or self._sum():
            pass

    def force(self) -> bool:
        """Go on by what is known where something else could come first. Whether it does."""
        return False

    @property
    def busy(self) -> int:
        """Cycles in which Q·K works."""
        return sum(self.lines[: len(self.rows)])

    #: Cycles from what is done to its being counted.
    counted = 1

    @property
    def setup(self) -> int:
        """Cycles without a row before the first one."""
        return self.gaps[0]["row"]

    @property
    def waits(self) -> dict[str, int]:
        """Cycles up to the last line in which Q·K does not work, by what is missing."""
        return {cause: sum(gap[cause] for gap in self.gaps) for cause in self.gaps[0]}

    # -- Q·K: lines to beats of scores ---------------------------------------------------------

    def _score(self) -> bool:
        number = self.scored
        if number == len(self.rows):
            return False
        row, lines = self.rows[number], self.lines[number]
        first, last = self.beat[number], self.beat[number + 1]
        room = self.latency.buffer_beats(self.params) + self.latency.beats_ahead
        used = lines if row.keys else 0
        query = self._query_at(row)
        if (
            self._behind(number) is None
            or query is None
            or self.key.arrived < self.key_base + used
            or self.beat[self.softened] < last - room
            or self.softened < number - self.latency.rows_held + 1
            or (row.scale is not None and self.softened <= row.scale)
        ):
            return False
        before = self.score_time
        causes = {
            "row": np.zeros(lines, np.int64),
            "output": np.zeros(lines, np.int64),
            "query": np.full(lines, query),
            "key": np.zeros(lines, np.int64),
        }
        causes["row"][0] = self._accept(number) + self.latency.accept
        causes["key"][:used] = self.key.arrive[self.key_base : self.key_base + used]
        ends = np.minimum((np.arange(last - first) + 1) * row.parts, lines) - 1
        held = np.arange(first, last) - room
        there = held >= 0
        after = 3 if self.latency.beats_ahead else 1 - self.latency.score
        causes["output"][ends[there]] = self.beat_left[held[there]] + after
        times = self._times(causes, before)
        scored = int(times[ends[0]])
        late = self._late(number, scored)
        if late:
            enters = scored + self.latency.score
            self.stands.append((enters, enters + late))
            times = self._times(causes, before)
        self.stands = [(since, until) for since, until in self.stands if until > times[-1]]
        self._attribute(times, causes, before)
        self.score_time = int(times[-1])
        self.score_first[number], self.score_last[number] = times[0], times[-1]
        behind = ends < ends[0] + self.latency.score  # in the pipeline while it stands
        self.beat_scored[first:last] = times[ends] + np.where(behind, late, 0)
        self._leave_query(row, int(times[-1]))
        if row.last_of_kv:
            self.key.take(times[:used])
            self.key_base += used
        self.scored += 1
        return True

    def _times(self, causes: dict[str, np.ndarray], before: int) -> np.ndarray:
        """When each line of a row is issued: not while the pipeline ``stands``."""

        def times() -> np.ndarray:
            bounds = np.maximum.reduce(list(causes.values()))
            bounds[0] = max(int(bounds[0]), before + 1)
            return paced(bounds)

        for since, until in self.stands:
            line = int(np.searchsorted(times(), since))
            if line < len(causes["output"]):
                causes["output"][line] = max(int(causes["output"][line]), until)
        return times()

    def _late(self, number: int, scored: int) -> int:
        """How long the first beat of a row waits until a row has left the row buffer."""
        before = number - self.latency.rows_held
        if before < 0:
            return 0
        return max(0, self.left_time_of(before) + 2 - scored - self.latency.score)

    def _accept(self, number: int) -> int:
        """When the scorer takes the row: few are in it, and few behind it."""
        start = self.rows[number].start
        if number:
            start = max(start, self.accepted + 1)
        scale = self.rows[number].scale
        if scale is not None:
            start = max(start, self.left_time_of(scale) + self.latency.scale)
        scored = number - self.latency.rows_issued
        if scored >= 0:
            start = max(start, int(self.score_last[scored]) + 1)
        start = max(start, self._behind(number) or 0)
        self.accepted = start
        return start

    def _behind(self, number: int) -> int | None:
        """When there is place for the row behind the scorer; None: that is not known yet."""
        before = number - self.latency.rows_ahead
        if before < 0:
            return 0
        return int(self.done[before]) + 1 if before < self.summed else None

    def _query_at(self, row: Row) -> int | None:
        """When the row's query is there; None: that is not known yet."""
        there = row.segments <= self.query.arrived
        return int(self.query.arrive[row.segments - 1]) if there else None

    def _leave_query(self, row: Row, time: int) -> None:
        """The row's query is not needed any more."""
        self.query.take(np.full(row.segments - self.query.freed, time))

    def _attribute(self, times: np.ndarray, causes: dict[str, np.ndarray], before: int) -> None:
        """Cycles in which no line was scored, by what was missing in them."""
        gaps = dict.fromkeys(causes, 0)
        previous = np.concatenate([[before], times[:-1]])
        for line in np.flatnonzero(times - previous > 1):
            cycle = int(previous[line]) + 1
            for cause, bound in causes.items():  # in the order in which the scorer asks
                until = min(int(bound[line]), int(times[line]))
                gaps[cause] += max(0, until - cycle)
                cycle = max(cycle, until)
        self.gaps.append(gaps)

    # -- softmax: whole rows out of the row buffer, terms into the term ring -------------------

    def _soften(self) -> bool:
        number = self.softened
        if number == self.scored:
            return False
        first, last = self.beat[number], self.beat[number + 1]
        bounds = self._term_room(number)
        if bounds is None:
            return False
        complete = int(self.beat_scored[last - 1]) + self.latency.score + self.latency.buffer
        pace = self.latency.term_pace
        bounds[0] = max(int(bounds[0]), complete, self.left_time + pace)
        bounds[-1] = max(int(bounds[-1]), self.left_time + self.latency.row_pace)
        times = paced(bounds, pace)
        self.beat_left[first:last] = times
        self.left_time = int(times[-1])
        self.softened += 1
        return True

    def _term_room(self, number: int) -> np.ndarray | None:
        """When there is room for the terms of each beat of a row; None: not known yet."""
        first, last = self.beat[number], self.beat[number + 1]
        room = 2 * self.params.max_beats + self.latency.terms  # the pipeline holds some too
        waiting = self.latency.statistics_ahead  # reciprocals that wait for the normaliser
        if self.beat[self.summed] < last - room or self.summed < number - waiting + 1:
            return None
        bounds = np.zeros(last - first, np.int64)
        held = np.arange(first, last) - room
        there = held >= 0
        bounds[there] = self.beat_free[held[there]]
        if number >= waiting:
            held_until = int(self.done[number - waiting]) - self.latency.terms
            bounds[-1] = max(int(bounds[-1]), held_until)
        return bounds

    # -- prob·V: passes over the terms ---------------------------------------------------------

    def _sum(self) -> bool:
        number, p = self.summed, self.params
        if number == self.softened:
            return False
        row, lines = self.rows[number], self.lines[number]
        used = lines if row.keys else 0
        if self.value.arrived < self.value_base + used:
            return False
        head_dim = row.parts * p.segment
        side, passes = p.parallel_parts(head_dim), p.passes(head_dim)
        keys = p.groups // side  # of a step
        steps = max(1, -(-row.keys // keys))
        index = np.arange(steps)
        first = self.beat[number]
        beat = index * keys // p.groups
        bounds = self.beat_left[first + beat] + self.latency.terms + 2
        if used:
            line = np.minimum((index + 1) * passes, lines) - 1
            bounds = np.maximum(bounds, self.value.arrive[self.value_base + line])
        transfers = p.segment * side // p.output_lanes
        drain = transfers * self.latency.output_pace
        reciprocal = (
            self.left_time_of(number) + self.latency.terms + self.latency.statistics
        )
        for turn in range(passes):
            bounds[0] = max(int(bounds[0]), self.step_time + 1)
            bounds[-1] = max(int(bounds[-1]), self._room())
            times = paced(bounds)
            self.step_time = int(times[-1])
            self.passes.append((self.step_time, transfers))
            come = self.step_time + self.latency.steps + self.latency.drain
            self.drained = max(come, reciprocal, self.drained) + drain
            self.left += [self.drained - drain + self.latency.output_pace * n
                          for n in range(1, transfers + 1)]
            if turn < passes - 1:
                bounds = np.zeros(steps, np.int64)
        leave = np.append(beat[1:] != beat[:-1], True)
        self.beat_free[first : self.beat[number + 1]] = times[leave] + 2
        if row.last_of_kv:
            self._release_values(times, passes, used)
        self.done[number] = self.drained + self.latency.output
        if row.write:
            size = 2 * head_dim // p.channels // p.beat_bytes
            self.writes.append((int(self.done[number]) - drain + self.latency.write, max(1, size)))
        self.summed += 1
        return True

    def _room(self) -> int:
        """When the next pass of prob·V may end, after those before."""
        p = self.params
        if not self.passes:
            return 0
        if p.groups == 1:  # they have left the drain
            return self.left[-1]
        most = p.groups * p.segment // p.output_lanes
        free = len(self.left) - most  # so many transfers must have left the queue
        end, transfers = self.passes[-1]
        return max(end + transfers, self.left[free - 1] + 1 if free > 0 else 0)

    def left_time_of(self, number: int) -> int:
        """When the row's last beat left the row buffer."""
        return int(self.beat_left[self.beat[number + 1] - 1])

    def _release_values(self, times: np.ndarray, passes: int, used: int) -> None:
        """V lines are released behind the steps of the last pass, one per cycle."""
        if used:
            step = np.arange(used) // passes
            self.value.take(paced(times[np.minimum(step, len(times) - 1)] + 4))
        self.value_base += used
