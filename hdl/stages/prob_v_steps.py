"""The steps of prob·V."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In

from attnsieve.hdl.layouts import row_layout
from attnsieve.hdl.lib.connect import connect
from attnsieve.hdl.params import CoreParams, check_params
from attnsieve.hdl.stages.prob_v_gate import StepGate, gate_members
from attnsieve.hdl.stages.prob_v_plan import RowPlan
from attnsieve.hdl.stages.prob_v_walk import StepWalk

__all__ = ["StepSequencer"]


class StepSequencer(wiring.Component):
    """Turns rows into steps, in the order of `StepWalk`, and holds each until what it reads is
    there and there is room for the sums of a pass (`StepGate`): so the first pass of a row follows
    its arriving terms, and the first row of a KV head the arriving lines.

    One step per cycle, no gap between passes and rows. The first step of a row is offered
    `latency` cycles after the row, if it is alone.

    Parameters
    ----------
    params : CoreParams
        The core.

    Members
    -------
    row : In(stream(row_layout))
    term_append, value_append, room, o, wait_value, wait_output
        See `StepGate`.
    """

    row: stream.Interface
    term_append: Signal
    value_append: Signal
    room: Signal
    o: stream.Interface
    wait_value: Signal
    wait_output: Signal

    #: Cycles from a row to its first step.
    latency = RowPlan.latency + 1 + StepGate.latency

    def __init__(self, *, params: CoreParams) -> None:
        check_params(params)
        self.params = params
        row = stream.Signature(row_layout(params))
        super().__init__({"row": In(row), **gate_members(params)})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.plan = plan = RowPlan(params=self.params)
        m.submodules.walk = walk = StepWalk(params=self.params)
        m.submodules.gate = gate = StepGate(params=self.params)
        connect(m, self.row, plan.i)
        connect(m, plan.o, walk.plan)
        connect(m, walk.o, gate.i)
        connect(m, gate.o, self.o)
        m.d.comb += [
            gate.term_append.eq(self.term_append),
            gate.value_append.eq(self.value_append),
            gate.room.eq(self.room),
            self.wait_value.eq(gate.wait_value),
            self.wait_output.eq(gate.wait_output),
        ]
        return m
