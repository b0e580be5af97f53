"""Top-k: the k largest values, of equal ones those that come first; the threshold of a row."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["top_k", "top_k_threshold"]


def top_k(values: npt.ArrayLike, k: int) -> npt.NDArray[np.bool_]:
    """The k largest of a row as bools; of equal ones those that come first."""
    values = np.asarray(values, np.int64)
    kept = np.zeros(len(values), bool)
    kept[np.argsort(-values, kind="stable")[:k]] = True
    return kept


def top_k_threshold(values: npt.ArrayLike, k: int, value_bits: int) -> tuple[int, int]:
    """What an engine says of a row: (value, equal), see `TopKParams.threshold_layout`."""
    values = np.asarray(values, np.int64)
    if k == 0:
        return (1 << value_bits) - 1, 0
    if k >= len(values):
        return 0, len(values)
    value = int(np.sort(values)[-k])
    return value, k - int((values > value).sum())
