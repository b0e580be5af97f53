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
#: Cycles from a stream's having room or a region to its being known that it can be chosen.
_PLAN = 1


@dataclass(frozen=True)
class Region:
    """The rows of a head.

    Parameters
    ----------
    lines, units : int
        What they take, on chip and in memory.
    beat : int
        First beat in a channel.
    bits : int
        Of an operand.
    start : int
        When the loader hears of it.
    """

    lines: int
    units: int
    beat: int
    bits: int
    start: int

    @property
    def wide(self) -> bool:
        """Operands of 12 bits."""
        return self.bits == 12


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

    Queries first, if the last chunk was of something else; then keys of a head before its values,
    and these before the keys of the next; a stream without room waits for nothing but room. A
    chunk takes five cycles to choose. Its bursts are asked for while the beats in flight have
    room; beats come one after another, with those written in between.

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
        self.position = [0, 0, 0]  # in beats of a channel, to know where bursts end
        self.active_from = [r[0].start if r else 0 for r in regions]
        for stream in range(3):
            self._open(stream)
        self.heads = [0, 0, 0]  # regions wholly asked for
        self.choose_at = 0
        self.issued = 0  # when the last chunk was
        self.chosen = VALUE
        self.line_time = 0  # when the last line left
        self.bus_time = 0  # when the bus can move another beat
        self.asked = 0  # when the last burst was asked for
        self.beat_free: list[int] = []  # when the place of each beat in flight is free again
        self.count = 0  # chunks that were issued
        self.chunk_asked: list[int] = []
        self.chunk_taken: list[int] = []
        self.writes: list[tuple[int, int]] = []  # time and beats of each output row on a channel
        self.written = 0
        self.queries_cut: list[int] = []  # when all queries of each head were in the store
        self.keys_cut: list[int] = []  # when all keys of each KV head were cut
        self.sizes = {False: _Sizes(params, 8), True: _Sizes(params, 12)}
        self.beat_cycles = max(1, -(-params.beat_bytes // timing.bytes_per_cycle))
        self.unit_beats = params.unit_bytes // params.beat_bytes
        longest = max(1, min(params.burst_beats, params.outstanding_beats // 8))
        self.burst = min(1 << (longest.bit_length() - 1), 4096 // params.beat_bytes)

    def _open(self, stream: int) -> bool:
        if self.next[stream] >= len(self.regions[stream]):
            return False
        region = self.regions[stream][self.next[stream]]
        self.left[stream], self.units[stream] = region.lines, region.units
        self.position[stream] = region.beat
        return True

    def _need(self, stream: int) -> int:
        """Lines of room that the stream waits for."""
        region = self.regions[stream][self.next[stream]]
        return min(self._granule(region)[0], self.left[stream])

    def _granule(self, region: Region) -> tuple[int, int, int]:
        """Lines and units of the smallest part of a chunk, and most of them."""
        sizes = self.sizes[region.wide]
        return sizes.lines, sizes.words * self.params.channels, sizes.most

    def _key_first(self) -> bool:
        """Keys go before values."""
        return self.heads[KEY] <= self.heads[VALUE]

    def _ready_from(self, stream: int) -> int | None:
        """When the stream may be chosen; None if that depends on what is not known yet."""
        if not self.left[stream]:
            return None
        room = self.sinks[stream].room_from(self._need(stream))
        heard = self._heard(stream)
        if room is None or heard is None:
            return None
        return max(room + self.latency.room, self.active_from[stream], heard) + _PLAN

    def _heard(self, stream: int) -> int | None:
        """When the loader hears of the region: of queries, and of keys that are cut too, only a few
        heads ahead."""
        cut = self.keys_cut if stream == KEY else self.queries_cut
        ahead = self.latency.keys_ahead if stream == KEY else self.latency.heads_ahead
        before = -1 if ahead is None or stream == VALUE else self.next[stream] - ahead
        if before < 0:
            return 0
        return cut[before] + 4 if before < len(cut) else None

    def step(self) -> bool:
        """Ask for one more chunk; False if nothing can be asked for yet."""
        ready = [self._ready_from(stream) for stream in range(3)]
        known = [t for t in ready if t is not None]
        if not known:
            return False
        now = max(self.choose_at, min(known))
        able = [t is not None and t <= now for t in ready]
        key_first = self._key_first()
        if able[QUERY] and not (self.chosen == QUERY and (able[KEY] or able[VALUE])):
            stream = QUERY
        elif able[KEY] and (key_first or not able[VALUE]):
            stream = KEY
        else:
            stream = VALUE
        self.chosen = stream
        self._issue(stream, now)
        return True

    def force(self) -> bool:
        """Get what was issued, though something else could come first. Whether anything was."""
        return False

    def _issue(self, stream: int, now: int) -> None:
        region = self.regions[stream][self.next[stream]]
        sink = self.sinks[stream]
        lines_each, units_each, most = self._granule(region)
        room = sink.room(now - self.latency.room - _PLAN)
        last = self.left[stream] <= min(room, most * lines_each)
        if last:
            lines, units = self.left[stream], self.units[stream]
        else:
            number = min(most, room // lines_each)
            lines, units = number * lines_each, number * units_each
        cut = max(now + 2, self.issued + 1)  # the chunk before has been taken
        self.issued = issued = max(cut + 1, self._queue_free())
        self.choose_at = cut + 3
        sink.asked += lines
        self.left[stream] -= lines
        self.units[stream] -= units
        self.count += 1
        words = -(-units // self.params.channels)
        came = self._unpacked(self._words(stream, issued, words), lines, region.bits)
        sink.put(came + (stream == VALUE and self.params.lut_ram))
        if last:
            self.heads[stream] += 1
            self.next[stream] += 1
            if self._open(stream):
                start = self.regions[stream][self.next[stream]].start
                self.active_from[stream] = max(cut + 2, start)

    def _queue_free(self) -> int:
        """When another chunk may be issued: requests wait before the readers, chunks behind."""
        free = 0
        for done, waiting in (
            (self.chunk_asked, self.latency.requests_ahead),
            (self.chunk_taken, self.latency.chunks_ahead),
        ):
            if self.count >= waiting:
                free = max(free, done[self.count - waiting] + 1)
        return free

    def _words(self, stream: int, issued: int, words: int) -> np.ndarray:
        """Times at which the words of a chunk are at the unpacker: bursts, beats, whole words."""
        left = words * self.unit_beats
        taken = np.zeros(left, np.int64)
        place, asked = 0, max(issued + self.latency.request, self.asked + 2)
        while place < left:
            first = len(self.beat_free)
            beats = min(self.burst - self.position[stream] % self.burst, left - place)
            held = first - self.params.outstanding_beats + self.burst - 1
            if held >= 0:  # a whole burst must have room beside what is in flight
                asked = max(asked, self.beat_free[held] + 1)
            for beat in range(beats):
                came = self._after_writes(max(asked + self.timing.latency, self.bus_time))
                self.bus_time = came + self.beat_cycles
                self.beat_free.append(came + self.latency.queue)
                taken[place + beat] = came + self.latency.word
            self.position[stream] += beats
            place += beats
            self.asked = asked
            asked += 1
        self.chunk_asked.append(self.asked)
        self.chunk_taken.append(int(taken[-1]))
        return taken[self.unit_beats - 1 :: self.unit_beats]

    def _after_writes(self, came: int) -> int:
        """Written beats that came first have taken their cycles on the bus."""
        while self.written < len(self.writes) and self.writes[self.written][0] <= came:
            start, beats = self.writes[self.written]
            self.bus_time = max(self.bus_time, start) + beats * self.beat_cycles
            came = max(came, self.bus_time)
            self.written += 1
        return came

    def _unpacked(self, word_at: np.ndarray, lines: int, bits: int) -> np.ndarray:
        """Lines follow the word that completes them, one per cycle."""
        size = self.params.lanes * bits // 8
        last = -(-(np.arange(lines) + 1) * size // self.params.wide_bytes) - 1
        return self._lines(word_at, last)

    def _lines(self, word_at: np.ndarray, last: np.ndarray) -> np.ndarray:
        """Times at which lines can be read, by the last word of each."""
        lines = len(last)
        bounds = word_at[np.minimum(last, len(word_at) - 1)]
        index = np.arange(lines)
        bounds[0] = max(int(bounds[0]), self.line_time + 1)
        times = np.maximum.accumulate(bounds - index) + index
        self.line_time = int(times[-1])
        return times + self.latency.line
