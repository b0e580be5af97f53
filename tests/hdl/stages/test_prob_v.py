# amaranth: UnusedElaboratable=no
"""prob·V against the golden model, and its schedule to the cycle."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from math import gcd

import numpy as np
import pytest
from amaranth.hdl import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from attnsieve.gen import config
from attnsieve.hdl.layouts import (
    accumulator_layout,
    line_layout,
    row_layout,
    term_beat_layout,
)
from attnsieve.hdl.lib.connect import connect
from attnsieve.hdl.lib.ring import Ring
from attnsieve.hdl.params import CoreParams
from attnsieve.hdl.stages.prob_v import ProbV
from attnsieve.hdl.stages.prob_v_steps import StepSequencer
from attnsieve.sim.golden.prob_v import prob_v_integer
from attnsieve.sim.golden.softmax import Terms
from attnsieve.sim.unit import run_streams

TINY = config.load("dense-tiny").core
SMALL = {"max_keys": 70, "buffer_elements": 70 * 128, "max_queries": 70}
TWO = CoreParams(lanes=32, output_lanes=4, **SMALL)
FOUR = CoreParams(lanes=64, output_lanes=4, **SMALL)
EIGHT = CoreParams(lanes=128, output_lanes=16, **SMALL)


class Bench(wiring.Component):
    """The block with its V ring."""

    def __init__(self, params: CoreParams) -> None:
        self.dut = ProbV(params=params)
        self.params = params
        super().__init__(
            {
                "i": In(stream.Signature(term_beat_layout(params))),
                "row": In(stream.Signature(row_layout(params))),
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
        self.rows.append({"parts": parts, "keys": seen, "last_of_kv": last, "write": 1})
        arrays = [np.array([[t[i] for t in terms]], np.int64) for i in (0, 1)]
        acc = [0] * head_dim
        if seen:
            acc = prob_v_integer(p, Terms(*arrays), np.array(v[:seen], np.int64))[0].tolist()
        for n in range(0, head_dim, p.output_lanes):
            self.want.append((acc[n : n + p.output_lanes], n + p.output_lanes == head_dim))


def run(work: Work, stall=0.0, seed: int = 0, **options):
    dut = Bench(work.params)
    inputs = {"i": work.beats, "row": work.rows, "line": work.lines}
    result = run_streams(dut, inputs, {"o": len(work.want)}, stall=stall, seed=seed, **options)
    got = [([int(x) for x in o.element], bool(o.last)) for o in result.outputs["o"]]
    assert got == work.want
    return result


@pytest.mark.parametrize("head_dim", range(16, 129, 16))
@pytest.mark.parametrize("stall", [0.0, 0.3])
def test_every_head_dim(head_dim, stall):
    rng = random.Random(f"{head_dim} {stall}")
    work = Work(FOUR)
    for keys in (1, 5, rng.randrange(2, 71)):
        seen = [rng.randrange(keys + 1) for _ in range(2)]
        work.head(rng, head_dim, keys, [*seen, keys])
    run(work, stall, seed=head_dim)


@pytest.mark.parametrize("params", [TINY, TWO, EIGHT], ids=["tiny", "two", "eight"])
@pytest.mark.parametrize("stall", [0.0, 0.3, {"o": 0.8}, {"line": 0.8}, {"i": 0.8}])
def test_rows_of_different_parts_back_to_back(params, stall):
    rng = random.Random(f"{params.lanes} {stall}")
    work = Work(params)
    for _ in range(5 if params.lanes < 128 else 2):
        keys = rng.randrange(1, min(40, params.max_keys))
        seen = [rng.randrange(keys + 1) for _ in range(rng.randrange(3))]
        work.head(rng, rng.choice(params.head_dims), keys, [*seen, keys])
    run(work, stall, seed=1)


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


def run_recorded(work: Work, stall=0.0):
    seen: dict = {"busy": [], "value": [], "output": [], "level": []}
    dut = Bench(work.params)
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


SIZES = [(TINY, 16), (TINY, 32), (TWO, 48), (TWO, 64), (EIGHT, 80), (EIGHT, 128)]
SIZES += [(FOUR, head_dim) for head_dim in FOUR.head_dims]


@pytest.mark.parametrize(("params", "head_dim"), SIZES)
def test_one_step_per_cycle_without_a_gap(params, head_dim):
    """Behind the first row, which waits for its lines, steps follow each other to the cycle."""
    rng = random.Random(head_dim)
    work = Work(params)
    keys = 17 + params.groups
    work.head(rng, head_dim, keys, [keys])
    first = work.steps
    for _ in range(2):
        work.head(rng, head_dim, keys, [keys - 1, keys])
    _, _, seen = run_recorded(work)
    busy = seen["busy"]
    assert len(busy) == work.steps
    parts = head_dim // params.segment
    side = gcd(parts, params.groups)
    want = parts // side * sum(-(-k * side // params.groups) for k in [keys] * 3 + [keys - 1] * 2)
    assert work.steps == want
    rest = busy[first:]
    assert rest == list(range(rest[0], rest[0] + len(rest)))
    assert not seen["output"]
    assert set(seen["busy"]).isdisjoint(seen["value"])


@pytest.mark.parametrize("params", [TINY, TWO, FOUR, EIGHT], ids=["tiny", "two", "four", "eight"])
def test_the_stated_latency(params):
    head_dim = 16 * params.groups if params.groups > 1 else 16
    work = Work(params)
    rng = random.Random(0)
    work.head(rng, min(head_dim, 128), 1, [1])
    dut, result, seen = run_recorded(work)
    assert len(seen["busy"]) == (4 if params.groups == 1 else 1)
    row = result.last("row") + StepSequencer.latency - 1
    begun = max(result.last("i"), result.last("line"), row - 1)  # of the first pass
    assert result.first("o") - begun == dut.dut.latency


def test_the_latencies_of_the_page():
    """As docs/reference/blocks/prob_v.md has it; the test above measures them."""
    for params in (TINY, TWO, FOUR, EIGHT):
        levels = (params.groups - 1).bit_length()
        want = 8 + (3 + levels if levels else 0)
        assert ProbV(params=params).latency == want


def test_lines_leave_with_the_last_pass_of_the_last_row():
    work = Work(FOUR)
    work.head(random.Random(4), 128, 70, [70, 1, 70])
    _, _, seen = run_recorded(work)
    level, busy = seen["level"], seen["busy"]
    first = busy[140 + 2 + 70]  # a row of 70 keys takes 2 passes of 70 steps
    assert level[first] == max(level) == 140
    assert level[busy[-1]] <= 140 - 60  # one per cycle, from the third cycle of the pass on
    assert level[-1] == 0


def test_heads_that_fill_the_ring_follow_each_other():
    work = Work(FOUR)
    for rows in ([70, 70], [70], [70]):
        work.head(random.Random(4), 128, 70, rows)
    _, _, seen = run_recorded(work)
    assert max(seen["level"]) == FOUR.kv_lines
    assert seen["level"][-1] == 0


def test_terms_stay_until_the_last_pass():
    """Rows that fill the term ring, one behind the other, in three passes each."""
    work = Work(FOUR)
    work.head(random.Random(9), 48, 70, [70] * 5)
    run(work)


def test_terms_that_arrive_as_others_are_read():
    for seed in range(30):
        work = Work(TINY)
        work.head(random.Random(seed), 16, 1, [1, 1, 1])
        run(work, {"i": 0.8}, seed=seed)


def test_sums_that_cannot_leave_stop_the_steps():
    rng = random.Random(5)
    work = Work(FOUR)
    work.head(rng, 64, 12, [12] * 4)
    _, _, seen = run_recorded(work, {"o": 0.8})
    assert seen["output"]
    assert set(seen["output"]).isdisjoint(seen["busy"])
    assert set(seen["output"]).isdisjoint(seen["value"])


def test_steps_wait_for_lines_only_while_terms_are_there():
    rng = random.Random(6)
    work = Work(FOUR)
    work.head(rng, 48, 40, [40, 40])
    _, _, seen = run_recorded(work, {"line": 0.9})
    assert len(seen["value"]) > 100
    assert len(seen["busy"]) == work.steps


def test_parameters_are_checked():
    with pytest.raises(TypeError, match=r"^Params must be a CoreParams, not 'dense'$"):
        ProbV(params="dense")
