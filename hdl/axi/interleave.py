"""How linear memory is spread over the channels: unit by unit (docs/developer/architecture.md)."""

from __future__ import annotations

from amaranth.hdl import Const, Mux, Value

__all__ = ["share_of_channel"]


def share_of_channel(
    channel: int, *, first: Value, index: Value, following: Value, units: Value
) -> tuple[Value, Value]:
    """What a channel holds of a run of units.

    Parameters
    ----------
    channel : int
        The channel.
    first : Value
        Channel of the run's first unit; as many bits as name all channels.
    index : Value
        Index of that unit in its channel.
    following : Value
        ``index + 1``.
    units : Value
        Units of the run.

    Returns
    -------
    tuple of Value
        Index of the channel's first unit of the run, and how many it has.
    """
    bits = len(first)
    if bits == 0:
        return index, units
    last = (1 << bits) - 1  # of the channels: never before the first
    before = Const(0) if channel == last else first > channel
    distance = (channel - first)[:bits]
    return Mux(before, following, index), (units + (last - distance)) >> bits
