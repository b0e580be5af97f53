"""Loads listed rows of Q, K and V from memory as lines of operands, over all channels."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from attnsieve.hdl.axi.chunker import Sink
from attnsieve.hdl.axi.gather_reader import GatherReader
from attnsieve.hdl.axi.line_sinks import LineSinks
from attnsieve.hdl.axi.list_chunker import MOST, ListChunker, list_chunk_layout
from attnsieve.hdl.axi.list_rows import ListRows, index_bits, list_read_signature, row_lanes
from attnsieve.hdl.axi.row_units import WORD_BYTES, RowUnits
from attnsieve.hdl.axi.signature import AXI4Signature
from attnsieve.hdl.axi.unpacker import Unpacker
from attnsieve.hdl.layouts import line_layout, region_layout
from attnsieve.hdl.lib.connect import connect
from attnsieve.hdl.lib.packer import Packer
from attnsieve.hdl.lib.queue import Queue
from attnsieve.hdl.lib.zero_eliminator import ZeroEliminator
from attnsieve.hdl.params import CoreParams
from attnsieve.hdl.slices.demand.packet_hands import unit_word_layout
from attnsieve.hdl.slices.demand.packet_requests import unit_request_layout

__all__ = ["GatherLoader"]

#: Wide words that may wait in front of the unpacker.
WORDS = 8


class GatherLoader(wiring.Component):
    """The rows of a head that are listed, and no others, as lines of operands.

    A `ListChunker` picks whose rows are read next, `ListRows` looks them up, `RowUnits` finds the
    units that hold them, a `GatherReader` reads those over all channels, in order, several per
    cycle. Of what it brings the wanted words are packed (zero eliminator, packer), so that the
    rows lie back to back as if they did in memory, and an `Unpacker` makes lines.

    For the rest it does what a `Loader` does: a chunk is asked for only if its sink has room for
    all its lines, lines of a head come in order, value lines are left-aligned, and ``stop`` and
    ``idle`` are the same.

    With ``slice_demand`` slices of keys are read through the same channels, unit by unit as they
    are asked for; these come first.

    Throughput: one beat of units, one wide word, one line per cycle, whichever is least.

    Parameters
    ----------
    params : CoreParams
        The core.

    Members
    -------
    query, key, value : In(stream(region_layout))
        Heads; ``rows`` is the length of the list. Q has a list of its own, K and V share one.
    list : Out(list_read_signature)
        Read port of the lists.
    q_line, k_line, v_line : Out(stream(line_layout))
        Lines. A sink takes each at once.
    q_space, k_space, v_space : In(unsigned)
        Free lines of each sink, as the sink sees them. A line counts as taken at the latest one
        cycle after its transfer.
    ask : In(stream(unit_request_layout)), word : Out(stream(unit_word_layout))
        Units of slices. Only with slice_demand.
    bus : Out(AXI4Signature) of channels
        Read channels.
    stop : In(1), idle : Out(1), error : Out(2), read_units : Out(unsigned)
        See `Loader`.
    """

    query: stream.Interface
    key: stream.Interface
    value: stream.Interface
    list: Any
    q_line: stream.Interface
    k_line: stream.Interface
    v_line: stream.Interface
    q_space: Signal
    k_space: Signal
    v_space: Signal
    bus: Any
    stop: Signal
    idle: Signal
    error: Signal
    read_units: Signal

    def __init__(self, *, params: CoreParams) -> None:
        self.params = params
        region = stream.Signature(region_layout(params))
        line = stream.Signature(line_layout(params))
        space = unsigned(params.kv_lines.bit_length())
        bus = AXI4Signature(
            addr_width=params.addr_width, data_width=params.data_width, write=False
        )
        super().__init__(
            {
                "query": In(region),
                "key": In(region),
                "value": In(region),
                "list": Out(list_read_signature(params)),
                "q_line": Out(line),
                "k_line": Out(line),
                "v_line": Out(line),
                "q_space": In(space),
                "k_space": In(space),
                "v_space": In(space),
                "bus": Out(bus).array(params.channels),
                "stop": In(1),
                "idle": Out(1),
                "error": Out(2),
                "read_units": Out(range(params.channels + 1)),
                **(self._slices() if params.slice_demand else {}),
            }
        )

    def _slices(self) -> dict[str, Any]:
        return {
            "ask": In(stream.Signature(unit_request_layout(self.params))),
            "word": Out(stream.Signature(unit_word_layout(self.params))),
        }

    @property
    def granule_lines(self) -> int:
        """Lines that a sink must be able to have free at once for its stream to move."""
        return self.params.max_parts

    @property
    def unit_words(self) -> int:
        """Words of a unit."""
        return self.params.unit_bytes // WORD_BYTES

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.chunker = chunker = ListChunker(params=self.params)
        m.submodules.rows = rows = ListRows(params=self.params)
        for number, region in enumerate((self.query, self.key, self.value)):
            connect(m, region, chunker.region[number])
        m.d.comb += Cat(chunker.space).eq(Cat(self.q_space, self.k_space, self.v_space))
        wiring.connect(m, rows.list, wiring.flipped(self.list))
        chunks = self._chunks(m, chunker, rows)
        reader = self._read(m, rows)
        words = self._pack(m, reader)
        self._lines(m, words, chunks, chunker)
        return m

    def _chunks(self, m: Module, chunker: ListChunker, rows: ListRows) -> Queue:
        """Each chunk goes to be looked up, and to the queue of those that are on their way."""
        layout = list_chunk_layout(self.params)
        known = data.StructLayout({n: layout[n].shape for n in ("sink", "lines", "width")})
        m.submodules.chunks = chunks = Queue(shape=known, depth=32)
        m.submodules.next = following = Queue(shape=layout, depth=2)
        both = chunks.i.ready & following.i.ready & ~self.stop
        m.d.comb += [
            chunker.o.ready.eq(both),
            chunks.i.valid.eq(chunker.o.valid & both),
            following.i.valid.eq(chunker.o.valid & both),
            following.i.p.eq(chunker.o.p),
            *(chunks.i.p[name].eq(chunker.o.p[name]) for name, _ in known),
        ]
        connect(m, following.o, rows.i)
        return chunks

    def _read(self, m: Module, rows: ListRows) -> GatherReader:
        """Rows to units, and those from memory; of each the wanted words are known."""
        p, chunk = self.params, list_chunk_layout(self.params)
        m.submodules.units = units = RowUnits(
            lanes=row_lanes(p), channels=p.channels, unit_words=self.unit_words,
            index_bits=index_bits(p), word_bits=chunk["base"].width,
            pitch_bits=chunk["pitch"].width,
        )  # fmt: skip
        masks = data.ArrayLayout(self.unit_words, p.channels)
        slices = {"slices": 1} if p.slice_demand else {}  # not of rows
        m.submodules.reader = reader = GatherReader(
            addr_width=p.addr_width, data_width=p.data_width, unit_bytes=p.unit_bytes,
            channels=p.channels, tag=data.StructLayout({"mask": masks, "last": 1, **slices}),
            outstanding_beats=p.outstanding_beats,
        )  # fmt: skip
        # whether the reader takes a beat depends on all its units: that ends here
        m.submodules.wanted = wanted = Queue(shape=units.o.p.shape(), depth=2)
        connect(m, rows.o, units.i)
        connect(m, units.o, wanted.i)
        asked = reader.i
        m.d.comb += [
            asked.valid.eq(wanted.o.valid),
            wanted.o.ready.eq(asked.ready),
            asked.p.count.eq(wanted.o.p.count),
            asked.p.tag.last.eq(wanted.o.p.last),
            self.read_units.eq(Mux(asked.valid & asked.ready, asked.p.count, 0)),
            reader.stop.eq(self.stop),
            self.error.eq(reader.error),
            self.idle.eq(reader.idle),
        ]
        for lane, item in enumerate(wanted.o.p.item):
            m.d.comb += [asked.p.unit[lane].eq(item.unit), asked.p.tag.mask[lane].eq(item.mask)]
        if p.slice_demand:
            self._ask(m, asked, wanted.o)
        for channel in range(p.channels):
            wiring.connect(m, reader.bus[channel], wiring.flipped(self.bus[channel]))
        return reader

    def _ask(self, m: Module, asked: Any, rows: Any) -> None:
        """Units of slices before those of rows."""
        with m.If(self.ask.valid):
            m.d.comb += [
                rows.ready.eq(0),
                self.ask.ready.eq(asked.ready),
                asked.valid.eq(1),
                asked.p.count.eq(self.ask.p.count),
                asked.p.unit.eq(self.ask.p.unit),
                asked.p.tag.slices.eq(1),
            ]

    def _pack(self, m: Module, reader: GatherReader) -> stream.Interface:
        """The wanted words of units, back to back. Some wide words may wait: units bring few words
        or many, and an unpacker takes as many cycles for a word as it ends lines."""
        lanes = self.params.channels * self.unit_words
        shape = unsigned(8 * WORD_BYTES)
        m.submodules.eliminator = eliminator = ZeroEliminator(shape=shape, lanes=lanes)
        m.submodules.packer = packer = Packer(shape=shape, lanes=lanes)
        come, beat = reader.o, eliminator.i
        keep = [
            mask & (lane < come.p.count).replicate(self.unit_words)
            for lane, mask in enumerate(come.p.tag.mask)
        ]
        m.d.comb += [
            beat.valid.eq(come.valid),
            come.ready.eq(beat.ready),
            beat.p.item.as_value().eq(Cat(come.p.unit)),
            beat.p.keep.eq(Cat(keep)),
            beat.p.last.eq(come.p.tag.last),
        ]
        if self.params.slice_demand:
            m.d.comb += [
                self.word.valid.eq(come.valid & come.p.tag.slices),
                self.word.p.unit.eq(come.p.unit),
            ]
            with m.If(come.p.tag.slices):
                m.d.comb += [beat.valid.eq(0), come.ready.eq(self.word.ready)]
        m.submodules.words = words = Queue(shape=packer.o.p.shape(), depth=WORDS)
        connect(m, eliminator.o, packer.i)
        connect(m, packer.o, words.i)
        return words.o

    def _lines(
        self, m: Module, words: stream.Interface, chunks: Queue, chunker: ListChunker
    ) -> None:
        """Words to lines, and each line to its sink."""
        p = self.params
        m.submodules.unpacker = unpacker = Unpacker(
            lanes=p.lanes,
            wide_bytes=p.wide_bytes,
            widths=p.operand_widths,
            max_lines=MOST * p.max_parts,
            tag_bits=2,
        )
        m.submodules.sinks = sinks = LineSinks(params=p)
        word, chunk = unpacker.i, chunks.o.p
        m.d.comb += [
            word.valid.eq(words.valid),
            words.ready.eq(word.ready),
            word.p.data.eq(words.p.item),
            word.p.last.eq(words.p.last),
            word.p.chunk.lines.eq(chunk.lines - 1),
            word.p.chunk.width.eq(chunk.width),
            word.p.chunk.left.eq(chunk.sink == Sink.VALUE),
            word.p.tag.eq(chunk.sink),
            chunks.o.ready.eq(word.valid & word.ready & word.p.last),
            sinks.i.valid.eq(unpacker.o.valid),
            sinks.i.p.eq(unpacker.o.p),
            chunker.delivered.eq(sinks.delivered),
        ]
        for name in ("q_line", "k_line", "v_line"):
            connect(m, getattr(sinks, name), getattr(self, name))
