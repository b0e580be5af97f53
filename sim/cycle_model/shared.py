"""When lines come where units of slices are read through the same channels."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from attnsieve.sim.cycle_model.gather import SLOTS, Chunk, GatherLoaderModel

__all__ = ["SharedLoaderModel"]

_NEVER = 1 << 60


@dataclass
class _Coming:
    """A chunk on its way.

    Parameters
    ----------
    chunk : Chunk
        It.
    beats : int
        Its beats of units.
    lines : list of int
        Lines that each beat completes.
    """

    chunk: Chunk
    beats: int
    lines: list[int]
    asked: int = 0  # beats
    begin: int = 0  # when the first one was
    words: list[int] = field(default_factory=list)  # when beats left


class SharedLoaderModel(GatherLoaderModel):
    """Units of slices come as they are asked for, before those of rows; all leave in the order in
    which they were, rows as soon as they can, slices as they are taken. So what a chunk takes is
    known only when it is known what was asked for, and taken, until then."""

    def __init__(self, *arguments: object) -> None:
        super().__init__(*arguments)
        self.pending: deque[_Coming] = deque()  # chunks that have not been asked for to their ends
        self.beats: deque[tuple[int, _Coming | None]] = deque()  # inside: when they came, rows
        self.gone = -_NEVER  # when the last beat left
        self.delivered = 0  # chunks that have left
        self.cut: Callable[[], bool] = lambda: False  # cuts a line of queries, if one has come
        most = self.params.outstanding_beats // self.unit_beats
        self.flying = [deque([-_NEVER] * most, most) for _ in range(self.params.channels)]
        self.pace = self.beat_cycles * self.unit_beats
        # from a unit's first beat to the unit where slices are taken
        self.way = 5 + (self.unit_beats > 1) + self.pace - self.beat_cycles

    # -- slices --------------------------------------------------------------------------------

    @property
    def room(self) -> int:
        """Beats that can be asked for before any leaves."""
        return SLOTS - len(self.beats)

    def ask(self, time: int, channels: Sequence[int]) -> int:
        """Units of slices from these channels, at ``time`` or later; when they are asked for."""
        self._issue_until(time)
        self._serve(time)
        return self._beat(max(time, self.asked + 1), channels, None)

    def wait(self, time: int) -> None:
        """Slices wait to be asked for at ``time``: no rows are."""
        self._serve(time)
        self.asked = max(self.asked, time)

    @property
    def there(self) -> int:
        """When the oldest slices are there, if any are on their way."""
        return max(self.beats[0][0], self.gone + 1) + self.way

    def take(self, time: int) -> None:
        """The oldest slices are taken."""
        self.beats.popleft()
        self.gone = time - self.way
        self._leave()

    # -- rows ----------------------------------------------------------------------------------

    def step(self) -> bool:
        return self._may_issue and super().step()

    def force(self) -> bool:
        return self._serve(_NEVER, 1)

    @property
    def _may_issue(self) -> bool:
        """Whether it is known when the next chunk can be issued."""
        return (
            self.count - self.latency.requests_ahead < len(self.chunk_asked)
            and self.count - self.latency.chunks_ahead < len(self.chunk_taken)
        )

    def _issue_until(self, time: int) -> None:
        """Chunks that may be asked for before ``time``."""
        while self._may_issue:
            ready = [t for t in map(self._ready_from, range(3)) if t is not None]
            if not ready or max(self.choose_at, min(ready)) + self.latency.request > time:
                return
            super().step()

    def _read(self, chunk: Chunk) -> None:
        beats = -(-len(chunk.units) // self.params.channels)
        lines = np.bincount(chunk.ends, minlength=beats).tolist()
        self.pending.append(_Coming(chunk, beats, lines))

    def _serve(self, until: int, most: int = _NEVER) -> bool:
        """Beats of ``most`` chunks at most are asked for before ``until``. Whether any was."""
        before, served = self.asked, 0
        while self.pending and self.room and served < most:
            coming = self.pending[0]
            if not coming.asked:
                coming.begin = max(coming.chunk.begin, self.asked + 1)
            known = coming.begin + int(coming.chunk.known[coming.asked])
            time = max(known, self.asked + 1)
            if time >= until:
                break
            first = coming.asked * self.params.channels
            units = coming.chunk.units[first : first + self.params.channels]
            self._beat(time, units.tolist(), coming)
            coming.asked += 1
            if coming.asked == coming.beats:
                self.pending.popleft()
                self.chunk_asked.append(self.asked)
                self._issue_until(until)
                served += 1
            self._leave()
        return self.asked > before

    def _beat(self, asked: int, channels: Sequence[int], rows: _Coming | None) -> int:
        """A beat of units, of which each channel gives its own in order; when it is asked for."""
        if len(self.beats) == SLOTS - 1 and self.beats[0][1] is None:
            asked = max(asked, self.gone + 1)
        self._write_until(asked + self.timing.latency)
        came = 0
        for channel in channels:
            flying = self.flying[channel]
            begin = max(asked, flying[0] + self.latency.queue + 1)
            there = max(begin + self.timing.latency, int(self.free[channel]))
            self.free[channel] = there + self.pace
            flying.append(there + self.pace - self.beat_cycles)
            came = max(came, there)
        self.beats.append((came, rows))
        self.asked = asked
        return asked

    def _leave(self) -> None:
        """Rows that are the oldest inside leave; a beat of several lines holds up the next."""
        while self.beats:
            came, coming = self.beats[0]
            if coming is None:
                return
            self.beats.popleft()
            place = len(coming.words)
            time = max(came, self.gone + 1)
            if not place:
                time = max(time, self.line_time - self.latency.word)
            coming.words.append(time)
            self.gone = time + max(coming.lines[place], 1) - 1
            if len(coming.words) == coming.beats:
                self._came(coming.chunk, np.array(coming.words) + self.latency.word)
                self.delivered += 1
                while self.cut():  # the loader waits for that
                    pass
