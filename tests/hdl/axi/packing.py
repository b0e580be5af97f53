"""Operands as bytes, for tests: packed little-endian, element 0 lowest."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def pack(values: Iterable[int], bits: int) -> bytes:
    """Signed values of ``bits`` bits back to back."""
    total, at = 0, 0
    for value in values:
        total |= (value & ((1 << bits) - 1)) << at
        at += bits
    return total.to_bytes(-(-at // 8), "little")


def cut(values: Sequence[int], lanes: int) -> list[list[int]]:
    """Lines of ``lanes`` values; the last may be short."""
    return [list(values[i : i + lanes]) for i in range(0, len(values), lanes)]
