"""Many values to one, as a tree."""

from __future__ import annotations

from collections.abc import Sequence

from amaranth.hdl import Value

__all__ = ["count_ones", "either"]


def either(values: Sequence[Value]) -> Value:
    """Bitwise or of values."""
    half = len(values) // 2
    return values[0] if half == 0 else either(values[:half]) | either(values[half:])


def count_ones(flags: Sequence[Value]) -> Value:
    """How many of the flags are ones."""
    half = len(flags) // 2
    return flags[0] if half == 0 else count_ones(flags[:half]) + count_ones(flags[half:])
