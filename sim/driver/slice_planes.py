"""K in planes of slices: their bytes, and what of them is read."""

from __future__ import annotations

import numpy as np

from attnsieve.hdl.params import CoreParams

__all__ = ["plane_count", "plane_pitch", "slice_planes"]


def plane_pitch(params: CoreParams) -> int:
    """Bytes from key to key in a plane: a slice of the widest head, rounded up to a power of
    two."""
    size = -(-params.max_head_dim * params.slice_bits // 8)
    return 1 << (size - 1).bit_length()


def plane_count(params: CoreParams, bits: int) -> int:
    """Planes of words of ``bits``."""
    return -(-bits // params.slice_bits)


def slice_planes(params: CoreParams, k: np.ndarray, bits: int) -> np.ndarray:
    """Bytes of the planes of K ``[..., keys, head_dim]``, most significant slice first: uint8
    ``[planes, ..., keys, pitch]``. Slices of elements follow each other from the lowest bit on;
    zeros fill the last slice of a word, and what a key lacks of its pitch."""
    count, size = plane_count(params, bits), params.slice_bits
    words = np.asarray(k).astype(np.int64) << count * size - bits
    flags = np.zeros((count, *words.shape[:-1], 8 * plane_pitch(params)), bool)
    for plane in range(count):
        part = words >> (count - 1 - plane) * size
        for bit in range(size):
            flags[plane, ..., bit : words.shape[-1] * size : size] = part >> bit & 1
    return np.packbits(flags, axis=-1, bitorder="little")
