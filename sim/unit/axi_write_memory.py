"""The write side of an AXI4 memory for Amaranth's simulator, with protocol checks."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Mapping
from typing import Any

from attnsieve.sim.unit.axi_memory import BOUNDARY, ProtocolError

__all__ = ["AXIWriteMemory"]


class AXIWriteMemory:
    """One AXI4 slave that takes writes in order. ``memory.bench`` is a background testbench.

    Every burst is checked: INCR, full width, aligned, within 4 KB, ``wlast`` on its last beat; AW
    and W are held until they are taken; no beat comes before its AW is asserted. Bytes without a
    strobe are not touched.

    Parameters
    ----------
    bus : interface
        Write channels of the master, an ``AXI4Signature``.
    latency : int
        Cycles from a burst's last transfer to its response, at least 1.
    aw_stall, w_stall, b_stall : float
        Probability that a channel pauses in a cycle.
    seed : int
        Of the stalls.
    responses : dict of int to int
        BRESP of single bursts, by their number since the start. Others are OKAY.
    w_first : bool
        Take AW only after its data have been offered, as some slaves do.
    """

    def __init__(
        self,
        bus: Any,
        *,
        latency: int = 3,
        aw_stall: float = 0.0,
        w_stall: float = 0.0,
        b_stall: float = 0.0,
        seed: int = 0,
        responses: Mapping[int, int] | None = None,
        w_first: bool = False,
    ) -> None:
        self.bus, self.latency = bus, latency
        self.stalls = (aw_stall, w_stall, b_stall)
        self.random = random.Random(f"{seed} axi write")
        self.responses = dict(responses or {})
        self.w_first = w_first
        self.bytes_per_beat = len(bus.wdata) // 8
        self.memory: dict[int, int] = {}  # bytes that were written
        self.bursts: list[tuple[int, int]] = []  # address, beats
        self.beat_cycles: list[int] = []
        self.burst_cycles: list[int] = []
        self.cycle = 0
        self.answered = 0
        self._asserted = 0  # bursts whose AW has been asserted
        self._ready: deque[tuple[int, int]] = deque()  # bursts with AW taken: address, beats
        self._beats: deque[tuple[int, int, int]] = deque()  # beats taken before their AW
        self._burst_beats = 0  # beats of the burst that is being completed
        self._whole = 0  # bursts whose last beat has been taken
        self._due: deque[int] = deque()
        self._held: dict[str, tuple[int, ...] | None] = {"AW": None, "W": None}

    @property
    def outstanding(self) -> int:
        """Bursts asserted and not answered."""
        return self._asserted - self.answered

    async def bench(self, ctx: Any) -> None:
        """Serve the bus for ever."""
        bus = self.bus
        sampled = (
            bus.awvalid, bus.awaddr, bus.awlen, bus.awsize, bus.awburst,
            bus.wvalid, bus.wdata, bus.wstrb, bus.wlast, bus.awready, bus.wready, bus.bready,
        )  # fmt: skip
        offering, was_w = False, False
        while True:
            aw_stall, w_stall, b_stall = (self.random.random() < stall for stall in self.stalls)
            ctx.set(bus.awready, not aw_stall and (was_w or not self.w_first))
            ctx.set(bus.wready, not w_stall)
            if not offering and self._due and self._due[0] <= self.cycle and not b_stall:
                offering = True
                ctx.set(bus.bresp, self.responses.get(self.answered, 0))
            ctx.set(bus.bvalid, offering)
            _, _, *values, awready, wready, bready = await ctx.tick().sample(*sampled)
            address, beat = tuple(values[:5]), tuple(values[5:])
            new = address[0] and self._held["AW"] is None
            self._asserted += new
            self._hold("AW", address, awready)
            self._hold("W", beat, wready)
            was_w = bool(beat[0] or self._beats)
            if address[0] and awready:
                self._address(*address[1:])
            if beat[0] and wready:
                self._beat(*beat[1:])
            if offering and bready:
                offering = False
                self._due.popleft()
                self.answered += 1
            self._complete()
            self.cycle += 1

    def _hold(self, name: str, channel: tuple[int, ...], ready: int) -> None:
        held = self._held[name]
        if held is not None and channel != held:
            raise ProtocolError(f"{name} changed before it was taken, cycle {self.cycle}")
        self._held[name] = channel if channel[0] and not ready else None

    def _address(self, address: int, length: int, size: int, burst: int) -> None:
        count, width = length + 1, self.bytes_per_beat
        if burst != 1 or 1 << size != width:
            raise ProtocolError(f"burst type {burst}, size {size}")
        if address % width:
            raise ProtocolError(f"address {address:#x} is not aligned to {width} bytes")
        if address // BOUNDARY != (address + count * width - 1) // BOUNDARY:
            raise ProtocolError(f"burst of {count} beats at {address:#x} crosses 4 KB")
        self._ready.append((address, count))
        self.bursts.append((address, count))
        self.burst_cycles.append(self.cycle)

    def _beat(self, value: int, strobe: int, last: int) -> None:
        if self._whole >= self._asserted:
            raise ProtocolError(f"beat before its address, cycle {self.cycle}")
        self._beats.append((value, strobe, last))
        self.beat_cycles.append(self.cycle)
        self._whole += last

    def _complete(self) -> None:
        """Join beats with the bursts they belong to."""
        while self._ready and self._beats:
            address, count = self._ready[0]
            value, strobe, last = self._beats.popleft()
            base = address + self._burst_beats * self.bytes_per_beat
            for lane in range(self.bytes_per_beat):
                if strobe >> lane & 1:
                    self.memory[base + lane] = value >> 8 * lane & 255
            self._burst_beats += 1
            if bool(last) != (self._burst_beats == count):
                raise ProtocolError(f"wlast {last} on beat {self._burst_beats} of {count}")
            if last:
                self._ready.popleft()
                self._burst_beats = 0
                self._due.append(self.cycle + self.latency)
