# amaranth: UnusedElaboratable=no
"""Local value pruning in hardware: the golden model's terms, with stalls, at the stated pace."""

from __future__ import annotations

import random

import numpy as np
import pytest

from attnsieve.hdl.params import CoreParams
from attnsieve.hdl.stages.value_select import ValueSelect
from attnsieve.sim.golden.softmax import Terms
from attnsieve.sim.golden.value_select import select_values
from attnsieve.sim.unit import run_streams

SMALL = {"max_keys": 130, "max_queries": 16, "buffer_elements": 1 << 14}
SIZES = {
    "one": CoreParams(lanes=16, value_lanes=4, **SMALL),
    "narrow": CoreParams(lanes=16, value_lanes=1, **SMALL),
    "two": CoreParams(lanes=32, value_lanes=8, **SMALL),
    "four": CoreParams(lanes=64, value_lanes=16, **SMALL),
    "equal": CoreParams(lanes=64, value_lanes=4, **SMALL),
}


def random_terms(p, rng, n):
    """Mantissas and classes of a row, as exponentials come: none, few, many, tied, zero."""
    kind = rng.choice(["any", "tied", "zero", "steep"])
    mantissas, classes = [], []
    for _ in range(n):
        k = rng.randrange(p.max_class + 1)
        if kind == "steep":
            k = min(p.max_class, int(rng.expovariate(0.5)))
        least = 1 << 11 if k < p.max_class else 1
        m = rng.choice([1 << 16, least, rng.randrange(least, 1 << 16)])
        if kind == "tied":
            k, m = rng.choice([(0, 1 << 11), (1, 1 << 16)])
        elif kind == "zero" and rng.random() < 0.7:
            k, m = 0, 0
        mantissas.append(m)
        classes.append(k)
    return mantissas, classes


def beats_of(p, mantissas, classes):
    terms = [{"mantissa": m, "exponent_class": k} for m, k in zip(mantissas, classes, strict=True)]
    terms += [{"mantissa": 0, "exponent_class": 0}] * (-len(terms) % p.groups)
    beats = [terms[n : n + p.groups] for n in range(0, len(terms), p.groups)] or [
        [{"mantissa": 0, "exponent_class": 0}] * p.groups
    ]
    return [{"term": b, "last": n == len(beats) - 1} for n, b in enumerate(beats)]


def run(p, rows, **options):
    """Rows of (mantissas, classes, k) through the block, compared with the golden model."""
    beats, want = [], []
    for mantissas, classes, k in rows:
        beats += beats_of(p, mantissas, classes)
        kept = select_values(p, Terms(np.array([mantissas]), np.array([classes])), k)[0]
        left = [m if keep else 0 for m, keep in zip(mantissas, kept, strict=True)]
        for beat in beats_of(p, left, classes):
            want.append(([t["mantissa"] for t in beat["term"]], beat["last"]))
    inputs = {"i": beats, "row": [{"values": k} for *_, k in rows]}
    result = run_streams(ValueSelect(params=p), inputs, {"o": len(want)}, **options)
    got = [([t.mantissa for t in o.term], bool(o.last)) for o in result.outputs["o"]]
    assert got == want
    sent = iter(beats)
    for o in result.outputs["o"]:
        for got_term, term in zip(o.term, next(sent)["term"], strict=True):
            assert got_term.mantissa in (0, term["mantissa"])
            assert got_term.mantissa == 0 or got_term.exponent_class == term["exponent_class"]
    return result


@pytest.mark.parametrize("stall", [0.0, 0.4, {"o": 0.8}, {"row": 0.9}])
@pytest.mark.parametrize("size", SIZES)
def test_random_rows(size, stall):
    p = SIZES[size]
    rng = random.Random(f"{size} {stall}")
    rows = []
    for _ in range(25):
        n = rng.choice([1, 2, p.groups, 33, rng.randrange(1, 131)])
        k = rng.choice([0, 1, n - 1, n, n + 1, rng.randrange(131)])
        rows.append((*random_terms(p, rng, n), k))
    run(p, rows, stall=stall)


def test_rows_as_long_as_built_back_to_back():
    p = SIZES["four"]
    rng = random.Random(7)
    rows = [(*random_terms(p, rng, 130), 40) for _ in range(6)]
    result = run(p, rows)
    beats = -(-130 // p.groups)
    assert result.last("i") - result.first("i") == 6 * beats - 1  # never stands


def test_a_row_leaves_when_its_threshold_is_known():
    p = SIZES["four"]
    mantissas = [40000 + n for n in range(100)]
    for k, engine in ((0, 7), (30, None)):
        result = run(p, [(mantissas, [0] * 100, k)])
        dut = ValueSelect(params=p)
        wait = result.first("o") - result.last("i")
        if engine is not None:
            assert wait == engine + dut.extra_latency
        else:
            assert wait > dut.extra_latency


def test_parameters_are_checked():
    with pytest.raises(ValueError, match=r"^Value lanes must not be 0 to select values$"):
        ValueSelect(params=CoreParams())
    with pytest.raises(ValueError, match=r"^value_lanes must be 0 or a multiple of lanes / 16"):
        CoreParams(value_lanes=6)
