"""Dense attention of a whole layer: in float, and over exact integer scores."""

from __future__ import annotations

import numpy as np

from attnsieve.hdl.params import CoreParams
from attnsieve.sim.golden.job import Job
from attnsieve.sim.golden.layer import check_shapes, masks
from attnsieve.sim.golden.prob_v import prob_v_float
from attnsieve.sim.golden.progressive import LSB_BITS
from attnsieve.sim.golden.score import score_float, score_integer, visibility
from attnsieve.sim.golden.softmax import softmax_exact, softmax_float

__all__ = ["dense_exact", "dense_float"]


def dense_float(
    q: np.ndarray,
    k: np.ndarray,
    v: np.ndarray,
    *,
    causal: bool = False,
    key_valid: np.ndarray | None = None,
    query_valid: np.ndarray | None = None,
) -> np.ndarray:
    """float64 attention of one layer of real tensors; zeros in rows of invalid queries."""
    heads, queries, _ = q.shape
    kv_heads, keys, _ = k.shape
    rows = np.arange(queries) if query_valid is None else np.flatnonzero(query_valid)
    seen = visibility(rows, queries, keys, causal, key_valid)
    out = np.zeros(q.shape, np.float64)
    for head in range(heads):
        kv = head * kv_heads // heads
        p = softmax_float(score_float(q[head, rows], k[kv]), seen)
        out[head, rows] = prob_v_float(p, v[kv])
    return out


def dense_exact(
    params: CoreParams,
    job: Job,
    q: np.ndarray,
    k: np.ndarray,
    v: np.ndarray,
    c: np.ndarray,
    key_valid: np.ndarray | None = None,
    query_valid: np.ndarray | None = None,
) -> np.ndarray:
    """float64 attention over the exact integer scores at the real scales ``c``, in units of v."""
    check_shapes(job, q, k, v)
    keys_seen, rows = masks(job, key_valid, query_valid)
    seen = visibility(rows, job.queries, job.keys, job.causal, keys_seen)
    out = np.zeros(q.shape, np.float64)
    key_bits = job.key_width + (LSB_BITS if job.progressive else 0)
    for head in range(job.heads):
        kv = head // job.group
        scores = score_integer(params, q[head, rows], k[kv], key_bits)
        out[head, rows] = prob_v_float(softmax_exact(scores, float(c[head]), seen), v[kv])
    return out
