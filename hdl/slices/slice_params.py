"""Sizes of the bit-serial units, and how the words of K are cut into slices."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from amaranth.hdl import signed, unsigned
from amaranth.lib import data

from attnsieve.hdl.lib.checks import check_int, check_power_of_two
from attnsieve.hdl.params import CoreParams

__all__ = ["SliceParams", "slice_params", "slices_skipped", "survivor_ways"]


@dataclass(frozen=True, kw_only=True)
class SliceParams:
    """Of bit-serial units and their keys.

    Words of K are cut into slices of ``slice_bits``, most significant first; the first one holds
    the sign, behind which is the rest of the two's complement or, with `sign_magnitude`, the
    magnitude. A word that does not fill its slices is followed by `pad` zeros. Slices are numbered
    from the longest word's first: an 8-bit word of a core for 12 bits starts with a later one.

    The n-th slice of key j lies in bank ``(j + n) mod units``. So a key that moves on from unit to
    unit with every slice finds it in the bank of that unit, and no unit ever waits for a bank. With
    static dealing all slices of key j lie in bank ``j mod units``, and it stays there.

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
    units : int
        Dot products side by side, 1 to 16.
    rows : int
        Rows that may be inside at once, a power of two: 2 to 8.
    stored : int
        Keys that there is room for, at least; see `groups`.
    static : bool
        A key stays with one unit.
    sign_magnitude : bool
        Words of K are a sign and a magnitude.
    demand : bool
        Slices may come from memory one by one; not with `sign_magnitude`.
    """

    taps: int = 64
    query_bits: int = 12
    word_bits: int = 12
    slice_bits: int = 2
    keys: int = 1024
    units: int = 1
    rows: int = 4
    stored: int = 2048
    static: bool = False
    sign_magnitude: bool = False
    demand: bool = False

    #: Terms that are added between registers.
    sum_terms = 4

    def __post_init__(self) -> None:
        check_int("taps", self.taps, 1, 128)
        check_int("query_bits", self.query_bits, 2, 16)
        check_int("word_bits", self.word_bits, 2, 16)
        check_int("keys", self.keys, 1, 4096)
        check_int("units", self.units, 1, 16)
        check_int("stored", self.stored, 1)
        check_power_of_two("rows", self.rows, 2, 8)
        check_int("slice_bits", self.slice_bits, 1)
        if self.slice_bits not in (1, 2, 4):
            raise ValueError(f"slice_bits must be 1, 2 or 4, not {self.slice_bits!r}")
        if self.demand and self.sign_magnitude:
            raise ValueError("sign_magnitude must be false where slices are read on demand")

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

    @property
    def sum_latency(self) -> int:
        """Registers in a sum of a term for each element."""
        levels = (self.taps - 1).bit_length()
        return -(-levels // (self.sum_terms - 1).bit_length())

    @property
    def margin_bits(self) -> int:
        """Bits of a signed sum of magnitudes of a query's elements, less than nothing."""
        return self.query_bits + (self.taps - 1).bit_length()

    @property
    def bounds(self) -> int:
        """Bounds of a row: one for each slice, or its threshold, from which the bounds of each key
        follow by its signs."""
        return 1 if self.sign_magnitude else self.slices

    @property
    def groups(self) -> int:
        """Keys of the store in groups of one per unit."""
        return -(-self.stored // self.units)

    @property
    def key_groups(self) -> int:
        """Keys of the longest row in groups of one per unit."""
        return -(-self.keys // self.units)

    @property
    def bank_depth(self) -> int:
        """Slices of keys in a bank: of each group as many as a key has."""
        return self.groups * self.slices

    def bank(self, key: Any, number: Any) -> Any:
        """Bank of the n-th slice of a key."""
        return (key if self.static else key + number) % self.units

    @property
    def turns(self) -> int:
        """Cycles in which all slices of a key can be written, one per bank and cycle."""
        return self.slices if self.static else -(-self.slices // self.units)

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
        to be kept; see `ExitBounds`. With `sign_magnitude` only the threshold."""
        return data.ArrayLayout(signed(self.sum_bits + 1), self.bounds)


def survivor_ways(params: CoreParams) -> int:
    """Scores that can be stored in a cycle: of keys of even and of odd numbers, which go to
    different lanes."""
    return min(2, params.groups)


def slices_skipped(params: CoreParams) -> int:
    """Slices of the longest word that an 8-bit word does not have."""
    return (params.operand_bits - 8) // params.slice_bits


def slice_params(params: CoreParams) -> SliceParams:
    """Of a core's units: they take a key whole, whatever its head dimension."""
    return SliceParams(
        taps=params.max_head_dim,
        query_bits=params.operand_bits,
        word_bits=params.operand_bits,
        slice_bits=params.slice_bits,
        keys=params.max_keys,
        units=params.slice_units,
        rows=params.slice_rows,
        stored=2 * params.buffer_elements // params.max_head_dim,
        static=params.slice_dealing == "static",
        sign_magnitude=params.slice_words == "sign_magnitude",
        demand=params.slice_demand,
    )
