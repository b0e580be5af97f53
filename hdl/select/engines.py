"""The top-k engines by name."""

from __future__ import annotations

from attnsieve.hdl.select.quick_select import QuickSelect
from attnsieve.hdl.select.radix_select import RadixSelect
from attnsieve.hdl.select.top_k import TopKParams

__all__ = ["top_k_engine"]


def top_k_engine(
    name: str, params: TopKParams, *, fraction: int | None = None
) -> RadixSelect | QuickSelect:
    """The engine that ``CoreParams.top_k`` names: the same ports, the same thresholds;
    ``fraction`` is of the radix select."""
    if name == "quick":
        return QuickSelect(params=params)
    return RadixSelect(params=params, fraction=fraction)
