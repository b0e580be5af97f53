"""The order in which prob·V walks terms and V lines."""

from __future__ import annotations

from math import gcd
from types import SimpleNamespace
from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from attnsieve.hdl.layouts import row_layout
from attnsieve.hdl.lib.geometry import legal_parts, lookup, prob_v_keys, prob_v_passes
from attnsieve.hdl.lib.pointer import next_index
from attnsieve.hdl.lib.ring import ring_sum
from attnsieve.hdl.params import CoreParams

__all__ = ["StepSequencer", "step_layout", "term_ring_depth"]


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


class StepSequencer(wiring.Component):
    """Turns rows into steps.

    With ``P = gcd(parts, groups)`` a row takes ``parts / P`` passes of
    ``max(1, ceil(keys * P / groups))`` steps. A step waits until its beat of terms and its lines
    of V are there, so the first pass follows the arriving terms, and the first row of a KV head
    the arriving lines. The steps of a row without a key need no lines; their terms are zero.

    One step per cycle, no gap between passes and rows.

    Parameters
    ----------
    params : CoreParams
        The core.

    Members
    -------
    row : In(stream(row_layout))
        Taken with the last step of the row before.
    term_append : In(1), term_end : In(range(term_ring_depth))
        A beat of terms is being written to the term ring; where.
    value_append : In(1)
        A line is being written to the V ring.
    o : Out(stream(step_layout))
    wait_value : Out(1)
        The step at hand waits for nothing but V lines.
    """

    row: stream.Interface
    term_append: Signal
    term_end: Signal
    value_append: Signal
    o: stream.Interface
    wait_value: Signal

    def __init__(self, *, params: CoreParams) -> None:
        if not isinstance(params, CoreParams):
            raise TypeError(f"Params must be a CoreParams, not {params!r}")
        self.params = params
        super().__init__(
            {
                "row": In(stream.Signature(row_layout(params))),
                "term_append": In(1),
                "term_end": In(range(term_ring_depth(params))),
                "value_append": In(1),
                "o": Out(stream.Signature(step_layout(params))),
                "wait_value": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        s = self._state()
        m.d.comb += [
            s.issue.eq(self.o.valid & self.o.ready),
            s.end_of_pass.eq(s.left == 0),
            s.last_pass.eq(s.turn == s.passes - 1),
            s.end_of_row.eq(s.end_of_pass & s.last_pass),
            self.row.ready.eq(~s.active | (s.issue & s.end_of_row)),
            self.o.valid.eq(s.active & s.have_terms & s.have_lines),
            self.wait_value.eq(s.active & s.have_terms & ~s.have_lines),
            self.o.p.parts.eq(s.parts),
            self.o.p.turn.eq(s.turn),
            self.o.p.last.eq(s.end_of_pass),
            self.o.p.last_of_row.eq(s.end_of_row),
        ]
        self._tables(m, s)
        self._walk(m, s)
        self._terms(m, s)
        self._lines(m, s)
        self._load(m, s)
        return m

    def _state(self) -> SimpleNamespace:
        """Signals that several of the methods below share."""
        p = self.params
        bits: dict[str, Any] = {
            # Of the row.
            "active": 1,
            "parts": p.part_bits,
            "steps": range(p.max_keys),  # of a pass, less one
            "last_lines": range(p.max_parts + 1),  # lines of the last step of a pass
            "last_of_kv": 1,
            "passes": range(p.max_parts + 1),  # also lines of a step that is not the last
            "keys": range(p.groups + 1),  # of a step
            # Where the row is.
            "turn": range(p.max_parts),
            "left": range(p.max_keys),  # steps behind this one in the pass
            # Of the step.
            "issue": 1,
            "end_of_pass": 1,
            "last_pass": 1,
            "end_of_row": 1,
            "have_terms": 1,
            "have_lines": 1,
            "lines": range(p.max_parts + 1),  # of the next step
            "row_lines": range(p.max_parts + 1),  # of the next row's first step, if there is one
        }
        return SimpleNamespace(**{name: Signal(shape, name=name) for name, shape in bits.items()})

    def _tables(self, m: Module, s: SimpleNamespace) -> None:
        p = self.params
        every = legal_parts(p)
        passes = {n: prob_v_passes(p, n) for n in every}
        keys = {n: prob_v_keys(p, n) for n in every}
        mask = {n: gcd(n, p.groups) - 1 for n in every}
        m.d.comb += [
            s.passes.eq(lookup(m, s.parts, passes, name="passes_of_parts")),
            s.keys.eq(lookup(m, s.parts, keys, name="keys_of_parts")),
            self.o.p.mask.eq(lookup(m, s.parts, mask, name="mask_of_parts")),
        ]

    def _walk(self, m: Module, s: SimpleNamespace) -> None:
        with m.If(s.issue):
            m.d.sync += s.left.eq(s.left - 1)
            with m.If(s.end_of_pass):
                m.d.sync += [s.left.eq(s.steps), s.turn.eq(s.turn + 1)]

    def _terms(self, m: Module, s: SimpleNamespace) -> None:
        """Beats of the row lie in the ring from ``start`` on."""
        p = self.params
        depth = term_ring_depth(p)
        start, beat = Signal(range(depth)), Signal(range(depth))
        following_beat = next_index(beat, depth)
        some = Signal()  # there is a beat that no pass has been through
        first = Signal(range(p.groups))
        following = Signal(range(p.groups + 1))
        through, leave = Signal(), Signal()
        m.d.comb += [
            following.eq(first + s.keys),
            through.eq(s.end_of_pass | (following == p.groups)),
            leave.eq(s.issue & through),
            s.have_terms.eq((s.turn != 0) | some),
            self.o.p.beat.eq(beat),
            self.o.p.first.eq(first),
            self.o.p.free.eq(through & s.last_pass),
        ]
        with m.If(s.issue):
            m.d.sync += first.eq(following)
            with m.If(s.end_of_pass):
                m.d.sync += first.eq(0)
        with m.If(leave):
            m.d.sync += beat.eq(following_beat)
            with m.If(s.end_of_pass & ~s.last_pass):
                m.d.sync += beat.eq(start)
        with m.If(leave & s.end_of_row):
            m.d.sync += start.eq(following_beat)
        with m.If(self.term_append):
            m.d.sync += some.eq(1)
        with m.Elif(leave & (s.turn == 0)):
            m.d.sync += some.eq(following_beat != self.term_end)

    def _lines(self, m: Module, s: SimpleNamespace) -> None:
        """Lines of the KV head lie in the ring from ``base`` on, those of the step from ``line`` to
        before ``need``. Positions go around twice the ring, since it may be full or empty."""
        depth = self.params.kv_lines
        around = 2 * depth
        base, line, need = (Signal(range(around), name=n) for n in ("base", "line", "need"))
        arrived = Signal(range(around))  # subtracted from 0: what is missing is then a sum
        missing, start = Signal(range(around)), Signal(range(around))
        few = missing[: self.params.part_bits]  # what a step may miss
        leave = Signal()  # the KV head, with this step; no decision waits for its being issued
        m.d.comb += [
            leave.eq(s.end_of_row & s.last_of_kv),
            missing.eq(ring_sum(need, arrived, around)),
            s.have_lines.eq((few == 0) | (missing >= depth)),
            start.eq(Mux(s.end_of_pass & ~leave, base, need)),
            self.o.p.line.eq(ring_sum(line, 0, depth)),
            self.o.p.release.eq(
                Mux(s.last_of_kv & s.last_pass, Mux(s.end_of_pass, s.last_lines, s.passes), 0)
            ),
        ]
        with m.If(~s.active | s.end_of_row):
            m.d.comb += s.lines.eq(s.row_lines)
        with m.Elif(Mux(s.end_of_pass, s.steps == 0, s.left == 1)):
            m.d.comb += s.lines.eq(s.last_lines)
        with m.Else():
            m.d.comb += s.lines.eq(s.passes)
        with m.If(~s.active | s.issue):
            m.d.sync += [line.eq(start), need.eq(ring_sum(start, s.lines, around))]
        with m.If(s.issue & leave):
            m.d.sync += base.eq(need)
        with m.If(self.value_append):
            m.d.sync += arrived.eq(ring_sum(arrived, around - 1, around))

    def _load(self, m: Module, s: SimpleNamespace) -> None:
        """Take the next row, in time for a step in the next cycle."""
        p = self.params
        row = self.row.p
        every = legal_parts(p)
        bits = (p.groups - 1).bit_length()
        table = {n: prob_v_keys(p, n).bit_length() - 1 for n in every}
        shift = lookup(m, row.parts, table, name="key_shift")
        before = Signal(p.key_bits)  # keys before the last
        steps = Signal.like(s.steps, name="row_steps")
        over = before[:bits] & ((1 << shift) - 1)[:bits]  # of them in the last step
        lines = {
            n | o << p.part_bits: -(-(o + 1) * n // p.groups)
            for n in every
            for o in range(prob_v_keys(p, n))
        }
        last_lines = Signal.like(s.last_lines, name="row_last_lines")
        passes = lookup(m, row.parts, {n: prob_v_passes(p, n) for n in every}, name="row_passes")
        most = lookup(m, row.parts, {n: prob_v_keys(p, n) for n in every}, name="row_keys")
        m.d.comb += [
            before.eq(row.keys - 1),
            steps.eq(before >> shift),
            last_lines.eq(lookup(m, Cat(row.parts, over), lines, name="lines_of_keys")),
        ]
        with m.If(row.keys == 0):
            m.d.comb += [steps.eq(0), last_lines.eq(0)]
        with m.If(self.row.ready):
            m.d.sync += [
                s.active.eq(self.row.valid),
                s.parts.eq(row.parts),
                s.steps.eq(steps),
                s.left.eq(steps),
                s.turn.eq(0),
                s.last_lines.eq(last_lines),
                s.last_of_kv.eq(row.last_of_kv),
            ]
        with m.If(self.row.valid):
            m.d.comb += s.row_lines.eq(Mux(row.keys <= most, last_lines, passes))
