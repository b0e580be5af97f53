"""Softmax of integer scores: float, exact at the real scale, and in hardware order.

The hardware order is that of docs/reference/numbers.md: maximum, terms with a mantissa and a
class, an exact sum of those terms, a reciprocal from a table.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from attnsieve.hdl.params import CoreParams
from attnsieve.sim.golden.widths import unsigned_fits

__all__ = [
    "Terms",
    "largest_lsb_error",
    "probabilities",
    "reciprocal",
    "row_sum",
    "softmax_exact",
    "softmax_float",
    "terms",
]

_U_TOP = 1 << 18
_EXP_BASE = np.rint(65536.0 * 2.0 ** (-np.arange(129) / 128)).astype(np.int64)
_EXP_SLOPE = _EXP_BASE[:-1] - _EXP_BASE[1:]
_RECIP_BASE = np.rint(65536.0 / (1 + np.arange(257) / 256)).astype(np.int64)
_RECIP_SLOPE = _RECIP_BASE[:-1] - _RECIP_BASE[1:]


@dataclass(frozen=True)
class Terms:
    """Exponential terms of some rows: value = mantissa · 2^−(16 + 5 · class)."""

    mantissa: np.ndarray
    exponent_class: np.ndarray


def softmax_float(scores: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Softmax over the valid scores of each row; zeros in a row that has none."""
    seen = np.where(valid, scores, -np.inf)
    top = seen.max(axis=-1, initial=-np.inf, keepdims=True)
    e = np.exp(seen - np.where(np.isfinite(top), top, 0.0))
    total = e.sum(axis=-1, keepdims=True)
    return e / np.where(total > 0, total, 1.0)


def softmax_exact(scores: np.ndarray, c: float, valid: np.ndarray) -> np.ndarray:
    """Softmax of exact integer scores at the real scale ``c`` (log2 domain), in float64.

    Differences are taken in integers, so the only errors are float64's own.
    """
    low = np.iinfo(np.int64).min
    top = np.where(valid, scores, low).max(axis=-1, initial=low, keepdims=True)
    d = np.where(valid, top - scores, 0)
    e = np.where(valid, np.exp2(-d.astype(np.float64) * c), 0.0)
    total = e.sum(axis=-1, keepdims=True)
    return e / np.where(total > 0, total, 1.0)


def terms(
    params: CoreParams, scores: np.ndarray, valid: np.ndarray, scale: tuple[int, int]
) -> Terms:
    """Terms of the rows ``scores`` (int64 ``[rows, keys]``) in hardware order."""
    mantissa, shift = scale
    low = -(1 << (params.score_bits - 1))
    top = np.where(valid, scores, low).max(axis=-1, initial=low, keepdims=True)
    d = np.where(valid, top - scores, 0)
    unsigned_fits("distance to the maximum", d, params.score_bits)
    u = (((d << 19) >> shift) + 1) >> 1
    saturated = u >= _U_TOP
    u = np.minimum(u, _U_TOP - 1)
    y = unsigned_fits("argument", (u * mantissa + (1 << 14)) >> 15, 19)
    zero = ~valid | saturated | (y >= _U_TOP)
    y = np.where(zero, 0, y)
    whole, index, offset = y >> 13, (y >> 6) & 127, y & 63
    t = _EXP_BASE[index] - ((_EXP_SLOPE[index] * offset + 32) >> 6)
    exponent_class = np.minimum(whole // params.class_step, params.max_class)
    r = whole - params.class_step * exponent_class
    half = (np.int64(1) << r) >> 1
    m = np.where(zero, 0, (t + half) >> r)
    unsigned_fits("term mantissa", m, params.mantissa_bits)
    return Terms(m, np.where(m == 0, 0, exponent_class))


def row_sum(params: CoreParams, row_terms: Terms) -> np.ndarray:
    """Exact sum of the terms of each row, int64 with ``sum_fraction`` fraction bits."""
    shift = params.class_step * (params.max_class - row_terms.exponent_class)
    total = (row_terms.mantissa << shift).sum(axis=-1)
    return unsigned_fits("row sum", total, params.sum_bits)


def reciprocal(params: CoreParams, total: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(mantissa, exponent) of 1/sum = mantissa · 2^−(16 + exponent); zeros for a sum of zero."""
    total = np.asarray(total, np.int64)
    empty = total == 0
    one = np.int64(1) << params.sum_fraction
    safe = np.where(empty, one, total)
    if int(safe.min(initial=int(one))) < one:
        raise OverflowError("row sum is under one: its largest term must be exactly one")
    exponent = _floor_log2(safe) - params.sum_fraction
    x = (safe >> (params.sum_fraction + exponent - 18)) & ((1 << 18) - 1)
    index, offset = x >> 10, x & 1023
    mantissa = _RECIP_BASE[index] - ((_RECIP_SLOPE[index] * offset + 512) >> 10)
    unsigned_fits("reciprocal", mantissa, params.recip_bits)
    unsigned_fits("exponent of the sum", exponent, params.exponent_bits)
    return np.where(empty, 0, mantissa), np.where(empty, 0, exponent)


def probabilities(
    params: CoreParams, row_terms: Terms, mantissa: np.ndarray, exponent: np.ndarray
) -> np.ndarray:
    """Probabilities that observers see, UQ0.``p_bits``, saturated below one."""
    shift = 32 + params.class_step * row_terms.exponent_class + exponent[:, None] - params.p_bits
    half = np.int64(1) << (shift - 1)
    p = (row_terms.mantissa * mantissa[:, None] + half) >> shift
    return np.minimum(p, (1 << params.p_bits) - 1)


def largest_lsb_error(
    params: CoreParams, scores: np.ndarray, valid: np.ndarray, c: float, scale: tuple[int, int]
) -> float:
    """Largest distance of an observed probability from the exact softmax, in its last bits.

    At most one for 12-bit probabilities, if ``c`` is what the pair stands for. With ε the largest
    relative error of a term, p̂ = p (1 + ε_i) / (1 + Σ p_j ε_j), and the term of the maximum is
    exact, so the error of p is at most p (1 − p) ε, and p times the reciprocal's relative error δ
    on top. ε has two parts: the argument (2^−14 on u, doubled by a mantissa near two, and 2^−14 on
    y: ln 2 · 1.5 · 2^−13 = 1.27 · 10^−4), and the term (tables, and a mantissa of at least 2^11
    rounded to integer: under 2.63 · 10^−4); δ is under 3.2 · 10^−5. That is 0.47 of the last bit.
    Terms under 2^11 exist in the last class only: max_keys of them, each wrong by at most
    2^−(17 + 5 · max_class), move the sum by under 2^−(p_bits + 5): another 0.03 · p of the last
    bit. Rounding p is half a bit.
    """
    row_terms = terms(params, scores, valid, scale)
    mantissa, exponent = reciprocal(params, row_sum(params, row_terms))
    p = probabilities(params, row_terms, mantissa, exponent)
    exact = softmax_exact(scores, c, valid)
    return float(np.abs(p - exact * (1 << params.p_bits)).max(initial=0.0))


def _floor_log2(x: np.ndarray) -> np.ndarray:
    result = np.zeros_like(x)
    for step in (32, 16, 8, 4, 2, 1):
        high = x >= np.int64(1) << step
        result += np.where(high, step, 0)
        x = np.where(high, x >> step, x)
    return result
