"""Products of a row's terms with the rows of V, summed over the keys."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from attnsieve.hdl.layouts import (
    accumulator_layout,
    line_layout,
    row_layout,
    term_beat_layout,
)
from attnsieve.hdl.lib.connect import connect
from attnsieve.hdl.lib.geometry import legal_parts, lookup, prob_v_cell, prob_v_passes
from attnsieve.hdl.lib.ring import Ring, ring_read_signature, ring_sum
from attnsieve.hdl.params import CoreParams, check_params
from attnsieve.hdl.stages.prob_v_array import ValueArray
from attnsieve.hdl.stages.prob_v_drain import PassDrain
from attnsieve.hdl.stages.prob_v_steps import StepSequencer
from attnsieve.hdl.stages.prob_v_walk import term_ring_depth

__all__ = ["ProbV"]


class ProbV(wiring.Component):
    """Multiplies terms with V and adds over the keys of a row.

    The terms of a row wait in a ring that holds two of the longest rows, and are read in
    ``parts / P`` passes of ``max(1, ceil(keys * P / groups))`` steps, ``P = gcd(parts, groups)``,
    one step per cycle without a gap between passes and rows. The first pass may run while the terms
    arrive, and while V lines do. The last step of a pass waits while those of the pass before have
    not left, or would not have when its sums are ready; they leave in
    ``segment * P / output_lanes`` cycles.

    Every row yields its ``head_dim`` elements, zeros if it has no key or none is valid. A row
    brings ``max(1, ceil(keys / groups))`` beats of terms.

    V lines are released behind the last pass of a row with ``last_of_kv``, and all lines of its
    keys by its end: such a row sees all keys of the KV head.

    Latency, with one pass: `latency` cycles from the last beat of terms to the first elements.

    Parameters
    ----------
    params : CoreParams
        The core.

    Members
    -------
    i : In(stream(term_beat_layout))
    row : In(stream(row_layout))
    value : Out(ring_read_signature)
        Read port of the V ring, one bank per lane group.
    value_append : In(1), value_release : Out(1)
        ``append`` and ``release`` of the V ring.
    o : Out(stream(accumulator_layout))
    busy : Out(1)
        A step starts in this cycle.
    wait_value : Out(1)
        None does, for want of V lines only.
    wait_output : Out(1)
        None does, because sums wait to leave.
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
        self._pipelined = params.groups > 1
        port = ring_read_signature(
            shape=line_layout(params), depth=params.kv_lines, split=params.groups
        )
        super().__init__(
            {
                "i": In(stream.Signature(term_beat_layout(params))),
                "row": In(stream.Signature(row_layout(params))),
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
        """Cycles from the last beat of a one-pass row to its first elements."""
        drain = PassDrain.latency_of(self.params)
        return 4 + 2 * self._pipelined + ValueArray.latency + drain

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        p = self.params
        m.submodules.steps = steps = StepSequencer(params=p)
        m.submodules.terms = terms = Ring(shape=term_beat_layout(p), depth=term_ring_depth(p))
        m.submodules.array = array = ValueArray(params=p)
        m.submodules.drain = drain = PassDrain(params=p)
        connect(m, self.i, terms.i)
        connect(m, self.row, steps.row)
        connect(m, drain.o, self.o)
        m.d.comb += [
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
        m.d.sync += steps.term_append.eq(terms.append)  # who looks at it is far away
        read, valid = self._addresses(m, steps, terms)
        self._release(m, read, valid, terms)
        self._operands(m, read, valid, terms, array)
        return m

    def _later(self, m: Module, value: Any, name: str, *, reset_less: bool = True) -> Signal:
        after = Signal.like(value, name=name, reset_less=reset_less)
        m.d.sync += after.eq(value)
        return after

    def _addresses(self, m: Module, steps: Any, terms: Any) -> tuple[Any, Any]:
        """Two cycles (the first only with several lane groups): where each lane group reads."""
        p = self.params
        step, valid = steps.o.p, steps.o.valid
        every = [(n, t) for n in legal_parts(p) for t in range(prob_v_passes(p, n))]
        lines: list[Value] = []
        slots: list[Value] = []
        for group in range(p.groups):
            cells = {n | t << p.part_bits: prob_v_cell(p, n, t, group) for n, t in every}
            select = Cat(step.parts, step.turn)
            for field, values in (("line", lines), ("slot", slots)):
                table = {key: getattr(cell, field) for key, cell in cells.items()}
                value = lookup(m, select, table, name=f"{field}_{group}")
                if self._pipelined:
                    value = self._later(m, value, f"{field}_{group}_late")
                values.append(value)
        if self._pipelined:
            step = self._later(m, step, "step")
            valid = self._later(m, valid, "step_valid", reset_less=False)
        for group in range(p.groups):
            address = Signal(range(p.kv_lines), name=f"address_{group}")
            m.d.comb += address.eq(ring_sum(step.line, lines[group], p.kv_lines))
            address = self._later(m, address, f"address_{group}_late")
            m.d.comb += self.value.address[group].eq(address)
        self._slots = [
            self._later(m, (step.first + slot)[: len(step.first)], f"slot_{n}_read")
            for n, slot in enumerate(slots)
        ]
        read = self._later(m, step, "read")
        valid = self._later(m, valid, "read_valid", reset_less=False)
        m.d.comb += [
            self.value.en.eq(1),
            terms.read[0].address[0].eq(read.beat),
            terms.read[0].en.eq(1),
        ]
        return read, valid

    def _release(self, m: Module, read: Any, valid: Value, terms: Any) -> None:
        """Free what is being read for the last time; lines at one per cycle."""
        p = self.params
        pending = Signal(range(p.kv_lines + 1))
        more = Mux(valid, read.release, 0)
        m.d.comb += [
            terms.release.eq(valid & read.free),
        ]
        release = pending != 0
        m.d.sync += [pending.eq(pending + more - release), self.value_release.eq(release)]

    def _operands(self, m: Module, read: Any, valid: Value, terms: Any, array: Any) -> None:
        """Memories answer; with several lane groups, each then chooses its term."""
        p = self.params
        valid = self._later(m, valid, "answer_valid", reset_less=False)
        flags = [self._later(m, f, f"{n}_answer") for n, f in self._flags(read)]
        chosen = []
        beat = terms.read[0].data
        for group in range(p.groups):
            slot = self._later(m, self._slots[group], f"slot_{group}_answer")
            chosen.append(beat.term[slot] if self._pipelined else beat.term[0])
        line = self.value.data
        if self._pipelined:
            valid = self._later(m, valid, "operand_valid", reset_less=False)
            flags = [self._later(m, f, f"{n}_operand") for f, n in zip(flags, "abc", strict=True)]
            chosen = [self._later(m, c, f"term_{n}") for n, c in enumerate(chosen)]
            line = self._later(m, line, "line_operand")
        mask, last, last_of_row = flags
        m.d.comb += [
            array.i.valid.eq(valid),
            array.i.p.value.eq(line),
            array.i.p.mask.eq(mask),
            array.i.p.last.eq(last),
            array.i.p.last_of_row.eq(last_of_row),
        ]
        m.d.comb += [array.i.p.term[n].eq(c) for n, c in enumerate(chosen)]

    def _flags(self, read: Any) -> list[tuple[str, Any]]:
        return [("mask", read.mask), ("last", read.last), ("last_of_row", read.last_of_row)]
