"""Scores a margin below the largest of their row: against a walk over each row, key by key."""

from functools import partial

import numpy as np
import pytest

from attnsieve.hdl.params import CoreParams
from attnsieve.sim.golden.bit_serial import bit_serial
from attnsieve.sim.golden.row_relative import keys_at_once, parts, row_relative

SHAPE = {"word_bits": 6, "slice_bits": 2}


def order(span, at_once):
    """Keys of a row as they come, turn by turn: the first ones, then from the last ones down."""
    turns = [list(range(n, min(n + at_once, span))) for n in range(0, span, at_once)]
    return [*turns[:1], *turns[:0:-1]]


def walk(q, k, margin, pinned, seen, span, at_once):
    """Slices that are read of each key of a row, and which are kept; with exact scores."""
    scores = [int(q @ key) for key in k]
    turns = order(span, at_once)
    slices, known = np.zeros(len(k), int), []
    for part in (turns[:2], turns[2:8], turns[8:]):
        threshold = max(known) - margin if known else -(1 << 40)
        for key in sum(part, []):
            if seen[key]:
                one = bit_serial(q, k[key : key + 1], threshold, bool(pinned[key]), **SHAPE)
                slices[key] = one.slices[0]
        known += [scores[key] for key in sum(part, []) if seen[key]]
    floor = max(known, default=0) - margin
    return slices, np.array([s and (x >= floor or p)
                             for s, x, p in zip(seen, scores, pinned, strict=True)])  # fmt: skip


@pytest.mark.parametrize("at_once", [1, 2, 4, 16])
@pytest.mark.parametrize("causal", [False, True])
def test_rows(causal, at_once):
    rng = np.random.default_rng(at_once)
    for keys in (1, 2, 5, 8, 9, 31, 32, 33, 64):
        rows = 6
        q, k = rng.integers(-32, 32, (rows, 3)), rng.integers(-32, 32, (keys, 3))
        spans = np.minimum(keys, np.arange(rows) + max(1, keys - rows + 1)) if causal else (
            np.full(rows, keys))  # fmt: skip
        seen = np.arange(keys) < spans[:, None]
        seen &= rng.random((rows, keys)) < rng.choice([0.5, 1])
        seen[0] = False
        pinned = rng.random((rows, keys)) < 0.1
        margin = int(rng.choice([0, 100, 1000, 10**6]))
        part = parts(spans, keys, at_once)
        judge = partial(bit_serial, q, k, pinned=pinned, **SHAPE)
        result = row_relative(judge, margin, seen=seen, part=part)
        for row in range(rows):
            slices, kept = walk(
                q[row], k, margin, pinned[row], seen[row], int(spans[row]), at_once
            )
            np.testing.assert_array_equal(np.where(seen, result.found.slices, 0)[row], slices)
            np.testing.assert_array_equal(result.found.kept[row] & seen[row], kept)
        np.testing.assert_array_equal(result.found.score, q @ k.T)
        assert (result.needed <= result.found.slices)[seen].all()
        assert not (result.found.kept & ~result.stored)[seen].any()
        assert (result.found.slices == result.found.slices.max())[result.stored & seen].all()


def test_slices_that_are_needed_are_those_of_the_last_threshold():
    rng = np.random.default_rng(3)
    q, k = rng.integers(-32, 32, (1, 4)), rng.integers(-32, 32, (50, 4))
    judge, part = partial(bit_serial, q, k, **SHAPE), parts(np.array([50]), 50, 1)
    found = row_relative(judge, 300, seen=np.ones((1, 50), bool), part=part)
    threshold = int((q @ k.T).max()) - 300
    np.testing.assert_array_equal(found.needed, bit_serial(q, k, threshold, **SHAPE).slices)
    assert found.needed.sum() < found.found.slices.sum()
    assert found.found.kept.sum() < found.stored.sum() < 50
    assert found.stored[0, [0, 49]].all()  # nothing is known yet


def test_parts():
    np.testing.assert_array_equal(parts(np.array([5]), 8, 2)[0, :5], [0, 0, 1, 1, 0])
    whole = parts(np.array([20]), 20, 1)[0]
    assert whole.tolist() == [0, *[2] * 12, *[1] * 6, 0]


def test_keys_at_once():
    """No more than units, or than lane groups."""
    for units, lanes, want in ((1, 64, 1), (6, 64, 4), (3, 64, 2), (8, 16, 1), (16, 256, 16)):
        assert keys_at_once(CoreParams(slice_units=units, lanes=lanes)) == want
