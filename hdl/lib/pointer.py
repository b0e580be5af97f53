"""Indices that wrap at any depth."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Mux, Value

__all__ = ["next_index"]


def next_index(index: Value, depth: int) -> Any:
    """``(index + 1) mod depth``: free of a comparison where ``depth`` is a power of two."""
    if depth == 1:
        return 0
    if depth & (depth - 1) == 0:
        return (index + 1)[: depth.bit_length() - 1]
    return Mux(index == depth - 1, 0, index + 1)
