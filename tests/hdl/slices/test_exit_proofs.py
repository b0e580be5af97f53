# amaranth: UnusedElaboratable=no
"""Soundness of the bit-serial unit at larger sizes, in lemmas that compose (see the reference page
of the block): one pass through the unit, what bounds mean, sums of prefixes."""

from __future__ import annotations

import pytest
from amaranth.asserts import AnyConst, AnySeq
from amaranth.hdl import Assert, Assume, Cover, Module, Mux, Signal, Value, signed
from amaranth.lib import wiring

from attnsieve.hdl.slices.bit_serial_dot import BitSerialDot, place_layout
from attnsieve.hdl.slices.exit_bounds import ExitBounds
from attnsieve.hdl.slices.slice_params import SliceParams
from attnsieve.sim.formal import HoldRule, ProofError, free_inputs, prove


def sized(taps, bits, slice_bits):
    return SliceParams(
        taps=taps, query_bits=bits, word_bits=bits, slice_bits=slice_bits, keys=2, rows=2, stored=2
    )


class Pass(wiring.Component):
    """Any place that arrives, any key that starts: the unit reads its slice, and `latency` cycles
    later it is what `BitSerialDot` says, whatever else is in the unit and before and behind it.

    In the first cycle of a watch the query and the bound of a row are written, in the next one the
    place arrives; a watch can begin in every cycle, in any state.

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
        """Cycles of a watch."""
        return self.dut.latency + 2

    def elaborate(self, platform):
        m = Module()
        p, dut, end = self.params, self.dut, self.length
        m.submodules.dut = dut
        free_inputs(m, dut)
        m.submodules += HoldRule(dut.o)
        age = Signal(range(end + 1))
        m.d.sync += age.eq(Mux(age == 0, AnySeq(1), Mux(age >= end, 0, age + 1)))
        query, bound = Signal(dut.query.p.shape()), Signal(dut.bound.p.shape())
        place, bits = Signal(place_layout(p)), Signal(p.slice_layout())
        arrive, start = dut.arrive, dut.start
        new = {n: start.p[n] for n, _ in start.p.shape()}
        new |= {"valid": start.valid, "first": 1, "done": 0, "sum": 0}
        with m.If(age == 1):
            m.d.comb += Assume(dut.query.valid & dut.bound.valid)
            m.d.comb += Assume(dut.query.p.row == dut.bound.p.row)
            m.d.sync += [query.eq(dut.query.p), bound.eq(dut.bound.p)]
        with m.Elif(age > 1):
            m.d.comb += Assume(~(dut.query.valid & (dut.query.p.row == query.row)))
            same = (dut.bound.p.row == bound.row) & (dut.bound.p.number == bound.number)
            m.d.comb += Assume(~(dut.bound.valid & same))
        with m.If(age == 2):
            m.d.sync += place.eq(arrive)
            with m.If(~arrive.valid):
                m.d.sync += [getattr(place, n).eq(value) for n, value in new.items()]
        m.d.comb += Assert(start.ready == ~arrive.valid)
        with m.If(age == 3):
            m.d.comb += Assume((place.row == bound.row) & (place.number == bound.number))
            m.d.comb += Assert(dut.read.en == (place.valid & ~place.done))
            m.d.comb += Assert(~dut.read.en | (dut.read.address == place.address))
        with m.If(age == 3 + self.memory_latency):
            m.d.sync += bits.eq(dut.read.data)
        room = Signal()
        m.d.sync += room.eq(~dut.o.valid | dut.o.ready)
        with m.If(age == end):
            self._outcome(m, place, query.query, bound.bound + self.wrong, bits, room)
        return m

    def _outcome(self, m, place, query, bound, bits, room):
        """What leaves, is kept and is said of a place."""
        p, leave, out, ended = self.params, self.dut.leave, self.dut.o, self.dut.ended
        slices = [Mux(place.first, each.as_signed(), each) for each in bits]
        added, total = Signal(signed(p.sum_bits)), Signal(signed(p.sum_bits))
        short, last = Signal(), Signal()
        m.d.comb += [
            added.eq(sum(q * each for q, each in zip(query, slices, strict=True))),
            total.eq(Mux(place.done, place.sum, (place.sum << p.slice_bits) + added)),
            short.eq(total < bound),
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


@pytest.mark.parametrize("slice_bits", [1, 2, 4])
def test_a_pass(slice_bits):
    proof = Pass(sized(4, 5, slice_bits))
    prove(proof, depth=proof.length + 1, mode="induction", name="a pass", timeout=300)
