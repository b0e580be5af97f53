# amaranth: UnusedElaboratable=no
"""Exponential terms and row statistics against the golden model."""

from __future__ import annotations

import random

import numpy as np
import pytest

from attnsieve.gen import config
from attnsieve.hdl.layouts import row_beat_layout
from attnsieve.hdl.params import CoreParams
from attnsieve.hdl.stages.exponential import Exponential
from attnsieve.hdl.stages.exponential_lane import ExponentialLane, SerialExponentialLane
from attnsieve.sim.golden.softmax import reciprocal, row_sum, terms
from attnsieve.sim.unit import run_streams

TINY = config.load("dense-tiny").core
DENSE = CoreParams()
SHAPES = {
    "tiny": TINY,
    "two groups": CoreParams(lanes=32, max_keys=70, operand_bits=8),
    "dense": DENSE,
    "eight groups, long": CoreParams(lanes=128, max_keys=4096, p_bits=16),
}


def random_row(p: CoreParams, rng: random.Random, keys: int):
    """Scores, valid bits and scale of a row; small, medium and huge distances."""
    shift = rng.choice([0, 5, 12, 18, 19, 25, rng.randrange(64)])
    limit = (1 << (p.score_bits - 1)) - 1
    spread = min(limit, 1 << rng.randrange(p.score_bits))
    scores = [rng.randint(-spread, spread) for _ in range(keys)]
    if rng.random() < 0.1:
        scores = [rng.choice([-limit - 1, limit]) for _ in range(keys)]
    valid = [rng.random() < rng.choice([0.5, 0.9, 1]) for _ in range(keys)]
    if rng.random() < 0.1:
        valid = [False] * keys
    mantissa = rng.choice([1 << 15, (1 << 16) - 1, rng.randrange(1 << 15, 1 << 16)])
    return scores, valid, (mantissa, shift)


def beats_of(p: CoreParams, row) -> list:
    scores, valid, _ = row
    maximum = max((s for s, v in zip(scores, valid, strict=True) if v), default=0)
    beats = []
    count = max(1, -(-len(scores) // p.groups))
    for c in range(count):
        part = slice(c * p.groups, (c + 1) * p.groups)
        lanes, flags = scores[part], valid[part]
        beats.append(
            row_beat_layout(p).const(
                {
                    "score": lanes + [12345] * (p.groups - len(lanes)),
                    "valid": sum(v << n for n, v in enumerate(flags)),
                    "maximum": maximum,
                    "last": c == count - 1,
                }
            )
        )
    return beats


def expected(p: CoreParams, row):
    scores, valid, scale = row
    t = terms(p, np.array([scores], np.int64), np.array([valid], bool), scale)
    recip, exponent = reciprocal(p, row_sum(p, t))
    pad = -len(scores) % p.groups if scores else p.groups
    flat = list(zip(t.mantissa[0].tolist(), t.exponent_class[0].tolist(), strict=True))
    return flat + [(0, 0)] * pad, (int(recip[0]), int(exponent[0]), int(not any(valid)))


def run(p: CoreParams, rows: list, stall=0.0, seed: int = 0):
    dut = Exponential(params=p)
    beats = [b for row in rows for b in beats_of(p, row)]
    scales = [{"mantissa": row[2][0], "shift": row[2][1]} for row in rows]
    result = run_streams(
        dut,
        {"i": beats, "scale": scales},
        {"o": len(beats), "statistics": len(rows)},
        stall=stall,
        seed=seed,
    )
    return dut, beats, result


def check(p: CoreParams, rows: list, result) -> None:
    got = [
        (int(t.mantissa), int(t.exponent_class)) for beat in result.outputs["o"] for t in beat.term
    ]
    want = [expected(p, row) for row in rows]
    assert got == [t for row in want for t in row[0]]
    stats = [(int(s.mantissa), int(s.exponent), int(s.empty)) for s in result.outputs["statistics"]]
    assert stats == [row[1] for row in want]


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("stall", [0.0, 0.4])
def test_terms_and_statistics_equal_the_golden_model(name, stall):
    p = SHAPES[name]
    rng = random.Random(f"{name} {stall}")
    lengths = [1, 1, 2, p.groups, p.groups + 1, 17, 64, 0]
    lengths += [rng.randrange(1, 64) for _ in range(25)]
    rows = [random_row(p, rng, n) for n in lengths]
    _, beats, result = run(p, rows, stall, seed=1)
    check(p, rows, result)
    last = [int(b.last) for b in result.outputs["o"]]
    assert last == [int(b.last) for b in beats]


def test_one_beat_per_cycle_and_the_stated_latencies():
    rng = random.Random(7)
    rows = [random_row(DENSE, rng, n) for n in (1, 3, 4, 5, 40, 1, 1, 2, 9)]
    dut, beats, result = run(DENSE, rows)
    check(DENSE, rows, result)
    taken, left = result.times["i"], result.times["o"]
    assert taken == list(range(taken[0], taken[0] + len(beats)))
    assert [b - a for a, b in zip(taken, left, strict=True)] == [dut.latency] * len(beats)
    ends = [t for t, beat in zip(left, beats, strict=True) if beat.last]
    waits = [b - a for a, b in zip(ends, result.times["statistics"], strict=True)]
    assert waits == [dut.statistics_latency] * len(rows)


def test_the_pace_without_hardware_multipliers():
    rng = random.Random(8)
    rows = [random_row(TINY, rng, n) for n in (5, 6, 9)]
    dut, beats, result = run(TINY, rows)
    check(TINY, rows, result)
    assert set(np.diff(result.times["i"])) == set(np.diff(result.times["o"])) == {dut.pace} == {4}
    pairs = zip(result.times["i"], result.times["o"], strict=True)
    assert {b - a for a, b in pairs} == {dut.latency} == {12}
    ends = [t for t, beat in zip(result.times["o"], beats, strict=True) if beat.last]
    waits = [b - a for a, b in zip(ends, result.times["statistics"], strict=True)]
    assert max(waits) <= dut.statistics_latency


@pytest.mark.parametrize("stall", [{"statistics": 0.9}, {"o": 0.9}, {"scale": 0.8}])
def test_either_output_may_wait_for_long(stall):
    rng = random.Random(3)
    rows = [random_row(TINY, rng, rng.randrange(1, 6)) for _ in range(40)]
    _, _, result = run(TINY, rows, stall, seed=5)
    check(TINY, rows, result)


def test_statistics_do_not_wait_for_the_terms_behind_them():
    rows = [([5] * 4, [True] * 4, (1 << 15, 20)), ([1] * 8, [True] * 8, (1 << 15, 20))]
    dut = Exponential(params=DENSE)
    beats = [b for row in rows for b in beats_of(DENSE, row)]
    scales = [{"mantissa": row[2][0], "shift": row[2][1]} for row in rows]

    async def take_one(ctx):
        ctx.set(dut.o.ready, 1)
        await ctx.tick().until(dut.o.valid)
        ctx.set(dut.o.ready, 0)

    result = run_streams(
        dut,
        {"i": beats, "scale": scales},
        {"statistics": 1},
        testbenches=[take_one],
        max_cycles=100,
    )
    assert int(result.outputs["statistics"][0].exponent) == 2


def test_the_latencies_of_the_page():
    """As docs/reference/blocks/exponential.md has it; the tests above measure them."""
    for p in SHAPES.values():
        dut = Exponential(params=p)
        if p.lut_ram:
            of_statistics = 9 + (p.groups - 1).bit_length()
            assert (dut.pace, dut.latency, dut.statistics_depth) == (1, 13, 16)
            assert dut.statistics_latency == of_statistics
        else:
            assert (dut.pace, dut.latency, dut.statistics_depth) == (4, 12, 1)
            assert dut.statistics_latency == 20


def test_parameters_are_checked():
    for block in (Exponential, ExponentialLane, SerialExponentialLane):
        with pytest.raises(TypeError, match=r"^Params must be a CoreParams, not 3$"):
            block(params=3)
