"""Which part of which key a lane group works on: the two constant tables of the architecture.

Rows of ``parts`` segments lie back to back in lines of ``groups`` segments. Everything here is pure
arithmetic on a `CoreParams`; `lookup` turns a table into hardware.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import gcd

from amaranth.hdl import Module, Signal, Value

from attnsieve.hdl.params import CoreParams

__all__ = [
    "ProbVCell",
    "ScorerCell",
    "legal_parts",
    "lookup",
    "prob_v_cell",
    "prob_v_keys",
    "prob_v_lines",
    "prob_v_passes",
    "scorer_cell",
]


@dataclass(frozen=True)
class ScorerCell:
    """What a lane group does in a line of the scorer."""

    part: int  #: part of the key, and of the query
    slot: int  #: key, counted from the first one of this group of keys
    end: bool  #: this is the key's last part


@dataclass(frozen=True)
class ProbVCell:
    """What a lane group does in a step of a pass of prob·V."""

    part: int  #: part of the output row
    slot: int  #: key, counted from the first one of the step
    line: int  #: line, counted from the one in which the step's keys start


def legal_parts(params: CoreParams) -> tuple[int, ...]:
    """Segments per row of the head dimensions that a job may have."""
    return tuple(params.parts(d) for d in params.head_dims)


def scorer_cell(params: CoreParams, parts: int, line: int, lane_group: int) -> ScorerCell:
    """Line ``line``, 0 to ``parts - 1``, of ``groups`` keys: they fill ``parts`` lines."""
    slot, part = divmod(line * params.groups + lane_group, parts)
    return ScorerCell(part, slot, part == parts - 1)


def prob_v_passes(params: CoreParams, parts: int) -> int:
    """Passes over the terms of a row."""
    return parts // gcd(parts, params.groups)


def prob_v_keys(params: CoreParams, parts: int) -> int:
    """Keys of a step."""
    return params.groups // gcd(parts, params.groups)


def prob_v_lines(params: CoreParams, parts: int) -> int:
    """Lines from the start of a step's keys to the start of the next step's."""
    return parts // gcd(parts, params.groups)


def prob_v_cell(params: CoreParams, parts: int, turn: int, lane_group: int) -> ProbVCell:
    """Pass ``turn`` (0 to ``prob_v_passes - 1``); the same for every step of the pass."""
    side_by_side = gcd(parts, params.groups)
    part = turn * side_by_side + lane_group % side_by_side
    for slot in range(prob_v_keys(params, parts)):
        line, group = divmod(slot * parts + part, params.groups)
        if group == lane_group:
            return ProbVCell(part, slot, line)
    raise AssertionError("no key has this part in this lane group")  # gcd arithmetic excludes it


def lookup(
    m: Module, select: Value, table: Mapping[int, int], *, name: str, default: int = 0
) -> Signal:
    """A constant table as combinational logic.

    Parameters
    ----------
    m : Module
        Gets the logic.
    select : Value
        What the table is looked up with.
    table : mapping of int to int
        Values, not negative; selections that are missing give any value of ``default``.
    name : str
        Of the result.
    default : int
        Value for selections that are not in the table.

    Returns
    -------
    Signal
        The value, wide enough for the largest.
    """
    select = Value.cast(select)
    largest = max([default, *table.values()])
    result = Signal(range(largest + 1), name=name)
    if len(set(table.values())) == 1:
        m.d.comb += result.eq(next(iter(table.values())))
        return result
    by_value: dict[int, list[int]] = {}
    for key, value in table.items():
        by_value.setdefault(value, []).append(key)
    with m.Switch(select):
        for value, keys in sorted(by_value.items()):
            if value != default:
                with m.Case(*keys):
                    m.d.comb += result.eq(value)
        with m.Default():
            m.d.comb += result.eq(default)
    return result
