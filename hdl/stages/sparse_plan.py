"""What a row of packed terms means for the sparse prob·V."""

from __future__ import annotations

from math import gcd
from typing import Any

from amaranth.hdl import Module, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from attnsieve.hdl.lib.geometry import legal_parts, lookup, prob_v_passes
from attnsieve.hdl.params import CoreParams, check_params
from attnsieve.hdl.stages.term_lanes import lane_row_layout

__all__ = ["SparsePlan", "sparse_plan_layout"]


def sparse_plan_layout(p: CoreParams) -> data.StructLayout:
    """Entries, passes and lines of a row."""
    row = lane_row_layout(p)
    return data.StructLayout(
        {
            "count": row["count"].shape,
            "beats": row["beats"].shape,
            "parts": row["parts"].shape,
            "passes": range(p.max_parts + 1),
            "mask": range(p.groups),  # P - 1
            "lines": range(p.kv_lines + 1),  # of V that the row's keys take
            "last_of_kv": 1,
        }
    )


class SparsePlan(wiring.Component):
    """Looks up passes and lines of each row.

    A register: latency `latency` cycle, one row per cycle.

    Parameters
    ----------
    params : CoreParams
        The core.

    Members
    -------
    i : In(stream(lane_row_layout))
    o : Out(stream(sparse_plan_layout))
    """

    i: stream.Interface
    o: stream.Interface

    #: Cycles from a row to its plan.
    latency = 1

    def __init__(self, *, params: CoreParams) -> None:
        check_params(params)
        self.params = params
        super().__init__(
            {
                "i": In(stream.Signature(lane_row_layout(params))),
                "o": Out(stream.Signature(sparse_plan_layout(params))),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        p, row, plan = self.params, self.i.p, self.o.p
        m.d.comb += self.i.ready.eq(~self.o.valid | self.o.ready)
        shift = (p.groups - 1).bit_length()
        lines = (row.keys * row.parts + (p.groups - 1)) >> shift
        with m.If(self.i.ready):
            m.d.sync += [
                self.o.valid.eq(self.i.valid),
                plan.passes.eq(self._of_parts(m, prob_v_passes, "passes")),
                plan.mask.eq(self._of_parts(m, lambda p, n: gcd(n, p.groups) - 1, "mask")),
                plan.lines.eq(lines),
                *(plan[name].eq(row[name]) for name in ("count", "beats", "parts", "last_of_kv")),
            ]
        return m

    def _of_parts(self, m: Module, of: Any, name: str) -> Value:
        """A number that depends on the parts of a key only."""
        table = {n: of(self.params, n) for n in legal_parts(self.params)}
        return lookup(m, self.i.p.parts, table, name=f"row_{name}")
