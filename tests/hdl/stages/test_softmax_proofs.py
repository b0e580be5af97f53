# amaranth: UnusedElaboratable=no
"""Proofs about the blocks from exponential to normaliser."""

from __future__ import annotations

import dataclasses
from math import gcd

import pytest
from amaranth.hdl import Array, Assert, Assume, Cover, Module, Mux, Signal
from amaranth.lib import wiring

from attnsieve.hdl.params import CoreParams
from attnsieve.hdl.stages.exponential import Exponential
from attnsieve.hdl.stages.normaliser import Normaliser
from attnsieve.hdl.stages.prob_v_drain import PassDrain
from attnsieve.hdl.stages.prob_v_gate import StepGate
from attnsieve.hdl.stages.prob_v_steps import StepSequencer
from attnsieve.hdl.stages.prob_v_walk import term_ring_depth
from attnsieve.hdl.stages.probability import Probability
from attnsieve.hdl.stages.reciprocal import SerialReciprocal
from attnsieve.hdl.stages.row_sum import RowSum
from attnsieve.sim.formal import HoldRule, ProofError, free_inputs, prove

SMALL = CoreParams(
    lanes=32,
    max_head_dim=48,
    max_keys=4,
    max_queries=4,
    max_heads=1,
    operand_bits=8,
    buffer_elements=192,
    output_lanes=8,
)
SERIAL = CoreParams(
    lanes=4,
    max_head_dim=16,
    max_keys=2,
    max_queries=2,
    max_heads=1,
    operand_bits=8,
    buffer_elements=32,
    output_lanes=1,
    lut_ram=False,
)


class Holds(wiring.Component):
    """Outputs keep the hold rule whatever the inputs do."""

    def __init__(self, dut, *outputs):
        self.dut, self.outputs = dut, outputs
        super().__init__({})

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = self.dut
        free_inputs(m, self.dut)
        for name in self.outputs:
            m.submodules += HoldRule(getattr(self.dut, name))
        return m


@pytest.mark.parametrize(
    "block, params",
    [
        (RowSum, SERIAL),
        (SerialReciprocal, SERIAL),
        *((block, params) for block in (Normaliser, Probability) for params in (SMALL, SERIAL)),
    ],
)
def test_hold_rule(block, params):
    prove(Holds(block(params=params), "o"), depth=2, mode="induction")


@pytest.mark.parametrize("params", [SMALL, SERIAL], ids=["small", "serial"])
def test_hold_rule_of_both_outputs_of_the_exponential(params):
    prove(Holds(Exponential(params=params), "o", "statistics"), depth=3)


class ExactSum(wiring.Component):
    """Rows of up to ``max_keys`` terms: the sum is that of a wider accumulator.

    Mantissas are zero or the largest: sums are monotonic, so no others could overflow sooner.
    """

    def __init__(self, params):
        self.params = params
        super().__init__({})

    def elaborate(self, platform):
        m = Module()
        p = self.params
        m.submodules.dut = dut = RowSum(params=p)
        free_inputs(m, dut)
        wide = Signal(p.sum_bits + 4)
        keys = Signal(8)
        total, count = Signal.like(wide), Signal.like(keys)
        m.d.comb += [total.eq(wide), count.eq(keys)]
        for n in range(p.groups):
            term = dut.i.p.term[n]
            m.d.comb += Assume((term.mantissa == 0) | (term.mantissa == 1 << 16))
            m.d.comb += Assume(term.exponent_class <= p.max_class)
            shift = p.class_step * (p.max_class - term.exponent_class)
            before, counted = total, count
            total, count = Signal.like(wide), Signal.like(keys)
            m.d.comb += [
                total.eq(before + (term.mantissa << shift[:6])),
                count.eq(counted + (term.mantissa != 0)),
            ]
        m.d.comb += Assume(count <= p.max_keys)
        with m.If(dut.i.valid & dut.i.ready):
            m.d.sync += [wide.eq(Mux(dut.i.p.last, 0, total)), keys.eq(Mux(dut.i.p.last, 0, count))]
        m.d.comb += Assert(total >> p.sum_bits == 0)
        # One row in flight at a time, and its sum.
        flying, want = Signal(), Signal.like(wide)
        m.d.comb += Assume(~(flying & dut.i.valid & dut.i.p.last))
        with m.If(dut.i.valid & dut.i.ready & dut.i.p.last):
            m.d.sync += [flying.eq(1), want.eq(total)]
        with m.If(dut.o.valid & dut.o.ready):
            m.d.sync += flying.eq(0)
            m.d.comb += Assert(flying & (dut.o.payload == want))
        return m


def test_row_sums_never_overflow():
    prove(ExactSum(SERIAL), depth=7)
    prove(ExactSum(SMALL), depth=7)


class Steps(wiring.Component):
    """Steps against counts of a different kind: what was appended, what rows ask for."""

    def __init__(self, params, parts, *, reach=False):
        self.params, self.parts, self.reach = params, parts, reach
        super().__init__({})

    def elaborate(self, platform):
        m = Module()
        p = self.params
        m.submodules.dut = dut = StepSequencer(params=p)
        free_inputs(m, dut)
        rows = Array(Signal.like(dut.row.p, name=f"row{n}") for n in range(4))  # taken, not ended
        taken, ended, running, issue = Signal(3), Signal(3), Signal(), Signal()
        row = rows[ended[:2]]
        m.d.comb += [
            running.eq(taken != ended),
            Assert((taken - ended)[:3] <= 4),
            issue.eq(dut.o.valid),
            Assert(~(dut.o.valid & dut.o.p.last) | dut.room),
            Assume(dut.row.p.keys <= p.max_keys),
            Assume(~dut.row.p.last_of_kv | (dut.row.p.keys != 0)),
        ]
        m.d.comb += Assume(dut.row.p.parts == self.parts)
        with m.If(dut.row.valid & dut.row.ready):
            m.d.sync += [rows[taken[:2]].eq(dut.row.p), taken.eq(taken + 1)]
        with m.If(issue & dut.o.p.last_of_row):
            m.d.sync += ended.eq(ended + 1)
        m.d.comb += Assert(~dut.o.valid | running)
        self._schedule(m, dut, row, issue)
        self._beats(m, dut, row, issue)
        self._lines(m, dut, row, issue)
        return m

    def _schedule(self, m, dut, row, issue):
        """A pass has ``max(1, ceil(keys * P / groups))`` steps, a row ``parts / P`` passes."""
        p = self.params
        self.step, self.turn = Signal(8), Signal(8)
        self.side = gcd(self.parts, p.groups)
        turns, per_step = self.parts // self.side, p.groups // self.side
        steps = Signal(8)
        m.d.comb += steps.eq((row.keys + (per_step - 1)) // per_step)
        with m.If(row.keys == 0):
            m.d.comb += steps.eq(1)
        with m.If(issue):
            m.d.comb += [
                Assert(dut.o.p.turn == self.turn),
                Assert(dut.o.p.last == (self.step + 1 == steps)),
                Assert(dut.o.p.last_of_row == (dut.o.p.last & (self.turn + 1 == turns))),
            ]
            m.d.sync += self.step.eq(self.step + 1)
            with m.If(dut.o.p.last):
                m.d.sync += [self.step.eq(0), self.turn.eq(self.turn + 1)]
            with m.If(dut.o.p.last_of_row):
                m.d.sync += self.turn.eq(0)
        if self.reach:
            m.d.comb += Cover(issue & dut.o.p.last_of_row & (self.turn == 2) & (row.keys == 3))

    def _beats(self, m, dut, row, issue):
        """A step reads a beat that is there, and a row frees its beats exactly."""
        p = self.params
        depth = term_ring_depth(p)
        written, freed, before = Signal(8), Signal(8), Signal(8)
        beat = Signal(8)
        m.d.comb += [
            Assume(~dut.term_append | (written - freed < depth)),
            beat.eq(before + (self.step * (p.groups // self.side)) // p.groups),
        ]
        m.d.sync += written.eq(written + dut.term_append)
        with m.If(issue):
            m.d.comb += Assert(beat < written)
            m.d.comb += Assert(dut.o.p.beat == beat % depth)
            m.d.sync += freed.eq(freed + dut.o.p.free)
            with m.If(dut.o.p.last_of_row):
                total = before + Mux(row.keys == 0, 1, (row.keys + p.groups - 1) // p.groups)
                m.d.comb += Assert((freed + dut.o.p.free)[:8] == total)
                m.d.sync += before.eq(total)

    def _lines(self, m, dut, row, issue):
        """A step's lines are there; the last row of a KV head releases them all, no other any."""
        p = self.params
        written, released, before = Signal(8), Signal(8), Signal(8)
        end, seen = Signal(8), Signal(8)
        keys = (self.step + 1) * (p.groups // self.side)
        m.d.comb += [
            Assume(~dut.value_append | (written - released < p.kv_lines)),
            seen.eq(Mux(keys < row.keys, keys, row.keys)),
            end.eq(before + (seen * self.parts + p.groups - 1) // p.groups),
        ]
        m.d.sync += written.eq(written + dut.value_append)
        with m.If(issue):
            m.d.comb += Assert(end <= written)
            m.d.sync += released.eq(released + dut.o.p.release)
            with m.If(dut.o.p.last_of_row):
                total = (released + dut.o.p.release)[:8]
                m.d.comb += Assert(total == Mux(row.last_of_kv, end, before))
                with m.If(row.last_of_kv):
                    m.d.sync += before.eq(end)


@pytest.mark.parametrize(("parts", "depth"), [(1, 9), (2, 9), (3, 10)])
def test_steps_read_what_is_there_and_free_it_once(parts, depth):
    prove(Steps(SMALL, parts), depth=depth)


def test_the_proof_of_the_steps_reaches_a_row_of_three_passes():
    prove(Steps(SMALL, 3, reach=True), depth=15, mode="cover")


def test_the_proof_of_the_steps_can_fail(monkeypatch):
    class Broken(StepGate):
        def _there(self, need, arrived):
            return super()._there((need - 1)[: len(need)], arrived)

    monkeypatch.setitem(StepSequencer.elaborate.__globals__, "StepGate", Broken)
    with pytest.raises(ProofError):
        prove(Steps(SMALL, 3), depth=10)


class Drained(wiring.Component):
    """Passes end where there is room, and their sums come later: all elements leave, in order and
    once each, the lane groups of a part added."""

    later = 2

    def __init__(self, params, *, heed_room=True):
        self.params, self.heed_room = params, heed_room
        super().__init__({})

    def elaborate(self, platform):
        m = Module()
        p = self.params
        m.submodules.dut = dut = PassDrain(params=p)
        free_inputs(m, dut, but=("load", "i.mask"))
        m.submodules += HoldRule(dut.o)
        m.d.comb += Assume((dut.end_mask & (dut.end_mask + 1)) == 0)
        if self.heed_room:
            m.d.comb += Assume(~dut.end | dut.room)
        coming = [(dut.end, dut.end_mask)]
        for n in range(self.later):
            end, mask = Signal(name=f"end{n}"), Signal.like(dut.end_mask, name=f"mask{n}")
            m.d.sync += [end.eq(coming[-1][0]), mask.eq(coming[-1][1])]
            coming.append((end, mask))
        m.d.comb += [dut.load.eq(end.replicate(p.groups)), dut.i.mask.eq(mask)]
        passes = Array(Signal.like(dut.i, name=f"pass{n}") for n in range(4))  # taken, not left
        taken, left, count = Signal(3), Signal(3), Signal(8)
        given = passes[left[:2]]
        m.d.comb += Assert((taken - left)[:3] <= 4)
        with m.If(end):
            m.d.sync += [passes[taken[:2]].eq(dut.i), taken.eq(taken + 1)]
        chunks = p.segment // p.output_lanes
        with m.If(dut.o.valid & dut.o.ready):
            last = count == chunks * (given.mask + 1) - 1
            m.d.comb += [Assert(taken != left), Assert(dut.o.p.last == (last & given.last))]
            m.d.sync += count.eq(count + 1)
            with m.If(last):
                m.d.sync += [left.eq(left + 1), count.eq(0)]
            with m.Switch(count):
                for n in range(chunks * p.groups):
                    with m.Case(n):
                        part, chunk = divmod(n, chunks)
                        lane = chunk * p.output_lanes
                        sums = [
                            Mux((group & given.mask) == part, given.lane[first + lane], 0)
                            for group, first in enumerate(range(0, p.lanes, p.segment))
                        ]
                        total = sum(sums)[: p.acc_bits].as_signed()
                        m.d.comb += Assert(dut.o.p.element[0] == total)
        return m


def test_passes_leave_in_order():
    prove(Drained(dataclasses.replace(SMALL, output_lanes=16)), depth=9)


def test_the_proof_of_the_drain_can_fail():
    params = dataclasses.replace(SMALL, output_lanes=16)
    with pytest.raises(ProofError):
        prove(Drained(params, heed_room=False), depth=9)
