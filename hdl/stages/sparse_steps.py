"""The steps of the sparse prob·V."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from attnsieve.hdl.lib.pointer import next_index
from attnsieve.hdl.lib.ring import ring_sum
from attnsieve.hdl.params import CoreParams, check_params
from attnsieve.hdl.stages.sparse_plan import sparse_plan_layout
from attnsieve.hdl.stages.term_lanes import lane_depth

__all__ = ["SparseSteps", "sparse_step_layout"]


def sparse_step_layout(p: CoreParams) -> data.StructLayout:
    """A step of prob·V: one term of each class of lanes that has any left."""
    return data.StructLayout(
        {
            "take": p.groups,  # lanes whose terms are multiplied, one of each class at most
            "base": range(p.kv_lines),  # in the V ring, of the KV head
            "parts": p.part_bits,
            "turn": range(p.max_parts),  # pass over the terms
            "mask": range(p.groups),  # P - 1
            "last": 1,  # of the pass
            "last_of_row": 1,  # of the row's last pass
            "release": range(p.kv_lines + 1),  # lines that are not read again
        }
    )


class SparseSteps(wiring.Component):
    """Turns the plans of rows into steps: each takes a term from every class of lanes.

    With ``P = gcd(parts, groups)`` a step multiplies ``groups / P`` keys, and keys of lanes that
    are equal modulo ``groups / P`` lie in the same banks of V: they are a class, and a step takes
    a term of each class, from its lowest lane that has any left. So a pass has as many steps as
    the largest class has terms, one at least, and a row ``parts / P`` passes.

    A row begins when all lines of its keys have arrived; the last step of a pass waits for room
    for its sums. One step per cycle, no gap between passes, nor between rows of two or more steps.

    Parameters
    ----------
    params : CoreParams
        The core.

    Members
    -------
    plan : In(stream(sparse_plan_layout))
        Rows whose terms are there.
    value_append : In(1)
        A line is being written to the V ring.
    room : In(1)
        A pass may end.
    o : Out(stream(sparse_step_layout, always_ready))
    address : Out(range(depth)).array(groups)
        Entry that the step takes of each lane.
    free : Out(range(max_beats + 1))
        Beats of the row, with its last step.
    wait_value, wait_output : Out(1)
        A row waits for V lines; a step waits for room.
    """

    plan: stream.Interface
    value_append: Signal
    room: Signal
    o: stream.Interface
    address: Any
    free: Signal
    wait_value: Signal
    wait_output: Signal

    def __init__(self, *, params: CoreParams) -> None:
        check_params(params)
        self.params = p = params
        step = stream.Signature(sparse_step_layout(p), always_ready=True)
        super().__init__(
            {
                "plan": In(stream.Signature(sparse_plan_layout(p))),
                "value_append": In(1),
                "room": In(1),
                "o": Out(step),
                "address": Out(range(lane_depth(p))).array(p.groups),
                "free": Out(range(p.max_beats + 1)),
                "wait_value": Out(1),
                "wait_output": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        p, step = self.params, self.o.p
        row, active = Signal(sparse_plan_layout(p)), Signal()
        turn, last_pass = Signal(range(p.max_parts)), Signal()
        end_of_pass, end_of_row, load, there = Signal(), Signal(), Signal(), Signal()
        m.d.comb += [
            end_of_row.eq(self.o.valid & end_of_pass & last_pass),
            self.o.valid.eq(active & (~end_of_pass | self.room)),
            load.eq((~active | end_of_row) & there),
            self.plan.ready.eq(load),
            step.parts.eq(row.parts),
            step.turn.eq(turn),
            step.mask.eq(row.mask),
            step.last.eq(end_of_pass),
            step.last_of_row.eq(end_of_pass & last_pass),
            step.release.eq(Mux(end_of_row & row.last_of_kv, row.lines, 0)),
            self.free.eq(Mux(end_of_row, row.beats, 0)),
            self.wait_value.eq(~active & self.plan.valid & ~there),
            self.wait_output.eq(active & end_of_pass & ~self.room),
        ]
        with m.If(self.o.valid & end_of_pass):
            m.d.sync += [turn.eq(turn + 1), last_pass.eq(turn + 2 == row.passes)]
        with m.If(load):
            m.d.sync += [row.eq(self.plan.p), turn.eq(0), last_pass.eq(self.plan.p.passes == 1)]
        with m.If(load | end_of_row):
            m.d.sync += active.eq(load)
        self._lines(m, step.release, there, load)
        self._lanes(m, row, end_of_pass, end_of_row, load)
        return m

    def _lines(self, m: Module, release: Value, there: Signal, load: Signal) -> None:
        """V lines: where the KV head at hand begins, and how many are there for the next row."""
        depth, plan = self.params.kv_lines, self.plan.p
        base, level = Signal(range(depth)), Signal(range(depth + 1))
        m.d.comb += self.o.p.base.eq(base)
        m.d.sync += [
            base.eq(ring_sum(base, release, depth)),
            level.eq(level + self.value_append - Mux(load & plan.last_of_kv, plan.lines, 0)),
            there.eq(self.plan.valid & ~load & (level >= plan.lines)),
        ]

    def _lanes(
        self, m: Module, row: Any, end_of_pass: Signal, end_of_row: Signal, load: Signal
    ) -> None:
        """Terms that each lane has left in this pass."""
        p, depth, take = self.params, lane_depth(self.params), self.o.p.take
        some, single = Signal(p.groups), Signal(p.groups)  # one or more left; just one
        again = self.o.valid & end_of_pass & ~end_of_row
        m.d.comb += [take.eq(self._first(m, some, row.mask)), end_of_pass.eq(some == take & single)]
        for n in range(p.groups):
            left = Signal(p.max_beats.bit_length(), name=f"left{n}")
            start, place = Signal(range(depth), name=f"start{n}"), self.address[n]
            takes, after, next_left = Signal(), Signal.like(place), Signal.like(left)
            m.d.comb += [
                takes.eq(self.o.valid & take[n]),
                after.eq(Mux(takes, next_index(place, depth), place)),
                next_left.eq(left - takes),
            ]
            with m.If(load):
                m.d.comb += next_left.eq(self.plan.p.count[n])
                m.d.sync += start.eq(after)
            with m.Elif(again):
                m.d.comb += next_left.eq(row.count[n])
            m.d.sync += [
                place.eq(Mux(again, start, after)),
                left.eq(next_left),
                some[n].eq(next_left != 0),
                single[n].eq(next_left == 1),
            ]

    def _first(self, m: Module, some: Signal, mask: Value) -> Value:
        """Of each class, the lowest lane that has a term left."""
        groups = self.params.groups
        first = Signal(groups)
        for log in range(groups.bit_length()):
            side_by_side, apart = 1 << log, groups >> log
            with m.If(mask == side_by_side - 1):
                for lane in range(groups):
                    below = Cat(some[lower] for lower in range(lane % apart, lane, apart))
                    m.d.comb += first[lane].eq(some[lane] & ~below.any())
        return first
