"""A whole attention layer as the core computes it, in hardware order."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from attnsieve.hdl.params import CoreParams
from attnsieve.sim.errors import InputError
from attnsieve.sim.golden.importance import token_shares
from attnsieve.sim.golden.job import Job
from attnsieve.sim.golden.output import normalise
from attnsieve.sim.golden.prob_v import prob_v_integer
from attnsieve.sim.golden.progressive import row_softmax
from attnsieve.sim.golden.score import visibility
from attnsieve.sim.golden.softmax import Terms
from attnsieve.sim.golden.value_select import select_values

__all__ = ["LayerResult", "attention_layer", "check_shapes", "masks"]

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
    pairs : int
        Unmasked (query, key) pairs over all heads, once each.
    scores : int
        Those among them that took part in a softmax: all, but on a core with thresholds.
    values : int
        V rows that were multiplied, over all rows: those of all pairs if none is selected.
    macs_qk, macs_pv : int
        Necessary multiplications of the two arrays; a row that is computed again counts twice.
    exits : int array
        ``[slices]``: keys of which 1, 2, … slices were read, over all rows; empty on a core that
        reads K whole.
    needed : int
        Slices of K that had to be read: fewer than were if thresholds follow maxima.
    read : uint8 array
        ``[heads, queries, keys]``: slices of the key that were read, 0 where a mask hides the pair;
        empty on a core that reads K whole.
    stored : bool array
        ``[heads, queries, keys]``: the units keep the pair, more than took part if thresholds
        follow maxima; empty likewise.
    seen : bool array
        ``[queries, keys]``: no mask hides the pair; all False if no head lives.
    kept_scores, kept_values : bool array
        ``[heads, queries, keys]``: the pair took part in the softmax; its V row was multiplied.
    shares : int array
        ``[keys]``: what all rows add to the score of each token; zeros on a core without scores.
    recomputed : bool array
        ``[heads, queries]``: the row was computed again, with both planes of K.
    approximate : bool array
        ``[heads, queries]``: the row saw a key, and the first plane of K only.
    """

    out: np.ndarray
    rows: int
    empty_rows: int
    pairs: int
    scores: int
    values: int
    macs_qk: int
    macs_pv: int
    exits: np.ndarray
    needed: int
    read: np.ndarray
    stored: np.ndarray
    seen: np.ndarray
    kept_scores: np.ndarray
    kept_values: np.ndarray
    shares: np.ndarray
    recomputed: np.ndarray
    approximate: np.ndarray

    @property
    def slices(self) -> int:
        """Slices of K that were read."""
        return int((self.exits * np.arange(1, len(self.exits) + 1)).sum())


def masks(
    job: Job, key_valid: np.ndarray | None, query_valid: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    keys = np.ones(job.keys, bool) if key_valid is None else np.asarray(key_valid, bool)
    queries = np.ones(job.queries, bool) if query_valid is None else np.asarray(query_valid, bool)
    if keys.shape != (job.keys,):
        raise InputError(f"key_valid must have shape ({job.keys},), not {keys.shape}")
    if queries.shape != (job.queries,):
        raise InputError(f"query_valid must have shape ({job.queries},), not {queries.shape}")
    return keys, np.flatnonzero(queries)


def check_shapes(job: Job, q: np.ndarray, k: np.ndarray, v: np.ndarray) -> None:
    for name, x, heads, rows in (
        ("q", q, job.heads, job.queries),
        ("k", k, job.kv_heads, job.keys),
        ("v", v, job.kv_heads, job.keys),
    ):
        want = (heads, rows, job.head_dim)
        if x.shape != want:
            raise InputError(f"{name} must have shape {want}, not {x.shape}")


def attention_layer(
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
        ``[heads, queries, head_dim]`` and ``[kv_heads, keys, head_dim]``: ``job.bits``,
        ``key_width`` (4 more if progressive) and ``value_width`` wide.
    key_valid, query_valid : bool arrays
        Keys that may be seen, queries that are computed.
    """
    check_shapes(job, q, k, v)
    keys_seen, rows = masks(job, key_valid, query_valid)
    out = np.zeros((job.heads, job.queries, job.head_dim), np.int16)
    kept = np.zeros((job.queries, job.keys), bool)
    kept[rows] = visibility(rows, job.queries, job.keys, job.causal, keys_seen)
    shape = (job.heads, *kept.shape)
    sparse = params.value_lanes or params.slice_units
    kept_values = np.zeros(shape, bool) if sparse else np.broadcast_to(kept, shape)
    kept_scores = np.zeros(shape, bool)
    slices = -(-job.bits // params.slice_bits) if params.slice_units else 0
    exits, needed = np.zeros(slices, np.int64), 0
    read = np.zeros(shape if slices else (0, 0, 0), np.uint8)
    stored = np.zeros(read.shape, bool)
    shares = np.zeros(job.keys, np.int64)
    recomputed = np.zeros(shape[:2], bool)
    block = max(1, _BLOCK // job.keys)
    for head in np.flatnonzero(job.alive):
        kv = head // job.group
        aligned = v[kv].astype(np.int64) << (params.operand_bits - job.value_width)
        for start in range(0, len(rows), block):
            part = rows[start : start + block]
            softmax = row_softmax(params, job, int(head), q[head, part], k[kv], kept[part], part)
            row_terms, mantissa, exponent = softmax.terms, softmax.mantissa, softmax.exponent
            recomputed[head, part] = softmax.again
            kept_scores[head, part] = softmax.seen
            if softmax.slices is not None and softmax.needed is not None:
                stored[head, part] = softmax.stored
                exits += np.bincount(softmax.slices.ravel(), minlength=slices + 1)[1:]
                needed += int(softmax.needed.sum())
                read[head, part] = softmax.slices
                kept_values[head, part] = row_terms.mantissa != 0
            if params.token_lanes:
                shares += token_shares(params, row_terms, mantissa, exponent)
            if params.value_lanes:
                chosen = select_values(params, row_terms, job.values)
                row_terms = Terms(
                    np.where(chosen, row_terms.mantissa, 0),
                    np.where(chosen, row_terms.exponent_class, 0),
                )
                kept_values[head, part] = chosen
            acc = prob_v_integer(params, row_terms, aligned)
            out[head, part] = normalise(params, acc, mantissa, exponent)
    alive = np.array(job.alive)
    living = int(alive.sum())
    spans = (kept & alive[:, None, None]).sum(axis=2)
    pairs = int(spans.sum())
    values = int(kept_values.sum())
    return LayerResult(
        out=out,
        rows=living * len(rows),
        empty_rows=int((~kept_scores[np.ix_(np.flatnonzero(alive), rows)].any(axis=2)).sum()),
        pairs=pairs,
        scores=int(kept_scores.sum()),
        values=values,
        macs_qk=(pairs + int(spans[recomputed].sum())) * job.head_dim,
        macs_pv=values * job.head_dim,
        exits=exits,
        needed=needed,
        read=read,
        stored=stored,
        seen=kept & alive.any(),
        kept_scores=kept_scores,
        kept_values=kept_values,
        shares=shares,
        recomputed=recomputed,
        approximate=(spans > 0) & ~recomputed & job.progressive,
    )
