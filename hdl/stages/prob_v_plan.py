"""What a row means for prob·V."""

from __future__ import annotations

from math import gcd
from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from attnsieve.hdl.layouts import row_layout
from attnsieve.hdl.lib.geometry import legal_parts, lookup, prob_v_keys, prob_v_passes
from attnsieve.hdl.params import CoreParams, check_params

__all__ = ["RowPlan", "plan_layout"]


def plan_layout(p: CoreParams) -> data.StructLayout:
    """Passes, steps and lines of a row."""
    lines = range(p.max_parts + 1)
    return data.StructLayout(
        {
            "parts": p.part_bits,
            "passes": lines,  # also lines of a step that is not the last of a pass
            "keys": range(p.groups + 1),  # of a step
            "mask": range(p.groups),  # P - 1
            "steps": range(p.max_keys),  # of a pass, less one
            "single": 1,  # a pass has one step
            "first_lines": lines,  # of the first step
            "last_lines": lines,  # of the last step of a pass
            "last_of_kv": 1,
        }
    )


class RowPlan(wiring.Component):
    """Looks up passes, steps and lines of each row.

    A register: latency `latency` cycle, one row per cycle.

    Parameters
    ----------
    params : CoreParams
        The core.

    Members
    -------
    i : In(stream(row_layout))
    o : Out(stream(plan_layout))
        ``first_lines`` are 0 while it is not valid.
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
                "i": In(stream.Signature(row_layout(params))),
                "o": Out(stream.Signature(plan_layout(params))),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        row, plan = self.i.p, self.o.p
        last_lines = Signal.like(plan.last_lines)
        passes = self._of_parts(m, prob_v_passes, "passes")
        most = self._of_parts(m, prob_v_keys, "keys")
        m.d.comb += self.i.ready.eq(~self.o.valid | self.o.ready)
        with m.If(self.i.ready):
            m.d.sync += [
                self.o.valid.eq(self.i.valid),
                plan.parts.eq(row.parts),
                plan.passes.eq(passes),
                plan.keys.eq(most),
                plan.mask.eq(self._of_parts(m, lambda p, n: gcd(n, p.groups) - 1, "mask")),
                plan.single.eq(row.keys <= most),
                plan.first_lines.eq(Mux(row.keys <= most, last_lines, passes)),
                plan.last_lines.eq(last_lines),
                plan.last_of_kv.eq(row.last_of_kv),
            ]
            with m.If(~self.i.valid):
                m.d.sync += plan.first_lines.eq(0)
        self._steps(m, last_lines)
        return m

    def _of_parts(self, m: Module, of: Any, name: str) -> Value:
        """A number that depends on the parts of a key only."""
        table = {n: of(self.params, n) for n in legal_parts(self.params)}
        return lookup(m, self.i.p.parts, table, name=f"row_{name}")

    def _steps(self, m: Module, last_lines: Signal) -> None:
        """Steps of a pass, and lines of the last."""
        p, row = self.params, self.i.p
        bits = (p.groups - 1).bit_length()
        shift = self._of_parts(m, lambda p, n: prob_v_keys(p, n).bit_length() - 1, "shift")
        before, steps = Signal(p.key_bits), Signal.like(self.o.p.steps)  # keys before the last
        over = before[:bits] & ((1 << shift) - 1)[:bits]  # of them in the last step
        lines = {
            n | o << p.part_bits: -(-(o + 1) * n // p.groups)
            for n in legal_parts(p)
            for o in range(prob_v_keys(p, n))
        }
        m.d.comb += [
            before.eq(row.keys - 1),
            steps.eq(before >> shift),
            last_lines.eq(lookup(m, Cat(row.parts, over), lines, name="lines_of_keys")),
        ]
        with m.If(row.keys == 0):
            m.d.comb += [steps.eq(0), last_lines.eq(0)]
        with m.If(self.i.ready):
            m.d.sync += self.o.p.steps.eq(steps)
