"""The cocotb side: loaded by the simulator, told by a JSON file what to run.

``ATTNSIEVE_BENCH`` names the file: cases with their memories in ``.npy`` files. Results go beside
it. Two kinds of machine run a case: `ReferenceMachine` has the reference memory and keeps time with
the compiled harness to the cycle; `LibraryMachine` has cocotbext-axi's memory and master.
"""

from __future__ import annotations

import itertools
import json
import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, FallingEdge, ReadOnly, RisingEdge

from attnsieve.sim.bench.memory import (
    ChannelCounters,
    ChannelMemory,
    ChannelOutputs,
    Fault,
    Stalls,
    Timing,
)
from attnsieve.sim.bench.program import POLL

__all__ = ["cases"]

_GATES = {
    "arvalid": ("araddr", "arlen", "arid"),
    "awvalid": ("awaddr", "awlen", "awid"),
    "wvalid": ("wdata", "wstrb"),
}
_LITE = ("awvalid", "awaddr", "wvalid", "wdata", "wstrb", "arvalid", "araddr", "bready", "rready")
_LIMIT = 10_000


def _number(handle: Any) -> int:
    return int(handle.value)


class CaseError(Exception):
    """A case cannot go on."""


class ReferenceMachine:
    """Core, register bus and reference memory, a cycle at a time."""

    def __init__(self, dut: Any, prefixes: list[str], case: dict[str, Any], memory: Any) -> None:
        self.dut = dut
        self.memory = memory
        self.cycles = 0
        self.irq = False
        stalls = Stalls(**case["stalls"])
        faults = tuple(Fault(*f) for f in case["faults"])
        self.stalls = stalls
        self._outs = [self._outputs(dut, prefix) for prefix in prefixes]
        beat = len(getattr(dut, f"{prefixes[0]}rdata")) // 8
        timing = Timing(*case["timing"]) if case["timing"] else Timing(bytes_per_cycle=beat)
        self.channels = [
            ChannelMemory(
                memory[c], channel=c, beat_bytes=beat, timing=timing, stalls=stalls, faults=faults
            )
            for c in range(len(prefixes))
        ]
        self._lite = dict.fromkeys(_LITE, 0)
        self._driven: dict[str, int] = {}
        self._prefixes = prefixes

    @staticmethod
    def _outputs(dut: Any, prefix: str) -> dict[str, Any]:
        names = ["rready", "bready", *_GATES, *itertools.chain(*_GATES.values())]
        return {n: getattr(dut, prefix + n) for n in names if hasattr(dut, prefix + n)}

    def _drive(self, name: str, value: int) -> None:
        if self._driven.get(name) != value:
            self._driven[name] = value
            if (handle := getattr(self.dut, name, None)) is not None:
                handle.value = value

    def _drive_all(self) -> None:
        for prefix, channel in zip(self._prefixes, self.channels, strict=True):
            for name, value in channel.inputs.items():
                self._drive(prefix + name, value)
        for name, value in self._lite.items():
            self._drive(f"s_axil_{name}", value)

    def _sample(self, handles: dict[str, Any]) -> ChannelOutputs:
        seen = {"rready": _number(handles["rready"]), "bready": _number(handles["bready"])}
        for valid, fields in _GATES.items():
            if _number(handles[valid]):
                seen[valid] = 1
                seen |= {f: _number(handles[f]) for f in fields if f in handles}
        return ChannelOutputs(**seen)

    async def cycle(self) -> None:
        """One cycle: drive, let it settle, sample, decide, rising edge."""
        self._drive_all()
        await FallingEdge(self.dut.clk)
        for channel, handles in zip(self.channels, self._outs, strict=True):
            channel.edge(self._sample(handles), self.cycles)
        self.irq = bool(_number(self.dut.irq))
        self.answers = {
            n: _number(getattr(self.dut, f"s_axil_{n}"))
            for n in ("awready", "wready", "arready", "bvalid", "rvalid")
        }
        if self.answers["rvalid"]:
            self.answers["rdata"] = _number(self.dut.s_axil_rdata)
        await RisingEdge(self.dut.clk)
        self.cycles += 1

    def _lite_ready(self) -> None:
        ready = int(not self.stalls.hit(0, "lite", self.cycles))
        self._lite["bready"] = self._lite["rready"] = ready

    async def reset(self, cycles: int) -> None:
        """Hold reset; the memory forgets everything in flight."""
        for channel in self.channels:
            channel.reset()
        self._lite = dict.fromkeys(self._lite, 0)
        self.cycles = 0
        self._drive("rst", 1)
        for _ in range(cycles):
            self._drive_all()
            await RisingEdge(self.dut.clk)
            self.cycles += 1
        self._drive("rst", 0)

    async def write(self, address: int, data: int) -> None:
        """Write a register."""
        lite = self._lite
        lite |= {"awaddr": address, "wdata": data, "wstrb": 15, "awvalid": 1, "wvalid": 1}
        for _ in range(_LIMIT):
            self._lite_ready()
            await self.cycle()
            if self.answers["awready"]:
                lite["awvalid"] = 0
            if self.answers["wready"]:
                lite["wvalid"] = 0
            if self.answers["bvalid"] and lite["bready"]:
                return
        raise CaseError(f"write of register {address:#x} not answered in {_LIMIT} cycles")

    async def read(self, address: int) -> int:
        """Read a register."""
        lite = self._lite
        lite |= {"araddr": address, "arvalid": 1}
        for _ in range(_LIMIT):
            self._lite_ready()
            await self.cycle()
            if self.answers["arready"]:
                lite["arvalid"] = 0
            if self.answers["rvalid"] and lite["rready"]:
                return self.answers["rdata"]
        raise CaseError(f"read of register {address:#x} not answered in {_LIMIT} cycles")

    async def run(self, cycles: int, until_irq: bool) -> bool:
        """Let time pass; whether the interrupt was seen."""
        for _ in range(cycles):
            self._lite_ready()
            await self.cycle()
            if until_irq and self.irq:
                return True
        return False

    def counters(self) -> list[ChannelCounters]:
        """What each channel moved."""
        return [channel.counters for channel in self.channels]

    def finish(self) -> None:
        """Leave the memories as the core left them."""


def _pauses(seed: int, probability: float) -> Iterator[bool]:
    rng = random.Random(seed)
    while True:
        yield rng.random() < probability


class LibraryMachine:
    """Core with cocotbext-axi's memory on each channel and its AXI4-Lite master."""

    def __init__(self, dut: Any, prefixes: list[str], case: dict[str, Any], memory: Any) -> None:
        from cocotbext.axi import AxiBus, AxiLiteBus, AxiLiteMaster, AxiRam

        self.dut, self.memory, self.cycles = dut, memory, 0
        options = {"reset_active_level": True}
        lite = AxiLiteBus.from_prefix(dut, "s_axil")
        self.master = AxiLiteMaster(lite, dut.clk, dut.rst, **options)
        self.rams = [
            AxiRam(AxiBus.from_prefix(dut, prefix[:-1]), dut.clk, dut.rst, size=row.size, **options)
            for prefix, row in zip(prefixes, memory, strict=True)
        ]
        self.set_up(case, memory)
        cocotb.start_soon(self._count())

    async def _count(self) -> None:
        while True:
            await RisingEdge(self.dut.clk)
            self.cycles += 1

    def set_up(self, case: dict[str, Any], memory: Any) -> None:
        """Take another case's memory and stalls."""
        self.memory = memory
        probability = case["stalls"]["probability"]
        seeds = itertools.count(case["stalls"]["seed"] * 64)
        for ram, row in zip(self.rams, memory, strict=True):
            if ram.size != row.size:
                raise ValueError("Cases of one run must have memories of one size")
            ram.write(0, row.tobytes())
            for side, names in ((ram.write_if, ("aw", "w", "b")), (ram.read_if, ("ar", "r"))):
                for name in names:
                    pauses = _pauses(next(seeds), probability.get(name, 0.0))
                    getattr(side, f"{name}_channel").set_pause_generator(pauses)
        lite = ((self.master.write_if, ("aw", "w", "b")), (self.master.read_if, ("ar", "r")))
        for side, names in lite:
            for name in names:
                pauses = _pauses(next(seeds), probability.get("lite", 0.0))
                getattr(side, f"{name}_channel").set_pause_generator(pauses)

    async def reset(self, cycles: int) -> None:
        """Hold reset."""
        self.dut.rst.value = 1
        await ClockCycles(self.dut.clk, cycles)
        self.dut.rst.value = 0
        await RisingEdge(self.dut.clk)
        self.cycles = 0

    async def write(self, address: int, data: int) -> None:
        """Write a register."""
        await self.master.write_dword(address, data)

    async def read(self, address: int) -> int:
        """Read a register."""
        return await self.master.read_dword(address)

    async def run(self, cycles: int, until_irq: bool) -> bool:
        """Let time pass; whether the interrupt was seen."""
        if not until_irq:
            await ClockCycles(self.dut.clk, cycles)
            return False
        end = self.cycles + cycles
        while self.cycles < end:
            await RisingEdge(self.dut.clk)
            await ReadOnly()
            seen = bool(_number(self.dut.irq))
            await FallingEdge(self.dut.clk)
            if seen:
                return True
        return False

    def counters(self) -> list[ChannelCounters]:
        """Nothing: this memory does not count."""
        return [ChannelCounters() for _ in self.rams]

    def finish(self) -> None:
        """Copy the memories back."""
        for ram, row in zip(self.rams, self.memory, strict=True):
            row[:] = np.frombuffer(ram.read(0, row.size), np.uint8)


async def _poll(machine: Any, address: int, want: int, mask: int, limit: int) -> None:
    for _ in range(limit):
        if await machine.read(address) & mask == want:
            return
        await machine.run(POLL, False)
    raise CaseError(f"register {address:#x} did not become {want:#x} in {limit} reads")


async def _execute(machine: Any, operations: list[list[Any]], result: dict[str, Any]) -> None:
    for kind, a, b, mask, limit in operations:
        if kind == "reset":
            await machine.reset(a)
        elif kind == "write":
            await machine.write(a, b)
        elif kind == "read":
            result["reads"].append(await machine.read(a))
        elif kind == "poll":
            await _poll(machine, a, b, mask, limit)
        else:
            seen = await machine.run(a, kind == "irq")
            if kind == "irq" and not seen:
                raise CaseError(f"no interrupt in {a} cycles")
        result["cycles"].append(machine.cycles)


@cocotb.test()
async def cases(dut: Any) -> None:
    """Run every case of the file; judge nothing."""
    spec = json.loads(Path(os.environ["ATTNSIEVE_BENCH"]).read_text())
    folder = Path(spec["folder"])
    dut.rst.value = 1
    Clock(dut.clk, 10, unit="ns").start()
    machine: Any = None
    for number, case in enumerate(spec["cases"]):
        memory = np.load(folder / f"before{number}.npy")
        if spec["memory"] == "reference":
            machine = ReferenceMachine(dut, spec["prefixes"], case, memory)
        elif machine is None:
            machine = LibraryMachine(dut, spec["prefixes"], case, memory)
        else:
            machine.set_up(case, memory)
        result: dict[str, Any] = {"reads": [], "cycles": [], "error": None}
        try:
            await _execute(machine, case["operations"], result)
        except (CaseError, ValueError) as error:
            result["error"] = str(error)
        machine.finish()
        np.save(folder / f"after{number}.npy", memory)
        result["counters"] = [list(c) for c in machine.counters()]
        (folder / f"result{number}.json").write_text(json.dumps(result))
