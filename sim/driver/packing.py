"""Bytes of tensors in linear memory, and of linear memory in channels."""

from __future__ import annotations

from math import gcd

import numpy as np

from attnsieve.hdl.params import CoreParams

__all__ = ["join_channels", "pack", "row_bytes", "split_channels", "unpack"]


def row_bytes(head_dim: int, bits: int) -> int:
    """Bytes of a packed row: its pitch in memory."""
    return head_dim * bits // 8


def pack(x: np.ndarray, bits: int) -> np.ndarray:
    """Packed rows, uint8: little-endian, element 0 lowest. Elements of 4 and 12 bits make whole
    bytes in twos, those of 6 and 10 bits in fours."""
    _check_bits(bits)
    x = np.asarray(x)
    low, high = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
    if x.size and (x.min() < low or x.max() > high):
        raise OverflowError(f"element in {x.min()}..{x.max()} does not fit {bits} bits")
    if bits % 8 == 0:
        return np.ascontiguousarray(x.astype(f"<i{bits // 8}")).view(np.uint8)
    count = _together(bits)
    group = (x.astype(np.int64) & ((1 << bits) - 1)).reshape(*x.shape[:-1], -1, count)
    word = (group << (bits * np.arange(count))).sum(axis=-1)
    packed = word[..., None] >> (8 * np.arange(count * bits // 8)) & 255
    return packed.astype(np.uint8).reshape(*x.shape[:-1], -1)


def unpack(packed: np.ndarray, bits: int) -> np.ndarray:
    """Inverse of `pack`, int16."""
    _check_bits(bits)
    packed = np.ascontiguousarray(packed, np.uint8)
    if bits % 8 == 0:
        return packed.view(f"<i{bits // 8}").astype(np.int16)
    count = _together(bits)
    size = count * bits // 8
    byte = packed.reshape(*packed.shape[:-1], -1, size).astype(np.int64)
    word = (byte << (8 * np.arange(size))).sum(axis=-1)
    group = word[..., None] >> (bits * np.arange(count)) & ((1 << bits) - 1)
    signed = np.where(group >> (bits - 1), group - (1 << bits), group).astype(np.int16)
    return signed.reshape(*packed.shape[:-1], -1)


def split_channels(params: CoreParams, linear: np.ndarray) -> list[np.ndarray]:
    """Contents of each channel: unit n of linear memory is in channel n mod channels."""
    wide = params.wide_bytes
    padded = np.zeros(-(-len(linear) // wide) * wide, np.uint8)
    padded[: len(linear)] = linear
    units = padded.reshape(-1, params.channels, params.unit_bytes)
    return [np.ascontiguousarray(units[:, c]).reshape(-1) for c in range(params.channels)]


def join_channels(params: CoreParams, images: list[np.ndarray], size: int) -> np.ndarray:
    """Linear memory of ``size`` bytes from the contents of the channels."""
    units = [np.asarray(image, np.uint8).reshape(-1, params.unit_bytes) for image in images]
    return np.stack(units, axis=1).reshape(-1)[:size]


def _together(bits: int) -> int:
    """Elements that make whole bytes."""
    return 8 // gcd(bits, 8)


def _check_bits(bits: int) -> None:
    if bits not in (4, 6, 8, 10, 12, 16):
        raise ValueError(f"Bits must be 4, 6, 8, 10, 12 or 16, not {bits!r}")
