"""What goes around while slices are read on demand: packets of them, and their sizes."""

from __future__ import annotations

from dataclasses import dataclass

from amaranth.hdl import unsigned
from amaranth.lib import data

from attnsieve.hdl.params import CoreParams
from attnsieve.hdl.slices.slice_params import slice_params

__all__ = ["PacketParams", "hand_layout", "kv_rows_layout", "packet_layout", "packet_params"]


@dataclass(frozen=True, kw_only=True)
class PacketParams:
    """Sizes of packets. A packet is one slice of each of `keys` consecutive keys: what lies in a
    wide word of memory, a unit from each channel. Of a packet the units are read that have a key
    that some row needs.

    In memory the slices of a plane lie `row_bytes` apart, a power of two.

    Parameters
    ----------
    row_bytes : int
        Bytes of a slice in memory.
    unit_bytes : int
        Bytes of a unit.
    channels : int
        Units of a packet.
    keys : int
        Keys of a packet, a power of two.
    hand : int
        Keys that are handed to the units at once, each to another one: a power of two that
        divides `keys`.
    most : int
        Packets of the longest row.
    """

    row_bytes: int
    unit_bytes: int
    channels: int
    keys: int
    hand: int
    most: int

    @property
    def hands(self) -> int:
        """Hands of a packet."""
        return self.keys // self.hand

    def unit_keys(self, unit: int) -> range:
        """Keys of a packet that have a byte in its unit of this number."""
        begin, end = unit * self.unit_bytes, (unit + 1) * self.unit_bytes - 1
        return range(begin // self.row_bytes, end // self.row_bytes + 1)


def packet_params(p: CoreParams) -> PacketParams:
    """Of a core's packets: its longest keys lie as close as their pitch lets them."""
    s = slice_params(p)
    row_bytes = 1 << (-(-s.taps * s.slice_bits // 8) - 1).bit_length()
    if row_bytes > p.wide_bytes:
        raise ValueError(
            f"channels and data_width must give units of {row_bytes} bytes in all, a slice of a "
            f"key, or more on a core with slice_demand, not {p.wide_bytes}"
        )
    keys = p.wide_bytes // row_bytes
    return PacketParams(
        row_bytes=row_bytes,
        unit_bytes=p.unit_bytes,
        channels=p.channels,
        keys=keys,
        hand=min(keys, 1 << s.units.bit_length() - 1),
        most=-(-p.max_keys // keys),
    )


def kv_rows_layout(p: CoreParams) -> data.StructLayout:
    """The rows of a KV head, one per query head."""
    s, unit_bits = slice_params(p), _unit_bits(p)
    return data.StructLayout(
        {
            "rows": unsigned(s.rows),  # all of them,
            "written": unsigned(s.rows),  # and those that are scored
            "keys": unsigned(p.key_bits),
            "key_mask": unsigned(1),
            "bank": unsigned(p.bank_bits),
            "number": range(s.slices),  # of a key's first slice
            "pin_first": unsigned(p.key_bits),  # so many of the first keys are kept,
            "pin_from": unsigned(p.key_bits),  # those from this one on,
            "own": unsigned(p.key_bits),  # and this one
            "unit": unsigned(unit_bits),  # in memory: of its first plane,
            "plane": unsigned(unit_bits),  # and from plane to plane
        }
    )


def packet_layout(p: CoreParams) -> data.StructLayout:
    """A slice of some consecutive keys, and who needs it."""
    s, sizes, unit_bits = slice_params(p), packet_params(p), _unit_bits(p)
    return data.StructLayout(
        {
            "unit": unsigned(unit_bits),  # its first one in memory,
            "plane": unsigned(unit_bits),  # and how far it is to that of the next slice
            "number": range(s.slices),  # of the slice
            "opens": unsigned(1),  # it is the first one
            "word": range(sizes.most),  # which keys of the row
            "place": range(s.units),  # the unit that scores the first one,
            "group": range(s.key_groups),  # and how many it had before
            "pinned": unsigned(sizes.keys),
            "alive": data.ArrayLayout(unsigned(s.rows), sizes.keys),  # rows that need the key
        }
    )


def hand_layout(p: CoreParams) -> data.StructLayout:
    """Keys that have been handed to the units."""
    s, sizes = slice_params(p), packet_params(p)
    return data.StructLayout(
        {
            "packet": packet_layout(p),
            "place": range(s.units),  # the unit that has the first one
            "some": unsigned(sizes.hand),  # those that any row needs
            "number": range(sizes.hands),  # which hand of the packet
        }
    )


def _unit_bits(p: CoreParams) -> int:
    """Bits of a unit's number in memory."""
    return p.addr_width - (p.unit_bytes.bit_length() - 1)
