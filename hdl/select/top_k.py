"""The interface of a top-k engine: rows of values in, a threshold per row out."""

from __future__ import annotations

from dataclasses import dataclass

from amaranth.hdl import unsigned
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Member, Out

from attnsieve.hdl.lib.checks import check_int

__all__ = ["TopKParams"]


@dataclass(frozen=True, kw_only=True)
class TopKParams:
    """Sizes of a top-k engine.

    Parameters
    ----------
    lanes : int
        Values of a beat: the parallelism P, 1 to 32.
    value_bits : int
        Bits of a value, unsigned, 2 to 40.
    max_values : int
        Most values of a row, 1 to 4096.
    """

    lanes: int = 16
    value_bits: int = 12
    max_values: int = 1024

    def __post_init__(self) -> None:
        check_int("lanes", self.lanes, 1, 32)
        check_int("value_bits", self.value_bits, 2, 40)
        check_int("max_values", self.max_values, 1, 4096)

    @property
    def max_beats(self) -> int:
        """Beats of the longest row."""
        return -(-self.max_values // self.lanes)

    @property
    def count_bits(self) -> int:
        """Bits of a number of values, and of k."""
        return (self.max_beats * self.lanes).bit_length()

    def beat_layout(self) -> data.StructLayout:
        """Values of a row; those with ``keep`` take part. ``k`` counts in the last beat."""
        return data.StructLayout(
            {
                "value": data.ArrayLayout(unsigned(self.value_bits), self.lanes),
                "keep": unsigned(self.lanes),
                "k": unsigned(self.count_bits),
                "last": unsigned(1),
            }
        )

    def threshold_layout(self) -> data.StructLayout:
        """The k largest values of a row: those above ``value``, and the first ``equal`` of those
        that equal it. With k = 0, all ones and 0; with k no less than the n values, 0 and n."""
        return data.StructLayout(
            {"value": unsigned(self.value_bits), "equal": unsigned(self.count_bits)}
        )

    def members(self) -> dict[str, Member]:
        """Ports of an engine: rows of at most ``max_beats`` beats in, thresholds in order out."""
        return {
            "i": In(stream.Signature(self.beat_layout())),
            "o": Out(stream.Signature(self.threshold_layout())),
        }
