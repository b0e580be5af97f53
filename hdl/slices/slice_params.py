"""Sizes of bit-serial dot products, and how the words of K are cut into slices."""

from __future__ import annotations

from dataclasses import dataclass

from amaranth.hdl import signed, unsigned
from amaranth.lib import data

from attnsieve.hdl.lib.checks import check_int

__all__ = ["SliceParams"]


@dataclass(frozen=True, kw_only=True)
class SliceParams:
    """Of a bit-serial dot product.

    Words of K are cut into slices of ``slice_bits``, most significant first; the first one holds
    the sign. A word that does not fill its slices is followed by `pad` zeros.

    Parameters
    ----------
    taps : int
        Elements of a query and of a key, 1 to 128.
    query_bits, word_bits : int
        Bits of an element of Q and of K, 2 to 16, both signed.
    slice_bits : int
        1, 2 or 4.
    keys : int
        Most keys of a row.
    """

    taps: int = 64
    query_bits: int = 12
    word_bits: int = 12
    slice_bits: int = 2
    keys: int = 1024

    def __post_init__(self) -> None:
        check_int("taps", self.taps, 1, 128)
        check_int("query_bits", self.query_bits, 2, 16)
        check_int("word_bits", self.word_bits, 2, 16)
        check_int("keys", self.keys, 1, 4096)
        if self.slice_bits not in (1, 2, 4):
            raise ValueError(f"slice_bits must be 1, 2 or 4, not {self.slice_bits!r}")

    @property
    def slices(self) -> int:
        """Slices of a word."""
        return -(-self.word_bits // self.slice_bits)

    @property
    def pad(self) -> int:
        """Zeros behind a word in its last slice."""
        return self.slices * self.slice_bits - self.word_bits

    @property
    def score_bits(self) -> int:
        """Bits of a signed score, whatever the operands; also of a threshold."""
        return self.query_bits + self.word_bits + (self.taps - 1).bit_length()

    @property
    def sum_bits(self) -> int:
        """Bits of a score with the zeros behind its words."""
        return self.score_bits + self.pad

    def left(self, number: int) -> int:
        """Bits of a word behind slice ``number``."""
        return max(0, self.word_bits - (number + 1) * self.slice_bits)

    def slice_layout(self) -> data.ArrayLayout:
        """One slice of a key, of each element its bits."""
        return data.ArrayLayout(unsigned(self.slice_bits), self.taps)

    def query_layout(self) -> data.ArrayLayout:
        """A query."""
        return data.ArrayLayout(signed(self.query_bits), self.taps)

    def bounds_layout(self) -> data.ArrayLayout:
        """Of each slice what the sum up to it must reach for the key to go on, and of the last one
        to be kept; see `ExitBounds`."""
        return data.ArrayLayout(signed(self.sum_bits + 1), self.slices)
