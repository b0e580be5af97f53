# amaranth: UnusedElaboratable=no
"""AXI signatures: names, directions, constants, flat ports."""

from __future__ import annotations

import re

import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from attnsieve.gen.verilog import to_verilog
from attnsieve.hdl.axi.signature import (
    AXI4LiteSignature,
    AXI4Signature,
    Response,
    flat_members,
    forward,
)
from attnsieve.sim.unit import simulate

ADDRESS = "id addr len size burst lock cache prot qos valid ready"
OUTPUTS = {f"{c}{n}" for c in ("aw", "ar") for n in ADDRESS.split()} - {"awready", "arready"}
OUTPUTS |= {"wdata", "wstrb", "wlast", "wvalid", "bready", "rready"}
INPUTS = {"awready", "arready", "wready"}
INPUTS |= {"bid", "bresp", "bvalid", "rid", "rdata", "rresp", "rlast", "rvalid"}


def names(signature, flow):
    return {n for n, m in signature.members.items() if m.flow == flow}


def test_master_has_the_standard_names():
    signature = AXI4Signature(addr_width=32, data_width=64)
    assert names(signature, Out) == OUTPUTS
    assert names(signature, In) == INPUTS


def test_half_masters_are_parts_of_the_whole():
    whole = AXI4Signature(addr_width=32, data_width=64).members
    read = AXI4Signature(addr_width=32, data_width=64, write=False).members
    write = AXI4Signature(addr_width=32, data_width=64, read=False).members
    assert set(read) == {n for n in whole if n.startswith(("ar", "r"))}
    assert set(write) == {n for n in whole if n.startswith(("aw", "w", "b"))}


def test_widths_and_constants():
    bus = AXI4Signature(addr_width=40, data_width=512, id_width=3).create()
    assert len(bus.araddr) == len(bus.awaddr) == 40
    assert len(bus.rdata) == len(bus.wdata) == 512
    assert len(bus.wstrb) == 64
    assert len(bus.rid) == len(bus.bid) == len(bus.arid) == len(bus.awid) == 3
    assert bus.arsize.init == bus.awsize.init == 6
    assert bus.arburst.init == bus.awburst.init == 1
    assert bus.arcache.init == bus.awcache.init == 3


def test_lite():
    signature = AXI4LiteSignature(addr_width=12)
    full = AXI4Signature(addr_width=32, data_width=32).members
    assert set(signature.members) < set(full)
    assert all(full[n].flow == m.flow for n, m in signature.members.items())
    assert not {"awlen", "awid", "wlast", "bid", "arburst", "rid"} & set(signature.members)


def test_response_codes():
    assert [int(r) for r in (Response.OKAY, Response.EXOKAY)] == [0, 1]
    assert [int(r) for r in (Response.SLVERR, Response.DECERR)] == [2, 3]


class Reader(wiring.Component):
    def __init__(self):
        bus = AXI4Signature(addr_width=32, data_width=32, write=False)
        super().__init__({"bus": Out(bus), "sum": Out(32)})

    def elaborate(self, platform):
        m = Module()
        with m.If(self.bus.rvalid):
            m.d.sync += self.sum.eq(self.sum + self.bus.rdata)
        m.d.comb += [self.bus.arvalid.eq(~self.bus.rvalid), self.bus.rready.eq(1)]
        return m


class Writer(wiring.Component):
    def __init__(self):
        super().__init__({"bus": Out(AXI4Signature(addr_width=32, data_width=32, read=False))})

    def elaborate(self, platform):
        m = Module()
        m.d.comb += [self.bus.awvalid.eq(self.bus.awready), self.bus.bready.eq(self.bus.bvalid)]
        return m


class Top(wiring.Component):
    """A reader and a writer on one set of ports, and a slave's ports."""

    def __init__(self):
        master = AXI4Signature(addr_width=32, data_width=32)
        slave = AXI4LiteSignature(addr_width=12).flip()
        super().__init__(
            flat_members("m_axi", master) | flat_members("s_axil", slave) | {"sum": Out(32)}
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.reader = reader = Reader()
        m.submodules.writer = writer = Writer()
        forward(m, reader.bus, self, prefix="m_axi")
        forward(m, writer.bus, self, prefix="m_axi")
        m.d.comb += [self.sum.eq(reader.sum), self.s_axil_rdata.eq(reader.sum)]
        return m


def test_flat_ports_have_the_names_that_tools_look_for():
    text = to_verilog(Top(), "top")
    top = text[text.index("module top(") :].split("endmodule")[0]
    found = re.findall(r"^  (input|output) (?:\[\d+:0\] )?(\w+);", top, re.MULTILINE)
    ports = {name: way for way, name in found}
    assert {f"m_axi_{n}" for n in OUTPUTS} <= {n for n, way in ports.items() if way == "output"}
    assert {f"m_axi_{n}" for n in INPUTS} <= {n for n, way in ports.items() if way == "input"}
    assert ports["s_axil_awaddr"] == "input"
    assert ports["s_axil_rdata"] == "output"
    assert not any("__" in n for n in ports)


def test_forward_connects_both_ways():
    dut = Top()

    async def bench(ctx):
        assert ctx.get(dut.m_axi_arvalid) == 1
        assert ctx.get(dut.m_axi_awvalid) == 0
        assert ctx.get(dut.m_axi_arsize) == 2
        ctx.set(dut.m_axi_rvalid, 1)
        ctx.set(dut.m_axi_rdata, 7)
        ctx.set(dut.m_axi_awready, 1)
        await ctx.tick().repeat(3)
        assert ctx.get(dut.sum) == 21
        assert ctx.get(dut.m_axi_arvalid) == 0
        assert ctx.get(dut.m_axi_awvalid) == 1

    simulate(dut, bench)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (
            lambda: AXI4Signature(addr_width=0, data_width=32),
            ValueError,
            r"^Address width must be in 1\.\.64, not 0$",
        ),
        (
            lambda: AXI4Signature(addr_width=32, data_width=24),
            ValueError,
            r"^Data width must be in 32\.\.1024, not 24$",
        ),
        (
            lambda: AXI4Signature(addr_width=32, data_width=96),
            ValueError,
            r"^Data width must be a power of two, not 96$",
        ),
        (
            lambda: AXI4Signature(addr_width=32, data_width=32, id_width=None),
            TypeError,
            r"^Identifier width must be an integer, not None$",
        ),
        (
            lambda: AXI4Signature(addr_width=32, data_width=32, read=False, write=False),
            ValueError,
            r"^AXI4 signature must have read or write channels, not neither$",
        ),
        (
            lambda: AXI4LiteSignature(addr_width=32, data_width=128),
            ValueError,
            r"^Data width must be in 32\.\.64, not 128$",
        ),
    ],
)
def test_bad_parameters(make, error, message):
    with pytest.raises(error, match=message):
        make()
