"""Which line the scorer works on: walks rows, keys and lines, and keeps the K ring."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from attnsieve.hdl.layouts import key_mask_signature
from attnsieve.hdl.lib.geometry import legal_parts, lookup
from attnsieve.hdl.lib.pointer import next_index
from attnsieve.hdl.lib.queue import Queue
from attnsieve.hdl.params import CoreParams

__all__ = ["LineIssuer", "issue_layout"]


def issue_layout(params: CoreParams) -> data.StructLayout:
    """What goes through the scorer's pipeline beside the data."""
    lines = max(params.max_parts, 1)
    return data.StructLayout(
        {
            "parts": params.part_bits,
            "line": max(1, (lines - 1).bit_length()),  # of its group of keys
            "lanes": params.groups,  # of the beat that hold a key of the row
            "beat": 1,  # the line completes a beat
            "last": 1,  # the beat is the row's last
        }
    )


class LineIssuer(wiring.Component):
    """Issues a line per cycle while its row, its query and its keys are there.

    Rows wait in a queue of two, or of one without LUT RAM. A row takes
    ``ceil(keys * parts / groups)`` cycles, a row without a key takes one; the next row follows in
    the next cycle, with a queue of one not before the second. In a row with ``last_of_kv`` every
    line is released as it is read.

    Parameters
    ----------
    params : CoreParams
        The core.

    Members
    -------
    row : In(stream.Signature({parts, keys, last_of_kv, key_mask, bank}))
        Rows.
    ring_end : In(range(kv_lines)), append : In(1)
        State of the K ring, see `Ring`: ``end``, ``append``.
    index : Out(data.ArrayLayout(range(kv_lines), groups)), read : Out(1), release : Out(1)
        Line of the K ring to read, a register for each bank, and whether to; whether the one read a
        cycle before is released.
    query_valid : In(1)
        The row's query can be read; it can always where it was read before.
    query_hold, query_again : Out(1), query_segment : Out
        With progressive quantisation: see `query_read_signature`.
    enable : In(1)
        The pipeline behind moves.
    parts : Out(part_bits)
        Of the row at hand.
    issue : Out(1)
        A line is issued.
    line : Out(issue_layout(params))
        The line.
    row_end : Out(1)
        It is the row's last.
    mask : Out(key_mask_signature)
        Its data are read by whom the line goes to.
    wait_row, wait_output, wait_query, wait_key : Out(1)
        Why no line is issued: exactly one of these and ``issue`` is set.
    """

    def __init__(self, *, params: CoreParams) -> None:
        self.params = p = params
        self.row_layout = data.StructLayout(
            {
                "parts": p.part_bits,
                "keys": p.key_bits,
                "last_of_kv": 1,
                "key_mask": 1,
                "bank": p.bank_bits,
                **(dict.fromkeys(("progressive", "again"), 1) if p.progressive else {}),
                **({"segment": range(p.held_segments)} if p.progressive else {}),
            }
        )
        held = {
            "query_hold": Out(1),
            "query_again": Out(1),
            "query_segment": Out(range(p.held_segments)),
        }
        super().__init__(
            {
                "row": In(stream.Signature(self.row_layout)),
                "ring_end": In(range(p.kv_lines)),
                "append": In(1),
                "index": Out(data.ArrayLayout(range(p.kv_lines), p.groups)),
                "read": Out(1),
                "release": Out(1),
                "query_valid": In(1),
                "enable": In(1),
                "parts": Out(p.part_bits),
                "issue": Out(1),
                "line": Out(issue_layout(p)),
                "row_end": Out(1),
                "mask": Out(key_mask_signature(p)),
                "wait_row": Out(1),
                "wait_output": Out(1),
                "wait_query": Out(1),
                "wait_key": Out(1),
                **(held if p.progressive else {}),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        p = self.params
        valid, row = Signal(), Signal(self.row_layout)
        left = row.keys  # keys from the start of the beat to the end of the row
        line, beat = Signal.like(self.line.line), Signal.like(self.mask.beat)
        m.submodules.rows = rows = Queue(shape=self.row_layout, depth=2 if p.lut_ram else 1)
        m.d.comb += [
            rows.i.payload.eq(self.row.payload),
            rows.i.valid.eq(self.row.valid),
            self.row.ready.eq(rows.i.ready),
        ]
        # registers beside the counts, so that no decision waits for a long comparison or a table
        last_beat, empty, group_end, row_end = Signal(), Signal(), Signal(), Signal()
        final, following = Signal.like(line), Signal.like(line)  # of the row's last beat
        few = left[: p.groups.bit_length()]  # the count, in the last beat
        finish = self.issue & row_end
        m.d.comb += rows.o.ready.eq(~valid | finish)
        with m.If(rows.o.ready):
            m.d.sync += [valid.eq(rows.o.valid), row.eq(rows.o.payload), line.eq(0), beat.eq(0)]
            short, end = rows.o.p.keys <= p.groups, self._final(m, rows.o.p)
            m.d.sync += [last_beat.eq(short), empty.eq(rows.o.p.keys == 0), final.eq(end)]
            m.d.sync += [group_end.eq(rows.o.p.parts == 1), row_end.eq(short & (end == 0))]
        with m.Elif(self.issue):
            m.d.comb += following.eq(Mux(group_end, 0, line + 1))
            m.d.sync += [line.eq(following), group_end.eq(following + 1 == row.parts)]
            m.d.sync += row_end.eq(last_beat & (following == final))
            with m.If(group_end):
                m.d.sync += [beat.eq(beat + 1), left.eq(left - p.groups)]
                m.d.sync += last_beat.eq(left <= 2 * p.groups)
                m.d.sync += row_end.eq((left <= 2 * p.groups) & (final == 0))
        m.d.comb += [
            self.parts.eq(row.parts),
            self.row_end.eq(row_end),
            self.line.parts.eq(row.parts),
            self.line.line.eq(line),
            self.line.lanes.eq(Cat(~last_beat | (few > lane) for lane in range(p.groups))),
            self.line.beat.eq(group_end | row_end),
            self.line.last.eq(row_end),
            self.mask.en.eq(self.issue),
            self.mask.bank.eq(row.bank),
            self.mask.beat.eq(beat),
            self.mask.used.eq(row.key_mask),
        ]
        query: Value = self.query_valid
        if p.progressive:
            query = query | row.again
            m.d.comb += [
                self.query_hold.eq(row.progressive),
                self.query_again.eq(row.again),
                self.query_segment.eq(row.segment),
            ]
        self._decide(m, valid, query, ~empty, row.last_of_kv, finish)
        return m

    def _final(self, m: Module, row: Any) -> Value:
        """The line of a row's last beat in which its last key ends; 0 for a row without a key."""
        p = self.params
        bits = (p.groups - 1).bit_length()
        last = (row.keys - 1)[:bits]  # lane of the last key
        table = {
            parts | key << p.part_bits: ((key + 1) * parts - 1) // p.groups
            for parts in legal_parts(p)
            for key in range(p.groups)
        }
        line = lookup(m, Cat(row.parts, last), table, name="final")
        return Mux(row.keys == 0, 0, line)

    def _decide(
        self,
        m: Module,
        valid: Value,
        query: Value,
        keys: Value,
        last_of_kv: Value,
        finish: Value,
    ) -> None:
        """Issue or say why not; follow the K ring."""
        depth = self.params.kv_lines
        following = next_index(self.index[0], depth)
        first = Signal(range(depth))  # line of the KV head
        some = Signal()  # the ring holds the line at the index
        key_valid = some | ~keys
        m.d.comb += [
            self.wait_row.eq(~valid),
            self.wait_output.eq(valid & ~self.enable),
            self.wait_query.eq(valid & self.enable & ~query),
            self.wait_key.eq(valid & self.enable & query & ~key_valid),
            self.issue.eq(valid & self.enable & query & key_valid),
            self.read.eq(self.issue & keys),
        ]
        m.d.sync += self.release.eq(self.read & last_of_kv)
        with m.If(self.read & last_of_kv):
            m.d.sync += first.eq(following)
        with m.If(finish & ~last_of_kv):  # back to the first line
            m.d.sync += [
                *(index.eq(first) for index in self.index),
                some.eq(some | keys | self.append),  # the row has read that line, if any
            ]
        with m.Elif(self.read):
            m.d.sync += [
                *(index.eq(next_index(index, depth)) for index in self.index),
                some.eq((following != self.ring_end) | self.append),
            ]
        with m.Elif(self.append):
            m.d.sync += some.eq(1)
