"""Q·K: scores of the keys of a row, ``lanes`` products per cycle."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Module, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from attnsieve.hdl.layouts import key_mask_signature, line_layout, product_beat_layout, row_layout
from attnsieve.hdl.lib.connect import connect
from attnsieve.hdl.lib.credit import Credit
from attnsieve.hdl.lib.geometry import legal_parts, lookup, scorer_cell
from attnsieve.hdl.lib.queue import Queue
from attnsieve.hdl.lib.ring import ring_read_signature
from attnsieve.hdl.params import CoreParams, check_params
from attnsieve.hdl.stages.query_store import query_latency, query_read_signature
from attnsieve.hdl.stages.scorer_array import SegmentDots, dots_latency
from attnsieve.hdl.stages.scorer_issue import LineIssuer, issue_layout
from attnsieve.hdl.stages.scorer_join import SegmentJoin, join_latency

__all__ = ["ParallelScorer"]


class ParallelScorer(wiring.Component):
    """Computes all visible scores of each row, in order.

    A row of ``keys`` keys takes ``ceil(keys * parts / groups)`` cycles, a row without a key takes
    one; rows follow each other without a gap while rows, queries and keys are there and beats are
    taken (without LUT RAM, rows of one cycle come every second cycle). So no multiplier idles but
    in the last line of a row. A row yields ``ceil(keys / groups)`` beats, at least one. Lanes
    beyond the row's keys, and those of keys whose mask bit is 0, are not valid. The row itself is
    passed on at ``o_row`` before its first beat.

    Latency from the line that completes a beat to the beat is `latency` cycles. With hardware
    multipliers the pipeline never stands: beats leave through a queue, and a line is issued only if
    there is room for a beat beside those on their way, so that no enable is spread over the whole
    array. Without, the pipeline has one enable: it stands while a beat waits.

    Keys are read from a `Ring` of K lines, line after line from the oldest; a row waits for lines
    that are not there yet. A row with ``last_of_kv`` must see all keys of its KV head: its lines
    are released as they are read.

    Parameters
    ----------
    params : CoreParams
        The core.

    Members
    -------
    row : In(stream.Signature(row_layout(params)))
        Rows; each is passed on at ``o_row`` in the cycle in which it is taken.
    o_row : Out(stream.Signature(row_layout(params)))
        The same rows.
    o : Out(stream.Signature(product_beat_layout(params)))
        Scores.
    key : Out(ring_read_signature(...))
        Read port of the K ring, one bank per lane group.
    key_end, key_append : In
        State of the K ring: ``end``, ``append``.
    key_release : Out(1)
        To the K ring.
    query : Out(query_read_signature(params))
        Read side of the query store.
    mask : Out(key_mask_signature)
    busy : Out(1)
        A line is issued.
    wait_row, wait_output, wait_query, wait_key : Out(1)
        Why none is: there is no row, a beat is not taken, the query or the keys are not
        there. Exactly one of these and ``busy`` is set.
    """

    def __init__(self, *, params: CoreParams) -> None:
        check_params(params)
        self.params = p = params
        key = ring_read_signature(shape=line_layout(p), depth=p.kv_lines, split=p.groups)
        super().__init__(
            {
                "row": In(stream.Signature(row_layout(p))),
                "o_row": Out(stream.Signature(row_layout(p))),
                "o": Out(stream.Signature(product_beat_layout(p))),
                "key": Out(key),
                "key_end": In(range(p.kv_lines)),
                "key_append": In(1),
                "key_release": Out(1),
                "query": Out(query_read_signature(p)),
                "mask": Out(key_mask_signature(p)),
                "busy": Out(1),
                "wait_row": Out(1),
                "wait_output": Out(1),
                "wait_query": Out(1),
                "wait_key": Out(1),
            }
        )

    @property
    def latency(self) -> int:
        """Cycles from the issue of a line that completes a beat to the beat."""
        queue = 1 if self.params.lut_ram else 0
        return 1 + dots_latency(self.params) + join_latency(self.params) + queue

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        enable = Signal()
        m.submodules.issuer = issuer = LineIssuer(params=self.params)
        m.submodules.dots = dots = SegmentDots(params=self.params)
        m.submodules.join = join = SegmentJoin(params=self.params, dot_bits=dots.dot_bits)
        assert query_latency(self.params) == 1 + dots.query_delay  # they meet at the multipliers
        self._rows(m, issuer)
        wiring.connect(m, wiring.flipped(self.mask), issuer.mask)
        m.d.comb += [
            issuer.ring_end.eq(self.key_end),
            issuer.append.eq(self.key_append),
            Cat(self.key.address).eq(Cat(issuer.index)),
            self.key.en.eq(1 if self.params.lut_ram else issuer.read),  # or it must hold
            self.key_release.eq(issuer.release),
            issuer.query_valid.eq(self.query.valid),
            self.query.parts.eq(issuer.parts),
            self.query.enable.eq(enable),
            self.query.next.eq(issuer.issue & issuer.row_end),
            self.busy.eq(issuer.issue),
        ]
        if self.params.progressive:
            held = ("hold", "again", "segment")
            m.d.comb += [getattr(self.query, n).eq(getattr(issuer, f"query_{n}")) for n in held]
        m.d.comb += [
            getattr(self, name).eq(getattr(issuer, name))
            for name in ("wait_row", "wait_output", "wait_query", "wait_key")
        ]
        self._parts(m, issuer)
        m.d.comb += [
            dots.enable.eq(enable),
            dots.key.eq(self.key.data),
            dots.query.eq(self.query.data),
            join.enable.eq(enable),
            join.dot.eq(dots.o),
        ]
        self._leave(m, issuer, join, enable)
        valid, line, lanes = self._delay(m, enable, issuer, dots.latency)
        m.d.comb += [join.valid.eq(valid), join.line.eq(line), join.line.lanes.eq(lanes)]
        return m

    def _leave(self, m: Module, issuer: LineIssuer, join: SegmentJoin, enable: Signal) -> None:
        """Beats to the output, and when lines may be issued."""
        if not self.params.lut_ram:
            connect(m, join.o, self.o)
            m.d.comb += [enable.eq(~self.o.valid | self.o.ready), issuer.enable.eq(enable)]
            return
        # from a line's issue until its credit is back, when nothing waits
        depth = 1 << (self.latency + 3 - 1).bit_length()
        m.submodules.beats = beats = Queue(shape=product_beat_layout(self.params), depth=depth)
        m.submodules.credit = credit = Credit(count=depth)
        connect(m, join.o, beats.i)
        connect(m, beats.o, self.o)
        m.d.comb += [
            enable.eq(1),
            issuer.enable.eq(credit.some),
            credit.take.eq(issuer.issue & issuer.line.beat),
            credit.give.eq(self.o.valid & self.o.ready),
        ]

    def _rows(self, m: Module, issuer: LineIssuer) -> None:
        """Pass each row on, and give the issuer what it needs of it."""
        both = Signal()
        m.d.comb += [
            both.eq(issuer.row.ready & self.o_row.ready),
            self.row.ready.eq(both),
            self.o_row.valid.eq(self.row.valid & issuer.row.ready),
            self.o_row.payload.eq(self.row.payload),
            issuer.row.valid.eq(self.row.valid & self.o_row.ready),
        ]
        m.d.comb += [
            issuer.row.p[name].eq(self.row.p[name]) for name, _ in issuer.row_layout
        ]

    def _parts(self, m: Module, issuer: LineIssuer) -> None:
        """Which part of the query each lane group reads."""
        p = self.params
        if p.groups == 1:
            m.d.comb += self.query.part[0].eq(issuer.line.line)
            return
        select = Cat(issuer.line.parts, issuer.line.line)
        for group in range(p.groups):
            table = {
                parts | number << p.part_bits: scorer_cell(p, parts, number, group).part
                for parts in legal_parts(p)
                for number in range(parts)
            }
            part = lookup(m, select, table, name=f"part{group}")
            m.d.comb += self.query.part[group].eq(part)

    def _delay(
        self, m: Module, enable: Signal, issuer: LineIssuer, latency: int
    ) -> tuple[Signal, Any, Value]:
        """What goes beside the data, from the issue to one stage before the dot products, with the
        lanes that the mask leaves."""
        layout = issue_layout(self.params)
        valid, line, lanes = issuer.issue, issuer.line, issuer.line.lanes
        for stage in range(latency):
            next_valid = Signal(name=f"stage{stage}_valid")
            next_line = Signal(layout, name=f"stage{stage}_line", reset_less=True)
            with m.If(enable):
                m.d.sync += [next_valid.eq(valid), next_line.eq(line), next_line.lanes.eq(lanes)]
            valid, line = next_valid, next_line
            lanes = line.lanes & self.mask.data if stage == 0 else line.lanes
        return valid, line, lanes
