"""Query rows on chip: every lane group reads the part that it needs."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Shape, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from attnsieve.hdl.layouts import line_layout
from attnsieve.hdl.lib.queue import Queue
from attnsieve.hdl.lib.ram import Ram
from attnsieve.hdl.params import CoreParams

__all__ = [
    "QueryCutter",
    "QueryStore",
    "query_head_layout",
    "query_latency",
    "query_read_signature",
]


def query_head_layout(params: CoreParams) -> data.StructLayout:
    """What the store must know of a head before its lines come."""
    return data.StructLayout(
        {"parts": Shape.cast(params.part_bits), "queries": Shape.cast(params.query_bits)}
    )


def query_latency(params: CoreParams) -> int:
    """Enabled cycles from a part's address to its data."""
    return 2 if params.lut_ram else 1


def query_read_signature(params: CoreParams) -> wiring.Signature:
    """The read side of the query store, as the scorer sees it.

    Members
    -------
    parts : Out(part_bits)
        Segments of the current row, set before ``valid`` is heeded.
    valid : In(1)
        The current row is in the store.
    part : Out(data.ArrayLayout(range(max_parts), groups))
        Part that each lane group reads.
    enable : Out(1)
        The reader's pipeline moves in this cycle.
    next : Out(1)
        With ``enable``: this is the last read of the current row, the next row becomes current.
    data : In(line_layout)
        What was addressed `query_latency` enabled cycles before.
    """
    return wiring.Signature(
        {
            "parts": Out(params.part_bits),
            "valid": In(1),
            "part": Out(data.ArrayLayout(Shape.cast(range(params.max_parts)), params.groups)),
            "enable": Out(1),
            "next": Out(1),
            "data": In(line_layout(params)),
        }
    )


def _power_of_two(n: int) -> int:
    return 1 << (n - 1).bit_length()


class QueryStore(wiring.Component):
    """Takes lines of query rows and hands out rows, part by part.

    Rows of a head lie back to back in its lines; a head starts in a new line. With one lane group a
    line is a segment and goes straight into the store. Otherwise lines wait in a queue, a segment
    per cycle is cut from the oldest, and what follows the last row of a head in its last line is
    dropped. Segments are kept in one ring per lane group, so that each can read another part.

    A row takes `parts` cycles to enter. There is room for four of the longest rows: while the
    current one is in use, the following ones enter.

    Throughput is a read per cycle and lane group, and a row per `parts` cycles. `latency` is 1, or
    2 with LUT RAM, where the address is registered.

    Parameters
    ----------
    params : CoreParams
        The core.

    Members
    -------
    head : In(stream.Signature(query_head_layout(params)))
        One for each head, in the order of the lines. Not looked at with one lane group.
    i : In(stream.Signature(line_layout(params)))
        Lines.
    space : Out(range(capacity + 1))
        Lines that can still be sent.
    read : In(query_read_signature(params))
        Read side.
    """

    head: stream.Interface
    i: stream.Interface
    space: Signal
    read: Any

    def __init__(self, *, params: CoreParams) -> None:
        if not isinstance(params, CoreParams):
            raise TypeError(f"Params must be a CoreParams, not {params!r}")
        self.params = params
        super().__init__(
            {
                "head": In(stream.Signature(query_head_layout(params))),
                "i": In(stream.Signature(line_layout(params))),
                "space": Out(range(self.capacity + 1)),
                "read": In(query_read_signature(params)),
            }
        )

    @property
    def latency(self) -> int:
        """Enabled cycles from an address to its data."""
        return query_latency(self.params)

    @property
    def depth(self) -> int:
        """Segments of the ring of each lane group."""
        return max(16, _power_of_two(4 * self.params.max_parts))

    @property
    def capacity(self) -> int:
        """Lines that the store takes before any row is released, at least."""
        return self.depth if self.params.groups == 1 else 17

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        p = self.params
        segment = Signal(p.segment * p.operand_bits, reset_less=True)
        write = Signal()  # into the rings
        row_written = Signal()  # that is a row's last segment
        take = Signal()  # a place is used up; one cycle before the write where segments are cut
        free, room = Signal(range(self.depth + 1), init=self.depth), Signal(init=1)
        left = Signal.like(free)  # free places of the next cycle; there is room for one
        if p.groups == 1:
            m.d.comb += [
                self.head.ready.eq(1),
                self.i.ready.eq(room),
                take.eq(self.i.valid & self.i.ready),
                write.eq(take),
                segment.eq(self.i.payload),
                self.space.eq(free),
            ]
        else:
            self._cut(m, segment, write, row_written, take, room)
        done = Mux(self.read.enable & self.read.next, self.read.parts, 0)
        if p.groups == 1:
            level = Signal(range(self.depth + 1))
            m.d.sync += level.eq(level + write - done)
            m.d.comb += self.read.valid.eq(level >= self.read.parts)
        else:
            self._count_rows(m, row_written)
        if self.latency == 2:  # the last read is still to be made: free its place with it
            later = Signal(p.part_bits)
            with m.If(self.read.enable):
                m.d.sync += later.eq(done)
            done = Mux(self.read.enable, later, 0)
        m.d.comb += left.eq(free - take + done)
        m.d.sync += [free.eq(left), room.eq(left != 0)]
        self._rings(m, segment, write)
        return m

    def _count_rows(self, m: Module, written: Value) -> None:
        """Count the rows in the store; that there is one is a register."""
        rows = Signal(range(self.depth + 1))
        done = self.read.enable & self.read.next
        with m.If(written & ~done):
            m.d.sync += [rows.eq(rows + 1), self.read.valid.eq(1)]
        with m.If(done & ~written):
            m.d.sync += [rows.eq(rows - 1), self.read.valid.eq(rows != 1)]

    def _cut(
        self,
        m: Module,
        segment: Signal,
        write: Signal,
        row_written: Signal,
        take: Signal,
        room: Signal,
    ) -> None:
        p = self.params
        m.submodules.lines = lines = Queue(
            shape=line_layout(p), depth=self.capacity, lut_ram=p.lut_ram
        )
        m.submodules.cutter = cutter = QueryCutter(params=p)
        m.d.comb += [
            lines.i.payload.eq(self.i.payload),
            lines.i.valid.eq(self.i.valid),
            self.i.ready.eq(lines.i.ready),
            self.space.eq(self.capacity - lines.level),
            cutter.i.payload.eq(lines.o.payload),
            cutter.i.valid.eq(lines.o.valid),
            lines.o.ready.eq(cutter.i.ready),
            cutter.head.payload.eq(self.head.payload),
            cutter.head.valid.eq(self.head.valid),
            self.head.ready.eq(cutter.head.ready),
            cutter.o.ready.eq(room),
            take.eq(cutter.o.valid & cutter.o.ready),
        ]
        m.d.sync += [
            write.eq(take),
            row_written.eq(take & cutter.row_end),
            segment.eq(cutter.o.payload),
        ]

    def _rings(self, m: Module, segment: Value, write: Value) -> None:
        """A copy of the segments for each lane group."""
        p = self.params
        index_bits = self.depth.bit_length() - 1
        first, end = Signal(index_bits), Signal(index_bits)
        with m.If(write):
            m.d.sync += end.eq(end + 1)
        with m.If(self.read.enable & self.read.next):
            m.d.sync += first.eq(first + self.read.parts)
        columns = []
        for group in range(p.groups):
            m.submodules[f"ring{group}"] = ram = Ram(
                shape=len(segment), depth=self.depth, distributed=p.lut_ram
            )
            address: Value = (first + self.read.part[group])[:index_bits]
            if self.latency == 2:
                stage = Signal(index_bits, name=f"address{group}", reset_less=True)
                with m.If(self.read.enable):
                    m.d.sync += stage.eq(address)
                address = stage
            m.d.comb += [
                ram.write.address.eq(end),
                ram.write.data.eq(segment),
                ram.write.en.eq(write),
                ram.read[0].address.eq(address),
                ram.read[0].en.eq(self.read.enable),
            ]
            columns.append(ram.read[0].data)
        m.d.comb += Value.cast(self.read.data).eq(Cat(columns))


class QueryCutter(wiring.Component):
    """Cuts lines into segments, one per cycle, and drops what follows a head's last row.

    Parameters
    ----------
    params : CoreParams
        The core.

    Members
    -------
    head : In(stream.Signature(query_head_layout(params)))
        Taken before its first segment, with the last one of the head before at the earliest.
    i : In(stream.Signature(line_layout(params)))
        Lines, taken with their last segment.
    o : Out(stream.Signature(segment))
        Segments.
    row_end : Out(1)
        The segment is its row's last.
    """

    head: stream.Interface
    i: stream.Interface
    o: stream.Interface

    def __init__(self, *, params: CoreParams) -> None:
        self.params = params
        super().__init__(
            {
                "head": In(stream.Signature(query_head_layout(params))),
                "i": In(stream.Signature(line_layout(params))),
                "o": Out(stream.Signature(params.segment * params.operand_bits)),
                "row_end": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        p = self.params
        head, open_ = Signal(query_head_layout(p)), Signal()
        place = Signal(range(p.groups))
        left, rows = Signal(p.part_bits), Signal(p.query_bits)  # behind this segment, this row
        row_end, last_row, full = self.row_end, Signal(), Signal()  # registers: what ends here
        head_end = row_end & last_row
        line_end = head_end | full
        taken = Signal()
        m.d.comb += [
            self.o.valid.eq(self.i.valid & open_),
            taken.eq(self.o.valid & self.o.ready),
            self.o.payload.eq(Value.cast(self.i.payload).word_select(place, len(self.o.payload))),
            self.i.ready.eq(taken & line_end),
            self.head.ready.eq(~open_ | (taken & head_end)),
        ]
        with m.If(taken):
            m.d.sync += [place.eq(place + 1), full.eq(place == p.groups - 2)]
            m.d.sync += [left.eq(left - 1), row_end.eq(left == 1)]
            with m.If(row_end):
                m.d.sync += [left.eq(head.parts - 1), row_end.eq(head.parts == 1)]
                m.d.sync += [rows.eq(rows - 1), last_row.eq(rows == 1)]
            with m.If(line_end):
                m.d.sync += [place.eq(0), full.eq(0)]
        with m.If(self.head.ready):
            next_head = self.head.p
            m.d.sync += [
                open_.eq(self.head.valid),
                head.eq(next_head),
                left.eq(next_head.parts - 1),
                row_end.eq(next_head.parts == 1),
                rows.eq(next_head.queries - 1),
                last_row.eq(next_head.queries == 1),
            ]
        return m
