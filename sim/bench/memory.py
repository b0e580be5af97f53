"""The reference memory in Python: cycle for cycle what the compiled harness's memory does.

It knows nothing of a simulator: a bench samples a channel's signals, calls `ChannelMemory.edge` and
drives what it returns.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

__all__ = [
    "STALL_KINDS",
    "ChannelCounters",
    "ChannelMemory",
    "ChannelOutputs",
    "Fault",
    "Stalls",
    "Timing",
]

#: Channels that can stall, in the order of the harness.
STALL_KINDS = ("ar", "r", "aw", "w", "b", "lite")

_MASK = (1 << 64) - 1
_DECERR = 3


class Timing(NamedTuple):
    """Timing of a channel's memory.

    Parameters
    ----------
    latency : int
        Cycles from an address handshake to the first beat of data, and from the last beat of data
        written to the response; 1 or more.
    bytes_per_cycle : int
        What the data path, shared by reads and writes, moves in a cycle. A narrower beat still
        takes a cycle, a wider one as many as it needs.
    granule : int
        Bytes of the smallest access; accesses are counted in granules.
    outstanding : int
        No further address is taken while so many granules or more are in flight.
    write_queue : int
        Beats of written data that wait for the data path.
    """

    latency: int = 50
    bytes_per_cycle: int = 32
    granule: int = 32
    outstanding: int = 64
    write_queue: int = 16


def _mix(seed: int, stream: int, cycle: int) -> int:
    z = (seed + (cycle * 256 + stream) * 0x9E3779B97F4A7C15) & _MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
    return z ^ (z >> 31)


@dataclass(frozen=True, kw_only=True)
class Stalls:
    """Random stalls: a function of seed, channel and cycle alone.

    Parameters
    ----------
    seed : int
        Chooses the stalls.
    probability : mapping of str to float
        For each of `STALL_KINDS` the share of cycles in which it stalls; 0 where absent.
    hold : int
        A stall lasts ``2**hold`` cycles.
    """

    seed: int = 0
    probability: Mapping[str, float] = field(default_factory=dict)
    hold: int = 0

    def __post_init__(self) -> None:
        for kind, value in self.probability.items():
            if kind not in STALL_KINDS:
                raise ValueError(f"Stall must be one of {', '.join(STALL_KINDS)}, not {kind!r}")
            if not 0 <= value < 1:
                raise ValueError(f"Probability of a stall must be in 0..1 (not 1), not {value!r}")
        if not 0 <= self.hold < 16:
            raise ValueError(f"Hold of a stall must be in 0..15, not {self.hold!r}")

    @classmethod
    def everywhere(cls, probability: float, seed: int, *, hold: int = 0) -> Stalls:
        """The same probability on every channel."""
        return cls(seed=seed, probability=dict.fromkeys(STALL_KINDS, probability), hold=hold)

    @property
    def thresholds(self) -> tuple[int, ...]:
        """Probabilities as fractions of 2**32, in the order of `STALL_KINDS`."""
        return tuple(int(self.probability.get(kind, 0.0) * 2**32) for kind in STALL_KINDS)

    def hit(self, channel: int, kind: str, cycle: int) -> bool:
        """Whether ``kind`` of a channel stalls in a cycle."""
        number = STALL_KINDS.index(kind)
        threshold = int(self.probability.get(kind, 0.0) * 2**32)
        if not threshold:
            return False
        return _mix(self.seed & _MASK, channel * 8 + number, cycle >> self.hold) >> 32 < threshold


class ChannelCounters(NamedTuple):
    """What a channel moved."""

    read_bursts: int = 0
    read_beats: int = 0
    read_granules: int = 0
    write_bursts: int = 0
    write_beats: int = 0
    write_bytes: int = 0
    write_granules: int = 0
    path_cycles: int = 0
    outside: int = 0


class Fault(NamedTuple):
    """A response that is not OKAY: of a read beat or of a write burst, counted from 0."""

    channel: int
    write: bool
    number: int
    response: int


class ChannelOutputs(NamedTuple):
    """What the core shows on a channel in a cycle; fields beside a valid count only with it."""

    arvalid: int = 0
    araddr: int = 0
    arlen: int = 0
    arid: int = 0
    rready: int = 0
    awvalid: int = 0
    awaddr: int = 0
    awlen: int = 0
    awid: int = 0
    wvalid: int = 0
    wdata: int = 0
    wstrb: int = 0
    bready: int = 0


@dataclass
class _Burst:
    address: int
    at: int
    beats: int
    id: int
    granules: int
    response: int = 0


def _idle_inputs() -> dict[str, int]:
    names = ("arready", "awready", "wready", "rvalid", "rlast", "rresp", "rid", "rdata",
             "bvalid", "bresp", "bid")  # fmt: skip
    return dict.fromkeys(names, 0)


class ChannelMemory:
    """Memory behind one AXI4 channel.

    Parameters
    ----------
    data : array of bytes
        Contents, changed in place.
    channel : int
        Its number.
    beat_bytes : int
        Bytes of a beat.
    timing : Timing
        Its timing.
    stalls : Stalls
        Random stalls.
    faults : list of Fault
        Those of this channel count.
    """

    def __init__(
        self,
        data: npt.NDArray[np.uint8],
        *,
        channel: int,
        beat_bytes: int,
        timing: Timing,
        stalls: Stalls,
        faults: tuple[Fault, ...] = (),
    ) -> None:
        self.data = data
        self.channel = channel
        self.beat = beat_bytes
        self.timing = timing
        self.stalls = stalls
        self._faults = {(f.write, f.number): f.response for f in faults if f.channel == channel}
        self._count = dict.fromkeys(ChannelCounters._fields, 0)
        self._finished = 0
        self._last = {"read": -1, "write": -1}
        self.reset()

    @property
    def counters(self) -> ChannelCounters:
        """What it moved."""
        return ChannelCounters(**self._count)

    def reset(self) -> None:
        """Forget everything in flight, as an interconnect does at reset."""
        self._reads: deque[_Burst] = deque()
        self._writes: deque[_Burst] = deque()
        self._responses: deque[_Burst] = deque()
        self._beats: deque[tuple[int, int]] = deque()
        self._read_flight = self._write_flight = 0
        self._path_free = 0
        self._wrote_last = False
        self.inputs = _idle_inputs()

    def edge(self, out: ChannelOutputs, now: int) -> dict[str, int]:
        """The rising edge that ends cycle ``now``; the core's inputs in the next."""
        self._take(out, now)
        after = now + 1
        self._move(after)
        i = self.inputs
        if (
            not i["bvalid"]
            and self._responses
            and self._responses[0].at <= after
            and not self._stall("b", after)
        ):
            i["bvalid"] = 1
            i["bresp"] = self._responses[0].response
            i["bid"] = self._responses[0].id
        limit = self.timing.outstanding
        i["arready"] = int(self._read_flight < limit and not self._stall("ar", after))
        i["awready"] = int(self._write_flight < limit and not self._stall("aw", after))
        i["wready"] = int(
            len(self._beats) < self.timing.write_queue and not self._stall("w", after)
        )
        return i

    def _stall(self, kind: str, cycle: int) -> bool:
        return self.stalls.hit(self.channel, kind, cycle)

    def _granules(self, address: int, size: int) -> int:
        return (address + size - 1) // self.timing.granule - address // self.timing.granule + 1

    def _burst(self, address: int, length: int, identifier: int, at: int) -> _Burst:
        start = address - address % self.beat
        beats = length + 1
        return _Burst(start, at, beats, identifier, self._granules(start, beats * self.beat))

    def _take(self, out: ChannelOutputs, now: int) -> None:
        i = self.inputs
        if i["rvalid"] and out.rready:
            i["rvalid"] = 0
            if i["rlast"]:
                self._read_flight -= self._reads.popleft().granules
        if i["bvalid"] and out.bready:
            i["bvalid"] = 0
            self._write_flight -= self._responses.popleft().granules
        if i["arready"] and out.arvalid:
            burst = self._burst(out.araddr, out.arlen, out.arid, now + self.timing.latency)
            self._reads.append(burst)
            self._read_flight += burst.granules
            self._count["read_bursts"] += 1
        if i["awready"] and out.awvalid:
            burst = self._burst(out.awaddr, out.awlen, out.awid, 0)
            self._writes.append(burst)
            self._write_flight += burst.granules
            self._count["write_bursts"] += 1
        if i["wready"] and out.wvalid:
            self._beats.append((out.wdata, out.wstrb))

    def _move(self, after: int) -> None:
        """Let the data path move one beat, of a read or of a write, in turns when both wait."""
        if self._path_free > after:
            return
        read = (
            not self.inputs["rvalid"]
            and bool(self._reads)
            and self._reads[0].at <= after
            and not self._stall("r", after)
        )
        write = bool(self._beats) and bool(self._writes)
        if not read and not write:
            return
        self._wrote_last = write and (not read or not self._wrote_last)
        if self._wrote_last:
            self._write_beat(after)
        else:
            self._read_beat()
        cost = -(-self.beat // self.timing.bytes_per_cycle)
        self._path_free = after + cost
        self._count["path_cycles"] += cost

    def _count_granules(self, kind: str, address: int) -> None:
        size = self.timing.granule
        for granule in range(address // size, (address + self.beat - 1) // size + 1):
            if granule != self._last[kind]:
                self._count[f"{kind}_granules"] += 1
                self._last[kind] = granule

    def _read_beat(self) -> None:
        b = self._reads[0]
        b.beats -= 1
        response = self._faults.get((False, self._count["read_beats"]), 0)
        self._count["read_beats"] += 1
        self._count_granules("read", b.address)
        if b.address + self.beat <= self.data.size:
            data = int.from_bytes(self.data[b.address : b.address + self.beat].tobytes(), "little")
        else:
            data = int.from_bytes(b"\xde" * self.beat, "little")
            response = _DECERR
            self._count["outside"] += 1
        self.inputs |= {
            "rvalid": 1, "rid": b.id, "rlast": int(b.beats == 0), "rresp": response, "rdata": data,
        }  # fmt: skip
        b.address += self.beat
        # What has been delivered is no longer in flight; the last granule goes with the last beat.
        left = self._granules(b.address, b.beats * self.beat) if b.beats else 1
        if left < b.granules:
            self._read_flight -= b.granules - left
            b.granules = left

    def _write_beat(self, after: int) -> None:
        b = self._writes[0]
        data, strobe = self._beats.popleft()
        self._count["write_beats"] += 1
        if strobe:
            self._count_granules("write", b.address)
        if b.address + self.beat <= self.data.size:
            raw = data.to_bytes(self.beat, "little")
            for i in range(self.beat):
                if strobe >> i & 1:
                    self.data[b.address + i] = raw[i]
                    self._count["write_bytes"] += 1
        else:
            b.response = _DECERR
            self._count["outside"] += 1
        b.address += self.beat
        b.beats -= 1
        if b.beats == 0:
            response = self._faults.get((True, self._finished), 0) or b.response
            self._finished += 1
            at = after + self.timing.latency
            self._responses.append(_Burst(0, at, 0, b.id, b.granules, response))
            self._writes.popleft()
