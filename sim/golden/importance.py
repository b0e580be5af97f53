"""Importance of tokens, and the tokens that go on (cascade token pruning)."""

from __future__ import annotations

import numpy as np

from attnsieve.hdl.params import CoreParams
from attnsieve.sim.golden.softmax import Terms, probabilities

__all__ = ["decayed", "select_tokens", "token_shares"]

_TOP = 1 << 32


def token_shares(
    params: CoreParams, row_terms: Terms, mantissa: np.ndarray, exponent: np.ndarray
) -> np.ndarray:
    """What rows add to the score of each of their keys: column sums of their probabilities."""
    return probabilities(params, row_terms, mantissa, exponent).sum(axis=0)


def select_tokens(
    scores: np.ndarray, candidates: np.ndarray, keep: int, first: int, newest: int
) -> np.ndarray:
    """The ``keep`` candidates with the largest scores as bools, pinned ones before all others; of
    equal ones those that come first."""
    if int(scores.max(initial=0)) >= _TOP:
        raise OverflowError(f"scores must be below 2**32, not {scores.max()}")
    tokens = np.arange(len(scores))
    pinned = (tokens < first) | (tokens >= len(scores) - newest)
    value = np.where(pinned, _TOP - 1, scores)
    order = np.lexsort((tokens, -value.astype(np.int64), ~candidates))
    kept = np.zeros(len(scores), bool)
    kept[order[:keep]] = True
    return kept & candidates


def decayed(scores: np.ndarray, shift: int) -> np.ndarray:
    """Scores less their ``2**-shift``-th; as they are if shift is 0."""
    return scores - (scores >> shift) if shift else scores
