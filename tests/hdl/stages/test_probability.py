# amaranth: UnusedElaboratable=no
"""Probabilities for observers: the block against its golden model, the format against exact p."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest

from attnsieve.hdl.layouts import term_beat_layout
from attnsieve.hdl.params import CoreParams
from attnsieve.hdl.stages.probability import Probability
from attnsieve.sim.golden.softmax import Terms, probabilities, reciprocal, row_sum, terms
from attnsieve.sim.unit import run_streams

SHAPES = {
    "tiny": CoreParams(lanes=4, max_keys=64, output_lanes=1, lut_ram=False),
    "dense": CoreParams(),
    "long": CoreParams(lanes=128, max_keys=4096, p_bits=16),
    "one key": CoreParams(lanes=16, max_keys=1),
}
LONG = CoreParams(max_keys=4096, max_queries=4096)


def random_rows(p: CoreParams, rng: random.Random, count: int) -> list[Terms]:
    rows = []
    for _ in range(count):
        keys = rng.randrange(1, min(p.max_keys, 40) + 1)
        mantissa = [rng.choice([0, 1, 1 << 16, rng.randrange((1 << 16) + 1)]) for _ in range(keys)]
        classes = [rng.randrange(p.max_class + 1) if t else 0 for t in mantissa]
        top = rng.randrange(keys)
        mantissa[top], classes[top] = 1 << 16, 0
        if rng.random() < 0.1:
            mantissa, classes = [0] * keys, [0] * keys
        rows.append(Terms(np.array([mantissa]), np.array([classes])))
    return rows


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("stall", [0.0, 0.4])
def test_probabilities_equal_the_golden_model(name, stall):
    p = SHAPES[name]
    rows = random_rows(p, random.Random(f"{name} {stall}"), 30)
    beats, statistics, want = [], [], []
    for row in rows:
        mantissa, exponent = reciprocal(p, row_sum(p, row))
        statistics.append({"mantissa": int(mantissa[0]), "exponent": int(exponent[0])})
        pad = -row.mantissa.shape[1] % p.groups
        lanes = list(zip(row.mantissa[0].tolist(), row.exponent_class[0].tolist(), strict=True))
        lanes += [(0, 0)] * pad
        want += [*probabilities(p, row, mantissa, exponent)[0].tolist(), *[0] * pad]
        for n in range(0, len(lanes), p.groups):
            part = [{"mantissa": a, "exponent_class": k} for a, k in lanes[n : n + p.groups]]
            last = n + p.groups == len(lanes)
            beats.append(term_beat_layout(p).const({"term": part, "last": last}))
    dut = Probability(params=p)
    inputs = {"i": beats, "statistics": statistics}
    result = run_streams(dut, inputs, {"o": len(beats)}, stall=stall, seed=1)
    assert [int(x) for o in result.outputs["o"] for x in o.p] == want
    assert [int(o.last) for o in result.outputs["o"]] == [int(b.last) for b in beats]
    if stall == 0:
        assert result.times["i"] == list(range(len(beats)))
        pairs = zip(result.times["i"], result.times["o"], strict=True)
        assert {b - a for a, b in pairs} == {dut.latency}


def lsb_errors(keys: int, distances, c: float, scale: tuple[int, int]) -> np.ndarray:
    """Distance of the probabilities of one maximum and ``keys - 1`` equal others from exact."""
    d = np.asarray(distances, np.int64)
    both = np.stack([np.zeros_like(d), -d], axis=1)
    t = terms(LONG, both, np.ones(both.shape, bool), scale)
    shift = LONG.class_step * (LONG.max_class - t.exponent_class)
    aligned = t.mantissa << shift
    mantissa, exponent = reciprocal(LONG, aligned[:, 0] + (keys - 1) * aligned[:, 1])
    p = probabilities(LONG, t, mantissa, exponent)
    weights = np.exp2(both * c)
    exact = weights / (weights[:, :1] + (keys - 1) * weights[:, 1:])
    return np.abs(p - exact * 4096).max(axis=1)


@pytest.mark.parametrize("keys", [2, 17, 300, 867, 891, 1024, 4096])
def test_one_maximum_and_equal_others_are_within_one_bit(keys):
    """The worst kind of row, also with the rounding of the scale's mantissa against it."""
    rng = np.random.default_rng(keys)
    worst = 0.0
    for _ in range(60):
        low = rng.random() < 0.5  # the mantissa's rounding weighs most when it is small
        mantissa = int(rng.integers(0, 64) if low else rng.integers(0, 32767)) + 32768
        shift = int(rng.integers(16, 40))
        for rounding in (-0.5, 0.0, 0.5):
            c = (mantissa + rounding) * 2.0 ** (-10 - shift)
            arguments = np.concatenate(
                [
                    np.array([5.0, 10.0, 15.0, 20.0]).repeat(8) - rng.uniform(0, 0.03, 32),
                    np.log2(keys) + rng.uniform(-1, 1, 8),
                    rng.uniform(0, 31, 8),
                ]
            )
            d = np.rint(arguments / c)
            d = d[d < 1 << 30].astype(np.int64)
            worst = max(worst, lsb_errors(keys, d, c, (mantissa, shift)).max(initial=0.0))
    assert 0.3 < worst <= 1.0


@pytest.mark.parametrize("keys", [1, 64, 1000, 4096])
@pytest.mark.parametrize("step", [0, 1, 37])
def test_equal_scores_and_ramps_are_within_one_bit(keys, step):
    scale = (47274, 20)
    c = scale[0] * 2.0 ** (-10 - scale[1])
    scores = -step * np.arange(keys)[None] * 1000
    t = terms(LONG, scores, np.ones(scores.shape, bool), scale)
    p = probabilities(LONG, t, *reciprocal(LONG, row_sum(LONG, t)))[0]
    weights = np.exp2(scores[0] * c)
    assert np.abs(p - 4096 * weights / weights.sum()).max() <= 1.0


def test_terms_just_under_a_step_of_the_accumulator_do_not_add_up():
    """4095 terms of half of the sum's last bit, rounded up: nothing that p can show."""
    scale = (1 << 15, 6)
    c = 0.5
    for halvings in (31, 31.5, 32, 40):
        assert lsb_errors(4096, [int(2 * halvings)], c, scale).max() <= 1.0


def test_the_constants_of_the_docstring():
    """Terms and reciprocals against real arithmetic, over every table entry and offset."""
    unit = (1 << 15, 18)  # c = 2**-13: arguments are exact
    y = np.arange(1, 15 * 8192)
    scores = np.concatenate([[0], -y])[None]
    t = terms(LONG, scores, np.ones(scores.shape, bool), unit)
    value = t.mantissa[0, 1:] * 2.0 ** (-16.0 - 5 * t.exponent_class[0, 1:])
    assert np.abs(value * 2.0 ** (y / 8192) - 1).max() < 2.63e-4
    argument = math.log(2) * 3 * 2.0**-14
    p = np.linspace(0, 1, 10001)
    error = 4096 * (p * (1 - p) * (argument + 2.63e-4) + p * 3.2e-5) + p / 32
    assert error.max() <= 0.5


def test_parameters_are_checked():
    with pytest.raises(TypeError, match=r"^Params must be a CoreParams, not 12$"):
        Probability(params=12)
