# amaranth: UnusedElaboratable=no
"""Probabilities for observers against the golden model."""

from __future__ import annotations

import random

import numpy as np
import pytest

from attnsieve.hdl.params import CoreParams
from attnsieve.hdl.stages.probability import Probability
from attnsieve.sim.golden.softmax import Terms, probabilities, reciprocal, row_sum
from attnsieve.sim.unit import run_streams

SHAPES = {
    "one lane": CoreParams(lanes=16, max_keys=64, output_lanes=1),
    "dense": CoreParams(),
    "long, 16 bits": CoreParams(lanes=32, max_keys=4096, p_bits=16),
}


def random_rows(p, rng, count):
    """Terms of rows with their statistics; a row of one term is a probability of one."""
    rows = []
    for number in range(count):
        keys = rng.choice([1, 1, p.groups, rng.randint(1, 6 * p.groups)])
        pairs = [(rng.choice([1 << 16, 1, rng.randrange(1 << 15, (1 << 16) + 1)]),
                  rng.randrange(p.max_class + 1)) for _ in range(keys)]
        pairs[rng.randrange(keys)] = (1 << 16, 0)  # the maximum
        if number % 7 == 6:
            pairs = [(0, 0)] * keys
        pairs += [(0, 0)] * (-keys % p.groups)
        terms = Terms(*(np.array([[x[i] for x in pairs]], np.int64) for i in (0, 1)))
        mantissa, exponent = reciprocal(p, row_sum(p, terms))
        rows.append((pairs, terms, mantissa, exponent))
    return rows


def run(p, rows, stall=0.0):
    beats, want = [], []
    for pairs, terms, mantissa, exponent in rows:
        flat = probabilities(p, terms, mantissa, exponent)[0].tolist()
        for n in range(0, len(pairs), p.groups):
            term = [{"mantissa": t, "exponent_class": k} for t, k in pairs[n : n + p.groups]]
            last = n + p.groups == len(pairs)
            beats.append({"term": term, "last": last})
            want.append((flat[n : n + p.groups], last))
    statistics = [
        {"mantissa": int(m[0]), "exponent": int(e[0]), "empty": int(m[0] == 0)}
        for _, _, m, e in rows
    ]
    dut = Probability(params=p)
    inputs = {"i": beats, "statistics": statistics}
    result = run_streams(dut, inputs, {"o": len(beats)}, stall=stall)
    assert [([int(x) for x in o.p], bool(o.last)) for o in result.outputs["o"]] == want
    return dut, result, want


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("stall", [0.0, 0.4, {"statistics": 0.8}])
def test_probabilities_equal_the_golden_model(name, stall):
    p = SHAPES[name]
    _, _, want = run(p, random_rows(p, random.Random(f"{name} {stall}"), 40), stall)
    assert max(x for beat, _ in want for x in beat) == (1 << p.p_bits) - 1  # saturated


def test_one_beat_per_cycle_and_the_stated_latency():
    p = SHAPES["dense"]
    dut, result, _ = run(p, random_rows(p, random.Random(1), 12))
    taken, left = result.times["i"], result.times["o"]
    assert taken == list(range(taken[0], taken[0] + len(taken)))
    assert {b - a for a, b in zip(taken, left, strict=True)} == {dut.latency}


def test_parameters_are_checked():
    with pytest.raises(TypeError, match=r"^Params must be a CoreParams, not None$"):
        Probability(params=None)
