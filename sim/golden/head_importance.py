"""Importance of heads, and the heads that go on (cascade head pruning)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

__all__ = ["head_shares", "select_heads"]

_MOST = (1 << 36) - 1


def head_shares(out: np.ndarray, weights: Sequence[int]) -> np.ndarray:
    """What a job adds to the score of each head: magnitudes of its outputs ``[heads, queries,
    head_dim]``, weighted in units of 1/1024, rounded down once."""
    total = np.abs(out.astype(np.int64)).sum(axis=(1, 2))
    return total * np.asarray(weights, np.int64) >> 10


def select_heads(scores: np.ndarray, alive: np.ndarray, keep: int) -> np.ndarray:
    """The ``keep`` living heads with the largest scores as bools; of equal ones the first."""
    if int(np.max(scores, initial=0)) > _MOST:
        raise OverflowError(f"scores must be below 2**36, not {np.max(scores)}")
    order = np.lexsort((np.arange(len(scores)), -np.asarray(scores, np.int64), ~alive))
    kept = np.zeros(len(scores), bool)
    kept[order[:keep]] = True
    return kept & alive
