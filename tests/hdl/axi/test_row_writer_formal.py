# amaranth: UnusedElaboratable=no
"""Row writer: every element of a row is written once, at its place, and nothing of others."""

from __future__ import annotations

import pytest
from amaranth.asserts import AnyConst
from amaranth.hdl import Assert, Assume, Cover, Module, Signal
from amaranth.lib import wiring

from attnsieve.hdl.axi.row_writer import RowWriter
from attnsieve.hdl.params import CoreParams
from attnsieve.sim.formal import ProofError, free_inputs, prove
from tests.variants import mostly_full

#: Bytes of a beat, of an element.
BEAT, ELEMENT = 4, 2


class Proof(wiring.Component):
    """Any rows of 16 elements, any slave; the first row is watched.

    Parameters
    ----------
    lut_ram : bool
        Whether the writer is the one of long bursts.
    write : bool
        Whether the first row is to be written.
    shift : int
        Elements by which the claim is wrong; 0 to prove it.
    """

    def __init__(self, *, lut_ram, write=True, shift=0):
        self.write, self.shift = write, shift
        self.params = CoreParams(
            lanes=16, max_head_dim=16, max_keys=16, max_queries=16, max_heads=1, operand_bits=8,
            buffer_elements=256, output_lanes=1, channels=1, data_width=8 * BEAT, addr_width=20,
            lut_ram=lut_ram,
        )  # fmt: skip
        super().__init__({})

    def elaborate(self, platform):
        m = Module()
        dut = m.submodules.dut = RowWriter(params=self.params)
        free_inputs(m, dut, but=("stop",))
        bus, row = dut.bus[0], dut.row.payload
        elements, index = Signal(6), AnyConst(4)
        rows, address, watched = Signal(3), Signal(20), Signal(16)
        taken = dut.i.valid & dut.i.ready
        m.d.comb += [
            Assume(~dut.row.valid | ((row.parts == 1) & (row.o_address % 32 == 0))),
            Assume(~dut.row.valid | (rows != 0) | (row.write == self.write)),
            Assume(~dut.i.valid | (dut.i.payload.last == (elements[:4] == 15))),
            Assume(~bus.bvalid),  # no answer comes in so short a time
            Assert(~dut.row.ready | dut.row.valid),
            Assert(dut.row_end == dut.row.ready),
        ]
        m.d.sync += [elements.eq(elements + taken), rows.eq(rows + dut.row.ready)]
        with m.If(dut.row.valid & (rows == 0)):
            m.d.sync += address.eq(row.o_address)
        with m.If(taken & (elements == index + self.shift)):
            m.d.sync += watched.eq(dut.i.payload.element[0])
        beats, addresses = Signal(6), Signal(3)
        m.d.sync += [
            beats.eq(beats + (bus.wvalid & bus.wready)),
            addresses.eq(addresses + (bus.awvalid & bus.awready)),
        ]
        first = 16 * ELEMENT // BEAT if self.write else 0  # beats of the row that is watched
        with m.If(bus.awvalid & (addresses == 0)):
            m.d.comb += Assert((bus.awaddr == address) if self.write else (rows != 0))
        with m.If(bus.wvalid & (beats < first)):
            here = beats == index // (BEAT // ELEMENT)
            place = index % (BEAT // ELEMENT)
            m.d.comb += [
                Assert(bus.wstrb.all()),
                Assert(~here | (elements > index)),
                Assert(~here | (bus.wdata.word_select(place, 16) == watched)),
                Assert(bus.wlast == (beats == first - 1)),
                Cover(bus.wready & (beats == 3)),
            ]
        return m


@pytest.mark.parametrize("write", [True, False])
@pytest.mark.parametrize("lut_ram", mostly_full([True, False], True))
def test_proof(lut_ram, write):
    prove(Proof(lut_ram=lut_ram, write=write), depth=16, name="row writer")


@pytest.mark.full
@pytest.mark.parametrize("lut_ram", [True, False])
def test_proof_deep(lut_ram):
    prove(Proof(lut_ram=lut_ram), depth=22, name="row writer", timeout=1200)  # a row and more


def test_everything_is_reached():
    prove(Proof(lut_ram=True), depth=16, mode="cover", name="row writer")


def test_a_wrong_claim_is_refuted():
    with pytest.raises(ProofError):
        prove(Proof(lut_ram=True, shift=1), depth=12, name="row writer")
