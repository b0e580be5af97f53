"""When lines come from the loader that gathers listed rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from attnsieve.hdl.axi.list_rows import row_lanes
from attnsieve.sim.cycle_model.lines import paced
from attnsieve.sim.cycle_model.loader import KEY, VALUE, LoaderModel, Region

__all__ = ["SLOTS", "Chunk", "GatherLoaderModel", "ListedRegion"]

#: Granules of a chunk, at most.
_MOST = 8
#: Beats of units inside the reader.
SLOTS = 128


@dataclass(frozen=True)
class ListedRegion(Region):
    """The listed rows of a head.

    Parameters
    ----------
    parts : int
        Segments of a row; also the lines of a granule.
    channel : int array
        Channel of each unit, in order.
    ends : int array
        Units up to each row, and all of them.
    second : bool
        The second plane of keys.
    """

    parts: int
    channel: np.ndarray
    ends: np.ndarray
    second: bool = False


@dataclass(frozen=True)
class Chunk:
    """Listed rows that are read at once.

    Parameters
    ----------
    stream : int
        Which.
    begin : int
        When its first units are there to be asked for.
    units : int array
        Channel of each unit, in order.
    known : int array
        Of each beat of units, how much later it is there to be asked for.
    ends : int array
        Of each line the beat of units that completes it.
    last : bool
        Nothing is left of its region.
    """

    stream: int
    begin: int
    units: np.ndarray
    known: np.ndarray
    ends: np.ndarray
    last: bool


class GatherLoaderModel(LoaderModel):
    """Chunks of listed rows: a power of two of granules of ``groups`` rows, unit by unit.

    Units are asked for a beat per cycle, one for every channel; each channel gives its own in
    order, a beat follows its last unit. Regions may be added while it runs.
    """

    def __init__(self, *arguments: object) -> None:
        super().__init__(*arguments)  # type: ignore[arg-type]
        channels = self.params.channels
        self.rows = [0, 0, 0]  # of the region at hand that were asked for
        self.open_from = [0, 0, 0]  # when the next region can be taken
        self.free = np.zeros(channels, np.int64)  # when the bus of each channel is
        self.came = [np.zeros(0, np.int64) for _ in range(channels)]  # what was in flight last
        self.left_at = np.zeros(0, np.int64)  # the last beats of units
        self.region_taken: list[int] = []  # when each region of K was
        self.value_read: list[int] = []  # when the list of each region of V was read to its end

    def offer(self, stream: int, region: ListedRegion) -> None:
        """One more region for a stream."""
        regions = self.regions[stream]
        regions.append(region)
        if self.next[stream] == len(regions) - 1:
            self._begin(stream)

    def _begin(self, stream: int) -> None:
        """Take the next region, if there is one."""
        if self._open(stream):
            start = self.regions[stream][self.next[stream]].start
            self.active_from[stream] = max(self.open_from[stream], start)
            if stream == KEY:
                self.region_taken.append(self.active_from[stream])

    def _need(self, stream: int) -> int:
        return min(self._listed(stream).parts, self.left[stream])

    def _listed(self, stream: int) -> ListedRegion:
        region = self.regions[stream][self.next[stream]]
        assert isinstance(region, ListedRegion)
        return region

    def _key_first(self) -> bool:
        second = self.left[KEY] > 0 and self._listed(KEY).second
        return second or super()._key_first()

    def _issue(self, stream: int, now: int) -> None:
        region, sink, p = self._listed(stream), self.sinks[stream], self.params
        room = sink.room(now - self.latency.room - 1)
        lines = self.left[stream]
        last = lines <= min(room, _MOST * region.parts)
        if not last:
            granules = min(_MOST, room // region.parts)
            lines = (1 << (granules.bit_length() - 1)) * region.parts
        cut = max(now + 2, self.issued + 1)
        self.issued = issued = max(cut + 1, self._queue_free())
        self.choose_at = cut + 3
        sink.asked += lines
        self.left[stream] -= lines
        first = self.rows[stream]
        rows = len(region.ends) - 1 if last else first + lines * p.groups // region.parts
        self.rows[stream] = rows
        units = region.channel[region.ends[first] : region.ends[rows]]
        beats = -(-len(units) // p.channels)
        share = (np.arange(lines) + 1) / lines  # of the chunk's beats, wanted or not
        ends = np.ceil(share * beats).astype(np.int64) - 1
        self.count += 1
        known = self._known(np.diff(region.ends[first : rows + 1]))
        self._read(Chunk(stream, issued + self.latency.request, units, known, ends, last))
        if last:
            self._end(stream, region, cut)

    def _known(self, counts: np.ndarray) -> np.ndarray:
        """When the units of rows that have so many are known, beat by beat: the rows of a line of
        their list take a whole number of cycles."""
        channels, lanes = self.params.channels, row_lanes(self.params)
        each = np.add.reduceat(counts, np.arange(0, len(counts), lanes))
        begin = np.repeat(np.cumsum(-(-each // channels)) + each // -channels, each)
        place = np.arange(len(begin)) - np.repeat(np.cumsum(each) - each, each)
        known = begin + place // channels
        return known[np.minimum(np.arange(channels - 1, len(known) + channels - 1, channels),
                                len(known) - 1)]  # fmt: skip

    def _read(self, chunk: Chunk) -> None:
        """When the units of a chunk come."""
        lines = np.bincount(chunk.ends, minlength=-(-len(chunk.units) // self.params.channels))
        words = self._gathered(chunk.begin, chunk.known, chunk.units, lines)
        self.chunk_asked.append(self.asked)
        self._came(chunk, words)

    def _came(self, chunk: Chunk, words: np.ndarray) -> None:
        """The beats of a chunk are at the unpacker at these times."""
        self.chunk_taken.append(int(words[-1]))
        self.sinks[chunk.stream].put(self._lines(words, chunk.ends) + (chunk.stream == VALUE))
        if chunk.last and chunk.stream == VALUE:
            self.value_read.append(self.asked)

    def _end(self, stream: int, region: ListedRegion, cut: int) -> None:
        """The region is used up."""
        if not region.second:
            self.heads[stream] += 1
        self.next[stream] += 1
        self.rows[stream] = 0
        self.open_from[stream] = cut + 2
        self._begin(stream)

    def _gathered(
        self, begin: int, known: np.ndarray, channel: np.ndarray, lines: np.ndarray
    ) -> np.ndarray:
        """Times at which the beats of units of a chunk, each of so many ``lines``, are at the
        unpacker. It makes a line in a cycle: a beat of more lines holds up those behind it."""
        channels = self.params.channels
        beats = -(-len(channel) // channels)
        begin = max(begin, self.asked + 1)
        asked = paced(begin + known)
        held = len(self.left_at) - SLOTS + np.arange(beats)  # places among the beats inside
        there = (held >= 0) & (held < len(self.left_at))
        asked[there] = np.maximum(asked[there], self.left_at[held[there]] + 1)
        asked = paced(asked)
        self.asked = int(asked[-1])
        self._write_until(begin + self.timing.latency)
        came = np.zeros(len(channel), np.int64)
        for number in range(channels):
            mine = np.flatnonzero(channel == number)
            came[mine] = self._from(number, asked[mine // channels])
        starts = np.arange(0, len(channel), channels)
        bounds = np.maximum.reduceat(came, starts)
        bounds[0] = max(int(bounds[0]), self.line_time - self.latency.word)
        pace = np.maximum(lines, 1)
        index = np.cumsum(pace) - pace
        words = np.maximum.accumulate(bounds - index) + index
        self.left_at = np.append(self.left_at, words)[-SLOTS:]
        return words + self.latency.word

    def _from(self, number: int, asked: np.ndarray) -> np.ndarray:
        """Times at which a channel gives units, no more of them in flight than it may have."""
        most, pace = self.params.outstanding_beats // self.unit_beats, self.beat_cycles
        pace *= self.unit_beats
        times, before = np.zeros(len(asked), np.int64), self.came[number]
        for start in range(0, len(asked), most):
            part = asked[start : start + most].copy()
            held = len(before) - most + np.arange(len(part))
            there = held >= 0
            part[there] = np.maximum(part[there], before[held[there]] + self.latency.queue + 1)
            part += self.timing.latency
            part[0] = max(int(part[0]), int(self.free[number]))
            times[start : start + most] = part = paced(part, pace)
            self.free[number] = part[-1] + pace
            before = np.append(before, part)[-most:]
        self.came[number] = before
        return times

    def _write_until(self, time: int) -> None:
        """Beats written before ``time`` take their cycles on the bus of every channel."""
        while self.written < len(self.writes) and self.writes[self.written][0] <= time:
            start, beats = self.writes[self.written]
            self.free = np.maximum(self.free, start) + beats * self.beat_cycles
            self.written += 1
