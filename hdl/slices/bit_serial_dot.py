"""Dot products of queries with keys, slice by slice, each until it is known to be too small."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from attnsieve.hdl.lib.checks import check_int
from attnsieve.hdl.lib.delay import delayed
from attnsieve.hdl.lib.ram import Ram
from attnsieve.hdl.slices.concordant_bound import ConcordantBound
from attnsieve.hdl.slices.signed_dot import SignedDot
from attnsieve.hdl.slices.slice_params import SliceParams
from attnsieve.hdl.stages.scorer_array import sum_tree

__all__ = [
    "BitSerialDot",
    "bound_layout",
    "ended_layout",
    "place_layout",
    "query_write_layout",
    "resume_layout",
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


def resume_layout(p: SliceParams) -> data.StructLayout:
    """A key that goes on, with a slice that has come for it."""
    start = start_layout(p).members
    return data.StructLayout(
        {
            **{name: start[name] for name in ("key", "row", "number", "pinned")},
            "first": unsigned(1),
            "sum": signed(p.sum_bits),
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
            **(_signs_layout(p).members if p.sign_magnitude else {}),
        }
    )


def _signs_layout(p: SliceParams) -> data.StructLayout:
    """What the first slice of a key with signs and magnitudes leaves for those behind it."""
    return data.StructLayout(
        {
            "negative": unsigned(p.taps),  # elements of the key
            "margin": signed(p.margin_bits),  # of the key and its row; see `ConcordantBound`
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
    """One bound of a row; see `SliceParams.bounds`."""
    return data.StructLayout(
        {"row": range(p.rows), "number": range(p.bounds), "bound": signed(p.sum_bits + 1)}
    )


class BitSerialDot(wiring.Component):
    """A unit that adds a slice of a key to its sum, and judges it.

    Places arrive, one per cycle, with a key or empty; an empty one takes the next key of ``start``,
    unless it is to pass.
    The slice of the key is read, multiplied with the query of its row and added. A key goes on
    while its sum reaches the bound of its slice (`ExitBounds`); after the last slice it is kept if
    it does; a pinned one always. The place leaves with its key for the unit that has the next
    slice, or empty if that is decided. Units whose places go in a circle never read a slice of a
    key before all earlier ones have been judged, and read one in every cycle while there are keys
    (LeOPArd, section on the bit-serial unit; the circle is of this project).

    A key that is kept waits at ``o`` to be taken. If another one waits there, it goes on in its
    place, and tries again at the next unit: so units stand, for want of places, where nobody takes
    what is kept.

    With `SliceParams.demand` keys also come with the sum of their earlier slices, at ``resume``;
    these go before those of ``start``.

    With `SliceParams.sign_magnitude` the signs in the first slice of a key stay with its place,
    and its margin, which is added there beside the products (`SignedDot`); from this and the
    threshold of its row follows the bound of each slice (`ConcordantBound`).

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
    resume : In(stream(resume_layout))
        Likewise, in the middle of their slices. Only with `SliceParams.demand`.
    arrive : In(place_layout), leave : Out(place_layout)
        Places; ``leave`` is registers.
    passes : In(1)
        An empty place takes no key of ``start``.
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
    passes: Signal
    read: Any
    query: stream.Interface
    bound: stream.Interface
    o: stream.Interface
    ended: stream.Interface

    def __init__(self, *, params: SliceParams, memory_latency: int = 2) -> None:
        check_int("Memory latency", memory_latency, 1)
        self.params, self.memory_latency = params, memory_latency
        p = params
        super().__init__(
            {
                "start": In(stream.Signature(start_layout(p))),
                **({"resume": In(stream.Signature(resume_layout(p)))} if p.demand else {}),
                "arrive": In(place_layout(p)),
                "leave": Out(place_layout(p)),
                "passes": In(1),
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
        sum, the sum of all slices, the verdict. With signs two more: a second sum is added to that
        of the products, and the bound takes two, beside the sum of all slices."""
        signs = 2 if self.params.sign_magnitude else 0
        return 1 + self.memory_latency + 1 + self.params.sum_latency + signs + 2

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        asked = self._turn(m)
        there = delayed(m, asked, self.memory_latency)
        query = self._query(m, delayed(m, asked, self.memory_latency - 1))
        if self.params.sign_magnitude:
            self._sign_magnitude(m, there, query)
        else:
            self._twos_complement(m, there, query)
        return m

    def _twos_complement(self, m: Module, there: Any, query: Any) -> None:
        """The slice that is read is added and compared: rows have the bounds of all keys."""
        total = self._total(m, there, query)
        before = delayed(m, there, 1 + self.params.sum_latency)
        bound = self._bound(m, before)
        self._judge(m, self._add(m, before, total), bound)

    def _sign_magnitude(self, m: Module, there: Any, query: Any) -> None:
        """The same with signs: from the margin of the key follow bounds of its own."""
        p, there = self.params, self._with_signs(m, there)
        dot, margin = self._signed_dots(m, there, query)
        almost = delayed(m, there, dot.latency - 1)
        threshold = self._bound(m, almost)
        before = Signal(place_layout(p))
        last = delayed(m, almost, 1)
        m.submodules.bound = bound = ConcordantBound(params=p)
        m.d.comb += [
            before.eq(last),
            before.margin.eq(Mux(last.first, margin.o, last.margin)),
            bound.threshold.eq(threshold),
            bound.margin.eq(before.margin),
            bound.number.eq(before.number),
        ]
        summed = self._add(m, before, dot.o)
        self._judge(m, delayed(m, summed, bound.latency - 1), bound.o)

    def _with_signs(self, m: Module, there: Any) -> Any:
        """The place whose slice is read, with the signs of its key: its first slice has them."""
        place = Signal(place_layout(self.params))
        signs = Cat(bits[-1] for bits in self.read.data)
        m.d.comb += [
            place.eq(there),
            place.negative.eq(Mux(there.first, signs, there.negative)),
        ]
        return place

    def _signed_dots(self, m: Module, there: Any, query: Any) -> tuple[SignedDot, SignedDot]:
        """The sum of the slice's products; and with a key's first slice its margin: the elements of
        the query that have the sign of the key's, their magnitudes subtracted."""
        p = self.params
        m.submodules.dot = dot = SignedDot(params=p, bits=p.slice_bits)
        m.submodules.margin = margin = SignedDot(params=p, bits=1)
        m.d.comb += [
            dot.value.eq(query),
            dot.negative.eq(there.negative),
            margin.value.eq(query),
            margin.negative.eq(~there.negative),
        ]
        for tap, (value, bits) in enumerate(zip(query, self.read.data, strict=True)):
            agree = there.negative[tap] == (value < 0)
            m.d.comb += [
                dot.magnitude[tap].eq(Mux(there.first, bits[:-1], bits)),
                margin.magnitude[tap].eq(there.first & agree),
            ]
        return dot, margin

    def _add(self, m: Module, before: Any, total: Value) -> Any:
        """A place whose sum has the slice, a cycle later; that of a key that waits stays."""
        summed = Signal(place_layout(self.params))
        m.d.sync += summed.eq(before)
        with m.If(~before.done):
            m.d.sync += summed.sum.eq((before.sum << self.params.slice_bits) + total)
        return summed

    def _turn(self, m: Module) -> Any:
        """The key that arrives gets its next slice, or another one begins in its place."""
        asked, start = Signal(place_layout(self.params)), self.start
        m.d.comb += [
            start.ready.eq(~self.arrive.valid & ~self.passes),
            self.read.en.eq(asked.valid & ~asked.done),
            self.read.address.eq(asked.address),
        ]
        m.d.sync += asked.eq(self.arrive)
        with m.If(~self.arrive.valid):
            m.d.sync += [asked.valid.eq(start.valid & ~self.passes), asked.first.eq(1)]
            m.d.sync += [asked.done.eq(0), asked.sum.eq(0)]
            m.d.sync += [getattr(asked, n).eq(getattr(start.p, n)) for n, _ in start.p.shape()]
        if self.params.demand:
            self._resume(m, asked)
        return asked

    def _resume(self, m: Module, asked: Any) -> None:
        """A key that goes on comes before one that starts."""
        resume = self.resume
        m.d.comb += resume.ready.eq(~self.arrive.valid)
        with m.If(resume.valid & resume.ready):
            m.d.comb += self.start.ready.eq(0)
            m.d.sync += asked.valid.eq(1)
            m.d.sync += [asked[name].eq(resume.p[name]) for name, _ in resume.p.shape()]

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
        return sum_tree(m, Const(1), products, p.sum_terms)

    @staticmethod
    def _product(value: Value, bits: Value, first: Value) -> Value:
        """A sum of shifted values, one per bit: written as a product it would take a multiplier."""
        *lower, highest = [Mux(bit, value, 0) << n for n, bit in enumerate(bits)]
        rest = sum(lower, start=Const(0, 1))
        return Mux(first, rest - highest, rest + highest)

    def _bound(self, m: Module, place: Any) -> Any:
        """That of a place's row and slice, a cycle later; or the threshold of its row."""
        p, given = self.params, self.bound
        bits = (p.bounds - 1).bit_length()
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
