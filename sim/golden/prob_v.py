"""prob·V: the float product, and the accumulators that the array makes.

Each product is shifted on its own before it is added, so a row's accumulator does not depend on
the order of the keys.
"""

from __future__ import annotations

import numpy as np

from attnsieve.hdl.params import CoreParams
from attnsieve.sim.golden.softmax import Terms
from attnsieve.sim.golden.widths import signed_fits

__all__ = ["prob_v_float", "prob_v_integer"]


def prob_v_float(p: np.ndarray, v: np.ndarray) -> np.ndarray:
    """p · v in float64, ``[queries, head_dim]``."""
    return np.asarray(p, np.float64) @ np.asarray(v, np.float64)


def prob_v_integer(params: CoreParams, row_terms: Terms, v: np.ndarray) -> np.ndarray:
    """Accumulators ``[rows, head_dim]`` of left-aligned values ``v``, ``acc_fraction`` bits each.

    Class 0 shifts left and is a plain matrix product (exact in float64: below 2**53). The others
    round each product down, so they are taken one by one, where the term is not zero.
    """
    signed_fits("value element", v, params.operand_bits)
    first = row_terms.exponent_class == 0
    left = params.acc_fraction - params.term_fraction
    plain = np.where(first, row_terms.mantissa, 0).astype(np.float64) @ v.astype(np.float64)
    acc = plain.astype(np.int64) << left
    rest = np.where(first, 0, row_terms.mantissa).astype(np.int32)
    shift = (params.class_step * row_terms.exponent_class - left).astype(np.int32)
    v32 = v.astype(np.int32)
    for row in np.flatnonzero(rest.any(axis=1)):
        keys = np.flatnonzero(rest[row])
        product = v32[keys] * rest[row, keys, None]
        acc[row] += (product >> shift[row, keys, None]).sum(axis=0, dtype=np.int64)
    return signed_fits("accumulator", acc, params.acc_bits)
