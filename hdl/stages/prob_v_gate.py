"""Steps of prob·V wait here for their terms and lines."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Member, Out

from attnsieve.hdl.lib.credit import Credit
from attnsieve.hdl.lib.ring import ring_sum
from attnsieve.hdl.params import CoreParams
from attnsieve.hdl.stages.prob_v_walk import step_layout, term_ring_depth, walk_layout

__all__ = ["StepGate", "gate_members"]


def gate_members(params: CoreParams) -> dict[str, Member]:
    """What the gate watches, offers and tells of; see `StepGate`."""
    return {
        "term_append": In(1),
        "value_append": In(1),
        "room": In(1),
        "o": Out(stream.Signature(step_layout(params), always_ready=True)),
        "wait_value": Out(1),
        "wait_output": Out(1),
    }


class StepGate(wiring.Component):
    """Holds each step until its beat of terms and its lines of V are there, and the last step of a
    pass until there is room for the sums. Behind the gate nothing waits.

    A register: latency `latency` cycle, one step per cycle. That lines are there is found in the
    cycle before a step is offered, so an appended line counts 2 cycles later, an appended beat of
    terms 1.

    Parameters
    ----------
    params : CoreParams
        The core.

    Members
    -------
    i : In(stream(walk_layout))
    term_append : In(1)
        A beat of terms is being written to the term ring.
    value_append : In(1)
        A line is being written to the V ring.
    room : In(1)
        A pass may end.
    o : Out(stream(step_layout, always_ready))
    wait_value, wait_output : Out(1)
        The step at hand waits for V lines; it waits for nothing but room.
    """

    i: stream.Interface
    term_append: Signal
    value_append: Signal
    room: Signal
    o: stream.Interface
    wait_value: Signal
    wait_output: Signal

    #: Cycles from a step to its being offered.
    latency = 1

    def __init__(self, *, params: CoreParams) -> None:
        self.params = params
        walk = stream.Signature(walk_layout(params))
        super().__init__({"i": In(walk), **gate_members(params)})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        walk, valid = Signal(walk_layout(self.params)), Signal()
        m.submodules.beats = beats = Credit(count=term_ring_depth(self.params), first=0)
        have_terms, have_lines, have_room = Signal(), Signal(), Signal()
        m.d.comb += [
            have_terms.eq(~walk.fresh | beats.some),
            have_room.eq(~walk.step.last | self.room),
            self.o.valid.eq(valid & have_terms & have_lines & have_room),
            self.wait_value.eq(valid & have_terms & ~have_lines),
            self.wait_output.eq(valid & have_terms & have_lines & ~have_room),
            self.o.p.eq(walk.step),
            self.i.ready.eq(~valid | self.o.valid),
            beats.give.eq(self.term_append),
            beats.take.eq(self.o.valid & walk.fresh & walk.through),
        ]
        arrived = self._arrived(m)
        with m.If(self.i.ready):
            m.d.sync += [valid.eq(self.i.valid), walk.eq(self.i.p)]
            m.d.sync += have_lines.eq(self._there(self.i.p.need, arrived))
        with m.Else():
            m.d.sync += have_lines.eq(have_lines | self._there(walk.need, arrived))
        return m

    def _arrived(self, m: Module) -> Signal:
        """The line behind the last that has arrived, around twice the ring; subtracted from 0, so
        that what is missing is a sum."""
        around = 2 * self.params.kv_lines
        arrived = Signal(range(around))
        with m.If(self.value_append):
            m.d.sync += arrived.eq(ring_sum(arrived, around - 1, around))
        return arrived

    def _there(self, need: Value, arrived: Value) -> Value:
        """Whether all lines before ``need`` have arrived: a step misses no more than its own."""
        depth = self.params.kv_lines
        missing = ring_sum(need, arrived, 2 * depth)
        few = missing[: self.params.part_bits]
        return (few == 0) | (missing >= depth)
