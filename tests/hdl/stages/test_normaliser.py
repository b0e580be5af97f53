# amaranth: UnusedElaboratable=no
"""Output elements against the golden model."""

from __future__ import annotations

import random

import numpy as np
import pytest

from attnsieve.gen import config
from attnsieve.hdl.params import CoreParams
from attnsieve.hdl.stages.normaliser import Normaliser
from attnsieve.sim.golden.output import normalise
from attnsieve.sim.unit import run_streams

TINY = config.load("dense-tiny").core
SHAPES = {
    "tiny": TINY,
    "dense": CoreParams(),
    "bytes": CoreParams(operand_bits=8, output_lanes=2),
    "long": CoreParams(max_keys=4096, output_lanes=16, lanes=512),
    "one key": CoreParams(max_keys=1, output_lanes=8),
}


def random_rows(p: CoreParams, rng: random.Random, count: int):
    """Elements and statistics of rows, extreme ones too."""
    rows = []
    top = 1 << (p.acc_bits - 1)
    for _ in range(count):
        exponent = rng.randrange((p.max_keys - 1).bit_length() + 1)
        mantissa = rng.choice([1 << 15, 1 << 16, rng.randrange(1 << 15, (1 << 16) + 1)])
        limit = min(top - 1, 1 << rng.randrange(p.acc_bits))
        chunks = rng.randrange(1, 9)
        elements = [rng.randint(-limit, limit) for _ in range(chunks * p.output_lanes)]
        if rng.random() < 0.2:  # around the clamps
            unit = 1 << (exponent + p.acc_fraction - p.normal_fraction)
            elements = [
                max(-top, min(top - 1, rng.choice([-(1 << 17), 1 << 17]) * unit
                              + rng.randint(-2 * unit, 2 * unit)))
                for _ in elements
            ]
        if rng.random() < 0.1:
            elements, mantissa, exponent = [0] * len(elements), 0, 0
        if rng.random() < 0.1:
            elements = [rng.choice([-top, top - 1]) for _ in elements]
        rows.append((elements, mantissa, exponent))
    return rows


def run(p: CoreParams, rows: list, stall=0.0, seed: int = 0):
    n = p.output_lanes
    beats = [
        {"element": elements[c : c + n], "last": c + n == len(elements)}
        for elements, _, _ in rows
        for c in range(0, len(elements), n)
    ]
    statistics = [
        {"mantissa": mantissa, "exponent": exponent, "empty": mantissa == 0}
        for _, mantissa, exponent in rows
    ]
    dut = Normaliser(params=p)
    result = run_streams(
        dut, {"i": beats, "statistics": statistics}, {"o": len(beats)}, stall=stall, seed=seed
    )
    got = [(int(x), bool(o.last)) for o in result.outputs["o"] for x in o.element]
    want = []
    for elements, mantissa, exponent in rows:
        acc = np.array([elements], np.int64)
        out = normalise(p, acc, np.array([mantissa]), np.array([exponent]))[0].tolist()
        want += [(x, c >= len(out) - n) for c, x in enumerate(out)]
    assert got == want
    return dut, result


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("stall", [0.0, 0.4, {"statistics": 0.9}])
def test_elements_equal_the_golden_model(name, stall):
    rng = random.Random(f"{name} {stall}")
    run(SHAPES[name], random_rows(SHAPES[name], rng, 60), stall, seed=2)


def test_one_transfer_per_cycle_and_the_stated_latency():
    rows = random_rows(CoreParams(), random.Random(1), 20)
    dut, result = run(CoreParams(), rows)
    taken, left = result.times["i"], result.times["o"]
    assert taken == list(range(taken[0], taken[0] + len(taken)))
    assert {b - a for a, b in zip(taken, left, strict=True)} == {dut.latency}


def test_the_pace_without_hardware_multipliers():
    dut, result = run(TINY, random_rows(TINY, random.Random(1), 5))
    assert set(np.diff(result.times["i"])) == {dut.pace} == {5}
    pairs = zip(result.times["i"], result.times["o"], strict=True)
    assert {b - a for a, b in pairs} == {dut.latency} == {1}


def test_outputs_are_symmetric_at_the_clamp():
    p = CoreParams(output_lanes=2)
    top = 1 << (p.acc_bits - 1)
    _, result = run(p, [([-top, top - 1], 1 << 16, 0)])
    assert [int(x) for x in result.outputs["o"][0].element] == [-32767, 32767]


def test_parameters_are_checked():
    with pytest.raises(TypeError, match=r"^Params must be a CoreParams, not None$"):
        Normaliser(params=None)
