"""A short code of a number that keeps its order: where its leading one is, and what follows it.

A value below 2**fraction is its own code. Any other one has its leading one at bit p >= fraction;
its code is (p - fraction + 1) * 2**fraction + the ``fraction`` bits after the leading one. So small
values are told apart exactly and large ones to a constant relative error: codes spread skewed
values, such as softmax terms, over many buckets.
"""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Mux, Value

from attnsieve.hdl.lib.gates import reached

__all__ = ["code_bits", "code_count", "code_reached", "code_rest", "code_start", "leading_ones"]


def code_count(value_bits: int, fraction: int) -> int:
    """Codes of ``value_bits``-bit values."""
    return (value_bits - fraction + 1) << fraction


def code_bits(value_bits: int, fraction: int) -> int:
    """Bits of a code."""
    return (code_count(value_bits, fraction) - 1).bit_length()


def leading_ones(value: Value) -> Value:
    """Of each place whether a value has a one there or above."""
    return Cat(value[place:].any() for place in range(len(value)))


def code_reached(value: Value, leads: Value, fraction: int) -> list[Value]:
    """Of each code whether that of an unsigned value is it or a larger one, with its
    `leading_ones`."""
    flags = [leads[fraction] | flag for flag in reached(value[:fraction], 1 << fraction)]
    for place in range(fraction, len(value)):
        above = leads[place + 1] if place + 1 < len(value) else Const(0)
        after = reached(value[place - fraction : place], 1 << fraction)
        flags += [above | (value[place] & flag) for flag in after]
    return flags


def code_rest(code: Value, fraction: int) -> Value:
    """Low bits of a value that its code leaves open."""
    exponent = code[fraction:]
    return Mux(exponent == 0, 0, exponent - 1)[: max(1, len(exponent))]


def code_start(code: Value, value_bits: int, fraction: int) -> Value:
    """Least value that has the code."""
    head = Cat(code[:fraction], code[fraction:].any())
    return (head << code_rest(code, fraction))[:value_bits]
