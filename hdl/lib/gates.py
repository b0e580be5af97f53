"""Small arithmetic in gates: mapping flattens it, as it does not the carry chains of ``+``."""

from __future__ import annotations

from collections.abc import Sequence

from amaranth.hdl import Cat, Const, Value

__all__ = ["add", "count_flags", "less", "reached"]


_NONE = Const(0, 1)


def count_flags(flags: Sequence[Value]) -> Value:
    """How many of the flags are ones: four by four in gates, and these as a tree of sums."""
    if len(flags) > 4:
        half = -(-len(flags) // 8) * 4
        return count_flags(flags[:half]) + count_flags(flags[half:])
    a, b, c, d = (*flags, _NONE, _NONE, _NONE)[:4]
    odd, two = (a ^ b, c ^ d), (a & b, c & d)
    count = Cat(odd[0] ^ odd[1], two[0] ^ two[1] ^ (odd[0] & odd[1]), two[0] & two[1])
    return count[: len(flags).bit_length()]


def add(a: Value, b: Value) -> Value:
    """The sum, of a bit more than the longer number."""
    bits: list[Value] = []
    carry: Value = _NONE
    for place in range(max(len(a), len(b))):
        x, y = (n[place] if place < len(n) else _NONE for n in (a, b))
        bits.append(x ^ y ^ carry)
        carry = (x & y) | (carry & (x ^ y))
    return Cat(bits, carry)


def less(a: Value, b: Value) -> Value:
    """Whether ``a`` is less than ``b``, of as many bits."""
    if len(a) != len(b):
        raise ValueError(f"Numbers must have as many bits, not {len(a)} and {len(b)}")
    below: Value = _NONE
    for x, y in zip(a, b, strict=True):
        below = (~x & y) | (~(x ^ y) & below)
    return below


def reached(number: Value, count: int) -> list[Value]:
    """Whether ``number`` is 0 or more, 1 or more, … ``count`` - 1 or more."""
    flags: list[Value] = [Const(1, 1)]
    for bit in number:
        flags = [*(bit | flag for flag in flags), *(bit & flag for flag in flags)]
    return flags[:count]
