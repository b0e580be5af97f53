"""Scores and masks."""

import numpy as np
import pytest

from attnsieve.hdl.params import CoreParams
from attnsieve.sim.golden.job import Job, Pins
from attnsieve.sim.golden.score import pinned_keys, score_float, score_integer, visibility

PARAMS = CoreParams()


@pytest.mark.parametrize("head_dim", [16, 48, 128])
def test_scores_are_exact(head_dim):
    rng = np.random.default_rng(head_dim)
    q, k = rng.integers(-2048, 2048, (2, 5, head_dim))
    want = [[sum(int(a) * int(b) for a, b in zip(x, y, strict=True)) for y in k] for x in q]
    np.testing.assert_array_equal(score_integer(PARAMS, q, k), want)


def test_the_largest_score_fits():
    row = np.full((1, 128), -2048)
    assert score_integer(PARAMS, row, row)[0, 0] == 2**22 * 128


def test_operands_too_wide_are_refused():
    with pytest.raises(OverflowError, match=r"^query element in 2048\.\.2048 does not fit 12 "):
        score_integer(PARAMS, np.full((1, 16), 2048), np.zeros((1, 16), int))


def test_float_scores_hold_the_root():
    np.testing.assert_allclose(score_float(np.ones((1, 16)), np.ones((1, 16))), [[4.0]])


def test_causal_rows_end_on_the_diagonal():
    seen = visibility(np.arange(2), 2, 4, True, None)
    np.testing.assert_array_equal(seen, [[1, 1, 1, 0], [1, 1, 1, 1]])


def test_the_key_mask_hides_keys_from_every_row():
    seen = visibility(np.array([1]), 2, 3, True, np.array([0, 1, 1], bool))
    np.testing.assert_array_equal(seen, [[0, 1, 1]])


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(
    "pins",
    [
        Pins(), Pins(first=2), Pins(newest=3), Pins(own=True), Pins(first=1, newest=1, own=True),
        Pins(first=65535),
    ],
)  # fmt: skip
def test_pinned_keys(pins, causal):
    job = Job(heads=1, kv_heads=1, queries=5, keys=9, head_dim=16, bits=8, causal=causal,
              scales=((32768, 0),), pins=pins)  # fmt: skip
    rows = np.array([0, 3, 4])
    found = pinned_keys(job, rows)
    for row, got in zip(rows, found, strict=True):
        last = row + 4 if causal else 8  # the newest that it sees
        own = last if causal else row
        for key in range(last + 1):
            want = key < pins.first or key > last - pins.newest or (pins.own and key == own)
            assert got[key] == want, (row, key)
