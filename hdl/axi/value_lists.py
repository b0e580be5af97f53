"""The list of the rows of V that a KV head keeps."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from attnsieve.hdl.axi.list_chunker import rank_bits
from attnsieve.hdl.axi.list_ram import ListRam
from attnsieve.hdl.axi.list_rows import index_bits, list_line_layout, row_lanes
from attnsieve.hdl.axi.neighbours import Neighbours
from attnsieve.hdl.control.row_list import entry_read_signature
from attnsieve.hdl.lib.connect import connect
from attnsieve.hdl.lib.credit import Credit
from attnsieve.hdl.lib.packer import Packer
from attnsieve.hdl.lib.queue import Queue
from attnsieve.hdl.lib.zero_eliminator import ZeroEliminator
from attnsieve.hdl.params import CoreParams, check_params
from attnsieve.hdl.stages.key_unions import key_flags_layout

__all__ = ["ValueLists", "value_list_signature"]


def value_list_signature(p: CoreParams) -> wiring.Signature:
    """Read port of the lists of rows of V, as the reader sees it.

    Members
    -------
    half : Out(1)
        Lists are in the halves in turn, the first one in half 0.
    line : Out, en : Out(1)
        Line to read.
    data : In(list_line_layout)
        One cycle after ``en``, and until the next.
    """
    return wiring.Signature(
        {
            "half": Out(1),
            "line": Out(rank_bits(p)),
            "en": Out(1),
            "data": In(list_line_layout(p)),
        }
    )


class ValueLists(wiring.Component):
    """Of the list of keys, writes the flagged entries into one of two halves of a memory, packed.

    Line n of the list of keys belongs to the n-th beat of flags. In a list of values an entry's
    neighbour in memory is its neighbour in the list where it is so in the list of keys, and kept.
    The halves are used in turn: a list begins when the one before the last is free.

    Latency: `latency` cycles from a list's last beat of flags to its count, one more where the
    packer makes two beats of it. Throughput: one beat of flags per cycle within a list, and from
    list to list while a half is free.

    Parameters
    ----------
    params : CoreParams
        The core; with value_demand.

    Members
    -------
    flags : In(stream(key_flags_layout))
        Beats of flags, up to ``max_beats`` for a list.
    entry : Out(entry_read_signature)
        Read port of the list of keys, a beat wide.
    o : Out(stream({count}))
        A list is complete, in the order of the flags; its entries.
    list : In(value_list_signature)
        Read port of the lists that are complete and not free.
    free : In(1)
        The oldest list whose count was taken is not read again.
    """

    flags: stream.Interface
    entry: Any
    o: stream.Interface
    list: Any
    free: Signal

    def __init__(self, *, params: CoreParams) -> None:
        check_params(params)
        if not params.value_demand:
            raise ValueError("value_demand must be true to list values, not false")
        self.params = p = params
        self.neighbours = Neighbours(index_bits=index_bits(p), lanes=p.groups)
        row = self.neighbours.o.p.item[0].shape()
        self.eliminator = ZeroEliminator(shape=row, lanes=p.groups)
        self.packer = Packer(shape=row, lanes=p.groups)
        self.counts = Queue(shape=data.StructLayout({"count": p.key_bits}), depth=2)
        super().__init__(
            {
                "flags": In(stream.Signature(key_flags_layout(p))),
                "entry": Out(entry_read_signature(p, p.max_keys, p.groups)),
                "o": Out(self.counts.o.signature),
                "list": In(value_list_signature(p)),
                "free": In(1),
            }
        )

    @property
    def latency(self) -> int:
        """Cycles from the last beat of flags to the list's count."""
        blocks = (self.neighbours, self.eliminator, self.packer, self.counts)
        return 1 + sum(block.latency for block in blocks)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.neighbours = self.neighbours
        m.submodules.eliminator = self.eliminator
        m.submodules.packer = self.packer
        m.submodules.counts = self.counts
        connect(m, self.neighbours.o, self.eliminator.i)
        connect(m, self.eliminator.o, self.packer.i)
        connect(m, self.counts.o, self.o)
        self._read(m, self.neighbours.i)
        self._write(m, self.packer.o)
        return m

    def _read(self, m: Module, out: Any) -> None:
        """The entries of a beat of flags come a cycle behind it. Nothing lets them wait: the
        packer would only for the list after the next one, which has no half yet."""
        m.submodules.halves = halves = Credit(count=2)
        line, begins, take = Signal.like(self.entry.line), Signal(init=1), Signal()
        held, there = Signal(self.flags.p.shape()), Signal()
        m.d.comb += [
            self.flags.ready.eq(halves.some | ~begins),
            take.eq(self.flags.valid & self.flags.ready),
            halves.take.eq(take & begins),
            halves.give.eq(self.free),
            self.entry.line.eq(line),
            self.entry.en.eq(take),
            out.valid.eq(there),
            out.p.item.eq(self.entry.data),
            out.p.keep.eq(held.keep),
            out.p.last.eq(held.last),
        ]
        m.d.sync += there.eq(take)
        with m.If(take):
            last = self.flags.p.last
            m.d.sync += [held.eq(self.flags.p), begins.eq(last), line.eq(Mux(last, 0, line + 1))]

    def _write(self, m: Module, packed: Any) -> None:
        """Packed beats into the halves; a list's count when it is there."""
        p, ready = self.params, self.counts.i
        m.submodules.entries = ram = ListRam(
            index_bits=index_bits(p), lanes=p.groups, line=row_lanes(p), depth=2 * p.max_beats
        )
        half, place = Signal(), Signal(range(p.max_beats))
        count, after = Signal(p.key_bits), Signal(p.key_bits)
        port = self.list
        m.d.comb += [
            packed.ready.eq(1),
            after.eq(count + packed.p.count),
            ram.write.address.eq(place + Mux(half, p.max_beats, 0)),
            ram.write.data.eq(packed.p.item),
            ram.write.en.eq(packed.valid),
            ready.valid.eq(packed.valid & packed.p.last),
            ready.p.count.eq(after),
            ram.line.eq(port.line + Mux(port.half, p.max_beats * ram.lines, 0)),
            ram.en.eq(port.en),
            port.data.eq(ram.data),
        ]
        with m.If(packed.valid):
            last = packed.p.last
            m.d.sync += [
                half.eq(half ^ last),
                place.eq(Mux(last, 0, place + 1)),
                count.eq(Mux(last, 0, after)),
            ]
