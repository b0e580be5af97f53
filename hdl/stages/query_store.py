"""Query rows on chip: every lane group reads the part that it needs."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Shape, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from attnsieve.hdl.layouts import line_layout
from attnsieve.hdl.lib.checks import check_power_of_two
from attnsieve.hdl.lib.ram import Ram
from attnsieve.hdl.params import CoreParams, check_params

__all__ = [
    "LineStore",
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

    With progressive quantisation also, of the current row:

    segment : Out(range(held_segments))
        Where its segments start: behind those of the row before it.
    hold : Out(1)
        It is kept after ``next``, until it is released.
    again : Out(1)
        It is one that was kept; ``valid`` does not count.
    """
    held = {
        "segment": Out(Shape.cast(range(params.held_segments))),
        "hold": Out(1),
        "again": Out(1),
    }
    return wiring.Signature(
        {
            "parts": Out(params.part_bits),
            "valid": In(1),
            "part": Out(data.ArrayLayout(Shape.cast(range(params.max_parts)), params.groups)),
            "enable": Out(1),
            "next": Out(1),
            "data": In(line_layout(params)),
            **(held if params.progressive else {}),
        }
    )


def _power_of_two(n: int) -> int:
    return 1 << (n - 1).bit_length()


class QueryStore(wiring.Component):
    """Takes lines of query rows and hands out rows, part by part.

    Rows of a head lie back to back in its lines; a head starts in a new line. With one lane group a
    line is a segment and goes straight into the store. Otherwise lines wait in a `LineStore`, a
    segment per cycle is cut from the oldest, and what follows the last row of a head in its last
    line is dropped. Segments are kept in one ring per lane group, so that each can read another
    part.

    A row takes `parts` cycles to enter. There is room for four of the longest rows: while the
    current one is in use, the following ones enter. With progressive quantisation there is room for
    ``held_segments``, rows can be kept to be read again, and are then released in order.

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
    release : In(part_bits)
        With progressive quantisation: segments of the oldest row that was kept, in the cycle in
        which it is not needed again, else 0.
    """

    head: stream.Interface
    i: stream.Interface
    space: Signal
    read: Any

    def __init__(self, *, params: CoreParams) -> None:
        check_params(params)
        self.params = params
        super().__init__(
            {
                "head": In(stream.Signature(query_head_layout(params))),
                "i": In(stream.Signature(line_layout(params))),
                "space": Out(range(self.capacity + 1)),
                "read": In(query_read_signature(params)),
                **({"release": In(params.part_bits)} if params.progressive else {}),
            }
        )

    @property
    def latency(self) -> int:
        """Enabled cycles from an address to its data."""
        return query_latency(self.params)

    @property
    def depth(self) -> int:
        """Segments of the ring of each lane group."""
        if self.params.progressive:
            return self.params.held_segments
        return max(16, _power_of_two(4 * self.params.max_parts))

    @property
    def capacity(self) -> int:
        """Lines that the store takes before any row is released, at least."""
        return self.depth if self.params.groups == 1 else 16

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        p = self.params
        segment = Signal(p.segment * p.operand_bits)
        write = Signal()  # into the rings
        row_written = Signal()  # that is a row's last segment
        take = Signal()  # a place is used up; two cycles before the write where segments are cut
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
        used = Mux(self._next, self.read.parts, 0)
        if p.groups == 1:
            level = Signal(range(self.depth + 1))
            m.d.sync += level.eq(level + write - used)
            m.d.comb += self.read.valid.eq(level >= self.read.parts)
        else:
            self._count_rows(m, row_written)
        m.d.comb += left.eq(free - take + self._freed(m, used))
        m.d.sync += [free.eq(left), room.eq(left != 0)]
        self._rings(m, segment, write)
        return m

    @property
    def _next(self) -> Value:
        """A row is read for the first time, to its end."""
        end = self.read.enable & self.read.next
        return end & ~self.read.again if self.params.progressive else end

    def _freed(self, m: Module, used: Value) -> Value:
        """Segments that are not needed again."""
        if self.params.progressive:
            used = Mux(self.read.hold, 0, used)
        if self.latency == 2:  # the last read is still to be made: free its place with it
            later = Signal(self.params.part_bits)
            with m.If(self.read.enable):
                m.d.sync += later.eq(used)
            used = Mux(self.read.enable, later, 0)
        return used + self.release if self.params.progressive else used

    def _count_rows(self, m: Module, written: Value) -> None:
        """Count the rows in the store; that there is one is a register."""
        rows = Signal(range(self.depth + 1))
        done = self._next
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
        m.submodules.lines = lines = LineStore(params=p, depth=self.capacity)
        m.submodules.cutter = cutter = QueryCutter(params=p)
        read, row_read = Signal(), Signal()  # a segment of the lines; it is its row's last
        m.d.comb += [
            lines.i.payload.eq(self.i.payload),
            lines.i.valid.eq(self.i.valid),
            self.i.ready.eq(lines.i.ready),
            self.space.eq(lines.space),
            cutter.line.valid.eq(lines.line.valid),
            lines.line.ready.eq(cutter.line.ready),
            lines.place.eq(cutter.o.payload),
            cutter.head.payload.eq(self.head.payload),
            cutter.head.valid.eq(self.head.valid),
            self.head.ready.eq(cutter.head.ready),
            cutter.o.ready.eq(room),
            take.eq(cutter.o.valid & cutter.o.ready),
            segment.eq(lines.segment),
        ]
        m.d.sync += [
            read.eq(take),
            row_read.eq(take & cutter.row_end),
            write.eq(read),
            row_written.eq(row_read),
        ]

    def _rings(self, m: Module, segment: Value, write: Value) -> None:
        """A copy of the segments for each lane group."""
        p = self.params
        index_bits = self.depth.bit_length() - 1
        first, end = Signal(index_bits), Signal(index_bits)
        with m.If(write):
            m.d.sync += end.eq(end + 1)
        if p.progressive:
            m.d.comb += first.eq(self.read.segment)
        else:
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


class LineStore(wiring.Component):
    """A queue of lines that is read by segments of the oldest: a memory for each segment.

    All addresses and enables are registers: a line is written wherever there is a free place, and
    counts if it is valid. Latency: 1 cycle from a line to ``line.valid``, `latency` cycles from
    ``place`` to ``segment``.

    Parameters
    ----------
    params : CoreParams
        The core.
    depth : int
        Lines, a power of two.

    Members
    -------
    i : In(stream.Signature(line_layout(params)))
        Lines.
    space : Out(range(depth + 1))
        Free places.
    line : Out(stream.Signature(0))
        There is a line; with its transfer it gives its place back.
    place : In(range(groups))
        Segment of it to read.
    segment : Out(segment)
        That segment.
    """

    i: stream.Interface
    space: Signal
    line: stream.Interface
    place: Signal
    segment: Signal

    #: Cycles from a place to its segment.
    latency = 2

    def __init__(self, *, params: CoreParams, depth: int) -> None:
        check_power_of_two("Depth", depth, 2)
        self.params, self.depth = params, depth
        super().__init__(
            {
                "i": In(stream.Signature(line_layout(params))),
                "space": Out(range(depth + 1), init=depth),
                "line": Out(stream.Signature(0)),
                "place": In(range(params.groups)),
                "segment": Out(params.segment * params.operand_bits),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        p = self.params
        head, tail = Signal(range(self.depth)), Signal(range(self.depth))
        ready, valid = Signal(init=1), self.line.valid
        push, pop = self.i.valid & ready, valid & self.line.ready
        m.d.comb += self.i.ready.eq(ready)
        with m.If(push):
            m.d.sync += tail.eq(tail + 1)
        with m.If(pop):
            m.d.sync += head.eq(head + 1)
        with m.If(push & ~pop):
            m.d.sync += [self.space.eq(self.space - 1), ready.eq(self.space != 1), valid.eq(1)]
        with m.If(pop & ~push):
            m.d.sync += [self.space.eq(self.space + 1), ready.eq(1)]
            m.d.sync += valid.eq(self.space != self.depth - 1)
        place = Signal.like(self.place)  # of what the memories have read
        m.d.sync += place.eq(self.place)
        segments = []
        for group in range(p.groups):
            m.submodules[f"memory{group}"] = ram = Ram(
                shape=len(self.segment), depth=self.depth, distributed=p.lut_ram
            )
            segments.append(ram.read[0].data)
            m.d.comb += [
                ram.write.address.eq(tail),
                ram.write.data.eq(
                    Value.cast(self.i.payload).word_select(group, len(self.segment))
                ),
                ram.write.en.eq(ready),
                ram.read[0].address.eq(head),
                ram.read[0].en.eq(1),
            ]
        cut = Signal.like(self.segment, reset_less=True)
        m.d.sync += cut.eq(Cat(segments).word_select(place, len(cut)))
        m.d.comb += self.segment.eq(cut)
        return m


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
    line : In(stream.Signature(0))
        Lines, taken with their last segment.
    o : Out(stream.Signature(range(groups)))
        Segments, by their place in the line.
    row_end : Out(1)
        The segment is its row's last.
    """

    head: stream.Interface
    line: stream.Interface
    o: stream.Interface

    def __init__(self, *, params: CoreParams) -> None:
        self.params = params
        super().__init__(
            {
                "head": In(stream.Signature(query_head_layout(params))),
                "line": In(stream.Signature(0)),
                "o": Out(stream.Signature(range(params.groups))),
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
            self.o.valid.eq(self.line.valid & open_),
            taken.eq(self.o.valid & self.o.ready),
            self.o.payload.eq(place),
            self.line.ready.eq(taken & line_end),
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
