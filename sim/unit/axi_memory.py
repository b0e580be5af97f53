"""The read side of an AXI4 memory for Amaranth's simulator, with protocol checks."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["AXIReadMemory", "ProtocolError"]

BOUNDARY = 4096


class ProtocolError(AssertionError):
    """The master broke a rule of AXI4 or of its own contract."""


class AXIReadMemory:
    """One AXI4 slave that answers reads in order. ``memory.bench`` is a background testbench.

    Every burst is checked: INCR, full width, aligned, at most ``max_burst`` beats, within 4 KB; AR
    is held until it is taken; no more than ``max_outstanding`` beats are in flight.

    Parameters
    ----------
    bus : interface
        Read channels of the master, an ``AXI4Signature``.
    read : callable
        ``read(address, count)`` gives the bytes there.
    latency : int
        Cycles from the AR transfer to the first beat, at least 1.
    ar_stall, r_stall : float
        Probability that AR is not ready, or that R pauses, in a cycle.
    seed : int
        Of the stalls.
    responses : dict of int to int
        RRESP of single beats, by their number since the start. Others are OKAY.
    max_burst, max_outstanding : int
        Limits that the master promises.
    always_ready : bool
        Check that ``rready`` is always 1.
    """

    def __init__(
        self,
        bus: Any,
        read: Callable[[int, int], bytes],
        *,
        latency: int = 3,
        ar_stall: float = 0.0,
        r_stall: float = 0.0,
        seed: int = 0,
        responses: Mapping[int, int] | None = None,
        max_burst: int = 256,
        max_outstanding: int = 1 << 16,
        always_ready: bool = False,
    ) -> None:
        self.bus, self.read, self.latency = bus, read, latency
        self.ar_stall, self.r_stall = ar_stall, r_stall
        self.random = random.Random(f"{seed} axi")
        self.responses = dict(responses or {})
        self.max_burst, self.max_outstanding = max_burst, max_outstanding
        self.always_ready = always_ready
        self.bytes_per_beat = len(bus.rdata) // 8
        self.pending: deque[tuple[int, int, bool]] = deque()  # due cycle, address, last
        self.cycle = 0
        self.beats = 0
        self.bursts: list[tuple[int, int]] = []
        self.addresses: list[int] = []
        self.beat_cycles: list[int] = []
        self._held: tuple[int, ...] | None = None

    @property
    def outstanding(self) -> int:
        """Beats asked for and not delivered."""
        return len(self.pending)

    async def bench(self, ctx: Any) -> None:
        """Serve the bus for ever."""
        bus = self.bus
        sampled = (
            bus.arvalid, bus.araddr, bus.arlen, bus.arsize, bus.arburst, bus.rready,
        )  # fmt: skip
        offering = False
        while True:
            ready = self.random.random() >= self.ar_stall
            ctx.set(bus.arready, ready)
            if not offering and self.pending and self.pending[0][0] <= self.cycle:
                offering = self.random.random() >= self.r_stall
                if offering:
                    _, address, last = self.pending[0]
                    data = self.read(address, self.bytes_per_beat)
                    ctx.set(bus.rdata, int.from_bytes(data, "little"))
                    ctx.set(bus.rresp, self.responses.get(self.beats, 0))
                    ctx.set(bus.rlast, last)
            ctx.set(bus.rvalid, offering)
            _, reset, valid, *address_channel, rready = await ctx.tick().sample(*sampled)
            if self.always_ready and not rready:
                raise ProtocolError(f"rready fell in cycle {self.cycle}")
            if offering and rready:
                offering = False
                self.addresses.append(self.pending.popleft()[1])
                self.beat_cycles.append(self.cycle)
                self.beats += 1
            self._address(valid, ready, tuple(address_channel))
            self.cycle += 1

    def _address(self, valid: int, ready: bool, channel: tuple[int, ...]) -> None:
        if self._held is not None and not (valid and channel == self._held):
            raise ProtocolError(f"AR changed before it was taken, cycle {self.cycle}")
        self._held = channel if valid and not ready else None
        if not (valid and ready):
            return
        address, length, size, burst = channel
        count, width = length + 1, self.bytes_per_beat
        if burst != 1 or 1 << size != width:
            raise ProtocolError(f"burst type {burst}, size {size}")
        if address % width:
            raise ProtocolError(f"address {address:#x} is not aligned to {width} bytes")
        if count > self.max_burst:
            raise ProtocolError(f"burst of {count} beats, at most {self.max_burst}")
        if address // BOUNDARY != (address + count * width - 1) // BOUNDARY:
            raise ProtocolError(f"burst of {count} beats at {address:#x} crosses 4 KB")
        due = self.cycle + self.latency
        self.pending += [
            (due, address + i * width, i == length) for i in range(count)
        ]
        self.bursts.append((address, count))
        if len(self.pending) > self.max_outstanding:
            raise ProtocolError(f"{len(self.pending)} beats in flight")
