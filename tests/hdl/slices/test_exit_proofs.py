# amaranth: UnusedElaboratable=no
"""Soundness of the bit-serial unit at larger sizes, in lemmas that compose (see the reference page
of the block): one pass through the unit, what bounds mean, sums of prefixes."""

from __future__ import annotations

import numpy as np
import pytest
from amaranth.asserts import AnyConst
from amaranth.hdl import Assert, Assume, Cat, Const, Cover, Module, Mux, Signal, signed
from amaranth.lib import wiring

from attnsieve.hdl.lib.ram import Ram
from attnsieve.hdl.slices.bit_serial_dot import BitSerialDot, place_layout
from attnsieve.hdl.slices.exit_bounds import ExitBounds
from attnsieve.hdl.slices.slice_params import SliceParams
from attnsieve.sim.formal import HoldRule, ProofError, free_inputs, prove
from attnsieve.sim.golden.bit_serial import cut


def sized(taps, bits, slice_bits):
    return SliceParams(
        taps=taps, query_bits=bits, word_bits=bits, slice_bits=slice_bits, keys=2, rows=2, stored=2
    )


def by_bits(value, bits, first):
    """A value times a slice, bit by bit; the highest bit of a first slice counts less than
    nothing."""
    *lower, highest = [Mux(bit, value, 0) << n for n, bit in enumerate(bits)]
    rest = sum(lower, start=Const(0, 1))
    return Mux(first, rest - highest, rest + highest)


def in_fours(terms):
    """The sum of terms of one width, four at a time: a solver only knows large sums again that are
    made in the order of the hardware. N terms have log2 N bits more than one."""
    while len(terms) > 1:
        some = [terms[n : n + 4] for n in range(0, len(terms), 4)]
        width = len(terms[0]) + (len(some[0]) - 1).bit_length()
        terms = [sum(four[1:], start=four[0])[:width].as_signed() for four in some]
    return terms[0]


class Pass(wiring.Component):
    """Any place that arrives, any key that starts: the unit reads its slice, and `latency` cycles
    later it is what `BitSerialDot` says, whatever else is in the unit and before and behind it.

    A query and a bound are written in the first cycle of a watch, in the next one a place of that
    row and slice arrives. Memories of the proof stand beside those of the unit.

    Parameters
    ----------
    wrong : int
        What is added to the bound in the claim; 0 to prove it.
    """

    def __init__(self, params, *, memory_latency=1, wrong=0):
        self.params, self.memory_latency, self.wrong = params, memory_latency, wrong
        self.dut = BitSerialDot(params=params, memory_latency=memory_latency)
        super().__init__({})

    @property
    def length(self):
        """Cycles from a watch to its end."""
        return self.dut.latency + 2

    def elaborate(self, platform):
        m = Module()
        p, dut = self.params, self.dut
        m.submodules.dut = dut
        free_inputs(m, dut)
        m.submodules += HoldRule(dut.o)
        age = Signal(range(self.length + 1))
        m.d.sync += age.eq(Mux(age >= self.length, 0, age + 1))
        place = self._place(m, age)
        query, bound = self._memories(m, place)
        written = Signal.like(dut.bound.p)
        with m.If(age == 1):
            m.d.comb += Assume(dut.query.valid & dut.bound.valid)
            m.d.comb += Assume(dut.query.p.row == dut.bound.p.row)
            m.d.sync += written.eq(dut.bound.p)
        m.d.comb += Assert(dut.start.ready == (~dut.arrive.valid & ~dut.passes))
        with m.If(age == 3):
            m.d.comb += [
                Assume((place.row == written.row) & (place.number == written.number)),
                Assume(place.number < p.slices),
                Assert(dut.read.en == (place.valid & ~place.done)),
                Assert(~dut.read.en | (dut.read.address == place.address)),
            ]
        added, products = Signal(signed(p.sum_bits)), []
        for value, bits in zip(query, dut.read.data, strict=True):
            product = Signal(signed(p.query_bits + p.slice_bits))
            m.d.comb += product.eq(by_bits(value, bits, place.first))
            products.append(product)
        with m.If(age == 3 + self.memory_latency):
            m.d.sync += added.eq(in_fours(products))
        room = Signal()
        m.d.sync += room.eq(~dut.o.valid | dut.o.ready)
        with m.If(age == self.length):
            self._outcome(m, place, added, bound + self.wrong, room)
        return m

    def _place(self, m, age):
        """What arrives in the second cycle, or the key that starts."""
        place, arrive, start = Signal(place_layout(self.params)), self.dut.arrive, self.dut.start
        with m.If(age == 2):
            m.d.sync += place.eq(arrive)
            with m.If(~arrive.valid):
                m.d.sync += [place.valid.eq(start.valid & ~self.dut.passes), place.first.eq(1)]
                m.d.sync += [place.done.eq(0), place.sum.eq(0)]
                m.d.sync += [getattr(place, n).eq(start.p[n]) for n, _ in start.p.shape()]
        return place

    def _memories(self, m, place):
        """The query of the place's row, a cycle after the unit has read it; its bound, two."""
        p, dut, bits = self.params, self.dut, (self.params.slices - 1).bit_length()
        m.submodules.queries = queries = Ram(shape=p.query_layout(), depth=p.rows)
        m.submodules.bounds = bounds = Ram(shape=signed(p.sum_bits + 1), depth=p.rows << bits)
        given, bound = dut.bound.p, Signal(signed(p.sum_bits + 1))
        m.d.comb += [
            queries.write.en.eq(dut.query.valid),
            queries.write.address.eq(dut.query.p.row),
            queries.write.data.eq(dut.query.p.query),
            bounds.write.en.eq(dut.bound.valid),
            bounds.write.address.eq(Cat(given.number[:bits], given.row)),
            bounds.write.data.eq(given.bound),
            queries.read[0].address.eq(place.row),
            bounds.read[0].address.eq(Cat(place.number[:bits], place.row)),
            queries.read[0].en.eq(1),
            bounds.read[0].en.eq(1),
        ]
        m.d.sync += bound.eq(bounds.read[0].data)
        return queries.read[0].data, bound

    def _outcome(self, m, place, added, bound, room):
        """What leaves, is kept and is said of a place."""
        p, leave, out, ended = self.params, self.dut.leave, self.dut.o, self.dut.ended
        total, short, last = Signal(signed(p.sum_bits)), Signal(), Signal()
        m.d.comb += [
            total.eq(Mux(place.done, place.sum, (place.sum << p.slice_bits) + added)),
            short.eq((total < bound) & ~place.pinned),
            last.eq(place.number == p.slices - 1),
            Assert(leave.valid == (place.valid & ~short & ~(last & room))),
            Assert(ended.valid == (place.valid & (short | last))),
            Cover(place.done & out.valid),
            Cover(ended.valid & ended.p.waits),
            Cover(leave.valid & ~place.first),
        ]
        with m.If(leave.valid):
            m.d.comb += [
                Assert((leave.key == place.key) & (leave.row == place.row)),
                Assert((leave.sum == total) & (leave.done == last)),
                Assert(leave.number == place.number + ~last),
                Assert(leave.address == (place.address + ~last)[: len(leave.address)]),
                Assert(leave.first == (place.first & last)),
                Assert(leave.pinned == place.pinned),
            ]
        with m.If(ended.valid):
            m.d.comb += [
                Assert((ended.p.row == place.row) & (ended.p.number == place.number)),
                Assert(ended.p.kept == (~short & room)),
                Assert(ended.p.waits == (~short & ~room)),
            ]
        with m.If(room):
            m.d.comb += Assert(out.valid == (place.valid & last & ~short))
            with m.If(out.valid):
                m.d.comb += Assert((out.p.key == place.key) & (out.p.row == place.row))
                m.d.comb += Assert(out.p.score == total >> p.pad)
                m.d.comb += Assert(out.p.pinned == place.pinned)


class Bound(wiring.Component):
    """Any query and threshold, any sum after a slice: it is below the bound of `ExitBounds` if and
    only if the score stays below the threshold with the most that the open bits can add.

    Parameters
    ----------
    number : int
        The slice.
    wrong : int
        What is added to the bound in the claim; 0 to prove it.
    """

    def __init__(self, params, number, *, wrong=0):
        self.params, self.number, self.wrong = params, number, wrong
        self.dut = ExitBounds(params=params)
        super().__init__({})

    def elaborate(self, platform):
        m = Module()
        p, dut = self.params, self.dut
        m.submodules.dut = dut
        query = [AnyConst(signed(p.query_bits)) for _ in range(p.taps)]
        threshold, total = AnyConst(signed(p.score_bits)), AnyConst(signed(p.sum_bits))
        cycle = Signal(range(dut.latency + 1))
        m.d.sync += cycle.eq(Mux(cycle == dut.latency, cycle, cycle + 1))
        m.d.comb += dut.i.p.threshold.eq(threshold)
        m.d.comb += [to.eq(q) for to, q in zip(dut.i.p.query, query, strict=True)]
        most = in_fours([Mux(q < 0, 0, q)[: len(q)].as_signed() for q in query])
        left = p.left(self.number)
        if self.number == p.slices - 1:
            reach = total >= threshold << p.pad
        else:  # total * 2**left + most * (2**left - 1) >= threshold, with most on either side
            reach = ((total + most) << left) >= threshold + most
        with m.If(cycle == dut.latency):
            m.d.comb += Assert((total < dut.o.p[self.number] + self.wrong) == ~reach)
        return m


class Product(wiring.Component):
    """`by_bits` is the product of any value with each slice, and fits the hardware's width."""

    def __init__(self, params):
        self.params = params
        super().__init__({})

    def elaborate(self, platform):
        m = Module()
        p, value = self.params, AnyConst(signed(self.params.query_bits))
        for number in range(1 << p.slice_bits):
            bits = Const(number, p.slice_bits)
            lowest = number - (number >> p.slice_bits - 1 << p.slice_bits)
            for first, factor in ((0, number), (1, lowest)):
                product = by_bits(value, bits, Const(first, 1))
                fits = product[: p.query_bits + p.slice_bits].as_signed()
                m.d.comb += Assert((product == value * factor) & (product == fits))
        return m


def check_pass(proof, mode="bmc"):
    prove(proof, depth=proof.length + 1, mode=mode, name="a pass", unroll=mode == "bmc")


def check_bound(proof):
    prove(proof, depth=proof.dut.latency + 1, name="a bound", unroll=True)


def numbers(taps, bits, *widths):
    """Each slice of words cut into slices of these widths."""
    sizes = [sized(taps, bits, width) for width in widths]
    return [(p.slice_bits, number) for p in sizes for number in range(p.slices)]


@pytest.mark.parametrize("slice_bits", [1, 2, 4])
def test_a_pass(slice_bits):
    check_pass(Pass(sized(4, 5, slice_bits)))


@pytest.mark.parametrize(("slice_bits", "taps"), [(1, 64), (2, 64), (4, 8)])
def test_a_pass_of_words_of_12_bits(slice_bits, taps):
    check_pass(Pass(sized(taps, 12, slice_bits), memory_latency=2))


@pytest.mark.parametrize("slice_bits", [1, 2, 4])
def test_a_pass_in_any_state(slice_bits):
    check_pass(Pass(sized(2, 3, slice_bits)), mode="induction")


def test_a_pass_may_end_in_any_way():
    check_pass(Pass(sized(2, 3, 2)), mode="cover")


def test_a_wrong_pass_is_refuted():
    with pytest.raises(ProofError):
        check_pass(Pass(sized(4, 5, 2), wrong=1))


@pytest.mark.parametrize("slice_bits", [1, 2, 4])
def test_products(slice_bits):
    prove(Product(sized(1, 12, slice_bits)), depth=1, name="a product")


@pytest.mark.parametrize(("slice_bits", "number"), numbers(4, 5, 1, 2, 4))
def test_a_bound(slice_bits, number):
    check_bound(Bound(sized(4, 5, slice_bits), number))


@pytest.mark.full
@pytest.mark.parametrize(("slice_bits", "number"), numbers(64, 12, 1, 2, 4))
def test_a_bound_of_64_taps(slice_bits, number):
    check_bound(Bound(sized(64, 12, slice_bits), number))


@pytest.mark.parametrize("wrong", [1, -1])
def test_a_wrong_bound_is_refuted(wrong):
    with pytest.raises(ProofError):
        check_bound(Bound(sized(4, 5, 2), 1, wrong=wrong))


@pytest.mark.parametrize("slice_bits", [1, 2, 4])
@pytest.mark.parametrize("word_bits", [5, 8, 9, 12, 16])
def test_words_grow_slice_by_slice(word_bits, slice_bits):
    """All words: what is known after a slice, and with the last one the whole word."""
    p = SliceParams(word_bits=word_bits, slice_bits=slice_bits)
    words = np.arange(-(1 << word_bits - 1), 1 << word_bits - 1)
    known = np.zeros_like(words)
    for number, bits in enumerate(cut(words, word_bits, slice_bits)):
        sign = bits >> slice_bits - 1 << slice_bits if number == 0 else 0
        known = (known << slice_bits) + bits - sign
        assert (known == words << p.pad >> p.left(number) + p.pad * (number < p.slices - 1)).all()


def test_what_open_bits_can_add():
    """All elements of 12 bits, all contents of the open bits: at most those of all ones where the
    query is positive, and of all zeros elsewhere."""
    query = np.arange(-2048, 2048)
    for left in range(12):
        most = np.maximum(query, 0) * ((1 << left) - 1)
        added = query * np.arange(1 << left)[:, None]
        assert (added.max(axis=0) == most).all()
