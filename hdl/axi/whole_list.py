"""The list of all rows, which needs no memory."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Const, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In

from attnsieve.hdl.control.row_list import entry_read_signature
from attnsieve.hdl.lib.checks import check_int, check_power_of_two
from attnsieve.hdl.params import CoreParams, check_params

__all__ = ["WholeList"]


class WholeList(wiring.Component):
    """Answers as the memory of a list does in which every row is: entry n is row n, and has both
    neighbours. What lies beyond the last row is not asked for, or dropped by who asks.

    Latency: `latency` = 1 cycle to read a line. Throughput: a line per cycle.

    Parameters
    ----------
    params : CoreParams
        The core.
    rows : int
        Most rows.
    lanes : int
        Entries of a line, a power of two.

    Members
    -------
    read : In(entry_read_signature)
    """

    read: Any

    #: Cycles from ``en`` to ``data``.
    latency = 1

    def __init__(self, *, params: CoreParams, rows: int, lanes: int) -> None:
        check_params(params)
        check_int("Rows", rows, 1, max(params.max_keys, params.max_queries))
        check_power_of_two("Lanes", lanes)
        super().__init__({"read": In(entry_read_signature(params, rows, lanes))})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        line, found = Signal.like(self.read.line), self.read.data
        with m.If(self.read.en):
            m.d.sync += line.eq(self.read.line)
        for lane, entry in enumerate(found):
            m.d.comb += [
                entry.index.eq(Cat(Const(lane, (len(found) - 1).bit_length()), line)),
                entry.before.eq(1),
                entry.after.eq(1),
            ]
        return m
