"""Many values to one, as a tree."""

from __future__ import annotations

from collections.abc import Sequence

from amaranth.hdl import Value

__all__ = ["either"]


def either(values: Sequence[Value]) -> Value:
    """Bitwise or of values."""
    half = len(values) // 2
    return values[0] if half == 0 else either(values[:half]) | either(values[half:])
