"""KV heads whose V is read on demand: rows of terms, and what must become of them."""

from __future__ import annotations

import random

import numpy as np

from attnsieve.hdl.params import CoreParams

__all__ = ["beats_of", "head_of", "packed_head"]


def beats_of(p: CoreParams, row: np.ndarray) -> list:
    """The beats of a row of (mantissa, class), one at least."""
    missing = -len(row) % p.groups if len(row) else p.groups
    lanes = np.concatenate([row, np.zeros((missing, 2), np.int64)]).tolist()
    terms = [{"mantissa": m, "exponent_class": k} for m, k in lanes]
    return [
        {"term": terms[n : n + p.groups], "last": n + p.groups == len(terms)}
        for n in range(0, len(terms), p.groups)
    ]


def head_of(p: CoreParams, rng: random.Random, rows: int, keys: int, density: float) -> np.ndarray:
    """Terms of the rows of a KV head: rows · keys · (mantissa, class)."""
    terms = np.zeros((rows, keys, 2), np.int64)
    for term in terms.reshape(-1, 2):
        if rng.random() < density:
            term[:] = rng.choice([1, 1 << 16, rng.randrange(1, 1 << 16)]), rng.randrange(2)
    return terms


def packed_head(p: CoreParams, head: np.ndarray) -> tuple[list, list, int]:
    """What leaves of a KV head: beats of flags, beats of rows, keys of a row."""
    union = (head[:, :, 0] != 0).any(axis=0)
    padded = [*union.tolist(), *[False] * (-len(union) % p.groups if len(union) else p.groups)]
    flags = [
        {
            "keep": sum(bit << n for n, bit in enumerate(padded[first : first + p.groups])),
            "last": first + p.groups == len(padded),
        }
        for first in range(0, len(padded), p.groups)
    ]
    return flags, [beats_of(p, row[union]) for row in head], int(union.sum())
