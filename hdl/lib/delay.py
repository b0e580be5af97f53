"""Values some cycles later."""

from __future__ import annotations

from amaranth.hdl import Module, Signal, Value

__all__ = ["delayed"]


def delayed(m: Module, value: Value, cycles: int) -> Value:
    """What ``value`` was ``cycles`` cycles ago, in registers of ``m``."""
    for _ in range(cycles):
        later = Signal.like(value)
        m.d.sync += later.eq(value)
        value = later
    return value
