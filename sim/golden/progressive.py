"""Progressive quantisation of K: rows from its first plane, and again from both where they are
flat.

An integer of K is 16 · msb + lsb. A row is computed from the msbs; if its largest probability,
which is the reciprocal of its sum, is under the threshold, it is computed once more from all bits,
and the first result is dropped.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from attnsieve.hdl.params import CoreParams
from attnsieve.sim.golden.bit_serial import bit_serial
from attnsieve.sim.golden.job import Job
from attnsieve.sim.golden.row_relative import keys_at_once, parts, row_relative
from attnsieve.sim.golden.score import pinned_keys, score_integer
from attnsieve.sim.golden.softmax import Terms, reciprocal, row_sum, terms
from attnsieve.sim.golden.widths import signed_fits

__all__ = ["LSB_BITS", "Softmax", "key_limit", "largest_probability", "planes", "row_softmax"]

#: Bits of the second plane.
LSB_BITS = 4
_HALF = 1 << (LSB_BITS - 1)


@dataclass(frozen=True)
class Softmax:
    """Softmax of some rows of a head.

    Parameters
    ----------
    terms : Terms
        Their terms.
    mantissa, exponent : int arrays
        Reciprocals of their sums.
    again : bool array
        Rows that were computed a second time.
    seen : bool array
        Pairs that took part.
    slices, needed : int array or None
        Slices of K that were read of each pair, and that had to be read, 0 of a masked one; None
        where K is read whole.
    stored : bool array or None
        Pairs that the units keep: where thresholds follow maxima, more than took part; None
        likewise.
    """

    terms: Terms
    mantissa: np.ndarray
    exponent: np.ndarray
    again: np.ndarray
    seen: np.ndarray
    slices: np.ndarray | None = None
    needed: np.ndarray | None = None
    stored: np.ndarray | None = None


def key_limit(msb_bits: int) -> int:
    """Largest magnitude of K with a first plane of ``msb_bits``: with more the msb would not
    fit."""
    return (1 << (msb_bits + LSB_BITS - 1)) - 1 - _HALF


def planes(k: np.ndarray, msb_bits: int) -> tuple[np.ndarray, np.ndarray]:
    """(msb, lsb) of integers of K, int16: msb rounded to nearest, lsb in −8..7."""
    x = np.asarray(k, np.int64)
    msb = signed_fits("msb of a key element", (x + _HALF) >> LSB_BITS, msb_bits)
    return msb.astype(np.int16), (x - (msb << LSB_BITS)).astype(np.int16)


def largest_probability(mantissa: np.ndarray, exponent: np.ndarray) -> np.ndarray:
    """Largest probability of each row as it is compared with the threshold: UQ1.16, rounded down;
    zero in a row without a key."""
    return mantissa >> exponent


def row_softmax(
    params: CoreParams,
    job: Job,
    head: int,
    q: np.ndarray,
    k: np.ndarray,
    seen: np.ndarray,
    rows: np.ndarray,
) -> Softmax:
    """Softmax of the queries ``q`` of a head, with the numbers ``rows``, over the keys ``k`` of its
    KV head, of which each row sees those in ``seen``."""
    scale = job.scales[head]
    if params.slice_units:
        return _threshold_softmax(params, job, head, q, k, seen, rows)
    if not job.progressive:
        return _softmax(params, score_integer(params, q, k), seen, scale)
    msb, _ = planes(k, job.key_width)
    coarse = score_integer(params, q, msb) << LSB_BITS
    first = _softmax(params, coarse, seen, scale)
    flat = largest_probability(first.mantissa, first.exponent) < job.threshold
    again = flat & (first.mantissa != 0)
    exact = score_integer(params, q, k, job.key_width + LSB_BITS)
    scores = np.where(again[:, None], exact, coarse)
    last = _softmax(params, scores, seen, scale)
    return replace(last, again=again)


def _threshold_softmax(
    params: CoreParams,
    job: Job,
    head: int,
    q: np.ndarray,
    k: np.ndarray,
    seen: np.ndarray,
    rows: np.ndarray,
) -> Softmax:
    """Softmax of the scores that reach their threshold."""
    threshold = job.threshold_of(params, head)
    judge = partial(
        bit_serial, q, k, pinned=pinned_keys(job, rows), word_bits=job.bits,
        slice_bits=params.slice_bits, sign_magnitude=params.slice_words == "sign_magnitude",
    )  # fmt: skip
    if job.relative:
        spans = np.array([job.visible(int(row)) for row in rows])
        part = parts(spans, job.keys, keys_at_once(params))
        found, needed, stored = row_relative(judge, threshold, seen=seen, part=part)
    else:
        found = judge(threshold)
        needed, stored = found.slices, found.kept
    kept = _softmax(params, found.score, seen & found.kept, job.scales[head])
    slices, needed = np.where(seen, found.slices, 0), np.where(seen, needed, 0)
    return replace(kept, slices=slices, needed=needed, stored=seen & stored)


def _softmax(
    params: CoreParams, scores: np.ndarray, seen: np.ndarray, scale: tuple[int, int]
) -> Softmax:
    signed_fits("score", scores, params.score_bits)
    row_terms = terms(params, scores, seen, scale)
    mantissa, exponent = reciprocal(params, row_sum(params, row_terms))
    return Softmax(row_terms, mantissa, exponent, np.zeros(len(scores), bool), seen)
