"""Dot products of queries with keys, slice by slice, each until it is known to be too small."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from attnsieve.hdl.lib.checks import check_int
from attnsieve.hdl.lib.delay import delayed
from attnsieve.hdl.lib.ram import Ram
from attnsieve.hdl.slices.slice_params import SliceParams
from attnsieve.hdl.stages.scorer_array import sum_tree

__all__ = [
    "BitSerialDot",
    "bound_layout",
    "ended_layout",
    "place_layout",
    "query_write_layout",
    "slice_read_signature",
    "start_layout",
    "survivor_layout",
]


def slice_read_signature(p: SliceParams) -> wiring.Signature:
    """Read port of a bank of slices.

    Members
    -------
    en : Out(1), address : Out
        What to read.
    data : In(SliceParams.slice_layout())
        It, ``memory_latency`` cycles later.
    """
    return wiring.Signature(
        {"en": Out(1), "address": Out(range(p.bank_depth)), "data": In(p.slice_layout())}
    )


def start_layout(p: SliceParams) -> data.StructLayout:
    """A key that is to be scored."""
    return data.StructLayout(
        {
            "key": range(p.keys),
            "row": range(p.rows),
            "number": range(p.slices),  # of its first slice
            "address": range(p.bank_depth),  # of that in its bank
            "pinned": unsigned(1),  # it is kept, whatever its score
        }
    )


def place_layout(p: SliceParams) -> data.StructLayout:
    """A place that goes from unit to unit, and the key in it."""
    return data.StructLayout(
        {
            "valid": unsigned(1),
            "first": unsigned(1),  # no slice of the key has been read
            "done": unsigned(1),  # its score is known and waits to be taken
            **start_layout(p).members,  # of the slice at hand
            "sum": signed(p.sum_bits),  # of those before
        }
    )


def survivor_layout(p: SliceParams) -> data.StructLayout:
    """A key that is kept."""
    return data.StructLayout(
        {
            "key": range(p.keys),
            "row": range(p.rows),
            "pinned": unsigned(1),
            "score": signed(p.score_bits),
        }
    )


def ended_layout(p: SliceParams) -> data.StructLayout:
    """A key that was found to be too small with slice ``number``, or to be kept with the last; or
    that is kept and waits for a turn to be taken."""
    return data.StructLayout(
        {
            "row": range(p.rows),
            "number": range(p.slices),
            "kept": unsigned(1),
            "waits": unsigned(1),
        }
    )


def query_write_layout(p: SliceParams) -> data.StructLayout:
    """The query of a row."""
    return data.StructLayout({"row": range(p.rows), "query": p.query_layout()})


def bound_layout(p: SliceParams) -> data.StructLayout:
    """One bound of a row."""
    return data.StructLayout(
        {"row": range(p.rows), "number": range(p.slices), "bound": signed(p.sum_bits + 1)}
    )


class BitSerialDot(wiring.Component):
    """A unit that adds a slice of a key to its sum, and judges it.

    Places arrive, one per cycle, with a key or empty; an empty one takes the next key of ``start``.
    The slice of the key is read, multiplied with the query of its row and added. A key goes on
    while its sum reaches the bound of its slice (`ExitBounds`); after the last slice it is kept if
    it does; a pinned one always. The place leaves with its key for the unit that has the next
    slice, or empty if that is decided. Units whose places go in a circle never read a slice of a
    key before all earlier ones have been judged, and read one in every cycle while there are keys
    (LeOPArd, section on the bit-serial unit; the circle is of this project).

    A key that is kept waits at ``o`` to be taken. If another one waits there, it goes on in its
    place, and tries again at the next unit: so units stand, for want of places, where nobody takes
    what is kept.

    Latency: `latency` cycles from unit to unit. Throughput: one slice per cycle.

    Parameters
    ----------
    params : SliceParams
    memory_latency : int
        Cycles from a read to its data.

    Members
    -------
    start : In(stream(start_layout))
        Keys. Ready depends on registers only.
    arrive : In(place_layout), leave : Out(place_layout)
        Places; ``leave`` is registers.
    read : Out(slice_read_signature)
        Bank of slices.
    query : In(stream(query_write_layout, always ready))
        The query of a row, before its keys.
    bound : In(stream(bound_layout, always ready))
        The bounds of a row, before its keys.
    o : Out(stream(survivor_layout))
        Keys that are kept, with their exact scores.
    ended : Out(stream(ended_layout, always ready))
        Every key that is decided; a kept one as it enters ``o``, and each turn that it waits.
    """

    start: stream.Interface
    arrive: Any
    leave: Any
    read: Any
    query: stream.Interface
    bound: stream.Interface
    o: stream.Interface
    ended: stream.Interface

    #: Terms that are added between registers.
    _TERMS = 4

    def __init__(self, *, params: SliceParams, memory_latency: int = 2) -> None:
        check_int("Memory latency", memory_latency, 1)
        self.params, self.memory_latency = params, memory_latency
        p = params
        super().__init__(
            {
                "start": In(stream.Signature(start_layout(p))),
                "arrive": In(place_layout(p)),
                "leave": Out(place_layout(p)),
                "read": Out(slice_read_signature(p)),
                "query": In(stream.Signature(query_write_layout(p), always_ready=True)),
                "bound": In(stream.Signature(bound_layout(p), always_ready=True)),
                "o": Out(stream.Signature(survivor_layout(p))),
                "ended": Out(stream.Signature(ended_layout(p), always_ready=True)),
            }
        )

    @property
    def latency(self) -> int:
        """Cycles from the arrival of a place to its leaving: the read, its data, products, their
        sum, the sum of all slices, the verdict."""
        levels = (self.params.taps - 1).bit_length()
        return 1 + self.memory_latency + 1 + -(-levels // (self._TERMS - 1).bit_length()) + 2

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        p = self.params
        asked = self._turn(m)
        there = delayed(m, asked, self.memory_latency)
        query = self._query(m, delayed(m, asked, self.memory_latency - 1))
        total = self._total(m, there, query)
        before = delayed(m, there, self.latency - self.memory_latency - 3)
        bound = self._bound(m, before)
        summed = Signal(place_layout(p))
        m.d.sync += summed.eq(before)
        with m.If(~before.done):
            m.d.sync += summed.sum.eq((before.sum << p.slice_bits) + total)
        self._judge(m, summed, bound)
        return m

    def _turn(self, m: Module) -> Any:
        """The key that arrives gets its next slice, or another one begins in its place."""
        asked, start = Signal(place_layout(self.params)), self.start
        m.d.comb += [
            start.ready.eq(~self.arrive.valid),
            self.read.en.eq(asked.valid & ~asked.done),
            self.read.address.eq(asked.address),
        ]
        m.d.sync += asked.eq(self.arrive)
        with m.If(~self.arrive.valid):
            m.d.sync += [asked.valid.eq(start.valid), asked.first.eq(1)]
            m.d.sync += [asked.done.eq(0), asked.sum.eq(0)]
            m.d.sync += [getattr(asked, n).eq(getattr(start.p, n)) for n, _ in start.p.shape()]
        return asked

    def _query(self, m: Module, place: Any) -> Any:
        """The query of a place's row, a cycle later."""
        p = self.params
        m.submodules.queries = ram = Ram(shape=p.query_layout(), depth=p.rows, distributed=True)
        m.d.comb += [
            ram.write.en.eq(self.query.valid),
            ram.write.address.eq(self.query.p.row),
            ram.write.data.eq(self.query.p.query),
            ram.read[0].en.eq(1),
            ram.read[0].address.eq(place.row),
        ]
        return ram.read[0].data

    def _total(self, m: Module, there: Any, query: Any) -> Value:
        """The products of the slice that is read with its query, added. Its first slice has the
        sign of a word: the highest bit counts less than nothing."""
        p = self.params
        products = []
        for tap, bits in enumerate(self.read.data):
            product = Signal(signed(p.query_bits + p.slice_bits), name=f"product{tap}")
            m.d.sync += product.eq(self._product(query[tap], bits, there.first))
            products.append(product)
        return sum_tree(m, Const(1), products, self._TERMS)

    @staticmethod
    def _product(value: Value, bits: Value, first: Value) -> Value:
        """A sum of shifted values, one per bit: written as a product it would take a multiplier."""
        *lower, highest = [Mux(bit, value, 0) << n for n, bit in enumerate(bits)]
        rest = sum(lower, start=Const(0, 1))
        return Mux(first, rest - highest, rest + highest)

    def _bound(self, m: Module, place: Any) -> Any:
        """That of a place's row and slice, a cycle later."""
        p, given = self.params, self.bound
        bits = (p.slices - 1).bit_length()
        m.submodules.bounds = ram = Ram(
            shape=signed(p.sum_bits + 1), depth=p.rows << bits, distributed=True
        )
        m.d.comb += [
            ram.write.en.eq(given.valid),
            ram.write.address.eq(Cat(given.p.number[:bits], given.p.row)),
            ram.write.data.eq(given.p.bound),
            ram.read[0].en.eq(1),
            ram.read[0].address.eq(Cat(place.number[:bits], place.row)),
        ]
        return ram.read[0].data

    def _judge(self, m: Module, summed: Any, bound: Value) -> None:
        """Whether the sum is enough, and where the key goes."""
        p, out = self.params, self.o
        short, last, kept, room = Signal(), Signal(), Signal(), Signal()
        m.d.comb += [
            short.eq((summed.sum < bound) & ~summed.pinned),
            last.eq(summed.number == p.slices - 1),
            room.eq(~out.valid | out.ready),
            kept.eq(summed.valid & last & ~short & room),
        ]
        m.d.sync += [
            self.leave.eq(summed),
            self.leave.valid.eq(summed.valid & ~short & ~(last & room)),
            self.leave.done.eq(last),
            self.ended.valid.eq(summed.valid & (short | last)),
            self.ended.p.row.eq(summed.row),
            self.ended.p.number.eq(summed.number),
            self.ended.p.kept.eq(~short & room),
            self.ended.p.waits.eq(~short & ~room),
        ]
        with m.If(~last):
            m.d.sync += [
                self.leave.number.eq(summed.number + 1),
                self.leave.address.eq(summed.address + 1),
                self.leave.first.eq(0),
            ]
        with m.If(room):
            m.d.sync += [
                out.valid.eq(kept),
                out.p.key.eq(summed.key),
                out.p.row.eq(summed.row),
                out.p.pinned.eq(summed.pinned),
                out.p.score.eq(summed.sum >> p.pad),
            ]
