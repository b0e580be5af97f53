"""Dot products of a query with keys, slice by slice, each until it is known to be too small."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from attnsieve.hdl.lib.checks import check_int
from attnsieve.hdl.lib.delay import delayed
from attnsieve.hdl.slices.slice_params import SliceParams
from attnsieve.hdl.stages.scorer_array import sum_tree

__all__ = ["BitSerialDot", "slice_read_signature", "verdict_layout"]


def slice_read_signature(p: SliceParams) -> wiring.Signature:
    """Read port of the slices of K.

    Members
    -------
    en : Out(1), key : Out, number : Out
        Slice ``number`` of a key is wanted.
    data : In(SliceParams.slice_layout())
        It, ``memory_latency`` cycles later.
    """
    return wiring.Signature(
        {
            "en": Out(1),
            "key": Out(range(p.keys)),
            "number": Out(range(p.slices)),
            "data": In(p.slice_layout()),
        }
    )


def start_layout(p: SliceParams) -> data.StructLayout:
    """A key that is to be scored, with one of two queries."""
    return data.StructLayout({"key": range(p.keys), "query": unsigned(1)})


def verdict_layout(p: SliceParams) -> data.StructLayout:
    """What became of a key: its score is exact if it is kept, and means nothing otherwise."""
    return data.StructLayout(
        {
            "key": range(p.keys),
            "query": unsigned(1),
            "kept": unsigned(1),
            "score": signed(p.score_bits),
            "slices": range(p.slices + 1),  # that were read
        }
    )


class BitSerialDot(wiring.Component):
    """A ring of keys: with each turn a key gets the next slice of its words, until it is decided.

    A key goes on while its sum reaches the bound of its slice (`ExitBounds`); after the last slice
    it is kept if it does. What is decided leaves the ring, and its place is free for another key at
    once. `latency` keys are in the ring, as many as a decision takes cycles: so the next slice is
    never read before all earlier ones have been judged, and a slice is read in every cycle while
    there are keys (LeOPArd, section on the bit-serial unit; the ring is of this project).

    Latency of a key: ``slices * latency`` cycles from its being taken to its verdict. Throughput:
    one slice per cycle. Verdicts come as they are found, in no order, and do not wait: who gives
    keys sees to it that there is room.

    Parameters
    ----------
    params : SliceParams
    memory_latency : int
        Cycles from a read to its data.

    Members
    -------
    i : In(stream({key, query}))
        Keys. Ready depends on registers only.
    read : Out(slice_read_signature)
    queries : In(SliceParams.query_layout()).array(2)
        The queries at hand; one changes only while no key of it is inside.
    bounds : In(SliceParams.bounds_layout()).array(2)
        Their bounds.
    o : Out(stream({key, query, kept, score, slices}, always ready))
        Verdicts.
    """

    i: stream.Interface
    read: Any
    queries: Any
    bounds: Any
    o: stream.Interface

    #: Terms that are added between registers.
    _TERMS = 4

    def __init__(self, *, params: SliceParams, memory_latency: int = 2) -> None:
        check_int("Memory latency", memory_latency, 1)
        self.params, self.memory_latency = params, memory_latency
        self.place = data.StructLayout(
            {
                "valid": unsigned(1),
                **start_layout(params).members,
                "number": range(params.slices),  # of the slice
                "sum": signed(params.sum_bits),  # of those before
            }
        )
        super().__init__(
            {
                "i": In(stream.Signature(start_layout(params))),
                "read": Out(slice_read_signature(params)),
                "queries": In(params.query_layout()).array(2),
                "bounds": In(params.bounds_layout()).array(2),
                "o": Out(stream.Signature(verdict_layout(params), always_ready=True)),
            }
        )

    @property
    def latency(self) -> int:
        """Places in the ring: the read, its data, products, their sum, the sum of all slices, the
        decision."""
        levels = (self.params.taps - 1).bit_length()
        return 1 + self.memory_latency + 1 + -(-levels // (self._TERMS - 1).bit_length()) + 2

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        back, decided = Signal(self.place), Signal()
        asked = self._turn(m, back, decided)
        there = delayed(m, asked, self.memory_latency)
        total = self._total(m, there)
        summed = Signal(self.place)
        before = delayed(m, there, self.latency - self.memory_latency - 3)
        bound = Signal(signed(self.params.sum_bits + 1))
        m.d.sync += [
            summed.eq(before),
            summed.sum.eq((before.sum << self.params.slice_bits) + total),
            bound.eq(self._bound(before)),
        ]
        self._judge(m, summed, bound, back, decided)
        return m

    def _turn(self, m: Module, back: Any, decided: Signal) -> Any:
        """The key that comes around goes on, or another one begins in its place."""
        asked, goes_on = Signal(self.place), Signal()
        m.d.comb += [
            goes_on.eq(back.valid & ~decided),
            self.i.ready.eq(~goes_on),
            self.read.en.eq(asked.valid),
            self.read.key.eq(asked.key),
            self.read.number.eq(asked.number),
        ]
        with m.If(goes_on):
            m.d.sync += [asked.eq(back), asked.number.eq(back.number + 1)]
        with m.Else():
            m.d.sync += [
                asked.valid.eq(self.i.valid),
                asked.key.eq(self.i.p.key),
                asked.query.eq(self.i.p.query),
                asked.number.eq(0),
                asked.sum.eq(0),
            ]
        return asked

    def _total(self, m: Module, there: Any) -> Value:
        """The products of the slice that is read with its query, added. The first slice has the
        sign: its highest bit counts less than nothing."""
        p = self.params
        first = there.number == 0
        products = []
        for tap, bits in enumerate(self.read.data):
            value = Mux(there.query, self.queries[1][tap], self.queries[0][tap])
            digit = Cat(bits, first & bits[-1]).as_signed()
            product = Signal(signed(p.query_bits + p.slice_bits), name=f"product{tap}")
            m.d.sync += product.eq(value * digit)
            products.append(product)
        return sum_tree(m, Const(1), products, self._TERMS)

    def _bound(self, place: Any) -> Value:
        """That of a key's query and slice."""
        bounds = [
            Mux(place.query, two, one)
            for one, two in zip(self.bounds[0], self.bounds[1], strict=True)
        ]
        found = bounds[-1]
        for number, bound in enumerate(bounds[:-1]):
            found = Mux(place.number == number, bound, found)
        return found

    def _judge(self, m: Module, summed: Any, bound: Value, back: Any, decided: Signal) -> None:
        """Whether the sum is enough, and the verdict if that or the word ends it."""
        p, out = self.params, self.o
        short, last = Signal(), Signal()
        m.d.comb += [short.eq(summed.sum < bound), last.eq(summed.number == p.slices - 1)]
        m.d.sync += [
            back.eq(summed),
            decided.eq(short | last),
            out.valid.eq(summed.valid & (short | last)),
            out.p.key.eq(summed.key),
            out.p.query.eq(summed.query),
            out.p.kept.eq(~short),
            out.p.score.eq(summed.sum >> p.pad),
            out.p.slices.eq(summed.number + 1),
        ]
