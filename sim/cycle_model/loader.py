"""When lines come: the order of chunks, and the flow of words from memory."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from attnsieve.hdl.params import CoreParams
from attnsieve.sim.bench.memory import Timing
from attnsieve.sim.cycle_model.latency import Latency
from attnsieve.sim.cycle_model.lines import LineTimes

__all__ = ["LoaderModel", "Region"]

QUERY, KEY, VALUE = range(3)


@dataclass(frozen=True)
class Region:
    """The rows of a head: lines, units, and when the loader hears of it."""

    lines: int
    units: int
    wide: bool
    start: int


class _Sizes:
    """Sizes of a chunk in one operand mode, in lines and in words of all channels."""

    def __init__(self, params: CoreParams, bits: int) -> None:
        line, word = params.lanes * bits // 8, params.wide_bytes
        common = math.lcm(line, word)
        self.lines, self.words = common // line, common // word
        beats = max(8, params.burst_beats)
        self.most = max(1, max(1, beats * params.beat_bytes // params.unit_bytes) // self.words)


class LoaderModel:
    """Asks for chunks of three streams of regions, in the order of the chunker.

    Queries first; then keys of a head before its values, and these before the keys of the next; a
    stream without room waits for nothing but room. A chunk takes four cycles to choose; its words
    come in order, one per cycle or slower if a channel moves a unit in several, while the beats
    in flight cover the memory's latency.

    Parameters
    ----------
    params : CoreParams
        The core.
    timing : Timing
        Of the memory.
    latency : Latency
        Of the core's blocks.
    regions : three lists of Region
        For Q, K and V.
    sinks : three LineTimes
        Where the lines go.
    """

    def __init__(
        self,
        params: CoreParams,
        timing: Timing,
        latency: Latency,
        regions: list[list[Region]],
        sinks: list[LineTimes],
    ) -> None:
        self.params, self.timing, self.latency = params, timing, latency
        self.regions, self.sinks = regions, sinks
        self.next = [0, 0, 0]
        self.left = [0, 0, 0]
        self.units = [0, 0, 0]
        self.active_from = [r[0].start if r else 0 for r in regions]
        for stream in range(3):
            self._open(stream)
        self.heads = [0, 0, 0]  # regions wholly asked for
        self.choose_at = 0
        self.word_time = 0  # when the last word was taken
        self.line_time = 0  # when the last line left
        self.beat_free: list[int] = []  # of each word, when its place in the reader is free
        self.bus_time = 0
        self.chunk_done: list[int] = []
        self.sizes = {False: _Sizes(params, 8), True: _Sizes(params, 12)}
        self.unit_cycles = params.unit_bytes // params.beat_bytes * max(
            1, -(-params.beat_bytes // timing.bytes_per_cycle)
        )
        self.unit_beats = params.unit_bytes // params.beat_bytes

    def _open(self, stream: int) -> bool:
        if self.next[stream] >= len(self.regions[stream]):
            return False
        region = self.regions[stream][self.next[stream]]
        self.left[stream], self.units[stream] = region.lines, region.units
        return True

    def _need(self, stream: int) -> int:
        """Lines of room that the stream waits for."""
        region = self.regions[stream][self.next[stream]]
        return min(self.sizes[region.wide].lines, self.left[stream])

    def _ready_from(self, stream: int) -> int | None:
        """When the stream may be chosen; None if that depends on what is not known yet."""
        if not self.left[stream]:
            return None
        room = self.sinks[stream].room_from(self._need(stream))
        if room is None:
            return None
        return max(room + self.latency.room, self.active_from[stream])

    def step(self) -> bool:
        """Ask for one more chunk; False if nothing can be asked for yet."""
        ready = [self._ready_from(stream) for stream in range(3)]
        known = [t for t in ready if t is not None]
        if not known:
            return False
        now = max(self.choose_at, min(known))
        able = [t is not None and t <= now for t in ready]
        key_first = self.heads[KEY] <= self.heads[VALUE]
        if able[QUERY]:
            stream = QUERY
        elif able[KEY] and (key_first or not able[VALUE]):
            stream = KEY
        else:
            stream = VALUE
        self._issue(stream, now)
        return True

    def _issue(self, stream: int, now: int) -> None:
        region = self.regions[stream][self.next[stream]]
        sizes, sink = self.sizes[region.wide], self.sinks[stream]
        room = sink.room(now - self.latency.room)
        most = sizes.most * sizes.lines
        last = self.left[stream] <= min(room, most)
        if last:
            lines, units = self.left[stream], self.units[stream]
        else:
            number = min(sizes.most, room // sizes.lines)
            lines, units = number * sizes.lines, number * sizes.words * self.params.channels
        issued = max(now + 2, self._queue_free())
        self.choose_at = issued + 2
        sink.asked += lines
        self.left[stream] -= lines
        self.units[stream] -= units
        words = -(-units // self.params.channels)
        sink.put(self._lines(issued, words, lines, region.wide))
        if last:
            self.heads[stream] += 1
            self.next[stream] += 1
            if self._open(stream):
                start = self.regions[stream][self.next[stream]].start
                self.active_from[stream] = max(issued + 2, start)

    def _queue_free(self) -> int:
        """When the queues before the readers take another chunk: few may wait there."""
        waiting = self.latency.chunks_ahead
        return self.chunk_done[-waiting] if len(self.chunk_done) >= waiting else 0

    def _lines(self, issued: int, words: int, lines: int, wide: bool) -> np.ndarray:
        """Times at which the lines of a chunk are in their sink."""
        params, latency = self.params, self.latency
        beats = self.unit_beats
        budget = max(1, (params.outstanding_beats - params.outstanding_beats // 8) // beats)
        asked = issued + latency.request
        word_at = np.zeros(words, np.int64)
        for word in range(words):
            number = len(self.beat_free)
            if number >= budget:  # a place in flight must be free first
                asked = max(asked, self.beat_free[number - budget] + 1)
            came = max(asked + self.timing.latency + 1, self.bus_time + 1)
            self.bus_time = came + self.unit_cycles - 1
            word_at[word] = self.bus_time + latency.word
            self.beat_free.append(int(word_at[word]))
        self.chunk_done.append(asked)
        return self._unpacked(word_at, lines, wide)

    def _unpacked(self, word_at: np.ndarray, lines: int, wide: bool) -> np.ndarray:
        """Lines follow the word that completes them, one per cycle."""
        size = self.params.lanes * (12 if wide else 8) // 8
        last = -(-(np.arange(lines) + 1) * size // self.params.wide_bytes) - 1
        bounds = word_at[np.minimum(last, len(word_at) - 1)]
        index = np.arange(lines)
        bounds[0] = max(int(bounds[0]), self.line_time + 1)
        times = np.maximum.accumulate(bounds - index) + index
        self.line_time = int(times[-1])
        return times + self.latency.line
