"""Local value pruning: which of a row's terms are multiplied with V."""

from __future__ import annotations

import numpy as np

from attnsieve.hdl.params import CoreParams
from attnsieve.sim.golden.softmax import Terms

__all__ = ["select_values", "value_select_float"]


def value_select_float(p: np.ndarray, k: int) -> np.ndarray:
    """The k largest probabilities of each row as bools; of equal ones those that come first."""
    return _largest(np.asarray(p, np.float64), k)


def select_values(params: CoreParams, row_terms: Terms, k: int) -> np.ndarray:
    """Terms of each row that stay: the k largest that are not zero, all of those if k is 0.

    Terms are compared by their exact values.
    """
    shift = params.class_step * (params.max_class - row_terms.exponent_class)
    return _largest(row_terms.mantissa << shift, k or row_terms.mantissa.shape[-1])


def _largest(values: np.ndarray, k: int) -> np.ndarray:
    order = np.argsort(-values, axis=-1, kind="stable")
    kept = np.zeros(values.shape, bool)
    np.put_along_axis(kept, order[..., :k], True, axis=-1)
    return kept & (values > 0)
