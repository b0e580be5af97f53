"""Keys whose slices are read on demand: packets of them on their way through memory and units."""

from __future__ import annotations

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

    def there(self, now: int) -> bool:
        """A packet is there."""
        return bool(self.packets) and self.packets[0][0] <= now

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


class _Hand:
    """Keys of a packet that are in units.

    Parameters
    ----------
    packet : _Packet
        Theirs.
    last : bool
        No keys of it are behind them.
    """

    def __init__(self, packet: _Packet, last: bool) -> None:
        self.packet, self.last = packet, last
        self.units: list[int] = []
        self.left = 0  # keys that not all rows have begun
        self.known = 0  # when the verdicts on the others are


class Planes(Units):
    """Packets on their way around, cycle by cycle. Those that go on come before new ones; few can
    be in units, and few keys in each; keys that are kept and find no room take places.

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
        self.channels, self.loader = params.channels, loader
        self.sizes, units = packet_params(params), self.slices.units
        self.first_units = [
            [plane.row(head, 0) // params.unit_bytes for plane in image.k_planes]
            for head in range(image.job.kv_heads)
        ]
        self.unit_keys = [self.sizes.unit_keys(n) for n in range(params.channels)]
        self.time = 0
        self.seeds = _Seeds(params, image.job.group)
        self.again: deque[tuple[int, _Packet]] = deque()  # packets that go on, and since when
        self.flying = 0  # packets on their way
        self.gone: deque[int] = deque()  # when those that are through do not count any more
        stages = PacketRequests(params=params).latency
        self.asks = deque([-1] * stages, stages)  # when the last packets were asked for
        self.words: deque[_Packet] = deque()  # that were
        self.number = 0  # the next hand of the first of these
        self.hands: deque[_Hand] = deque()
        self.keys = [0] * units  # of each unit that wait for their verdict
        self.feeds: list[deque[tuple[int, tuple[int, ...], _Hand]]] = [
            deque() for _ in range(units)
        ]  # keys, and since when they are there
        self.rows = [0] * units  # of the first key that have begun
        self.places: list[list[tuple[int, int, int]]] = [[] for _ in range(self.turn)]
        self.inner = 0  # keys in feeds, places in units
        self.kept = _Survivors(units, self.ways, self.turn, self.step)

    def give(self, row: DealtRow) -> None:
        """One more row."""
        self.causes.append(row.causes)
        self.left[row.number] = 1 + sum(map(bool, row.keys))
        self.inside += 1
        self.seeds.give(row)
        self._walk()

    def _walk(self) -> None:
        for row, time in self.seeds.walk():
            self._end(row, time)

    def advance(self, wait: bool) -> list[int]:
        """Go on until some rows are complete, and return these; none if what comes next is not
        known: with ``wait`` the next row. Also none when rows have come through memory."""
        delivered = self.loader.delivered
        while not (self.finished or (self.seeds.idle and (wait or self._still))):
            if self.loader.delivered > delivered:
                break
            if self.flying and not self.inner:
                self._skip()
            now = self.time
            self._leave(now)
            reads = self._feed(now)
            self._hand_out(now)
            self._judge(now)
            self._ask(now)
            if reads:
                self.busy += 1
            else:
                self._idle("key" if self.flying else self._prepares(now))
            self.time += 1
        finished = list(self.finished)
        self.finished.clear()
        return finished

    @property
    def _still(self) -> bool:
        """No key is on its way."""
        return not (self.flying or self.inner or self.kept.busy)

    def _skip(self) -> None:
        """To the next cycle in which anything comes, if only memory is at work."""
        times = [queue[0][0] for queue in (self.again, self.seeds.packets) if queue]
        if self.words:
            times.append(self.loader.there)
        time = min(*times, self.kept.due) if times else 0
        if time > self.time and not self.hands:
            self.idle["key"] += time - self.time
            self.time = time

    def _ask(self, now: int) -> None:
        """A packet is asked for."""
        while self.gone and self.gone[0] <= now:
            self.gone.popleft()
            self.flying -= 1
        again = bool(self.again) and self.again[0][0] <= now
        if not again and not (self.seeds.there(now) and self.flying < PacketRequests.packets):
            return
        if self.asks[0] > now or not self.loader.room:
            self.loader.wait(now)
            return
        if again:
            packet = self.again.popleft()[1]
        else:
            self.flying += 1
            packet = self.seeds.take(now)
            self._walk()
        unit = self.first_units[packet.head][packet.number] + packet.word * self.channels
        units = [
            (unit + n) % self.channels
            for n, keys in enumerate(self.unit_keys)
            if any(packet.keys[keys.start : keys.stop])
        ]
        self.asks.append(self.loader.ask(now + len(self.asks), units))
        self.words.append(packet)

    def _hand_out(self, now: int) -> None:
        """Some keys of the oldest packet to their units, if each has room for one."""
        if not self.words or self.loader.there > now or max(self.keys) >= SliceFeed.depth:
            return
        if len(self.hands) > PacketVerdicts.depth:
            return
        packet, size, units = self.words[0], self.sizes.hand, self.slices.units
        first = self.number * size
        self.number += 1
        hand = _Hand(packet, self.number == self.sizes.hands)
        hand.known = now + _JOIN
        unit = (packet.word * self.sizes.keys + first) % units
        for lane, codes in enumerate(packet.keys[first : first + size], unit):
            if codes:
                hand.units.append(lane % units)
                self.keys[lane % units] += 1
                self.feeds[lane % units].append((now + _FEED, codes, hand))
        hand.left = len(hand.units)
        self.inner += hand.left
        self.hands.append(hand)
        if hand.last:
            self.number = 0
            self.words.popleft()
            self.loader.take(now)

    def _feed(self, now: int) -> bool:
        """A place of each unit that has a key and no place with another one. Whether any has."""
        some = False
        places = self.places[now % self.turn]
        for unit, feed in enumerate(self.feeds):
            if not feed or feed[0][0] > now or unit in self.kept.waits:
                continue
            some = True
            _, codes, hand = feed[0]
            code, number = codes[self.rows[unit]], hand.packet.number + 1
            places.append((unit, code, number))
            self.inner += 1
            self.rows[unit] += 1
            if self.rows[unit] == len(codes):
                self.rows[unit] = 0
                feed.popleft()
                self.inner -= 1
                hand.left -= 1
                hand.known = max(hand.known, now + self.turn + 1)
        self.kept.waits.clear()
        return some

    def _leave(self, now: int) -> None:
        """Places leave their units: keys are dropped, or kept, or wait in their feeds."""
        kept, places = self.kept, self.places[now % self.turn]
        if kept.due <= now:
            kept.advance(now)
        for unit, code, number in places:
            if code & SLICES == number:
                time: int | None = now
                if code & KEPT:
                    time = kept.keep(now, unit, code >> WAY & 1, code >> ROW)
                if time:
                    self._end(code >> ROW, time + COUNT)
        self.inner -= len(places)
        places.clear()
        for row, time in kept.stored:
            self._end(row, time + COUNT)
        kept.stored.clear()
        kept.left.clear()

    def _judge(self, now: int) -> None:
        """The oldest keys in units, if the verdicts on all of them are there."""
        if not self.hands or self.hands[0].left or self.hands[0].known > now:
            return
        hand = self.hands.popleft()
        for unit in hand.units:
            self.keys[unit] -= 1
        if hand.last:
            after = hand.packet.after()
            if after.some:
                self.again.append((now + _AGAIN, after))
            else:
                self.gone.append(now + _GONE)
