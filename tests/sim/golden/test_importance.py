"""Importance: what tokens and heads gather, and which of them go on."""

from __future__ import annotations

import random

import numpy as np
import pytest

from attnsieve.hdl.params import CoreParams
from attnsieve.sim.golden.head_importance import head_shares, select_heads
from attnsieve.sim.golden.importance import aged, decayed, select_tokens, token_shares
from attnsieve.sim.golden.quantise import scale_pair
from attnsieve.sim.golden.softmax import reciprocal, row_sum, softmax_exact, terms

PARAMS = CoreParams(value_lanes=16, token_lanes=16)


def test_shares_are_column_sums_of_the_softmax():
    rng = np.random.default_rng(1)
    scores = rng.integers(-(1 << 20), 1 << 20, (50, 80))
    valid = rng.random(scores.shape) < 0.8
    c = 6.0 / (1 << 20)
    row_terms = terms(PARAMS, scores, valid, scale_pair(c))
    got = token_shares(PARAMS, row_terms, *reciprocal(PARAMS, row_sum(PARAMS, row_terms)))
    want = softmax_exact(scores, c, valid).sum(axis=0) * 4096
    assert np.abs(got - want).max() <= 50  # a last bit for each row
    assert got.sum() == pytest.approx(50 * 4096, rel=0.01)


def plain_selection(scores, candidates, keep, first, newest):
    """By sorting, in Python."""
    n = len(scores)
    tokens = [t for t in range(n) if candidates[t]]
    pinned = [t for t in tokens if t < first or t >= n - newest]
    others = sorted(set(tokens) - set(pinned), key=lambda t: (-scores[t], t))
    return sorted([*pinned, *others][:keep])


def test_selection_against_plain_sorting():
    rng = random.Random(2)
    for _ in range(300):
        n = rng.randrange(1, 30)
        scores = [rng.randrange(rng.choice([2, 1 << 31])) for _ in range(n)]
        candidates = [rng.random() < 0.7 for _ in range(n)]
        arguments = rng.randrange(n + 2), rng.randrange(4), rng.randrange(4)
        got = select_tokens(np.array(scores), np.array(candidates), *arguments)
        want = plain_selection(scores, candidates, *arguments)
        assert np.flatnonzero(got).tolist() == want


def test_ages_against_plain_division():
    rng = random.Random(3)
    for _ in range(200):
        n = rng.randrange(1, 40)
        scores = [rng.randrange(rng.choice([2, 1 << 32])) for _ in range(n)]
        base = rng.choice([0, 1, n - 1, n, n + 3, 65535])
        got = aged(np.array(scores, np.int64), base).tolist()
        for token, (score, value) in enumerate(zip(scores, got, strict=True)):
            age = next(a for a in range(1, n + 1) if a >= n - token or a >= n - base)
            assert value <= score // age
            assert score / age - value <= 1 + score / (1 << 20)
        arguments = np.array(scores, np.int64), np.ones(n, bool), rng.randrange(n + 2), 1, 2
        want = plain_selection(got, [True] * n, *arguments[2:])
        assert np.flatnonzero(select_tokens(*arguments, base)).tolist() == want


def test_ages_that_are_alike_change_nothing():
    scores = np.array([5, 1, (1 << 32) - 1, 0, 7], np.int64)
    assert aged(scores, 4).tolist() == scores.tolist()
    assert aged(scores, 99).tolist() == scores.tolist()
    assert aged(np.array([60, 60, 60, 60]), 0).tolist() == [15, 19, 30, 60]
    assert aged(np.array([60, 60, 60, 60]), 2).tolist() == [30, 30, 30, 60]


def test_decay():
    scores = np.array([0, 1, 7, 8, 1 << 31])
    assert decayed(scores, 0).tolist() == scores.tolist()
    assert decayed(scores, 3).tolist() == [0, 1, 7, 7, (1 << 31) - (1 << 28)]


def test_heads():
    out = np.array([[[3, -5]], [[0, 0]], [[-32767, 32767]]])
    assert head_shares(out, [1023, 1023, 512]).tolist() == [7, 0, 32767]
    scores, alive = np.array([5, 9, 9, 1]), np.array([True, False, True, True])
    assert select_heads(scores, alive, 2).tolist() == [True, False, True, False]
    assert select_heads(scores, alive, 9).tolist() == alive.tolist()
    assert not select_heads(scores, alive, 0).any()
