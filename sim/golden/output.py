"""Normalisation of accumulators to int16 output elements."""

from __future__ import annotations

import numpy as np

from attnsieve.hdl.params import CoreParams

__all__ = ["normalise"]

_NORMAL_BITS = 18


def normalise(
    params: CoreParams, acc: np.ndarray, mantissa: np.ndarray, exponent: np.ndarray
) -> np.ndarray:
    """int16 ``[rows, head_dim]`` = accumulators / sum; a row whose mantissa is zero gives zeros."""
    shift = exponent[:, None] + (params.acc_fraction - params.normal_fraction)
    half = np.int64(1) << (shift - 1)
    top = 1 << (_NORMAL_BITS - 1)
    z = np.clip((acc + half) >> shift, -top, top - 1)
    o = (z * mantissa[:, None] + (1 << 16)) >> 17
    return np.clip(o, -32767, 32767).astype(np.int16)
