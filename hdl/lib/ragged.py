"""Payloads of streams whose beats are not always full."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import unsigned
from amaranth.lib import data

__all__ = ["flagged_layout", "ragged_layout"]


def flagged_layout(*, shape: Any, lanes: int) -> data.StructLayout:
    """A beat of ``lanes`` items of which some are wanted."""
    return data.StructLayout(
        {
            "item": data.ArrayLayout(shape, lanes),
            "keep": unsigned(lanes),
            "last": unsigned(1),  # last beat of its group
        }
    )


def ragged_layout(*, shape: Any, lanes: int) -> data.StructLayout:
    """A beat whose items are in its lowest ``count`` lanes; the others mean nothing."""
    return data.StructLayout(
        {
            "item": data.ArrayLayout(shape, lanes),
            "count": unsigned(lanes.bit_length()),  # 0..lanes
            "last": unsigned(1),
        }
    )
