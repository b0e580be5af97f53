"""When lines come from the loader of few cells: one channel, chunks of 64 elements."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from attnsieve.hdl.params import CoreParams
from attnsieve.sim.bench.memory import Timing
from attnsieve.sim.cycle_model.latency import Latency
from attnsieve.sim.cycle_model.lines import LineTimes
from attnsieve.sim.cycle_model.loader import KEY, QUERY, VALUE, LoaderModel, Region

__all__ = ["CompactLoaderModel"]

_BURST_BYTES = 32


class CompactLoaderModel(LoaderModel):
    """Looks at one stream per cycle, two if it has no room, and asks for whole chunks only.

    Parameters as of `LoaderModel`. A chunk that is on its way counts as a whole one.
    """

    def __init__(
        self,
        params: CoreParams,
        timing: Timing,
        latency: Latency,
        regions: list[list[Region]],
        sinks: list[LineTimes],
    ) -> None:
        # a beat goes straight to its sink
        super().__init__(params, timing, replace(latency, line=1), regions, sinks)
        self.looked_at = QUERY
        self.turn = KEY
        self.chunk_lines = 64 // self.params.lanes
        self.step_lines = 16 // self.params.lanes
        self.burst = _BURST_BYTES // self.params.beat_bytes
        self.most_bursts = self.params.outstanding_beats // self.burst
        self.chunks: list[list[int]] = [[], [], []]  # when the last line of each is in its sink
        self.burst_free: list[int] = []  # when the place of each burst is free again

    def step(self) -> bool:
        """Ask for one more chunk; False if nothing can be asked for yet."""
        if not any(self._able(stream, 1 << 60) for stream in range(3)):
            return False
        now, stream = self.choose_at, self.looked_at
        while not self._able(stream, now):
            now += self._open_at(stream, now)  # it has no room: left a cycle later
            stream = self._following(stream, now, searching=True)
            now += 1
        self._issue(stream, now)
        return True

    def _following(self, stream: int, now: int, *, searching: bool) -> int:
        """The stream that is looked at in the next cycle."""
        if stream == QUERY:
            others = self._open_at(KEY, now) or self._open_at(VALUE, now)
            return self.turn if others else QUERY
        if searching and stream == self.turn:
            return KEY + VALUE - stream
        return QUERY

    def _open_at(self, stream: int, now: int) -> bool:
        """Whether there is a region of the stream."""
        return self.left[stream] > 0 and now >= self.active_from[stream]

    def _able(self, stream: int, now: int) -> bool:
        """Whether the stream has a region, and room for its next chunk."""
        if not self._open_at(stream, now):
            return False
        coming = sum(time > now for time in self.chunks[stream][-self.most_bursts :])
        space = _space(self.sinks[stream], now)
        need = min(self.chunk_lines, self.left[stream]) + coming * self.chunk_lines
        return space // self.step_lines >= need // self.step_lines

    def _issue(self, stream: int, now: int) -> None:
        region = self.regions[stream][self.next[stream]]
        sink = self.sinks[stream]
        lines = min(self.chunk_lines, self.left[stream])
        units = lines * 3 // 2 if region.wide else lines
        sink.asked += lines
        self.left[stream] -= lines
        sink.put(self._unpacked(self._words(stream, now + 1, units), lines, region.bits))
        self.chunks[stream].append(int(sink.arrive[sink.arrived - 1]))
        self.choose_at = self.asked + 1
        self.looked_at = self._following(stream, self.asked, searching=False)
        if not self.left[stream]:
            if stream != QUERY:
                self.turn = KEY + VALUE - stream
            self.next[stream] += 1
            if self._open(stream):
                start = self.regions[stream][self.next[stream]].start
                self.active_from[stream] = max(self.asked + 1, start)

    def _words(self, stream: int, issued: int, words: int) -> np.ndarray:
        """Times of the chunk's beats; a burst waits for a place among those in flight."""
        taken = []
        asked = max(issued, self.asked + 1)
        for place in range(0, words, self.burst):
            if len(self.burst_free) >= self.most_bursts:
                asked = max(asked, self.burst_free[-self.most_bursts] + 1)
            for _ in range(min(self.burst, words - place)):
                first = asked + self.latency.request + self.timing.latency
                came = self._after_writes(max(first, self.bus_time))
                self.bus_time = came + self.beat_cycles
                taken.append(came)
            self.burst_free.append(taken[-1])
            self.asked = asked
            asked += 1
        return np.array(taken, np.int64)


def _space(sink: LineTimes, now: int) -> int:
    """Free lines of a sink as it counts them."""
    arrived = int(np.searchsorted(sink.arrive[: sink.arrived], now, side="right"))
    freed = int(np.searchsorted(sink.free[: sink.freed], now, side="left"))
    return sink.depth - arrived + freed
