"""prob·V where most terms may be zero: only what is not zero is multiplied."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from attnsieve.hdl.layouts import accumulator_layout, line_layout, term_beat_layout
from attnsieve.hdl.lib.connect import connect
from attnsieve.hdl.lib.geometry import legal_parts, lookup, prob_v_cell, prob_v_passes
from attnsieve.hdl.lib.reduce import either
from attnsieve.hdl.lib.ring import ring_read_signature, ring_sum
from attnsieve.hdl.params import CoreParams, check_params
from attnsieve.hdl.stages.prob_v_array import ValueArray
from attnsieve.hdl.stages.prob_v_drain import PassDrain
from attnsieve.hdl.stages.sparse_plan import SparsePlan
from attnsieve.hdl.stages.sparse_steps import SparseSteps
from attnsieve.hdl.stages.term_lanes import TermLanes

__all__ = ["SparseProbV"]


class SparseProbV(wiring.Component):
    """Multiplies the terms that are not zero with their rows of V, and adds over the keys of a row.

    The terms of a row are packed lane by lane as they arrive (`TermLanes`). A row begins when it
    is complete and its lines of V are there. With ``P = gcd(parts, groups)`` it is read in
    ``parts / P`` passes, each of as many steps as the largest class of lanes has terms
    (`SparseSteps`), one step per cycle without a gap between passes and rows: about
    ``terms * parts / groups`` cycles, more by what the classes differ.

    The other rules are those of `ProbV`: every row yields its ``head_dim`` elements, and V lines
    are released behind the last pass of a row with ``last_of_kv``, which sees all keys of the KV
    head.

    Latency, with one pass of one step: `latency` cycles from the last beat of terms to the first
    elements.

    Parameters
    ----------
    params : CoreParams
        The core.

    Members
    -------
    i : In(stream(term_beat_layout))
    row : In(stream({parts, keys, last_of_kv}))
    value : Out(ring_read_signature)
        Read port of the V ring, one bank per lane group.
    value_append : In(1), value_release : Out(1)
        ``append`` and ``release`` of the V ring.
    o : Out(stream(accumulator_layout))
    busy : Out(1)
        A step starts in this cycle.
    wait_value : Out(1)
        A row waits for V lines.
    wait_output : Out(1)
        A step waits for sums to leave.
    """

    i: stream.Interface
    row: stream.Interface
    value: Any
    value_append: Signal
    value_release: Signal
    o: stream.Interface
    busy: Signal
    wait_value: Signal
    wait_output: Signal

    def __init__(self, *, params: CoreParams) -> None:
        check_params(params)
        self.params = params
        self.lanes = TermLanes(params=params)
        port = ring_read_signature(
            shape=line_layout(params), depth=params.kv_lines, split=params.groups
        )
        super().__init__(
            {
                "i": In(stream.Signature(term_beat_layout(params))),
                "row": In(stream.Signature(self.lanes.row.p.shape())),
                "value": Out(port),
                "value_append": In(1),
                "value_release": Out(1),
                "o": Out(stream.Signature(accumulator_layout(params))),
                "busy": Out(1),
                "wait_value": Out(1),
                "wait_output": Out(1),
            }
        )

    @property
    def latency(self) -> int:
        """Cycles from the last beat of a one-step row to its first elements."""
        steps = TermLanes.latency + SparsePlan.latency + 2
        return steps + 5 + ValueArray.latency + PassDrain.latency_of(self.params)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        p = self.params
        m.submodules.lanes = lanes = self.lanes
        m.submodules.plan = plan = SparsePlan(params=p)
        m.submodules.steps = steps = SparseSteps(params=p)
        m.submodules.array = array = ValueArray(params=p)
        m.submodules.drain = drain = PassDrain(params=p)
        connect(m, self.i, lanes.i)
        connect(m, self.row, lanes.row)
        connect(m, lanes.o, plan.i)
        connect(m, plan.o, steps.plan)
        connect(m, drain.o, self.o)
        m.d.comb += [
            lanes.free.eq(steps.free),
            *(lanes.address[n].eq(steps.address[n]) for n in range(p.groups)),
            steps.value_append.eq(self.value_append),
            steps.room.eq(drain.room),
            drain.end.eq(steps.o.valid & steps.o.p.last),
            drain.end_mask.eq(steps.o.p.mask),
            drain.i.eq(array.o),
            drain.load.eq(array.leave),
            self.busy.eq(steps.o.valid),
            self.wait_value.eq(steps.wait_value),
            self.wait_output.eq(steps.wait_output),
        ]
        self._operands(m, steps, lanes, array)
        return m

    def _later(self, m: Module, value: Any, name: str, *, reset_less: bool = True) -> Signal:
        after = Signal.like(value, name=name, reset_less=reset_less)
        m.d.sync += after.eq(value)
        return after

    def _operands(self, m: Module, steps: Any, lanes: Any, array: Any) -> None:
        """The way of a step: its entries are read; each lane group chooses one; the line's place
        in the ring; the line is read, and in a register before the array."""
        step, valid = steps.o.p, steps.o.valid
        for stage in ("entry", "chosen", "place", "line", "operand"):
            if stage == "chosen":
                chosen = self._choose(m, step, lanes)
            elif stage == "place":
                self._place(m, step, chosen)
            elif stage == "line":
                self._release(m, step, valid)
            step = self._later(m, step, f"step_{stage}")
            valid = self._later(m, valid, f"valid_{stage}", reset_less=False)
        terms = [term for _, term in chosen]
        for stage in ("place", "line", "operand"):
            terms = [self._later(m, t, f"term{n}_{stage}") for n, t in enumerate(terms)]
        m.d.comb += [
            self.value.en.eq(1),
            array.i.valid.eq(valid),
            array.i.p.value.eq(self._later(m, self.value.data, "line_operand")),
            array.i.p.mask.eq(step.mask),
            array.i.p.last.eq(step.last),
            array.i.p.last_of_row.eq(step.last_of_row),
            *(array.i.p.term[n].eq(term) for n, term in enumerate(terms)),
        ]

    def _choose(self, m: Module, step: Any, lanes: Any) -> list[tuple[Signal, Signal]]:
        """For each lane group, a register with the line and the term that it multiplies: of the
        one lane of its class that the step takes, zero if it takes none."""
        p = self.params
        select = Cat(step.parts, step.turn)
        every = [(n, t) for n in legal_parts(p) for t in range(prob_v_passes(p, n))]
        chosen = []
        for group in range(p.groups):
            lines, terms = [], []
            cells = {n | t << p.part_bits: (n, prob_v_cell(p, n, t, group)) for n, t in every}
            for lane in range(p.groups):
                mine = {k: self._in_class(n, cell, lane) for k, (n, cell) in cells.items()}
                offset = {
                    k: (lane * n + cell.part) // p.groups for k, (n, cell) in cells.items()
                }
                name = f"{group}_{lane}"
                hot = step.take[lane] & lookup(m, select, mine, name=f"mine{name}")
                entry = lanes.entry[lane]
                line = entry.line + lookup(m, select, offset, name=f"offset{name}")
                lines.append(Mux(hot, line, 0))
                terms.append(Mux(hot, entry.term.as_value(), 0))
            line = Signal(range(p.kv_lines + p.max_parts), name=f"line{group}", reset_less=True)
            term = Signal(lanes.entry[0].term.shape(), name=f"term{group}", reset_less=True)
            m.d.sync += [line.eq(either(lines)), term.as_value().eq(either(terms))]
            chosen.append((line, term))
        return chosen

    def _in_class(self, parts: int, cell: Any, lane: int) -> int:
        """Whether a lane is of the class that a lane group works on."""
        keys = self.params.groups // self.params.parallel_parts(parts * self.params.segment)
        return int(lane % keys == cell.slot % keys)

    def _place(self, m: Module, step: Any, chosen: list) -> None:
        """A register with each lane group's line in the ring."""
        depth = self.params.kv_lines
        for group, (line, _) in enumerate(chosen):
            place = Signal(range(depth), name=f"place{group}", reset_less=True)
            m.d.sync += place.eq(ring_sum(step.base, line, depth))
            m.d.comb += self.value.address[group].eq(place)

    def _release(self, m: Module, step: Any, valid: Value) -> None:
        """Free what has been read for the last time; lines at one per cycle."""
        pending = Signal(range(2 * self.params.kv_lines))
        release = pending != 0
        more = Mux(valid, step.release, 0)
        m.d.sync += [pending.eq(pending + more - release), self.value_release.eq(release)]
