"""Scores whose keys are read slice by slice until they are known to be below a threshold."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from attnsieve.sim.golden.widths import signed_fits

__all__ = ["BitSerial", "bit_serial", "cut"]


class BitSerial(NamedTuple):
    """What becomes of keys.

    Parameters
    ----------
    kept : bool array
        Scores that reach the threshold.
    score : int64 array
        Scores, exact for all keys.
    slices : int array
        Slices that were read of each.
    """

    kept: np.ndarray
    score: np.ndarray
    slices: np.ndarray


def cut(
    words: np.ndarray, word_bits: int, slice_bits: int, *, sign_magnitude: bool = False
) -> np.ndarray:
    """Slices of signed words, ``[slices, …]``, most significant first, each as an unsigned number;
    zeros behind the last bit fill the last one. Words are cut in two's complement, or as a sign and
    a magnitude: then the least word counts as the next one."""
    signed_fits("word", words, word_bits)
    slices = -(-word_bits // slice_bits)
    pad = slices * slice_bits - word_bits
    words = np.asarray(words, np.int64)
    if sign_magnitude:
        top = 1 << word_bits - 1
        words = np.minimum(np.abs(words), top - 1) + np.where(words < 0, top, 0)
    whole = (words << pad) & ((1 << slices * slice_bits) - 1)
    mask = (1 << slice_bits) - 1
    return np.stack([whole >> slice_bits * (slices - 1 - n) & mask for n in range(slices)])


def bit_serial(
    q: np.ndarray,
    k: np.ndarray,
    threshold: int | np.ndarray,
    pinned: bool | np.ndarray = False,
    *,
    word_bits: int,
    slice_bits: int,
    sign_magnitude: bool = False,
) -> BitSerial:
    """Queries ``[…, taps]`` and their keys ``[keys, taps]``, read in two's complement or as a sign
    and a magnitude; one threshold, or one for each pair. Pinned pairs are kept.

    After a slice, the bits of a word that are open add from nothing to all ones to it; the score
    can be no more than what is known and all ones where the query is positive. With a sign and a
    magnitude, all ones go away from zero: they are where key and query have the same sign, that of
    a key of zero being +. A key ends with the first slice after which that is below the threshold.

    Products are taken in float64, which is exact: none reaches 2**53.
    """
    signed_fits("word", k, word_bits)
    k = np.asarray(k, np.int64)
    if sign_magnitude:
        k = np.maximum(k, 1 - (1 << word_bits - 1))
    real = np.asarray(q, np.float64)
    score = (real @ k.T.astype(np.float64)).astype(np.int64)
    most = _most(real, k, sign_magnitude)
    slices = -(-word_bits // slice_bits)
    read = np.full(score.shape, slices)
    for number in range(slices - 1, 0, -1):  # after so many slices
        rest = max(0, word_bits - number * slice_bits)
        open_bits = np.fmod(k, 1 << rest) if sign_magnitude else k & ((1 << rest) - 1)
        known = (real @ (k - open_bits).T.astype(np.float64)).astype(np.int64)
        read[(known + ((1 << rest) - 1) * most < threshold) & ~np.asarray(pinned)] = number
    return BitSerial((score >= threshold) | pinned, score, read)


def _most(q: np.ndarray, k: np.ndarray, sign_magnitude: bool) -> np.ndarray:
    """What scores can rise by with each one in all words."""
    if not sign_magnitude:
        return np.maximum(q, 0).sum(axis=-1, keepdims=True).astype(np.int64)
    less = (k < 0).T.astype(np.float64)
    return (np.maximum(q, 0) @ (1 - less) + np.maximum(-q, 0) @ less).astype(np.int64)
