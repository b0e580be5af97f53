"""From float tensors to symmetric integers and per-head scales, and back.

Rounding is to nearest, ties to even (`numpy.rint`). The largest magnitude of a head maps to
2**(bits-1) - 1, so nothing is clamped except values of tokens that the scale does not cover
(padding), and the most negative code is never used.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from attnsieve.sim.errors import InputError
from attnsieve.sim.golden.job import WIDTHS
from attnsieve.sim.golden.progressive import key_limit

__all__ = [
    "Quantised",
    "dequantise_output",
    "quantise",
    "quantise_layer",
    "scale_pair",
    "scale_value",
]

_ARGUMENT_EXPONENT = 10  # c = mantissa * 2**-(10 + shift)


@dataclass(frozen=True)
class Quantised:
    """Integers of one layer and what they stand for.

    Parameters
    ----------
    q, k, v : int16 arrays
        ``[heads or kv_heads, rows, head_dim]``.
    s_q, s_k, s_v : float64 arrays
        Real value of one unit, per query head and per KV head.
    c : float64 array
        log2(e) · s_q · s_k / √head_dim per query head: the real scale of its scores.
    scales : tuple of (mantissa, shift)
        ``c`` as the hardware takes it: exactly ``c``, for s_q is chosen so.
    bits, key_bits, value_bits : int
        Widths of Q, of K, of its first plane if it has two, and of V.
    """

    q: np.ndarray
    k: np.ndarray
    v: np.ndarray
    s_q: np.ndarray
    s_k: np.ndarray
    s_v: np.ndarray
    c: np.ndarray
    scales: tuple[tuple[int, int], ...]
    bits: int
    key_bits: int
    value_bits: int


def quantise(
    x: np.ndarray, bits: int, valid: np.ndarray | None = None, *, planes: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Integers and scale of ``[heads, rows, head_dim]``, one scale per head over its valid rows.

    With ``planes``, integers of two planes, the first of them ``bits`` wide: the largest one is
    what `attnsieve.sim.golden.progressive.key_limit` says.
    """
    if bits not in WIDTHS[1:]:
        raise InputError(f"bits must be one of {', '.join(map(str, WIDTHS[1:]))}, not {bits!r}")
    x = np.asarray(x, np.float64)
    if not np.isfinite(x).all():
        raise InputError("tensor must be finite: it holds NaN or infinity")
    top = key_limit(bits) if planes else (1 << (bits - 1)) - 1
    seen = x if valid is None else x[:, np.asarray(valid, bool)]
    peak = np.abs(seen).max(axis=(1, 2), initial=0.0)
    scale = np.where(peak > 0, peak / top, 1.0)
    return _rounded(x, scale, top), scale


def _rounded(x: np.ndarray, scale: np.ndarray, top: int) -> np.ndarray:
    integer = np.rint(np.asarray(x, np.float64) / scale[:, None, None])
    return np.clip(integer, -top, top).astype(np.int16)


def scale_pair(c: float) -> tuple[int, int]:
    """``(mantissa, shift)`` nearest to c = mantissa · 2^(−10 − shift).

    A scale of 32 or more turns every term but the maximum into zero, and so does the pair for 32:
    it stands for all of them. A scale under 2^−58 · 2^15 keeps shift 63.
    """
    if not c > 0 or not math.isfinite(c):
        raise InputError(f"scale must be positive and finite, not {c!r}")
    fraction, exponent = math.frexp(c)
    mantissa = round(fraction * (1 << 16))
    shift = 16 - _ARGUMENT_EXPONENT - exponent
    if mantissa == 1 << 16:
        mantissa, shift = 1 << 15, shift - 1
    if shift < 0:
        return 1 << 15, 0
    if shift > 63:
        return 1 << 15, 63
    return mantissa, shift


def scale_value(pair: tuple[int, int]) -> float:
    """The real scale that a (mantissa, shift) pair stands for."""
    return math.ldexp(pair[0], -_ARGUMENT_EXPONENT - pair[1])


def quantise_layer(
    q: np.ndarray,
    k: np.ndarray,
    v: np.ndarray,
    bits: int,
    key_valid: np.ndarray | None = None,
    query_valid: np.ndarray | None = None,
    *,
    key_bits: int = 0,
    value_bits: int = 0,
    planes: bool = False,
) -> Quantised:
    """Integers of one layer: scale per query head for Q, per KV head for K and V.

    K and V are ``bits`` wide unless they have widths of their own; with ``planes`` K has two, and
    ``key_bits`` is the width of the first.

    The scale of Q is moved by up to 2^−16 of itself so that the scale of the scores is exactly a
    (mantissa, shift) pair: the hardware then adds no error of its own there.
    """
    if bits not in (8, 12):
        raise InputError(f"bits must be 8 or 12, not {bits!r}")
    key_bits, value_bits = key_bits or bits, value_bits or bits
    ki, s_k = quantise(k, key_bits, key_valid, planes=planes)
    vi, s_v = quantise(v, value_bits, key_valid)
    _, s_q = quantise(q, bits, query_valid)
    unit = np.repeat(s_k, len(q) // len(k)) * math.log2(math.e) / math.sqrt(q.shape[-1])
    tiny = np.finfo(np.float64).tiny
    pairs = tuple(scale_pair(float(x)) for x in np.maximum(s_q * unit, tiny))
    exact = np.array([scale_value(pair) for pair in pairs])
    near = np.abs(exact - s_q * unit) <= exact * 2.0**-15  # not where the pair saturated
    s_q = np.where(near, exact / unit, s_q)
    qi = _rounded(q, s_q, (1 << (bits - 1)) - 1)
    return Quantised(qi, ki, vi, s_q, s_k, s_v, s_q * unit, pairs, bits, key_bits, value_bits)


def dequantise_output(out: np.ndarray, s_v: np.ndarray, bits: int) -> np.ndarray:
    """Real output of int16 ``[heads, queries, head_dim]``: o · s_v · 2^−(16 − bits), of V of
    ``bits``."""
    group = len(out) // len(s_v)
    unit = np.repeat(np.asarray(s_v, np.float64), group) / (1 << (16 - bits))
    return (out * unit[:, None, None]).astype(np.float32)
