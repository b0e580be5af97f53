"""The terms of rows, packed lane by lane: what is zero takes no place."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from attnsieve.hdl.layouts import row_layout, term_beat_layout
from attnsieve.hdl.lib.connect import connect
from attnsieve.hdl.lib.pointer import next_index
from attnsieve.hdl.lib.queue import Queue
from attnsieve.hdl.lib.ram import Ram
from attnsieve.hdl.params import CoreParams, check_params

__all__ = ["TermLanes", "entry_layout", "lane_depth", "lane_row_layout"]


def lane_depth(p: CoreParams) -> int:
    """Entries of a lane: those of two of the longest rows."""
    return 2 * p.max_beats


def entry_layout(p: CoreParams) -> data.StructLayout:
    """A term that is not zero, and where the keys of its beat start."""
    return data.StructLayout(
        {
            "line": range(p.kv_lines),  # counted from the first of the KV head
            "term": term_beat_layout(p)["term"].shape.elem_shape,
        }
    )


def lane_row_layout(p: CoreParams) -> data.StructLayout:
    """A row whose terms are all there."""
    return data.StructLayout(
        {
            "count": data.ArrayLayout(unsigned(p.max_beats.bit_length()), p.groups),
            "beats": range(p.max_beats + 1),
            "parts": p.part_bits,
            "keys": p.key_bits,
            "last_of_kv": 1,
        }
    )


class TermLanes(wiring.Component):
    """Keeps the terms of each lane that are not zero, one behind the other.

    The terms of a row lie in each lane behind those of the row before: ``count`` of them. A term
    is stored with the line of V in which the keys of its beat start: beat times parts.

    Latency: `latency` = 1 cycle from a row's last beat to its record at ``o``; its terms can be
    read then. Throughput: one beat per cycle, as long as the beats of the rows inside are no more
    than two of the longest rows have.

    Parameters
    ----------
    params : CoreParams
        The core.

    Members
    -------
    i : In(stream(term_beat_layout))
    row : In(stream({parts, keys, last_of_kv}))
        One per row, taken with its last beat.
    o : Out(stream(lane_row_layout))
        Rows, when their terms are there.
    address : In(range(depth)).array(groups)
        Entry of each lane to read.
    entry : Out(entry_layout).array(groups)
        One cycle later.
    free : In(range(max_beats + 1))
        Beats of rows that are not read again, in any cycle.
    """

    i: stream.Interface
    row: stream.Interface
    o: stream.Interface
    address: Any
    entry: Any
    free: Signal

    #: What a row brings.
    fields = ("parts", "keys", "last_of_kv")
    #: Cycles from a row's last beat to its record.
    latency = 1

    def __init__(self, *, params: CoreParams) -> None:
        check_params(params)
        self.params = p = params
        row = data.StructLayout({name: row_layout(p)[name].shape for name in self.fields})
        super().__init__(
            {
                "i": In(stream.Signature(term_beat_layout(p))),
                "row": In(stream.Signature(row)),
                "o": Out(stream.Signature(lane_row_layout(p))),
                "address": In(range(lane_depth(p))).array(p.groups),
                "entry": Out(entry_layout(p)).array(p.groups),
                "free": In(range(p.max_beats + 1)),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        p = self.params
        m.submodules.rows = rows = Queue(shape=lane_row_layout(p), depth=4)
        connect(m, rows.o, self.o)
        room, take, end = Signal(init=1), Signal(), Signal()
        line, beats = Signal(range(p.kv_lines)), Signal(range(p.max_beats + 1))
        at_end = ~self.i.p.last | (self.row.valid & rows.i.ready)
        m.d.comb += [
            self.i.ready.eq(room & self.row.valid & at_end),
            take.eq(self.i.valid & self.i.ready),
            end.eq(take & self.i.p.last),
            self.row.ready.eq(end),
        ]
        with m.If(take):
            m.d.sync += [line.eq(line + self.row.p.parts), beats.eq(beats + 1)]
        with m.If(end):
            m.d.sync += [line.eq(0), beats.eq(0)]
        self._space(m, take, room)
        counts = [self._lane(m, n, take, line) for n in range(p.groups)]
        record = rows.i.p
        m.d.comb += [
            rows.i.valid.eq(end),
            Cat(record.count).eq(Cat(counts)),
            record.beats.eq(beats + 1),
            *(record[name].eq(self.row.p[name]) for name in self.fields),
        ]
        return m

    def _space(self, m: Module, take: Value, room: Signal) -> None:
        """Beats for which there is space: a lane takes no more entries than there are beats."""
        depth = lane_depth(self.params)
        space, after = Signal(range(depth + 1), init=depth), Signal(range(depth + 1))
        m.d.comb += after.eq(space + self.free - take)
        m.d.sync += [space.eq(after), room.eq(after != 0)]

    def _lane(self, m: Module, n: int, take: Value, line: Value) -> Value:
        """A lane's memory. Returns how many entries the row has, with this beat's."""
        p, depth = self.params, lane_depth(self.params)
        m.submodules[f"lane{n}"] = ram = Ram(shape=entry_layout(p), depth=depth)
        term = self.i.p.term[n]
        place, count = Signal(range(depth), name=f"place{n}"), Signal(p.max_beats.bit_length())
        write, after = Signal(name=f"write{n}"), Signal.like(count, name=f"after{n}")
        m.d.comb += [
            write.eq(take & (term.mantissa != 0)),
            after.eq(count + write),
            ram.write.address.eq(place),
            ram.write.data.line.eq(line),
            ram.write.data.term.eq(term),
            ram.write.en.eq(write),
            ram.read[0].address.eq(self.address[n]),
            ram.read[0].en.eq(1),
            self.entry[n].eq(ram.read[0].data),
        ]
        with m.If(write):
            m.d.sync += place.eq(next_index(place, depth))
        with m.If(take):
            m.d.sync += count.eq(Mux(self.i.p.last, 0, after))
        return after
