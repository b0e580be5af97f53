"""Chunks of listed rows to beats of rows, by reading their list."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Const, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from attnsieve.hdl.axi.chunker import Sink
from attnsieve.hdl.axi.list_chunker import list_chunk_layout, rank_bits
from attnsieve.hdl.axi.row_units import listed_row_layout, row_beat_layout
from attnsieve.hdl.lib.connect import connect
from attnsieve.hdl.lib.credit import Credit
from attnsieve.hdl.lib.delay import delayed
from attnsieve.hdl.lib.queue import Queue
from attnsieve.hdl.params import CoreParams

__all__ = ["ListRows", "index_bits", "list_line_layout", "list_read_signature", "row_lanes"]


def row_lanes(p: CoreParams) -> int:
    """Rows of a line of a list: a granule of rows, or what the channels can take."""
    return min(p.groups, 2 * p.channels)


def index_bits(p: CoreParams) -> int:
    """Bits of the index of a key or query."""
    return (max(p.max_keys, p.max_queries) - 1).bit_length() or 1


def list_line_layout(p: CoreParams, lanes: int | None = None) -> data.ArrayLayout:
    """A line of a list: rows in order, `row_lanes` of them by default."""
    entry = listed_row_layout(index_bits=index_bits(p))
    return data.ArrayLayout(entry, row_lanes(p) if lanes is None else lanes)


def list_read_signature(p: CoreParams) -> wiring.Signature:
    """Read port of the lists of keys and of queries, as the reader sees it.

    Members
    -------
    query : Out(1)
        The list of queries, not that of keys.
    line : Out, en : Out(1)
        Line to read.
    data : In(list_line_layout)
        One cycle later.

    With ``value_demand`` also:

    value : Out(1), half : Out(1)
        A list of values, and in which half it is.
    end : Out(1)
        This is the list's last line.
    """
    values = dict.fromkeys(("value", "half", "end"), Out(1)) if p.value_demand else {}
    return wiring.Signature(
        {
            **values,
            "query": Out(1),
            "line": Out(rank_bits(p)),
            "en": Out(1),
            "data": In(list_line_layout(p)),
        }
    )


class ListRows(wiring.Component):
    """Reads the lines of a list that a chunk covers.

    A row's neighbours count only within its granule of ``groups`` rows, however chunks are cut.
    Latency: `latency` cycles, of which the list has one: what is read of it stands in registers.
    Throughput: a line per cycle, no gap between chunks.

    Parameters
    ----------
    params : CoreParams
        The core.

    Members
    -------
    i : In(stream(list_chunk_layout))
        Chunks; each begins at a line.
    list : Out(list_read_signature)
    o : Out(stream(row_beat_layout))
    """

    i: stream.Interface
    list: Any
    o: stream.Interface

    #: Cycles from a chunk to its first rows.
    latency = 3
    #: Lines that are read, or whose rows wait: as many as are asked for until the first leaves.
    _ahead = latency + 2

    def __init__(self, *, params: CoreParams) -> None:
        self.params = p = params
        chunk = list_chunk_layout(p)
        self.beat = row_beat_layout(
            lanes=row_lanes(p),
            index_bits=index_bits(p),
            word_bits=chunk["base"].width,
            pitch_bits=chunk["pitch"].width,
        )
        super().__init__(
            {
                "i": In(stream.Signature(chunk)),
                "list": Out(list_read_signature(p)),
                "o": Out(stream.Signature(self.beat)),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        lanes, chunk = row_lanes(self.params), self.i.p
        m.submodules.beats = beats = Queue(shape=self.beat, depth=self._ahead)
        m.submodules.credit = credit = Credit(count=self._ahead)
        done, read, last = Signal.like(chunk.rows), Signal(), Signal()
        left, count = Signal.like(chunk.rows), Signal(range(lanes + 1))
        m.d.comb += [
            left.eq(chunk.rows - done),
            last.eq(left <= lanes),
            count.eq(Mux(last, left, lanes)),
            read.eq(self.i.valid & credit.some),
            self.i.ready.eq(read & last),
            credit.take.eq(read),
            credit.give.eq(self.o.valid & self.o.ready),
        ]
        with m.If(read):
            m.d.sync += done.eq(Mux(last, 0, done + lanes))
        self._ask(m, done, read, last)
        first, final = self._granule(done)
        found = (read, last, count, first, final, chunk.base, chunk.pitch)
        self._show(m, beats.i, *(delayed(m, value, 2) for value in found))
        connect(m, beats.o, self.o)
        return m

    def _ask(self, m: Module, done: Signal, read: Signal, last: Signal) -> None:
        """The line of the list that is read next."""
        chunk, port, lanes = self.i.p, self.list, row_lanes(self.params)
        m.d.sync += [
            port.query.eq(chunk.sink == Sink.QUERY),
            port.line.eq((chunk.first + done) >> (lanes - 1).bit_length()),
            port.en.eq(read),
        ]
        if self.params.value_demand:
            m.d.sync += [
                port.value.eq(chunk.demand),
                port.half.eq(chunk.half),
                port.end.eq(chunk.final & last),
            ]

    def _show(
        self, m: Module, out: Any, valid: Value, ends: Value, count: Value, begins: Value,
        closes: Value, base: Value, pitch: Value,
    ) -> None:  # fmt: skip
        """The rows of the line that was read."""
        beat, lanes = out.p, row_lanes(self.params)
        m.d.comb += [
            out.valid.eq(valid),
            beat.count.eq(count),
            beat.base.eq(base),
            beat.pitch.eq(pitch),
            beat.last.eq(ends),
        ]
        for n, (row, found) in enumerate(zip(beat.row, self.list.data, strict=True)):
            here = ends & (count == n + 1)  # the chunk's last row
            if n == lanes - 1:
                here |= closes
            m.d.comb += [
                row.index.eq(found.index),
                row.before.eq(found.before & ~begins if n == 0 else found.before),
                row.after.eq(found.after & ~here),
            ]

    def _granule(self, done: Signal) -> tuple[Value, Value]:
        """Whether a line begins a granule, and whether it ends one."""
        lines = self.params.groups // row_lanes(self.params)
        if lines == 1:
            return Const(1), Const(1)
        first = (row_lanes(self.params) - 1).bit_length()
        place = done[first : first + lines.bit_length() - 1]
        return place == 0, place == lines - 1
