"""Rows of a list to the units of memory that hold them."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from attnsieve.hdl.lib.checks import check_int, check_power_of_two
from attnsieve.hdl.lib.connect import connect
from attnsieve.hdl.lib.packer import Packer
from attnsieve.hdl.lib.reduce import either

__all__ = ["WORD_BYTES", "RowUnits", "listed_row_layout", "row_beat_layout", "unit_layout"]

#: Rows begin and end at multiples of this.
WORD_BYTES = 4


def listed_row_layout(*, index_bits: int) -> data.StructLayout:
    """A row of a list: its index, and whether its neighbours are in the list too."""
    return data.StructLayout({"index": index_bits, "before": 1, "after": 1})


def row_beat_layout(
    *, lanes: int, index_bits: int, word_bits: int, pitch_bits: int
) -> data.StructLayout:
    """Rows that are wanted, ``count`` of them in the lowest lanes: row r begins ``pitch * r``
    words behind ``base``."""
    return data.StructLayout(
        {
            "row": data.ArrayLayout(listed_row_layout(index_bits=index_bits), lanes),
            "count": range(lanes + 1),
            "base": word_bits,
            "pitch": pitch_bits,
            "last": 1,  # of the list
        }
    )


def unit_layout(*, unit_bits: int, unit_words: int) -> data.StructLayout:
    """A unit of memory, and which of its words are wanted."""
    return data.StructLayout({"unit": unit_bits, "mask": unit_words})


class RowUnits(wiring.Component):
    """Expands rows to the units that they touch, in order, in full beats.

    A row of ``pitch`` words may begin and end anywhere in a unit; the mask tells which words are
    its own. Where rows are at least as long as a unit, and two of them follow each other in memory
    as in the list, the unit that both share is asked for once: it goes with the first of them, and
    the second one's words in it are wanted too.

    Latency: `latency` cycles from a beat of rows to its first unit, and those of `Packer`.
    Throughput: a beat of units per cycle while a beat of rows touches as many; a beat of rows
    takes ``ceil(units / channels)`` cycles.

    Parameters
    ----------
    lanes : int
        Rows of a beat.
    channels : int
        Units of a beat at ``o``.
    unit_words : int
        Words of a unit, a power of two.
    index_bits, word_bits, pitch_bits : int
        Of a row's index, of the address of a word, of the words of a row.

    Members
    -------
    i : In(stream(row_beat_layout))
    o : Out(stream(ragged_layout of unit_layout))
        Only the last beat of a list is not full.
    """

    i: stream.Interface
    o: stream.Interface

    #: Registers before the packer: address, units, place in the list.
    latency = 3

    def __init__(
        self,
        *,
        lanes: int,
        channels: int,
        unit_words: int,
        index_bits: int,
        word_bits: int,
        pitch_bits: int,
    ) -> None:
        check_int("Lanes", lanes, 1, 64)
        check_power_of_two("Unit words", unit_words, 1, 128)
        self.lanes, self.channels, self.unit_words = lanes, channels, unit_words
        self.word_bits, self.pitch_bits = word_bits, pitch_bits
        self.offset_bits = unit_words.bit_length() - 1
        self.unit_bits = word_bits - self.offset_bits
        beat = row_beat_layout(
            lanes=lanes, index_bits=index_bits, word_bits=word_bits, pitch_bits=pitch_bits
        )
        unit = unit_layout(unit_bits=self.unit_bits, unit_words=unit_words)
        self.packer = Packer(shape=unit, lanes=channels)
        super().__init__(
            {"i": In(stream.Signature(beat)), "o": Out(self.packer.o.signature)}
        )

    @property
    def most(self) -> int:
        """Most units of a row."""
        return -(-((1 << self.pitch_bits) - 1) // self.unit_words) + 1

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.packer = self.packer
        done = Signal()  # the rows at the end of the pipeline are used up
        words = self._words(m, done)
        spans = self._spans(m, done, words)
        self._emit(m, done, spans)
        connect(m, self.packer.o, self.o)
        return m

    def _words(self, m: Module, done: Signal) -> Any:
        """First register: first and last word of each row."""
        lane = data.StructLayout(
            {"start": self.word_bits, "end": self.word_bits, "before": 1, "after": 1, "used": 1}
        )
        words = Signal(self._stage(lane), name="words")
        beat = self.i.p
        big = beat.pitch >= self.unit_words
        self._free = Signal()  # the first register moves
        m.d.comb += self.i.ready.eq(self._free)
        with m.If(self._free):
            m.d.sync += [words.valid.eq(self.i.valid), words.last.eq(beat.last)]
            for n, row in enumerate(beat.row):
                start = Signal(self.word_bits, name=f"start{n}")
                m.d.comb += start.eq(beat.base + row.index * beat.pitch)
                m.d.sync += [
                    words.lane[n].start.eq(start),
                    words.lane[n].end.eq(start + beat.pitch - 1),
                    words.lane[n].before.eq(row.before & big),
                    words.lane[n].after.eq(row.after & big),
                    words.lane[n].used.eq(n < beat.count),
                ]
        return words

    def _stage(self, lane: Any) -> data.StructLayout:
        return data.StructLayout(
            {"lane": data.ArrayLayout(lane, self.lanes), "last": 1, "valid": 1}
        )

    def _spans(self, m: Module, done: Signal, words: Any) -> Any:
        """Second register: first unit of each row, how many, and the masks at both ends. Third:
        the place of each row's units among those of the beat."""
        counts = range(self.most + 1)
        lane = data.StructLayout(
            {"unit": self.unit_bits, "count": counts, "low": self.unit_words,
             "high": self.unit_words}
        )  # fmt: skip
        spans, placed = Signal(self._stage(lane), name="spans"), Signal(self._placed(lane))
        full, bits = (1 << self.unit_words) - 1, self.offset_bits
        free_last = ~placed.valid | done
        free_spans = ~spans.valid | free_last
        m.d.comb += self._free.eq(~words.valid | free_spans)
        with m.If(free_spans):
            m.d.sync += [spans.valid.eq(words.valid), spans.last.eq(words.last)]
            for row, span in zip(words.lane, spans.lane, strict=True):
                first, last = row.start[bits:], row.end[bits:]
                shared = row.before & (row.start[:bits] != 0)
                m.d.sync += [
                    span.unit.eq(first + shared),
                    span.count.eq(Mux(row.used, (last - first)[: len(span.count)] + 1 - shared, 0)),
                    span.low.eq(Mux(shared, full, Const(full) << row.start[:bits])),
                    span.high.eq(Mux(row.after, full, ~(Const(full - 1) << row.end[:bits]))),
                ]
        with m.If(free_last):
            m.d.sync += [placed.valid.eq(spans.valid), placed.last.eq(spans.last)]
            place: Value = Const(0)
            for span, after in zip(spans.lane, placed.lane, strict=True):
                m.d.sync += [after.span.eq(span), after.place.eq(place)]
                place = place + span.count
            m.d.sync += placed.total.eq(place)
        return placed

    def _placed(self, lane: Any) -> data.StructLayout:
        places = range(self.lanes * self.most + 1)
        return data.StructLayout(
            {
                "lane": data.ArrayLayout(
                    data.StructLayout({"span": lane, "place": places}), self.lanes
                ),
                "total": places,
                "last": 1,
                "valid": 1,
            }
        )

    def _emit(self, m: Module, done: Signal, placed: Any) -> None:
        """Units from ``place`` on, as many as there are channels, to the packer."""
        out, place = self.packer.i, Signal.like(placed.total)
        left = Signal.like(placed.total)
        m.d.comb += [
            left.eq(placed.total - place),
            out.valid.eq(placed.valid),
            out.p.count.eq(Mux(left > self.channels, self.channels, left)),
            out.p.last.eq(placed.last & (left <= self.channels)),
            done.eq(out.ready & (left <= self.channels)),
        ]
        with m.If(placed.valid & out.ready):
            m.d.sync += place.eq(Mux(done, 0, place + self.channels))
        for n, item in enumerate(out.p.item):
            chosen = [self._unit(row, place + n) for row in placed.lane]
            m.d.comb += item.as_value().eq(either(chosen))

    def _unit(self, row: Any, place: Value) -> Value:
        """The unit at a place, if it is one of this row's; else 0."""
        span, number = row.span, place - row.place
        mine = (place >= row.place) & (number < span.count)
        low = Mux(number == 0, span.low, ~Const(0, self.unit_words))
        high = Mux(number == span.count - 1, span.high, ~Const(0, self.unit_words))
        unit = (span.unit + number)[: self.unit_bits]
        return Mux(mine, Cat(unit, low & high), 0)
