"""Keys whose slices are read on demand: packets of them on their way through memory and units."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from attnsieve.hdl.params import CoreParams
from attnsieve.hdl.slices.demand.packet_requests import PacketRequests
from attnsieve.hdl.slices.demand.packet_seeds import COMING, WAITING, PacketSeeds
from attnsieve.hdl.slices.demand.packet_verdicts import PacketVerdicts
from attnsieve.hdl.slices.demand.packets import packet_params
from attnsieve.hdl.slices.demand.slice_feed import SliceFeed
from attnsieve.sim.cycle_model.shared import SharedLoaderModel
from attnsieve.sim.cycle_model.survivors import SurvivorsModel
from attnsieve.sim.cycle_model.units import COUNT, KEPT, PARTS, ROW, SLICES, WAY, DealtRow, Units
from attnsieve.sim.driver.image import JobImage

__all__ = ["Planes"]

#: Cycles from keys' being handed out to their places in units, and to their being looked for.
_FEED, _JOIN = 3, 2
#: Cycles from a packet's last verdict to its being gone, or asked for again.
_GONE, _AGAIN = 2, 3
#: Cycles from a KV head's last step to its rows' being complete, if no key is left.
_CLOSED = 4
_NEVER = 1 << 60


class _Survivors(SurvivorsModel):
    """Also tells which keys had no room: each takes a place at the next unit."""

    def __init__(self, units: int, ways: int, turn: int, step: int) -> None:
        super().__init__(units, ways, turn, step)
        self.waits: list[int] = []  # units

    def _enter(self, end: int, unit: int, way: int, row: int) -> bool:
        there = super()._enter(end, unit, way, row)
        if not there:
            self.waits.append((unit + self.step) % self.units)
        return there


@dataclass(frozen=True)
class _Packet:
    """A slice of some consecutive keys.

    Parameters
    ----------
    head : int
        KV head.
    word : int
        Which keys.
    number : int
        Slices of them that have been read before.
    keys : tuple of tuple of int
        Of each key what its rows make of it that need the slice (`Units.codes`).
    """

    head: int
    word: int
    number: int
    keys: tuple[tuple[int, ...], ...]

    @property
    def some(self) -> bool:
        """Any row needs any key."""
        return any(self.keys)

    def after(self) -> _Packet:
        """The same with the next slice, for those rows that need it."""
        number = self.number + 1
        keys = tuple(tuple(c for c in codes if c & SLICES > number) for codes in self.keys)
        return _Packet(self.head, self.word, number, keys)


class _Seeds:
    """Packets of first slices, KV head by KV head, while few wait.

    Parameters
    ----------
    params : CoreParams
        The core.
    group : int
        Rows of a KV head.
    """

    def __init__(self, params: CoreParams, group: int) -> None:
        self.group, self.keys = group, packet_params(params).keys
        self.stride = PacketSeeds(params=params).step
        self.rows: list[DealtRow] = []  # of a KV head of which not all have come
        self.heads: deque[list[DealtRow]] = deque()
        self.head: list[DealtRow] = []  # whose keys become packets
        self.opened = 0  # heads of which they did
        self.key = 0  # the next one
        self.time = 0  # when it can be looked at
        self.passed = self.closed = -1  # when the last row came; when the last head was through
        self.packets: deque[tuple[int, _Packet]] = deque()  # and since when they are there

    @property
    def idle(self) -> bool:
        """There is nothing but what further rows will bring."""
        return not (self.packets or self.head or self.heads)

    def give(self, row: DealtRow) -> None:
        """One more row."""
        self.rows.append(row)
        if len(self.rows) == self.group:
            self.heads.append(self.rows)
            self.rows = []

    def take(self, now: int) -> _Packet:
        """The oldest packet goes."""
        _, packet = self.packets.popleft()
        if self._full(self.time, 1):
            self.time = max(self.time, now + 1)
        return packet

    def _full(self, now: int, more: int = 0) -> bool:
        """Whether so many packets wait, with some ``more``, that no key is looked at."""
        return sum(since <= now for since, _ in self.packets) + more >= WAITING - COMING

    def walk(self) -> Iterator[tuple[int, int]]:
        """Look at keys as far as is known. Gives the rows of heads that are through, and when they
        are complete if no key of theirs is left."""
        while (self.head or self._open()) and not self._full(self.time):
            now = self.time
            self.time += 1
            if self.key >= len(self.head[0].keys):
                yield from ((row.number, now + _CLOSED) for row in self.head)
                self.head, self.closed = [], now
                continue
            self.key += self.stride
            if self.key % self.keys == 0 or self.key >= len(self.head[0].keys):
                packet = self._packet((self.key - 1) // self.keys)
                if packet.some:
                    self.packets.append((now + PacketSeeds.latency, packet))

    def _open(self) -> bool:
        """The next KV head, if all its rows have come."""
        if not self.heads:
            return False
        self.head, self.key = self.heads.popleft(), 0
        self.opened += 1
        for row in self.head:
            self.passed = max(self.passed + 1, row.start - PARTS)
        self.passed = max(self.passed, self.closed)
        self.time = self.passed + 1
        return True

    def _packet(self, word: int) -> _Packet:
        first = word * self.keys
        rows = zip(*(row.keys[first : first + self.keys] for row in self.head), strict=True)
        keys = [tuple(code for code in codes if code) for codes in rows]
        none = [()] * (self.keys - len(keys))  # behind the last one
        return _Packet(self.opened - 1, word, 0, (*keys, *none))


class Planes(Units):
    """Packets in the order in which they are asked for: what becomes of each depends on those
    before alone. Those that go on come before new ones; of all that are on their way, few can be in
    units, and few of a unit.

    Parameters
    ----------
    params : CoreParams
        The core.
    loader : SharedLoaderModel
        Reads units.
    image : JobImage
        The job, for where its planes are.
    """

    def __init__(self, params: CoreParams, loader: SharedLoaderModel, image: JobImage) -> None:
        super().__init__(params, image.job.heads * image.job.queries)
        self.channels, self.loader, self.group = params.channels, loader, image.job.group
        self.sizes, s = packet_params(params), self.slices
        self.first_units = [
            [plane.row(head, 0) // params.unit_bytes for plane in image.k_planes]
            for head in range(image.job.kv_heads)
        ]
        self.unit_keys = [self.sizes.unit_keys(n) for n in range(params.channels)]
        self.seeds = _Seeds(params, image.job.group)
        self.again: deque[tuple[int, _Packet]] = deque()  # that go on, and since when
        self.flying: deque[int] = deque()  # when packets that are through are gone
        self.inside_packets = 0
        stages = PacketRequests(params=params).latency
        self.asks = deque([-1] * stages, stages)  # when the last ones were
        self.go = self.hand = self.verdict = -1  # the last packet, hand, verdict
        most = PacketVerdicts.depth + 1
        self.hands = deque([-1] * most, most)  # verdicts of the last ones
        self.taken = [deque([-1] * SliceFeed.depth, SliceFeed.depth) for _ in range(s.units)]
        self.free = [0] * s.units  # when units can take another place
        self.kept = _Survivors(s.units, self.ways, self.turn, self.step)
        self.leaving: list[tuple[int, int, int, int]] = []  # kept keys: time, unit, way, row
        self.reads = bytearray()  # cycles in which a slice is read
        self.spans: list[list[int]] = []  # in which packets are on their way

    def give(self, row: DealtRow) -> None:
        """One more row."""
        self.causes.append(row.causes)
        self.left[row.number] = 1 + sum(map(bool, row.keys))
        self.inside += 1
        self.seeds.give(row)

    def advance(self, wait: bool) -> list[int]:
        """Go on until some rows are complete, and return these; none if what comes next is not
        known: with ``wait`` the next row."""
        self.finished.clear()
        while self.inside and not self.finished:
            for row, time in self.seeds.walk():
                self._end(row, time)
            if wait and self.seeds.idle:
                break
            if self.again or self.seeds.packets:
                self._read(*self._next())
                continue
            self._store(_NEVER)
            if not self.finished:
                break
        if self.finished and not self.inside and len(self.causes) == self.count:
            self._count()
        return list(self.finished)

    def _next(self) -> tuple[int, _Packet]:
        """The next packet that is asked for, and when."""
        again = self.again[0][0] if self.again else _NEVER
        new = self.seeds.packets[0][0] if self.seeds.packets else _NEVER
        if self.inside_packets - len(self.flying) == PacketRequests.packets:
            new = _NEVER
        elif self.inside_packets >= PacketRequests.packets:
            new = max(new, self.flying[self.inside_packets - PacketRequests.packets])
        go = max(self.go + 1, self.asks[0], min(again, new))
        self.go = go
        if again <= go:
            return go, self.again.popleft()[1]
        while self.flying and self.flying[0] <= go:
            self.flying.popleft()
            self.inside_packets -= 1
        self.inside_packets += 1
        return go, self.seeds.take(go)

    def _read(self, go: int, packet: _Packet) -> None:
        """A packet is asked for, and its keys are judged when its units are there."""
        if not self.spans or self.spans[-1][1] <= go:
            self.spans.append([go + 1, go + 1])
        unit = self.first_units[packet.head][packet.number] + packet.word * self.channels
        units = [
            (unit + n) % self.channels
            for n, keys in enumerate(self.unit_keys)
            if any(packet.keys[keys.start : keys.stop])
        ]
        asked, there = self.loader.ask(go + len(self.asks), units)
        self.asks.append(asked)
        self._store(there + _FEED + self.turn)
        for number in range(self.sizes.hands):
            self._hand(packet, number, there)
        self.loader.hold(self.hand)
        after = packet.after()
        if after.some:
            self.again.append((self.verdict + _AGAIN, after))
        else:
            self.flying.append(self.verdict + _GONE)
        self.spans[-1][1] = max(self.spans[-1][1], self.verdict + _GONE)

    def _hand(self, packet: _Packet, number: int, there: int) -> None:
        """Some keys of a packet to their units, and the verdicts on them."""
        s, size = self.slices, self.sizes.hand
        first = packet.word * self.sizes.keys + number * size
        time = max(there, self.hand + 1, self.hands[0] + 1, *(t[0] + 1 for t in self.taken))
        verdict, wanted = max(self.verdict + 1, time + _JOIN), []
        for lane, codes in enumerate(packet.keys[number * size : (number + 1) * size]):
            if codes:
                unit = (first + lane) % s.units
                begin = max(time + _FEED, self.free[unit])
                self.free[unit] = begin + len(codes)
                verdict = max(verdict, self.free[unit] + self.turn)
                wanted.append(unit)
                self._judge(codes, packet.number + 1, unit, begin)
        for unit in wanted:
            self.taken[unit].append(verdict)
        self.hands.append(verdict)
        self.hand, self.verdict = time, verdict

    def _judge(self, codes: tuple[int, ...], number: int, unit: int, begin: int) -> None:
        """Places of a key, one for each row, and those that end with this slice."""
        if len(self.reads) < begin + len(codes):
            self.reads.extend(bytes(begin + len(codes)))
        for place, code in enumerate(codes, begin):
            self.reads[place] = 1
            if code & SLICES == number:
                end, row = place + self.turn, code >> ROW
                if code & KEPT:
                    heapq.heappush(self.leaving, (end, unit, code >> WAY & 1, row))
                else:
                    self._end(row, end + COUNT)

    def _store(self, until: int) -> None:
        """Keys that are kept are stored, as far as nothing comes before ``until``."""
        kept = self.kept
        while self.leaving and self.leaving[0][0] <= until:
            end, unit, way, row = heapq.heappop(self.leaving)
            time = kept.keep(end, unit, way, row)
            if time:
                self._end(row, time + COUNT)
        if kept.due <= until:
            kept.advance(until)
        for row, time in kept.stored:
            self._end(row, time + COUNT)
        for unit in kept.waits:
            self.free[unit] += 1
        for found in (kept.stored, kept.left, kept.waits):
            found.clear()

    def _count(self) -> None:
        """Cycles in which slices are read, and why none is in the others."""
        spans = iter(self.spans)
        since, until = next(spans, (_NEVER, _NEVER))
        for now in range(self.reads.rfind(1) + 1):
            while now >= until:
                since, until = next(spans, (_NEVER, _NEVER))
            if self.reads[now]:
                self.busy += 1
            else:
                self._idle("key" if now >= since else self._prepares(now))
