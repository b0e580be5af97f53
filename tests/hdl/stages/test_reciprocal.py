# amaranth: UnusedElaboratable=no
"""Row sums and their reciprocals against the golden model."""

from __future__ import annotations

import random

import numpy as np
import pytest

from attnsieve.hdl.params import CoreParams
from attnsieve.hdl.stages.reciprocal import Reciprocal, SerialReciprocal
from attnsieve.hdl.stages.row_sum import RowSum
from attnsieve.sim.golden.softmax import Terms, reciprocal, row_sum
from attnsieve.sim.unit import run_streams

SHAPES = {
    "one key": CoreParams(lanes=16, max_keys=1, output_lanes=1),
    "dense": CoreParams(),
    "long": CoreParams(max_keys=4096, p_bits=16),
    "serial": CoreParams(lanes=4, max_keys=64, output_lanes=1, lut_ram=False),
    "not a power of two": CoreParams(max_keys=70),
}


def sums(p: CoreParams, rng: random.Random, count: int) -> list[int]:
    one = 1 << p.sum_fraction
    edges = [0, one, p.max_keys * one, *(min(p.max_keys, 1 << n) * one for n in range(13))]
    near = [max(one, min(p.max_keys * one, e + d)) for e in edges[1:] for d in (-1, 1)]
    return edges + near + [rng.randint(one, p.max_keys * one) for _ in range(count)]


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("stall", [0.0, 0.4, {"o": 0.96}])
def test_reciprocals_equal_the_golden_model(name, stall):
    p = SHAPES[name]
    totals = sums(p, random.Random(name), 200)
    random.Random(2).shuffle(totals)
    dut = (Reciprocal if p.lut_ram else SerialReciprocal)(params=p)
    result = run_streams(dut, {"i": totals}, {"o": len(totals)}, stall=stall, seed=3)
    mantissa, exponent = reciprocal(p, np.array(totals))
    got = [(int(o.mantissa), int(o.exponent), int(o.empty)) for o in result.outputs["o"]]
    want = zip(mantissa.tolist(), exponent.tolist(), (int(t == 0) for t in totals), strict=True)
    assert got == list(want)
    if stall == 0:
        waits = np.array(result.times["o"]) - result.times["i"]
        if p.lut_ram:
            assert set(waits) == {dut.latency}
            assert set(np.diff(result.times["o"])) == {1}
        else:  # a cycle less for each power of two
            assert (waits == dut.latency - exponent).all()
            assert (np.diff(result.times["i"]) == waits[:-1]).all()


@pytest.mark.parametrize("lanes", [16, 32, 64, 128])
@pytest.mark.parametrize("lut_ram", [True, False])
@pytest.mark.parametrize("stall", [0.0, 0.4])
def test_row_sums_are_exact(lanes, lut_ram, stall):
    p = CoreParams(lanes=lanes, max_keys=256, output_lanes=1, lut_ram=lut_ram)
    rng = random.Random(f"{lanes} {stall}")
    beats, want, lengths = [], [], [1, 1, 2, 5, 64 * 16 // lanes, 1]
    for length in lengths:
        heavy = rng.random() < 0.5
        row = [
            (1 << 16 if heavy else rng.randrange((1 << 16) + 1), rng.randrange(p.max_class + 1))
            for _ in range(length * p.groups)
        ]
        row = [(t, 0 if heavy or t == 0 else k) for t, k in row]
        for n in range(length):
            part = row[n * p.groups : (n + 1) * p.groups]
            terms = [{"mantissa": t, "exponent_class": k} for t, k in part]
            beats.append({"term": terms, "last": n == length - 1})
        arrays = [np.array([[x[i] for x in row]], np.int64) for i in (0, 1)]
        want.append(int(row_sum(p, Terms(*arrays))[0]))
    dut = RowSum(params=p)
    result = run_streams(dut, {"i": beats}, {"o": len(want)}, stall=stall, seed=4)
    assert result.outputs["o"] == want
    if stall == 0:
        ends = [t for t, b in zip(result.times["i"], beats, strict=True) if b["last"]]
        assert [b - a for a, b in zip(ends, result.times["o"], strict=True)] == (
            [dut.latency] * len(want)
        )
        gaps = [1 if lut_ram or not b["last"] else 2 for b in beats[:-1]]
        assert np.diff(result.times["i"]).tolist() == gaps


def test_parameters_are_checked():
    for block in (Reciprocal, SerialReciprocal, RowSum):
        with pytest.raises(TypeError, match=r"^Params must be a CoreParams, not 1$"):
            block(params=1)
