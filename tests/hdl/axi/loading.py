"""Regions in memory and sinks for lines, for tests of the loaders."""

from __future__ import annotations

import random
from dataclasses import dataclass

from attnsieve.gen import config
from attnsieve.hdl.params import CoreParams
from attnsieve.sim.unit.axi_memory import AXIReadMemory

from .packing import cut, pack

__all__ = ["LINES", "NAMES", "TINY", "Memory", "Region", "SinkModel", "make", "memories"]

NAMES = ("query", "key", "value")
LINES = ("q_line", "k_line", "v_line")


def make(**kwargs):
    defaults = {
        "lanes": 16,
        "max_head_dim": 64,
        "max_keys": 128,
        "max_queries": 128,
        "buffer_elements": 8192,
        "output_lanes": 1,
        "channels": 2,
        "data_width": 64,
    }
    return CoreParams(**(defaults | kwargs))


TINY = config.load("dense-tiny").core


@dataclass
class Region:
    """Rows of a head, and where they lie."""

    address: int
    bits: int
    values: list[int]

    def payload(self, p):
        return {
            "address": self.address,
            "lines": -(-len(self.values) // p.lanes),
            "bytes": len(self.values) * self.bits // 8,
            "wide": self.bits == 12,
        }

    def lines(self, p, stream):
        shift = p.operand_bits - self.bits if stream == "value" else 0
        return [[v << shift for v in line] for line in cut(self.values, p.lanes)]


class Memory:
    """Linear memory, seen through the channels."""

    def __init__(self, p, seed):
        self.p = p
        self.bytes = bytearray()
        self.random = random.Random(seed)
        self.base = 1 << p.addr_width - 4

    def place(self, values, bits):
        """Put a region at the next aligned address after a random gap; fill gaps with noise."""
        align = self.p.alignment
        size = len(self.bytes)
        gap = -size % align + align * self.random.randrange(0, 40)
        self.bytes += self.random.randbytes(gap)
        address = self.base + len(self.bytes)
        self.bytes += pack(values, bits)
        return Region(address, bits, values)

    def linear(self, channel, address):
        unit, channels = self.p.unit_bytes, self.p.channels
        return (address // unit * channels + channel) * unit + address % unit

    def reader(self, channel):
        def read(address, count):
            out = bytearray()
            for a in range(address, address + count):
                at = self.linear(channel, a) - self.base
                out.append(self.bytes[at] if 0 <= at < len(self.bytes) else 0xEE)
            return bytes(out)

        return read

    def unit(self, number):
        """The bytes of a unit of linear memory."""
        at = number * self.p.unit_bytes - self.base
        return bytes(self.bytes[at : at + self.p.unit_bytes])

    def region(self, rows, head_dim, bits):
        low, high = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
        rng = self.random
        return self.place([rng.randint(low, high) for _ in range(rows * head_dim)], bits)


class SinkModel:
    """Counts the lines of a sink and frees them at random. It takes each line at once."""

    def __init__(self, dut, name, capacity, rate, seed):
        self.dut, self.name, self.capacity, self.rate = dut, name, capacity, rate
        self.random = random.Random(f"{seed} {name}")

    async def bench(self, ctx):
        line = getattr(self.dut, f"{self.name}_line")
        space = getattr(self.dut, f"{self.name}_space")
        held = 0
        while True:
            ctx.set(space, self.capacity - held)
            _, _, moved, ready = await ctx.tick().sample(line.valid, line.ready)
            assert ready or not moved
            held += moved
            assert held <= self.capacity, f"{self.name} sink overflows"
            if held and self.random.random() < self.rate:
                held -= 1


def memories(dut, memory, **kwargs):
    p = dut.params
    return [
        AXIReadMemory(
            dut.bus[c],
            memory.reader(c),
            seed=c,
            max_burst=p.burst_beats,
            max_outstanding=p.outstanding_beats,
            always_ready=p.channels > 1,
            **kwargs,
        )
        for c in range(p.channels)
    ]
