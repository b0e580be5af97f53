# amaranth: UnusedElaboratable=no
"""Rows to units, and units from anywhere: what is offered stays; small proofs."""

from __future__ import annotations

import pytest
from amaranth.hdl import Assert, Assume, Cover, Module, Signal
from amaranth.lib import wiring

from attnsieve.hdl.axi.gather_reader import GatherReader
from attnsieve.hdl.axi.row_units import RowUnits
from attnsieve.sim.formal import HoldRule, ProofError, free_inputs, prove


class Units(wiring.Component):
    """Of any rows: units stay until they are taken, full beats but for the last of a list, and as
    many words of the first list as are wanted.

    Parameters
    ----------
    more : int
        Words by which the claim is wrong; 0 to prove it.
    """

    def __init__(self, *, more=0):
        self.more = more
        super().__init__({})

    def elaborate(self, platform):
        m = Module()
        dut = m.submodules.dut = RowUnits(
            lanes=2, channels=2, unit_words=2, index_bits=2, word_bits=5, pitch_bits=2
        )
        free_inputs(m, dut)
        m.submodules += HoldRule(dut.o)
        beat, out = dut.i.p, dut.o.p
        m.d.comb += [
            Assume((beat.count != 0) & (beat.count <= 2)),
            Assume(beat.pitch != 0),
            # neighbours are so: two rows that share a unit follow one another
            Assume(~beat.row[0].before & ~beat.row[1].after),
            Assume(beat.row[0].after == beat.row[1].before),
            Assume(~beat.row[0].after | (beat.row[1].index == beat.row[0].index + 1)),
            Assume(~beat.row[0].after | (beat.count == 2)),
            Assume(beat.base < 8),
        ]
        wanted, got, ended, over = Signal(6), Signal(6), Signal(), Signal()
        with m.If(dut.i.valid & dut.i.ready & ~ended):
            m.d.sync += [wanted.eq(wanted + beat.count * beat.pitch), ended.eq(beat.last)]
        words = [(n < out.count) & out.item[n].mask[w] for n in range(2) for w in range(2)]
        with m.If(dut.o.valid & dut.o.ready & ~over):
            m.d.sync += [got.eq(got + sum(words)), over.eq(out.last)]
        m.d.comb += [
            Assert(~dut.o.valid | out.last | (out.count == 2)),
            Assert(~over | (ended & (got == wanted + self.more))),
            Cover(over & (wanted == 9)),
        ]
        return m


def test_proof_of_units():
    prove(Units(), depth=10, name="row units")


def test_all_units_are_reached():
    prove(Units(), depth=13, mode="cover", name="row units")


def test_a_wrong_claim_about_units_is_refuted():
    with pytest.raises(ProofError):
        prove(Units(more=1), depth=10, name="row units")


class Contract(wiring.Component):
    """Any slaves that answer what they are asked: AR and beats stay until they are taken, and
    every beat that comes goes out, with its count, once all its units are there.

    Parameters
    ----------
    more : int
        Units by which the claim is wrong; 0 to prove it.
    """

    def __init__(self, channels, *, more=0):
        self.channels, self.more = channels, more
        super().__init__({})

    def elaborate(self, platform):
        m = Module()
        dut = m.submodules.dut = GatherReader(
            addr_width=6, data_width=32, unit_bytes=4, channels=self.channels, tag=1,
            slots=8, waiting=1, outstanding_beats=2,
        )  # fmt: skip
        free_inputs(m, dut, but=("stop",))
        m.submodules += HoldRule(dut.o)
        m.d.comb += Assume(~dut.i.valid | (dut.i.p.count <= self.channels))
        arrived, answered = Signal(5), []
        for number, bus in enumerate(dut.bus):
            held, address = Signal(name=f"held{number}"), Signal.like(bus.araddr)
            asked = Signal(4, name=f"asked{number}")
            taken, came = bus.arvalid & bus.arready, bus.rvalid & bus.rready
            m.d.comb += [
                Assume(~bus.rvalid | (asked != 0)),
                Assume(bus.rdata < 4),
                Assert(~held | (bus.arvalid & (bus.araddr == address))),
                Assert(bus.rready),
                Assert(asked <= 2),
            ]
            m.d.sync += [
                held.eq(bus.arvalid & ~bus.arready),
                address.eq(bus.araddr),
                asked.eq(asked + taken - came),
            ]
            answered.append(came)
        m.d.sync += arrived.eq(arrived + sum(answered))
        entered, left, units = Signal(4), Signal(4), Signal(5)
        with m.If(dut.i.valid & dut.i.ready):
            m.d.sync += entered.eq(entered + 1)
        with m.If(dut.o.valid & dut.o.ready):
            m.d.sync += [left.eq(left + 1), units.eq(units + dut.o.p.count)]
        with m.If(dut.o.valid):
            m.d.comb += [
                Assert(left < entered),
                Assert(units + dut.o.p.count + self.more <= arrived),
            ]
        m.d.comb += Cover((left == 2) & (units == 2 * self.channels))
        return m


@pytest.mark.parametrize("channels", [1, 2])
def test_proof_of_reading(channels):
    prove(Contract(channels), depth=11, name="gather reader")


@pytest.mark.parametrize("channels", [1, 2])
def test_all_reading_is_reached(channels):
    prove(Contract(channels), depth=14, mode="cover", name="gather reader")


def test_a_wrong_claim_about_reading_is_refuted():
    with pytest.raises(ProofError):
        prove(Contract(1, more=1), depth=11, name="gather reader")
