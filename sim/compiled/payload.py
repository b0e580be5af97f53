"""Payloads of a stream as words of 32 bits, many at once, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from amaranth.hdl import Shape
from amaranth.lib import data

__all__ = ["pack", "payload_words", "unpack"]

Words = npt.NDArray[np.uint32]

_BLOCK = 4096  # payloads that are spread into bits at a time


def payload_words(layout: data.Layout) -> int:
    """Words of a payload."""
    return -(-layout.size // 32)


def _fields(layout: data.StructLayout) -> list[tuple[str, int, int]]:
    """Name of each field, its elements, the bits of one; they follow one another."""
    found = []
    for name, shape in layout.members.items():
        count = shape.length if isinstance(shape, data.ArrayLayout) else 1
        found.append((str(name), count, Shape.cast(shape).width // count))
    return found


def pack(layout: data.StructLayout, fields: Mapping[str, Any]) -> Words:
    """Words ``[payloads, payload_words]`` from an array per field, ``[payloads]`` or, for an array,
    ``[payloads, elements]``: unsigned numbers of at most 63 bits."""
    columns = [
        (np.asarray(fields[name], np.int64).reshape(-1, count, 1), bits)
        for name, count, bits in _fields(layout)
    ]
    total = len(columns[0][0])
    words = np.zeros((total, payload_words(layout)), np.uint32)
    for start in range(0, total, _BLOCK):
        parts = []
        for values, bits in columns:
            part = values[start : start + _BLOCK]
            parts.append((part >> np.arange(bits) & 1).astype(np.uint8).reshape(len(part), -1))
        spare = np.zeros((len(parts[0]), -layout.size % 32), np.uint8)
        packed = np.packbits(np.concatenate([*parts, spare], 1), axis=1, bitorder="little")
        words[start : start + _BLOCK] = np.ascontiguousarray(packed).view("<u4")
    return words


def unpack(layout: data.StructLayout, words: Words) -> dict[str, npt.NDArray[np.int64]]:
    """The arrays of `pack` from its words."""
    flat = np.ascontiguousarray(words).view(np.uint8)
    bits = np.unpackbits(flat, axis=1, bitorder="little", count=layout.size)
    found, base = {}, 0
    for name, count, width in _fields(layout):
        part = bits[:, base : base + count * width].reshape(-1, count, width)
        values = (part.astype(np.int64) << np.arange(width)).sum(2)
        found[name] = values if count > 1 else values[:, 0]
        base += count * width
    return found
