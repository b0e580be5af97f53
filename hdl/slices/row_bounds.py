"""Prepares rows for the units: their queries, and the bounds that follow from their thresholds."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from attnsieve.hdl.lib.credit import Credit
from attnsieve.hdl.lib.delay import delayed
from attnsieve.hdl.lib.queue import Queue
from attnsieve.hdl.params import CoreParams, check_params
from attnsieve.hdl.slices.bit_serial_dot import bound_layout, query_write_layout
from attnsieve.hdl.slices.exit_bounds import ExitBounds
from attnsieve.hdl.slices.relative_bounds import row_margin_layout
from attnsieve.hdl.slices.row_parts import dealt_row_layout
from attnsieve.hdl.slices.slice_params import slice_params, slices_skipped
from attnsieve.hdl.stages.query_store import query_latency, query_read_signature

__all__ = ["RowBounds", "threshold_row_layout"]


def threshold_row_layout(p: CoreParams) -> data.StructLayout:
    """What must be known of a row to score its keys."""
    return data.StructLayout(
        {
            "parts": unsigned(p.part_bits),
            "keys": unsigned(p.key_bits),
            "key_mask": unsigned(1),
            "bank": unsigned(p.bank_bits),
            "wide": unsigned(1),
            "relative": unsigned(1),
            "pin_first": unsigned(p.key_bits),
            "pin_newest": unsigned(p.key_bits),
            "own": unsigned(p.key_bits),
            "write": unsigned(1),
            "last_of_head": unsigned(1),
            "last_of_kv": unsigned(1),
            "last_of_job": unsigned(1),
            **({"planar": unsigned(1)} if p.slice_demand else {}),
        }
    )


class RowBounds(wiring.Component):
    """Reads the query of each row, gives it to the units, and one by one its bounds.

    Rows get numbers in turn, as many as there are; the next row waits for the oldest one to be
    free, or for the oldest of two jobs to end. Throughput: a row in `interval` cycles. Latency:
    `latency` cycles from a row to `o`.

    Parameters
    ----------
    params : CoreParams
        The core.

    Members
    -------
    row : In(stream(threshold_row_layout))
    threshold : In(stream(signed(score_bits)))
        Of each head; taken with its last row. Of a relative row it is the margin below its maximum,
        none if it is negative, and its first bounds keep every key.
    read : Out(query_read_signature)
        Of the query store.
    query : Out(stream(query_write_layout, always ready))
    bound : Out(stream(bound_layout, always ready))
        To the units, before `o`.
    margin : Out(stream(row_margin_layout, always ready))
        With them.
    o : Out(stream(dealt_row_layout))
    free : In(1)
        The oldest row is not needed any more.
    end : In(1)
        With it ends its job.
    begins : Out(1), hold : In(1)
        The row at ``row`` begins in this cycle, unless it is held.
    wait_row, wait_query, wait_free : Out(1)
        Why no row is begun: there is none or it is not its turn, its query is not there, or too
        many are inside.
    """

    row: stream.Interface
    threshold: stream.Interface
    read: Any
    query: stream.Interface
    bound: stream.Interface
    margin: stream.Interface
    o: stream.Interface
    free: Signal
    end: Signal
    begins: Signal
    hold: Signal

    def __init__(self, *, params: CoreParams) -> None:
        check_params(params)
        self.params, self.slices = p, s = params, slice_params(params)
        self.bounds = ExitBounds(params=s)
        super().__init__(
            {
                "row": In(stream.Signature(threshold_row_layout(p))),
                "threshold": In(stream.Signature(signed(s.score_bits))),
                "read": Out(query_read_signature(p)),
                "query": Out(stream.Signature(query_write_layout(s), always_ready=True)),
                "bound": Out(stream.Signature(bound_layout(s), always_ready=True)),
                "margin": Out(stream.Signature(row_margin_layout(p), always_ready=True)),
                "o": Out(stream.Signature(dealt_row_layout(p))),
                "free": In(1),
                "end": In(1),
                "begins": Out(1),
                "hold": In(1),
                "wait_row": Out(1),
                "wait_query": Out(1),
                "wait_free": Out(1),
            }
        )

    @property
    def reads(self) -> int:
        """Reads that bring the longest query."""
        return -(-self.params.max_parts // self.params.groups)

    @property
    def interval(self) -> int:
        """Cycles from row to row."""
        return max(self.reads + query_latency(self.params), self.slices.bounds + 1)

    @property
    def latency(self) -> int:
        """Cycles from a row's turn to `o`, if nothing waits."""
        return self._whole + self.bounds.latency + self.slices.bounds + 1

    @property
    def _whole(self) -> int:
        """Cycles from a row's turn until its query is there."""
        return self.reads + query_latency(self.params)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        p = self.params
        m.submodules.numbers = numbers = Credit(count=p.slice_rows)
        m.submodules.jobs = jobs = Credit(count=2)
        turn, begin, there = Signal(range(self.interval)), Signal(), Signal()
        first, room = Signal(init=1), Signal()  # the row is its job's first
        m.d.comb += [
            there.eq(self.row.valid & self.threshold.valid & (turn == 0)),
            self.wait_row.eq(~there),
            room.eq(numbers.some & (jobs.some | ~first)),
            self.wait_free.eq(there & ~room),
            self.wait_query.eq(there & room & ~self.read.valid),
            self.begins.eq(there & room & self.read.valid),
            begin.eq(self.begins & ~self.hold),
            numbers.take.eq(begin),
            numbers.give.eq(self.free),
            jobs.take.eq(begin & first),
            jobs.give.eq(self.end),
        ]
        with m.If(begin):
            m.d.sync += first.eq(self.row.p.last_of_job)
        with m.If(begin | (turn != 0)):
            m.d.sync += turn.eq(Mux(turn == self.interval - 1, 0, turn + 1))
        end = Signal()
        m.d.comb += [
            end.eq((turn == self.reads - 1) & (begin | (turn != 0))),
            self.row.ready.eq(end),
            self.threshold.ready.eq(end & self.row.p.last_of_head),
        ]
        self._read(m, begin, turn, end)
        self._pass_on(m, begin)
        return m

    def _read(self, m: Module, begin: Value, turn: Value, end: Value) -> None:
        """The query, as many segments at a time as the store gives; then what follows from it."""
        p, s = self.params, self.slices
        row, number, parts = self.row.p, Signal(range(p.slice_rows)), Signal(p.part_bits)
        threshold, margin = Signal(signed(s.score_bits)), Signal(s.score_bits)
        least = -(1 << s.score_bits - 1)
        m.d.comb += [
            self.read.parts.eq(row.parts),
            self.read.enable.eq(1),
            self.read.next.eq(end),
            *(self.read.part[g].eq(turn * p.groups + g) for g in range(p.groups)),
        ]
        with m.If(begin):
            m.d.sync += [
                parts.eq(row.parts),
                threshold.eq(Mux(row.relative, least, self.threshold.payload)),
                margin.eq(self._margin()),
            ]
        query = Signal(s.query_layout())
        for place in range(p.max_parts):
            read, group = divmod(place, p.groups)
            come = delayed(m, begin, read + query_latency(p))
            given = Value.cast(self.read.data).word_select(group, p.segment * p.operand_bits)
            with m.If(come):
                segment = Value.cast(query).word_select(place, p.segment * p.operand_bits)
                m.d.sync += segment.eq(Mux(place < parts, given, 0))
        whole = delayed(m, begin, self._whole)
        with m.If(whole):
            m.d.sync += number.eq(number + 1)
        m.d.comb += [
            self.query.valid.eq(whole),
            self.query.p.row.eq(number),
            self.query.p.query.eq(query),
            self.bounds.i.valid.eq(whole),
            self.bounds.i.p.query.eq(query),
            self.bounds.i.p.threshold.eq(threshold),
            self.margin.p.margin.eq(delayed(m, margin, self.bounds.latency)),
        ]

    def _margin(self) -> Value:
        """How far below its maximum the row at hand keeps a score: any distance if not relative."""
        given = self.threshold.payload
        return Mux(self.row.p.relative, Mux(given < 0, 0, given), -1)

    def _pass_on(self, m: Module, begin: Value) -> None:
        """Bounds one by one; behind the last one the row itself."""
        p, s = self.params, self.slices
        m.submodules.bounds = bounds = self.bounds
        m.submodules.rows = rows = Queue(shape=dealt_row_layout(p), depth=p.slice_rows)
        m.submodules.complete = complete = Credit(count=p.slice_rows, first=0)
        values, slot = Signal(s.bounds_layout(), reset_less=True), Signal(range(p.slice_rows))
        place, active = Signal(range(s.bounds)), Signal()
        last = place == s.bounds - 1
        with m.If(active):
            m.d.sync += [place.eq(place + 1), Value.cast(values).eq(
                Value.cast(values) >> values[0].shape().width)]  # fmt: skip
            with m.If(last):
                m.d.sync += [place.eq(0), active.eq(0), slot.eq(slot + 1)]
        with m.If(bounds.o.valid):
            m.d.sync += [values.eq(bounds.o.p), active.eq(1)]
        number, job, row = Signal(range(p.slice_rows)), Signal(), self.row.p
        with m.If(begin):
            m.d.sync += [number.eq(number + 1), job.eq(job ^ row.last_of_job)]
        m.d.comb += [
            self.bound.valid.eq(active),
            self.bound.p.row.eq(slot),
            self.bound.p.number.eq(place),
            self.bound.p.bound.eq(values[0]),
            self.margin.valid.eq(bounds.o.valid),
            self.margin.p.row.eq(slot),
            self.margin.p.most.eq(bounds.most),
            complete.give.eq(active & last),
            complete.take.eq(self.o.valid & self.o.ready),
            rows.i.valid.eq(begin),
            rows.i.p.row.eq(number),
            rows.i.p.number.eq(Mux(row.wide, 0, slices_skipped(p))),
            rows.i.p.margin.eq(self._margin()),
            rows.i.p.job.eq(job),
            *(rows.i.p[n].eq(row[n]) for n in
              ("keys", "key_mask", "bank", "write", "relative", "pin_first", "pin_newest", "own",
               "last_of_kv", "last_of_job", *(("planar",) if p.slice_demand else ()))),
            self.o.valid.eq(rows.o.valid & complete.some),
            self.o.p.eq(rows.o.p),
            rows.o.ready.eq(complete.some & self.o.ready),
        ]
