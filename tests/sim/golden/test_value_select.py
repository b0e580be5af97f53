"""Local value pruning: the golden model against plain sorting, and what it costs."""

from __future__ import annotations

import random

import numpy as np

from attnsieve.gen import config
from attnsieve.sim.golden.softmax import Terms, terms
from attnsieve.sim.golden.top_k import top_k
from attnsieve.sim.golden.value_select import select_values, value_select_float

PARAMS = config.load("dense").core


def test_terms_rank_as_their_values_and_ties_go_to_the_first():
    rng = random.Random(1)
    for _ in range(100):
        n = rng.randrange(1, 40)
        classes = [rng.randrange(PARAMS.max_class + 1) for _ in range(n)]
        mantissas = [
            rng.choice([0, 65536, 2048 if k < PARAMS.max_class else 1, rng.randrange(2048, 65536)])
            for k in classes
        ]
        exact = [m << 5 * (PARAMS.max_class - k) for m, k in zip(mantissas, classes, strict=True)]
        k = rng.randrange(n + 2)
        kept = select_values(PARAMS, Terms(np.array([mantissas]), np.array([classes])), k)[0]
        want = top_k(np.array(exact), k or n)
        assert list(kept) == [w and e > 0 for w, e in zip(want, exact, strict=True)]


def test_integers_keep_what_the_float_model_keeps_up_to_close_terms():
    rng = np.random.default_rng(2)
    scores = rng.integers(-30000, 30000, (20, 100))
    valid = np.ones(scores.shape, bool)
    kept = select_values(PARAMS, terms(PARAMS, scores, valid, (40000, 20)), 30)
    p = 2.0 ** (scores * 40000 * 2.0**-30)
    want = value_select_float(p, 30)
    least = np.where(want, p, np.inf).min(axis=1, keepdims=True)
    assert (np.abs(p / least - 1)[kept != want] < 1e-3).all()
    assert (kept.sum(axis=1) == 30).all()
