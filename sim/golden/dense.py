"""A whole attention layer on the dense core: float, exact, and in hardware order."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from attnsieve.hdl.params import CoreParams
from attnsieve.sim.errors import InputError
from attnsieve.sim.golden.job import Job
from attnsieve.sim.golden.output import normalise
from attnsieve.sim.golden.prob_v import prob_v_float, prob_v_integer
from attnsieve.sim.golden.score import score_float, score_integer, visibility
from attnsieve.sim.golden.softmax import (
    reciprocal,
    row_sum,
    softmax_exact,
    softmax_float,
    terms,
)

__all__ = ["LayerResult", "dense_exact", "dense_float", "dense_layer"]

_BLOCK = 1 << 18  # scores that are worked on at a time


@dataclass(frozen=True)
class LayerResult:
    """What a job computes and counts, in hardware order.

    Parameters
    ----------
    out : int16 array
        ``[heads, queries, head_dim]``; zeros in rows that are not written and rows without a key.
    rows : int
        Rows computed and written: heads times valid queries.
    empty_rows : int
        Rows among them without an unmasked key.
    scores : int
        Unmasked (query, key) pairs over all heads.
    kept_values : int
        V rows that were multiplied, over all rows: all pairs here.
    macs_qk, macs_pv : int
        Necessary multiplications of the two arrays.
    kept_scores : bool array
        ``[heads, queries, keys]``: the pair took part in the softmax.
    """

    out: np.ndarray
    rows: int
    empty_rows: int
    scores: int
    kept_values: int
    macs_qk: int
    macs_pv: int
    kept_scores: np.ndarray


def _masks(
    job: Job, key_valid: np.ndarray | None, query_valid: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    keys = np.ones(job.keys, bool) if key_valid is None else np.asarray(key_valid, bool)
    queries = np.ones(job.queries, bool) if query_valid is None else np.asarray(query_valid, bool)
    if keys.shape != (job.keys,):
        raise InputError(f"key_valid must have shape ({job.keys},), not {keys.shape}")
    if queries.shape != (job.queries,):
        raise InputError(f"query_valid must have shape ({job.queries},), not {queries.shape}")
    return keys, np.flatnonzero(queries)


def _check_shapes(job: Job, q: np.ndarray, k: np.ndarray, v: np.ndarray) -> None:
    for name, x, heads, rows in (
        ("q", q, job.heads, job.queries),
        ("k", k, job.kv_heads, job.keys),
        ("v", v, job.kv_heads, job.keys),
    ):
        want = (heads, rows, job.head_dim)
        if x.shape != want:
            raise InputError(f"{name} must have shape {want}, not {x.shape}")


def dense_layer(
    params: CoreParams,
    job: Job,
    q: np.ndarray,
    k: np.ndarray,
    v: np.ndarray,
    key_valid: np.ndarray | None = None,
    query_valid: np.ndarray | None = None,
) -> LayerResult:
    """The job as the core computes it, bit for bit.

    Parameters
    ----------
    q, k, v : integer arrays
        ``[heads, queries, head_dim]`` and ``[kv_heads, keys, head_dim]``, ``job.bits`` wide.
    key_valid, query_valid : bool arrays
        Keys that may be seen, queries that are computed.
    """
    _check_shapes(job, q, k, v)
    keys_seen, rows = _masks(job, key_valid, query_valid)
    out = np.zeros((job.heads, job.queries, job.head_dim), np.int16)
    kept = np.zeros((job.queries, job.keys), bool)
    kept[rows] = visibility(rows, job.queries, job.keys, job.causal, keys_seen)
    block = max(1, _BLOCK // job.keys)
    for head in range(job.heads):
        kv = head // job.group
        aligned = v[kv].astype(np.int64) << (params.operand_bits - job.bits)
        for start in range(0, len(rows), block):
            part = rows[start : start + block]
            scores = score_integer(params, q[head, part], k[kv])
            row_terms = terms(params, scores, kept[part], job.scales[head])
            mantissa, exponent = reciprocal(params, row_sum(params, row_terms))
            acc = prob_v_integer(params, row_terms, aligned)
            out[head, part] = normalise(params, acc, mantissa, exponent)
    pairs = job.heads * int(kept.sum())
    return LayerResult(
        out=out,
        rows=job.heads * len(rows),
        empty_rows=job.heads * int((~kept[rows].any(axis=1)).sum()),
        scores=pairs,
        kept_values=pairs,
        macs_qk=pairs * job.head_dim,
        macs_pv=pairs * job.head_dim,
        kept_scores=np.broadcast_to(kept, (job.heads, *kept.shape)),
    )


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
    _check_shapes(job, q, k, v)
    keys_seen, rows = _masks(job, key_valid, query_valid)
    seen = visibility(rows, job.queries, job.keys, job.causal, keys_seen)
    out = np.zeros(q.shape, np.float64)
    for head in range(job.heads):
        kv = head // job.group
        scores = score_integer(params, q[head, rows], k[kv])
        out[head, rows] = prob_v_float(softmax_exact(scores, float(c[head]), seen), v[kv])
    return out
