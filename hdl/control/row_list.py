"""The list of the rows that a mask leaves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from attnsieve.hdl.axi.list_ram import ListRam
from attnsieve.hdl.axi.list_rows import index_bits, list_line_layout
from attnsieve.hdl.axi.neighbours import Neighbours
from attnsieve.hdl.axi.row_units import listed_row_layout
from attnsieve.hdl.lib.connect import connect
from attnsieve.hdl.lib.packer import Packer
from attnsieve.hdl.lib.zero_eliminator import ZeroEliminator
from attnsieve.hdl.params import CoreParams

__all__ = ["RowList", "entry_read_signature", "mask_lanes"]


def mask_lanes(p: CoreParams) -> int:
    """Bits of a mask that are looked at in a cycle: as the top-k takes them."""
    return p.token_lanes


def entry_read_signature(p: CoreParams, rows: int, lanes: int | None = None) -> wiring.Signature:
    """Read port of a list, as the reader sees it.

    Members
    -------
    line : Out, en : Out(1)
        Line of ``lanes`` entries to read, `row_lanes` by default.
    data : In(list_line_layout)
        One cycle after ``en``, and until the next.
    """
    line = list_line_layout(p, lanes)
    return wiring.Signature(
        {"line": Out(range(-(-rows // line.length))), "en": Out(1), "data": In(line)}
    )


class RowList(wiring.Component):
    """Walks a mask and writes the indices of its ones into a memory, in order.

    Each entry also tells whether the rows before and after it are in the list: which of the rows
    of a list follow each other in memory is known from the mask. If no bit is set the list has one
    entry, row 0, when ``force`` says so.

    A list of n rows is done `latency` cycles and ``ceil(n / lanes)`` after ``start``, `mask_lanes`
    bits per cycle.

    Parameters
    ----------
    params : CoreParams
        The core.
    rows : int
        Most rows.
    reads : sequence of int
        Entries of a line for each read port; each costs a copy of the memory.

    Members
    -------
    start : In(1), rows : In
        Begin a list of the first ``rows`` bits of the mask, which stay meanwhile.
    force : In(1)
        See above.
    mask_beat : Out, mask_en : Out(1), mask : In(lanes)
        Read port of the mask, one cycle.
    done : Out(1)
        The list is there, from a while after ``start`` to the next ``start``.
    count : Out, forced : Out(1), final : Out
        Its entries; the one entry is there by force; index of the last one.
    read0, read1, … : In(entry_read_signature)
        Read ports.
    """

    start: Signal
    rows: Signal
    force: Signal
    mask_beat: Signal
    mask_en: Signal
    mask: Signal
    done: Signal
    count: Signal
    forced: Signal
    final: Signal

    def __init__(self, *, params: CoreParams, rows: int, reads: Sequence[int]) -> None:
        self.params, self.most, self.reads = params, rows, tuple(reads)
        self.lanes = mask_lanes(params)
        self.beats = -(-rows // self.lanes)
        self.entry = listed_row_layout(index_bits=index_bits(params))
        super().__init__(
            {
                "start": In(1),
                "rows": In(range(rows + 1)),
                "force": In(1),
                "mask_beat": Out(range(self.beats)),
                "mask_en": Out(1),
                "mask": In(self.lanes),
                "done": Out(1),
                "count": Out(range(rows + 1)),
                "forced": Out(1),
                "final": Out(index_bits(params)),
                **{
                    f"read{n}": In(entry_read_signature(params, rows, lanes))
                    for n, lanes in enumerate(self.reads)
                },
            }
        )

    @property
    def latency(self) -> int:
        """Cycles from ``start`` to ``done`` beside one for each beat of the mask."""
        return 4 + ZeroEliminator(shape=self.entry, lanes=self.lanes).latency + Packer(
            shape=self.entry, lanes=self.lanes
        ).latency

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.neighbours = neighbours = Neighbours(
            index_bits=index_bits(self.params), lanes=self.lanes
        )
        m.submodules.eliminator = eliminator = ZeroEliminator(shape=self.entry, lanes=self.lanes)
        m.submodules.packer = packer = Packer(shape=self.entry, lanes=self.lanes)
        connect(m, neighbours.o, eliminator.i)
        connect(m, eliminator.o, packer.i)
        self._scan(m, neighbours.i)
        self._store(m, packer.o)
        return m

    def _scan(self, m: Module, out: Any) -> None:
        """Beats of the mask, without a gap: nothing behind lets them wait."""
        lanes, beat, left = self.lanes, self.mask_beat, Signal.like(self.rows)
        reading, coming, end = Signal(), Signal(), Signal()
        inside, ends, number = Signal(lanes), Signal(), Signal.like(beat)
        within = Cat(lane < left for lane in range(lanes))  # of the beat that is being read
        m.d.comb += [self.mask_en.eq(reading), end.eq(left <= lanes)]
        with m.If(self.start):
            m.d.sync += [reading.eq(1), beat.eq(0), left.eq(self.rows)]
        with m.Elif(reading):
            m.d.sync += [beat.eq(beat + 1), left.eq(left - lanes), reading.eq(~end)]
        m.d.sync += [coming.eq(reading), inside.eq(within), ends.eq(end), number.eq(beat)]
        m.d.comb += [
            out.valid.eq(coming),
            out.p.keep.eq(self.mask & inside),
            out.p.last.eq(ends),
        ]
        for lane, item in enumerate(out.p.item):
            m.d.comb += [
                item.index.eq(Cat(Const(lane, (lanes - 1).bit_length()), number)),
                item.before.eq(1),
                item.after.eq(1),
            ]

    def _store(self, m: Module, packed: Any) -> None:
        """Packed beats into the memory, and what is known of the list."""
        lanes, place = self.lanes, Signal(range(self.beats))
        take = Signal()
        empty = packed.p.last & (packed.p.count == 0) & (self.count == 0) & self.force
        m.d.comb += [packed.ready.eq(1), take.eq(packed.valid)]
        with m.If(self.start):
            m.d.sync += [place.eq(0), self.count.eq(0), self.done.eq(0), self.forced.eq(0)]
        with m.Elif(take):
            m.d.sync += [
                place.eq(place + 1),
                self.count.eq(self.count + Mux(empty, 1, packed.p.count)),
                self.done.eq(packed.p.last),
                self.forced.eq(empty),
            ]
            with m.Switch(packed.p.count):
                for count in range(1, lanes + 1):
                    with m.Case(count):
                        m.d.sync += self.final.eq(packed.p.item[count - 1].index)
            with m.If(empty):
                m.d.sync += self.final.eq(0)
        item = Mux(empty, 0, packed.p.item.as_value())
        for number, line in enumerate(self.reads):
            m.submodules[f"entries{number}"] = ram = ListRam(
                index_bits=index_bits(self.params), lanes=lanes, line=line, depth=self.beats
            )
            port = getattr(self, f"read{number}")
            m.d.comb += [
                ram.write.address.eq(place),
                ram.write.data.as_value().eq(item),
                ram.write.en.eq(take),
                ram.line.eq(port.line),
                ram.en.eq(port.en),
                port.data.eq(ram.data),
            ]
