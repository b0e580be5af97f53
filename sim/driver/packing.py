"""Bytes of tensors in linear memory, and of linear memory in channels."""

from __future__ import annotations

import numpy as np

from attnsieve.hdl.params import CoreParams

__all__ = ["join_channels", "pack", "row_bytes", "split_channels", "unpack"]


def row_bytes(head_dim: int, bits: int) -> int:
    """Bytes of a packed row: its pitch in memory."""
    return head_dim * bits // 8


def pack(x: np.ndarray, bits: int) -> np.ndarray:
    """Packed rows, uint8: little-endian, element 0 lowest; 12-bit elements two to three bytes."""
    _check_bits(bits)
    x = np.asarray(x)
    low, high = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
    if x.size and (x.min() < low or x.max() > high):
        raise OverflowError(f"element in {x.min()}..{x.max()} does not fit {bits} bits")
    if bits != 12:
        return np.ascontiguousarray(x.astype(f"<i{bits // 8}")).view(np.uint8)
    pair = (x.astype(np.int64) & 0xFFF).reshape(*x.shape[:-1], -1, 2)
    word = pair[..., 0] | pair[..., 1] << 12
    packed = np.stack([word & 255, word >> 8 & 255, word >> 16], axis=-1).astype(np.uint8)
    return packed.reshape(*x.shape[:-1], -1)


def unpack(packed: np.ndarray, bits: int) -> np.ndarray:
    """Inverse of `pack`, int16."""
    _check_bits(bits)
    packed = np.ascontiguousarray(packed, np.uint8)
    if bits != 12:
        return packed.view(f"<i{bits // 8}").astype(np.int16)
    byte = packed.reshape(*packed.shape[:-1], -1, 3).astype(np.int32)
    word = byte[..., 0] | byte[..., 1] << 8 | byte[..., 2] << 16
    pair = np.stack([word & 0xFFF, word >> 12], axis=-1)
    signed = np.where(pair & 0x800, pair - 0x1000, pair).astype(np.int16)
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


def _check_bits(bits: int) -> None:
    if bits not in (8, 12, 16):
        raise ValueError(f"Bits must be 8, 12 or 16, not {bits!r}")
