"""Checks that integers fit the wires that carry them in hardware."""

from __future__ import annotations

import numpy as np

__all__ = ["signed_fits", "unsigned_fits"]


def signed_fits(name: str, x: np.ndarray, bits: int) -> np.ndarray:
    """``x`` itself; OverflowError if an element does not fit a signed word of ``bits``."""
    return _within(name, x, -(1 << (bits - 1)), (1 << (bits - 1)) - 1, f"{bits} signed bits")


def unsigned_fits(name: str, x: np.ndarray, bits: int) -> np.ndarray:
    """``x`` itself; OverflowError if an element does not fit an unsigned word of ``bits``."""
    return _within(name, x, 0, (1 << bits) - 1, f"{bits} unsigned bits")


def _within(name: str, x: np.ndarray, low: int, high: int, what: str) -> np.ndarray:
    if x.size and (int(x.min()) < low or int(x.max()) > high):
        raise OverflowError(f"{name} in {int(x.min())}..{int(x.max())} does not fit {what}")
    return x
