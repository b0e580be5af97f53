"""When lines come where units of slices are read through the same channels."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import numpy as np

from attnsieve.sim.cycle_model.gather import SLOTS, Chunk, GatherLoaderModel

__all__ = ["SharedLoaderModel"]

_NEVER = 1 << 60


class SharedLoaderModel(GatherLoaderModel):
    """Units of slices come as they are asked for, before those of rows, and leave in the order in
    which both were. So what a chunk takes is known only when it is known what is asked for until
    then."""

    def __init__(self, *arguments: object) -> None:
        super().__init__(*arguments)
        self.pending: deque[Chunk] = deque()  # not all their units have been asked for
        self.words: list[int] = []  # when beats of the first of these came
        most = self.params.outstanding_beats // self.unit_beats
        self.flying = [deque([-_NEVER] * most, most) for _ in range(self.params.channels)]
        self.gone = deque([-_NEVER] * SLOTS, SLOTS)  # when the last beats left
        self.pace = self.beat_cycles * self.unit_beats
        # from a unit's first beat to the unit where slices are taken
        reader = 5 + (self.unit_beats > 1)
        self.way = reader + self.pace - self.beat_cycles

    def ask(self, time: int, channels: Sequence[int]) -> tuple[int, int]:
        """Units of slices from these channels; when they are asked for, and when they come."""
        self._issue_until(time)
        self._serve(time)
        asked = self._asks(time)
        return asked, self._beat(asked, channels) + self.way

    def hold(self, time: int) -> None:
        """The units of the last slices were taken at ``time``."""
        self._hold(time - self.way)

    def _hold(self, time: int) -> None:
        """The last beat did not leave before ``time``."""
        self.gone[-1] = max(self.gone[-1], time)

    def step(self) -> bool:
        """Issue a chunk, or else get one of those that wait."""
        return (self._may_issue and super().step()) or self._serve(_NEVER, 1)

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
        self.pending.append(chunk)

    def _serve(self, until: int, most: int = _NEVER) -> bool:
        """Units of ``most`` chunks at most are asked for before ``until``. Whether any chunk came
        to its end."""
        served = 0
        while self.pending and served < most:
            chunk, place = self.pending[0], len(self.words)
            time = self._next(chunk.begin)
            if time >= until:
                break
            self._asks(time)
            if not place:
                self._hold(self.line_time - self.latency.word - 1)
            first = place * self.params.channels
            units = chunk.units[first : first + self.params.channels]
            self.words.append(self._beat(time, units.tolist()))
            self._hold(self.words[-1] + int((chunk.ends == place).sum()) - 1)
            if first + len(units) == len(chunk.units):
                self.pending.popleft()
                self._came(chunk, np.array(self.words) + self.latency.word)
                self.words.clear()
                self._issue_until(until)
                served += 1
        return served > 0

    def _next(self, time: int) -> int:
        """When units can be asked for that are there at ``time``: there is room for one more
        beat."""
        return max(time, self.asked + 1, self.gone[0] + 1)

    def _asks(self, time: int) -> int:
        self.asked = self._next(time)
        return self.asked

    def _beat(self, asked: int, channels: Sequence[int]) -> int:
        """When a beat of units leaves: each channel gives its own in order."""
        self._write_until(asked + self.timing.latency)
        came = self.gone[-1] + 1
        for channel in channels:
            flying = self.flying[channel]
            begin = max(asked, flying[0] + self.latency.queue + 1)
            there = max(begin + self.timing.latency, int(self.free[channel]))
            self.free[channel] = there + self.pace
            flying.append(there + self.pace - self.beat_cycles)
            came = max(came, there)
        self.gone.append(came)
        return came
