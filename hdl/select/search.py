"""What is known of a row's k-th largest value while it is searched."""

from __future__ import annotations

from amaranth.hdl import unsigned
from amaranth.lib import data

from attnsieve.hdl.select.top_k import TopKParams

__all__ = ["found_layout", "search_layout"]


def search_layout(params: TopKParams, tag_bits: int) -> data.StructLayout:
    """The value has the high bits of ``value``, above the ``rest`` lowest ones; it is the k-th
    largest of those that have."""
    return data.StructLayout(
        {
            "tag": unsigned(tag_bits),  # of the row
            "value": unsigned(params.value_bits),  # its rest is zeros
            "rest": unsigned(params.value_bits.bit_length()),
            "less": unsigned(params.count_bits),  # k less one
            "single": unsigned(1),  # there is but one such value
            "known": unsigned(1),  # nothing to search: the row's values are only dropped
        }
    )


def found_layout(params: TopKParams, tag_bits: int) -> data.StructLayout:
    """The threshold of a row."""
    return data.StructLayout(
        {"tag": unsigned(tag_bits), "threshold": params.threshold_layout()}
    )
