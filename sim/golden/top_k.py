"""Top-k: the k largest values, of equal ones those that come first; the threshold of a row."""

from __future__ import annotations

import numpy as np

__all__ = ["top_k", "top_k_threshold"]


def top_k(values: np.ndarray, k: int) -> np.ndarray:
    """The k largest of a row as bools; of equal ones those that come first."""
    values = np.asarray(values)
    order = np.lexsort((np.arange(len(values)), -values.astype(object)))
    kept = np.zeros(len(values), bool)
    kept[order[:k]] = True
    return kept


def top_k_threshold(values: np.ndarray, k: int, value_bits: int) -> tuple[int, int]:
    """What an engine says of a row: (value, equal), see `TopKParams.threshold_layout`."""
    if k == 0:
        return (1 << value_bits) - 1, 0
    if k >= len(values):
        return 0, len(values)
    value = sorted((int(v) for v in values), reverse=True)[k - 1]
    return value, k - sum(int(v) > value for v in values)
