"""Joins the units of all channels into wide words."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from attnsieve.hdl.axi.chunker import Sink, chunk_entry_layout
from attnsieve.hdl.axi.unpacker import chunk_layout
from attnsieve.hdl.lib.connect import connect
from attnsieve.hdl.lib.queue import Queue
from attnsieve.hdl.params import CoreParams

__all__ = ["UnitGatherer", "word_layout"]


def word_layout(params: CoreParams) -> data.StructLayout:
    """A wide word with the description of its chunk, as the unpacker takes it."""
    lines = 1 << len_of(params, "lines")
    return data.StructLayout(
        {
            "data": unsigned(8 * params.wide_bytes),
            "last": unsigned(1),
            "chunk": chunk_layout(max_lines=lines, widths=params.operand_widths),
            "tag": unsigned(2),
        }
    )


def len_of(params: CoreParams, field: str) -> int:
    """Bits of a field of a chunk's entry."""
    return chunk_entry_layout(params)[field].width


class UnitGatherer(wiring.Component):
    """Units of every channel to wide words, in the order of linear memory.

    Unit j of a chunk comes from channel (rotation + j) mod C, so a word is what all channels have
    at their heads, rotated. Channels may be skewed: a word waits for the last of them. The last
    word of a chunk waits only for the channels that hold wanted units.

    Latency: from units to their word `latency`: 2 cycles with several channels, none with one;
    from a chunk to its first word a cycle more. Throughput: one word per cycle, none lost between
    chunks.

    Parameters
    ----------
    params : CoreParams
        The core.

    Members
    -------
    chunk : In(stream(chunk_entry_layout))
        Chunks, in the order of their requests.
    i : In(stream(unit)) of channels
        Units.
    o : Out(stream(word_layout))
        Words; ``tag`` is the chunk's sink.
    """

    def __init__(self, *, params: CoreParams) -> None:
        self.params = params
        super().__init__(
            {
                "chunk": In(stream.Signature(chunk_entry_layout(params))),
                "i": In(stream.Signature(unsigned(8 * params.unit_bytes))).array(params.channels),
                "o": Out(stream.Signature(word_layout(params))),
            }
        )

    @property
    def latency(self) -> int:
        """Cycles from the last unit of a word to the word."""
        return 2 * (self.params.channels > 1)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        channels = self.params.channels
        chunk = self._next_chunk(m)
        entry = Signal(chunk.payload.shape())  # words counts down here
        valid, last = Signal(), Signal()
        wanted, missing = Signal(channels), Signal(channels)
        final = Signal(channels)  # wanted of the last word
        complete, take = Signal(), Signal()
        self._units = self._near(m)
        for c, unit in enumerate(self._units):
            m.d.comb += [
                missing[c].eq(wanted[c] & ~unit.valid),
                unit.ready.eq(take & wanted[c]),
            ]
        m.d.comb += [
            complete.eq(valid & ~missing.any()),
            chunk.ready.eq(~valid | (take & last)),
        ]
        with m.If(take):
            m.d.sync += [
                entry.words.eq(entry.words - 1),
                last.eq(entry.words == 1),
                wanted.eq(Mux(entry.words == 1, final, ~Const(0, channels))),
            ]
        with m.If(chunk.ready):
            single = chunk.payload.words == 0
            held = self._final(chunk.payload)
            m.d.sync += [
                valid.eq(chunk.valid),
                entry.eq(chunk.payload),
                last.eq(single),
                final.eq(held),
                wanted.eq(Mux(single, held, ~Const(0, channels))),
            ]
        word = Signal(word_layout(self.params))
        m.d.comb += [
            word.data.eq(self._rotated(entry.rotation)),
            word.last.eq(last),
            word.chunk.lines.eq(entry.lines),
            word.chunk.width.eq(entry.wide),
            word.chunk.left.eq(entry.sink == Sink.VALUE),
            word.tag.eq(entry.sink),
        ]
        if channels == 1:
            m.d.comb += [
                self.o.valid.eq(complete),
                self.o.payload.eq(word),
                take.eq(complete & self.o.ready),
            ]
        else:
            self._queue(m, word, complete, take)
        return m

    def _next_chunk(self, m: Module) -> stream.Interface:
        """Chunks, from a queue of two with several channels, whose valid bits come late."""
        if self.params.channels == 1:
            return self.chunk
        m.submodules.chunks = chunks = Queue(shape=self.chunk.payload.shape(), depth=2)
        connect(m, wiring.flipped(self.chunk), chunks.i)
        return chunks.o

    def _near(self, m: Module) -> list[stream.Interface]:
        """Units, with several channels from a queue of two: so none waits for another's valid."""
        if self.params.channels == 1:
            return [self.i[0]]
        units = []
        for c, unit in enumerate(self.i):
            m.submodules[f"units{c}"] = queue = Queue(shape=unit.payload.shape(), depth=2)
            connect(m, wiring.flipped(unit), queue.i)
            units.append(queue.o)
        return units

    def _queue(self, m: Module, word: Signal, complete: Signal, take: Signal) -> None:
        """Two words, so that no path leads from the sinks to the channels.

        What decides what becomes of a word has a queue of its own, which always moves with that of
        the data.
        """
        layout = word_layout(self.params)
        marks = data.StructLayout({n: f.shape for n, f in layout if n != "data"})
        m.submodules.words = words = Queue(shape=layout["data"].shape, depth=2)
        m.submodules.marks = mark = Queue(shape=marks, depth=2)
        m.d.comb += [
            words.i.valid.eq(complete),
            words.i.payload.eq(word.data),
            words.o.ready.eq(self.o.ready),
            mark.i.valid.eq(complete),
            mark.o.ready.eq(self.o.ready),
            take.eq(complete & mark.i.ready),
            self.o.valid.eq(mark.o.valid),
            self.o.payload.data.eq(words.o.payload),
        ]
        for name, _ in marks:
            m.d.comb += [
                mark.i.payload[name].eq(word[name]),
                self.o.payload[name].eq(mark.o.payload[name]),
            ]

    def _final(self, entry: data.View) -> Value:
        """Which channels hold a unit of a chunk's last word."""
        if self.params.channels == 1:
            return Const(1)
        bits = len(entry.rotation)
        positions = [(c - entry.rotation)[:bits] for c in range(self.params.channels)]
        return Cat(position <= entry.tail for position in positions)

    def _rotated(self, rotation: Value) -> Value:
        """The units with the one of channel ``rotation`` lowest: a barrel of 2:1 multiplexers."""
        units = [unit.payload for unit in self._units]
        for bit in range(len(rotation)):
            turned = units[1 << bit :] + units[: 1 << bit]
            units = [Mux(rotation[bit], b, a) for a, b in zip(units, turned, strict=True)]
        return Cat(units)
