"""Division by a constant, as a product."""

from __future__ import annotations

from amaranth.hdl import Value

__all__ = ["quotient"]


def quotient(value: Value, divisor: int) -> Value:
    """``value div divisor`` of an unsigned value.

    With ``s = len(value) + ⌈log2 divisor⌉`` it is ``value * ⌈2**s / divisor⌉ >> s``: rounding up
    adds less than ``value / 2**s < 1 / divisor`` to the quotient, too little to pass the next
    whole number.
    """
    if divisor < 1:
        raise ValueError(f"Divisor must be at least 1, not {divisor!r}")
    extra = (divisor - 1).bit_length()
    if divisor == 1 << extra:
        return value >> extra
    shift = len(value) + extra
    return (value * -(-(1 << shift) // divisor)) >> shift
