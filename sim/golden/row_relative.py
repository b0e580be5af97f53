"""Scores that are dropped when they are known to be a margin below the largest of their row."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from attnsieve.hdl.params import CoreParams
from attnsieve.sim.golden.bit_serial import BitSerial

__all__ = ["PARTS", "RowRelative", "keys_at_once", "parts", "row_relative"]

#: Turns before the second part of a row, and before the third.
PARTS = (2, 8)
_NONE = -(1 << 62)  # below every threshold


class RowRelative(NamedTuple):
    """What becomes of keys.

    Parameters
    ----------
    found : BitSerial
        As hardware reads them.
    needed : int array
        Slices that would do if the largest score were known at the start.
    stored : bool array
        Scores that reach the threshold of their part; ``found`` keeps those that reach the last.
    """

    found: BitSerial
    needed: np.ndarray
    stored: np.ndarray


def keys_at_once(params: CoreParams) -> int:
    """Keys of a turn: the largest power of two that is no more than units or lane groups."""
    most = min(params.slice_units, params.groups)
    return max(n for n in (1, 2, 4, 8, 16) if n <= most)


def parts(spans: np.ndarray, keys: int, at_once: int) -> np.ndarray:
    """The part in which each key comes, ``[rows, keys]``, in rows that see the first ``spans``
    keys. The first turn has the first keys, the second one the last, further ones those before."""
    turns = -(-np.asarray(spans) // at_once)[:, None]
    block = np.arange(keys) // at_once
    turn = np.where(block == 0, 0, turns - block)
    return (turn >= PARTS[0]).astype(int) + (turn >= PARTS[1])


def row_relative(
    judge: Callable[[int | np.ndarray], BitSerial],
    margin: int,
    *,
    seen: np.ndarray,
    part: np.ndarray,
) -> RowRelative:
    """``judge`` scores queries and keys against one threshold, or one for each pair,
    ``[rows, keys]``. The threshold of a pair is the margin below the largest score of its row's
    earlier parts; and at the end that of the whole row."""
    score = np.where(seen, judge(_NONE).score, _NONE)
    threshold = np.full(score.shape, _NONE)
    for number in (1, 2):
        before = np.where(part < number, score, _NONE).max(axis=1, keepdims=True)
        known = np.where(before == _NONE, _NONE, before - margin)
        threshold = np.where(part == number, known, threshold)
    found = judge(threshold)
    best = judge(score.max(axis=1, keepdims=True) - margin)
    last = BitSerial(best.kept, found.score, found.slices)
    return RowRelative(last, best.slices, found.kept)
