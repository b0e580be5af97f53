"""Importance of tokens, and the tokens that go on (cascade token pruning)."""

from __future__ import annotations

import numpy as np

from attnsieve.hdl.params import CoreParams
from attnsieve.sim.golden.softmax import Terms, probabilities

__all__ = ["aged", "decayed", "select_tokens", "token_shares"]

_TOP = 1 << 32
_ONE = 1 << 20  # of the reciprocals of ages


def token_shares(
    params: CoreParams, row_terms: Terms, mantissa: np.ndarray, exponent: np.ndarray
) -> np.ndarray:
    """What rows add to the score of each of their keys: column sums of their probabilities."""
    return probabilities(params, row_terms, mantissa, exponent).sum(axis=0)


def select_tokens(
    scores: np.ndarray,
    candidates: np.ndarray,
    keep: int,
    first: int,
    newest: int,
    age_base: int | None = None,
) -> np.ndarray:
    """The ``keep`` candidates with the largest scores as bools, pinned ones before all others; of
    equal ones those that come first. With ``age_base`` scores are compared over ages:
    `aged`."""
    if int(scores.max(initial=0)) >= _TOP:
        raise OverflowError(f"scores must be below 2**32, not {scores.max()}")
    tokens = np.arange(len(scores))
    pinned = (tokens < first) | (tokens >= len(scores) - newest)
    compared = scores if age_base is None else aged(scores, age_base)
    value = np.where(pinned, _TOP - 1, compared)
    order = np.lexsort((tokens, -value.astype(np.int64), ~candidates))
    kept = np.zeros(len(scores), bool)
    kept[order[:keep]] = True
    return kept & candidates


def aged(scores: np.ndarray, base: int) -> np.ndarray:
    """Scores over the number of queries that saw the token: of n tokens, token j has the age n - j,
    those before ``base`` that of ``base``, and all one at least."""
    return np.array(
        [
            int(score) * (_ONE // max(1, len(scores) - max(token, base))) // _ONE
            for token, score in enumerate(scores)
        ],
        np.int64,
    )


def decayed(scores: np.ndarray, shift: int) -> np.ndarray:
    """Scores less their ``2**-shift``-th; as they are if shift is 0."""
    return scores - (scores >> shift) if shift else scores
