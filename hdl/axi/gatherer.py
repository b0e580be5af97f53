"""Joins the units of all channels into wide words."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal, Value, unsigned
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
            "chunk": chunk_layout(max_lines=lines),
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

    Latency: 1 cycle with several channels; none with one. Throughput: one word per cycle.

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
        return int(self.params.channels > 1)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        channels, entry = self.params.channels, self.chunk.payload
        index = Signal.like(entry.words)
        last, complete, take = Signal(), Signal(), Signal()
        missing = Signal(channels)
        for c, unit in enumerate(self.i):
            position = (c - entry.rotation)[: len(entry.rotation)] if channels > 1 else 0
            wanted = Signal(name=f"wanted{c}")
            m.d.comb += [
                wanted.eq(~last | (position <= entry.tail)),
                missing[c].eq(wanted & ~unit.valid),
                unit.ready.eq(take & wanted),
            ]
        m.d.comb += [
            last.eq(index == entry.words),
            complete.eq(self.chunk.valid & ~missing.any()),
            self.chunk.ready.eq(take & last),
        ]
        with m.If(take):
            m.d.sync += index.eq(Mux(last, 0, index + 1))
        word = Signal(word_layout(self.params))
        m.d.comb += [
            word.data.eq(self._rotated(entry.rotation)),
            word.last.eq(last),
            word.chunk.lines.eq(entry.lines),
            word.chunk.wide.eq(entry.wide),
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
            # of two words: so that no path leads from the sinks to the channels
            m.submodules.words = words = Queue(shape=word_layout(self.params), depth=2)
            m.d.comb += [
                words.i.valid.eq(complete),
                words.i.payload.eq(word),
                take.eq(complete & words.i.ready),
            ]
            connect(m, words.o, self.o)
        return m

    def _rotated(self, rotation: Value) -> Value:
        """The units with the one of channel ``rotation`` lowest: a barrel of 2:1 multiplexers."""
        units = [unit.payload for unit in self.i]
        for bit in range(len(rotation)):
            turned = units[1 << bit :] + units[: 1 << bit]
            units = [Mux(rotation[bit], b, a) for a, b in zip(units, turned, strict=True)]
        return Cat(units)
