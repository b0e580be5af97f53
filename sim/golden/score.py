"""Q·K scores: the float reference, and the exact integers that the array makes in any order."""

from __future__ import annotations

import math

import numpy as np

from attnsieve.hdl.params import CoreParams
from attnsieve.sim.golden.job import Job
from attnsieve.sim.golden.widths import signed_fits

__all__ = ["pinned_keys", "score_float", "score_integer", "visibility"]


def score_float(q: np.ndarray, k: np.ndarray) -> np.ndarray:
    """Real scores q·k / √head_dim of one head, float64 ``[queries, keys]``."""
    return np.asarray(q, np.float64) @ np.asarray(k, np.float64).T / math.sqrt(q.shape[-1])


def score_integer(
    params: CoreParams, q: np.ndarray, k: np.ndarray, key_bits: int = 0
) -> np.ndarray:
    """Exact integer scores of one head, int64 ``[queries, keys]``, of keys of up to ``key_bits``
    (those of an operand by default).

    A float64 product is used because it is fast; it is exact, for no partial sum reaches 2**53.
    """
    signed_fits("query element", q, params.operand_bits)
    signed_fits("key element", k, key_bits or params.operand_bits)
    exact = np.asarray(q, np.float64) @ np.asarray(k, np.float64).T
    return signed_fits("score", exact.astype(np.int64), params.score_bits)


def visibility(
    rows: np.ndarray, queries: int, keys: int, causal: bool, key_valid: np.ndarray | None
) -> np.ndarray:
    """Pairs that take part, bool ``[len(rows), keys]``, for the queries numbered ``rows``."""
    seen = np.ones((len(rows), keys), bool)
    if causal:
        seen &= np.arange(keys) <= np.asarray(rows)[:, None] + (keys - queries)
    if key_valid is not None:
        seen &= np.asarray(key_valid, bool)
    return seen


def pinned_keys(job: Job, rows: np.ndarray) -> np.ndarray:
    """Pairs that are kept whatever their threshold, bool ``[len(rows), keys]``."""
    rows, keys = np.asarray(rows)[:, None], np.arange(job.keys)
    newest = rows + (job.keys - job.queries) if job.causal else np.full_like(rows, job.keys - 1)
    own = newest if job.causal else rows
    pins = job.pins
    return (keys < pins.first) | (keys > newest - pins.newest) | (pins.own & (keys == own))
