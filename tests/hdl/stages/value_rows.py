# amaranth: UnusedElaboratable=no
"""Work for prob·V, dense or sparse: rows of terms, V, and what must come of them."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from math import gcd

import numpy as np
from amaranth.hdl import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from attnsieve.gen import config
from attnsieve.hdl.layouts import accumulator_layout, line_layout, term_beat_layout
from attnsieve.hdl.lib.connect import connect
from attnsieve.hdl.lib.ring import Ring
from attnsieve.hdl.params import CoreParams
from attnsieve.sim.golden.prob_v import prob_v_integer
from attnsieve.sim.golden.softmax import Terms
from attnsieve.sim.unit import run_streams

__all__ = ["EIGHT", "FOUR", "STALLS", "TINY", "TWO", "Bench", "Work", "run", "run_recorded"]

TINY = config.load("dense-tiny").core
SMALL = {"max_keys": 70, "buffer_elements": 70 * 128, "max_queries": 70}
TWO = CoreParams(lanes=32, output_lanes=4, **SMALL)
FOUR = CoreParams(lanes=64, output_lanes=4, **SMALL)
EIGHT = CoreParams(lanes=128, output_lanes=16, **SMALL)
STALLS = [0.0, 0.3, {"o": 0.8}, {"line": 0.8}, {"i": 0.8}]


class Bench(wiring.Component):
    """The block with its V ring."""

    def __init__(self, block, params: CoreParams) -> None:
        self.dut = block(params=params)
        self.params = params
        super().__init__(
            {
                "i": In(stream.Signature(term_beat_layout(params))),
                "row": In(self.dut.row.signature.flip()),
                "line": In(stream.Signature(line_layout(params))),
                "o": Out(stream.Signature(accumulator_layout(params))),
                "busy": Out(1),
                "wait_value": Out(1),
                "wait_output": Out(1),
                "level": Out(range(params.kv_lines + 1)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        p = self.params
        m.submodules.dut = dut = self.dut
        m.submodules.ring = ring = Ring(shape=line_layout(p), depth=p.kv_lines, split=p.groups)
        connect(m, self.i, dut.i)
        connect(m, self.row, dut.row)
        connect(m, self.line, ring.i)
        connect(m, dut.o, self.o)
        wiring.connect(m, dut.value, ring.read[0])
        m.d.comb += [
            dut.value_append.eq(ring.append),
            ring.release.eq(dut.value_release),
            self.busy.eq(dut.busy),
            self.wait_value.eq(dut.wait_value),
            self.wait_output.eq(dut.wait_output),
            self.level.eq(ring.level),
        ]
        return m


@dataclass
class Work:
    """KV heads with rows of terms, as the block takes them and what it must make of them."""

    params: CoreParams
    beats: list = field(default_factory=list)
    rows: list = field(default_factory=list)
    lines: list = field(default_factory=list)
    want: list = field(default_factory=list)
    steps: int = 0

    def head(self, rng: random.Random, head_dim: int, keys: int, rows: list[int]) -> None:
        """A KV head; ``rows`` are the keys seen, the last of them all keys."""
        p = self.params
        top = 1 << (p.operand_bits - 1)
        v = [
            [rng.choice([-top, top - 1, rng.randrange(-top, top)]) for _ in range(head_dim)]
            for _ in range(keys)
        ]
        flat = [x for key in v for x in key]
        flat += [rng.randrange(-top, top) for _ in range(-len(flat) % p.lanes)]
        self.lines += [flat[n : n + p.lanes] for n in range(0, len(flat), p.lanes)]
        for number, seen in enumerate(rows):
            self.row(rng, head_dim, v, seen, number == len(rows) - 1)

    def row(self, rng, head_dim: int, v: list, seen: int, last: bool) -> None:
        p = self.params
        parts = head_dim // p.segment
        side_by_side = gcd(parts, p.groups)
        self.steps += parts // side_by_side * max(1, -(-seen * side_by_side // p.groups))
        density = rng.choice([0, 0.5, 1, 1])
        terms = []
        for _ in range(seen):
            if rng.random() >= density:
                terms.append((0, 0))
                continue
            k = rng.randrange(p.max_class + 1)
            terms.append((rng.choice([1 << 16, 1, rng.randrange(1, (1 << 16) + 1)]), k))
        padded = terms + [(0, 0)] * (-len(terms) % p.groups if terms else p.groups)
        for n in range(0, len(padded), p.groups):
            beat = [{"mantissa": a, "exponent_class": k} for a, k in padded[n : n + p.groups]]
            self.beats.append({"term": beat, "last": n + p.groups >= len(padded)})
        self.rows.append({"parts": parts, "keys": seen, "last_of_kv": last})
        arrays = [np.array([[t[i] for t in terms]], np.int64) for i in (0, 1)]
        acc = [0] * head_dim
        if seen:
            acc = prob_v_integer(p, Terms(*arrays), np.array(v[:seen], np.int64))[0].tolist()
        for n in range(0, head_dim, p.output_lanes):
            self.want.append((acc[n : n + p.output_lanes], n + p.output_lanes == head_dim))


def run(block, work: Work, stall=0.0, seed: int = 0, **options):
    dut = Bench(block, work.params)
    inputs = {"i": work.beats, "row": work.rows, "line": work.lines}
    result = run_streams(dut, inputs, {"o": len(work.want)}, stall=stall, seed=seed, **options)
    got = [([int(x) for x in o.element], bool(o.last)) for o in result.outputs["o"]]
    assert got == work.want
    return result


def recorder(seen: dict):
    """A testbench that notes, cycle by cycle, what the block says of itself."""

    def bench_of(dut):
        async def bench(ctx):
            ticks = ctx.tick("sync").sample(dut.busy, dut.wait_value, dut.wait_output, dut.level)
            cycle = 0
            async for _, _, busy, value, output, level in ticks:
                if busy:
                    seen.setdefault("busy", []).append(cycle)
                if value:
                    seen.setdefault("value", []).append(cycle)
                if output:
                    seen.setdefault("output", []).append(cycle)
                seen.setdefault("level", []).append(level)
                cycle += 1

        return bench

    return bench_of


def run_recorded(block, work: Work, stall=0.0):
    seen: dict = {"busy": [], "value": [], "output": [], "level": []}
    dut = Bench(block, work.params)
    inputs = {"i": work.beats, "row": work.rows, "line": work.lines}
    result = run_streams(
        dut,
        inputs,
        {"o": len(work.want)},
        stall=stall,
        testbenches=[recorder(seen)(dut)],
        settle=400,
    )
    got = [([int(x) for x in o.element], bool(o.last)) for o in result.outputs["o"]]
    assert got == work.want
    return dut, result, seen
