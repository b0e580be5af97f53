"""The order in which prob·V walks terms and V lines."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from attnsieve.hdl.lib.pointer import next_index
from attnsieve.hdl.lib.ring import ring_sum
from attnsieve.hdl.params import CoreParams
from attnsieve.hdl.stages.prob_v_plan import plan_layout

__all__ = ["StepWalk", "step_layout", "term_ring_depth", "walk_layout"]


def term_ring_depth(p: CoreParams) -> int:
    """Beats of the term ring: two of the longest rows."""
    return 2 * p.max_beats


def step_layout(p: CoreParams) -> data.StructLayout:
    """A step of prob·V: ``groups / P`` keys, ``P`` parts of each."""
    return data.StructLayout(
        {
            "beat": range(term_ring_depth(p)),  # in the term ring
            "first": range(p.groups),  # lane of that beat with the first key of the step
            "line": range(p.kv_lines),  # in the V ring, where the keys of the step start
            "parts": p.part_bits,
            "turn": range(p.max_parts),  # pass over the terms
            "mask": range(p.groups),  # P - 1
            "last": 1,  # of the pass
            "last_of_row": 1,  # of the row's last pass
            "free": 1,  # the beat is not read again
            "release": range(p.max_parts + 1),  # lines that are not read again
        }
    )


def walk_layout(p: CoreParams) -> data.StructLayout:
    """A step, and what it must wait for. Positions of lines go around twice the V ring."""
    return data.StructLayout(
        {
            "step": step_layout(p),
            "fresh": 1,  # no pass has been through its beat
            "through": 1,  # nor, behind this step, the one at hand
            "need": range(2 * p.kv_lines),  # the line behind those of the step
        }
    )


class StepWalk(wiring.Component):
    """Turns the plans of rows into steps, whether their terms and lines are there or not.

    With ``P = gcd(parts, groups)`` a row takes ``parts / P`` passes of
    ``max(1, ceil(keys * P / groups))`` steps. The steps of a row without a key need no lines; their
    terms are zero. One step per cycle, no gap between passes and rows.

    Parameters
    ----------
    params : CoreParams
        The core.

    Members
    -------
    plan : In(stream(plan_layout))
        Taken with the last step of the row before; ``first_lines`` 0 while not valid.
    o : Out(stream(walk_layout))
    """

    plan: stream.Interface
    o: stream.Interface

    def __init__(self, *, params: CoreParams) -> None:
        self.params = params
        super().__init__(
            {
                "plan": In(stream.Signature(plan_layout(params))),
                "o": Out(stream.Signature(walk_layout(params))),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        p = self.params
        row = Signal(plan_layout(p))
        turn, left = Signal(range(p.max_parts)), Signal(range(p.max_keys))  # steps behind this one
        end_of_pass, last_pass, end_of_row, issue = Signal(), Signal(), Signal(), Signal()
        step = self.o.p.step
        m.d.comb += [
            issue.eq(self.o.valid & self.o.ready),
            end_of_row.eq(end_of_pass & last_pass),
            self.plan.ready.eq(~self.o.valid | (issue & end_of_row)),
            step.parts.eq(row.parts),
            step.mask.eq(row.mask),
            step.turn.eq(turn),
            step.last.eq(end_of_pass),
            step.last_of_row.eq(end_of_row),
            self.o.p.fresh.eq(turn == 0),
        ]
        with m.If(issue):
            m.d.sync += [left.eq(left - 1), end_of_pass.eq(left == 1)]
            with m.If(end_of_pass):
                m.d.sync += [left.eq(row.steps), end_of_pass.eq(row.single), turn.eq(turn + 1)]
                m.d.sync += last_pass.eq(turn + 2 == row.passes)
        self._terms(m, row, issue, end_of_pass, last_pass)
        self._lines(m, row, issue, end_of_pass, last_pass, left)
        with m.If(self.plan.ready):
            m.d.sync += [
                self.o.valid.eq(self.plan.valid),
                row.eq(self.plan.p),
                left.eq(self.plan.p.steps),
                end_of_pass.eq(self.plan.p.single),
                last_pass.eq(self.plan.p.passes == 1),
                turn.eq(0),
            ]
        return m

    def _terms(self, m: Module, row: Any, issue: Any, end_of_pass: Any, last_pass: Any) -> None:
        """Beats of the row lie in the ring from ``start`` on."""
        p = self.params
        depth = term_ring_depth(p)
        start, beat = Signal(range(depth)), Signal(range(depth))
        following_beat = next_index(beat, depth)
        first, following = Signal(range(p.groups)), Signal(range(p.groups + 1))
        through = Signal()
        m.d.comb += [
            following.eq(first + row.keys),
            through.eq(end_of_pass | (following == p.groups)),
            self.o.p.through.eq(through),
            self.o.p.step.beat.eq(beat),
            self.o.p.step.first.eq(first),
            self.o.p.step.free.eq(through & last_pass),
        ]
        with m.If(issue):
            m.d.sync += first.eq(following)
            with m.If(end_of_pass):
                m.d.sync += first.eq(0)
        with m.If(issue & through):
            m.d.sync += beat.eq(following_beat)
            with m.If(end_of_pass & ~last_pass):
                m.d.sync += beat.eq(start)
        with m.If(issue & end_of_pass & last_pass):
            m.d.sync += start.eq(following_beat)

    def _lines(
        self, m: Module, row: Any, issue: Any, end_of_pass: Any, last_pass: Any, left: Any
    ) -> None:
        """Lines of the KV head lie in the ring from ``base`` on, those of the step from ``line`` to
        before ``need``."""
        depth = self.params.kv_lines
        around = 2 * depth
        base, line, need = (Signal(range(around), name=n) for n in ("base", "line", "need"))
        start, lines = Signal(range(around)), Signal.like(row.last_lines)  # of the next step
        leave = Signal()  # the KV head, with this step
        m.d.comb += [
            leave.eq(end_of_pass & last_pass & row.last_of_kv),
            start.eq(Mux(end_of_pass & ~leave, base, need)),
            self.o.p.need.eq(need),
            self.o.p.step.line.eq(ring_sum(line, 0, depth)),
            self.o.p.step.release.eq(
                Mux(row.last_of_kv & last_pass, Mux(end_of_pass, row.last_lines, row.passes), 0)
            ),
        ]
        with m.If(~self.o.valid | (end_of_pass & last_pass)):
            m.d.comb += lines.eq(self.plan.p.first_lines)
        with m.Elif(Mux(end_of_pass, row.single, left == 1)):
            m.d.comb += lines.eq(row.last_lines)
        with m.Else():
            m.d.comb += lines.eq(row.passes)
        with m.If(~self.o.valid | issue):
            m.d.sync += [line.eq(start), need.eq(ring_sum(start, lines, around))]
        with m.If(issue & leave):
            m.d.sync += base.eq(need)
