# amaranth: UnusedElaboratable=no
"""AXI4-Lite slave: handshake rules for ever, whatever the master and the registers do."""

from __future__ import annotations

import pytest
from amaranth.asserts import AnySeq
from amaranth.hdl import Assert, Assume, Cat, Cover, Module, Signal
from amaranth.lib import wiring

from attnsieve.hdl.control.axi_lite import AXILiteSlave
from attnsieve.sim.formal import HoldRule, ProofError, free_inputs, prove

#: Request channels, the signals that must not change, and response channels.
REQUESTS = {"aw": ("awaddr",), "w": ("wdata", "wstrb"), "ar": ("araddr",)}
RESPONSES = {"b": ("bresp",), "r": ("rdata", "rresp")}


class Proof(wiring.Component):
    """A master that keeps the rules, registers that take any time."""

    def __init__(self, *, never_answered=False):
        self.never_answered = never_answered  # a wrong claim, to see that it is refuted
        super().__init__({})

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = dut = AXILiteSlave(addr_width=5)
        bus = dut.bus
        free_inputs(m, dut)
        for channels, rule in ((REQUESTS, Assume), (RESPONSES, Assert)):
            for name, payload in channels.items():
                valid, ready = getattr(bus, f"{name}valid"), getattr(bus, f"{name}ready")
                held, signals = Signal(name=f"{name}_held"), Cat(getattr(bus, p) for p in payload)
                before = Signal(len(signals), name=f"{name}_before")
                m.d.sync += [held.eq(valid & ~ready), before.eq(signals)]
                with m.If(held):
                    m.d.comb += rule(valid & (signals == before))
        m.submodules += [HoldRule(dut.write), HoldRule(dut.read)]
        self._writes(m, dut)
        self._reads(m, dut)
        return m

    def _writes(self, m, dut):
        """Each address and each data are passed on once, together, and answered once after it."""
        bus = dut.bus
        passed = dut.write.valid & dut.write.ready
        addresses, values, answers = Signal(2), Signal(2), Signal(2)
        address, value = Signal.like(bus.awaddr), Signal(36)
        m.d.sync += [
            addresses.eq(addresses + (bus.awvalid & bus.awready) - passed),
            values.eq(values + (bus.wvalid & bus.wready) - passed),
            answers.eq(answers + passed - (bus.bvalid & bus.bready)),
        ]
        with m.If(bus.awvalid & bus.awready):
            m.d.sync += address.eq(bus.awaddr)
        with m.If(bus.wvalid & bus.wready):
            m.d.sync += value.eq(Cat(bus.wdata, bus.wstrb))
        payload = dut.write.payload
        m.d.comb += [
            Assert(addresses == ~bus.awready),
            Assert(values == ~bus.wready),
            Assert(answers == bus.bvalid),
            Assert(bus.bresp == 0),
            Cover(bus.bvalid & bus.bready & ~bus.awready & ~bus.wready),
        ]
        with m.If(dut.write.valid):
            m.d.comb += [
                Assert((addresses == 1) & (values == 1)),
                Assert(payload.word == address[2:]),
                Assert(Cat(payload.data, payload.strobe) == value),
            ]
        with m.If(addresses == 1):
            m.d.comb += Assert(payload.word == address[2:])
        with m.If(values == 1):
            m.d.comb += Assert(Cat(payload.data, payload.strobe) == value)
        if self.never_answered:
            m.d.comb += Assert(~bus.bvalid)

    def _reads(self, m, dut):
        """Each address is passed on once and answered once, by the data that came for it."""
        bus = dut.bus
        passed = dut.read.valid & dut.read.ready
        asked, waiting, value = Signal(2), Signal(2), Signal(32)
        came = (waiting == 1) & dut.data_valid
        m.d.sync += [
            asked.eq(asked + (bus.arvalid & bus.arready) - came),
            waiting.eq(waiting + passed - came),
        ]
        with m.If(came):
            m.d.sync += value.eq(dut.data)
        # the registers answer only what they were asked
        m.d.comb += [
            Assume(~dut.data_valid | (waiting == 1)),
            Assert(asked == ~bus.arready),
            Assert((waiting == 0) | ((waiting == 1) & (asked == 1) & ~bus.rvalid)),
            Assert(~(dut.read.valid & (waiting == 1))),
            Assert(~bus.rvalid | (bus.rdata == value)),
            Assert(bus.rresp == 0),
            Cover(bus.rvalid & bus.rready & ~bus.arready),
        ]


def test_handshake():
    prove(Proof(), depth=4, mode="induction", name="AXI4-Lite slave")


def test_requests_overlap_responses():
    prove(Proof(), depth=10, mode="cover", name="AXI4-Lite slave")


def test_a_wrong_claim_is_refuted():
    with pytest.raises(ProofError):
        prove(Proof(never_answered=True), depth=8, name="AXI4-Lite slave")


class Progress(wiring.Component):
    """A write is answered in 3 cycles and a read in 3 when nobody waits."""

    def __init__(self, *, bound):
        self.bound = bound
        super().__init__({})

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = dut = AXILiteSlave(addr_width=5)
        bus = dut.bus
        asked = Signal()
        m.d.sync += asked.eq(dut.read.valid & dut.read.ready)
        m.d.comb += [
            bus.awvalid.eq(1), bus.wvalid.eq(1), bus.arvalid.eq(1),
            bus.bready.eq(1), bus.rready.eq(1), bus.awaddr.eq(AnySeq(5)),
            dut.write.ready.eq(1), dut.read.ready.eq(1), dut.data_valid.eq(asked),
        ]  # fmt: skip
        for valid in (bus.bvalid, bus.rvalid):
            since = Signal(4)
            m.d.sync += since.eq(since + 1)
            with m.If(valid):
                m.d.sync += since.eq(0)
            m.d.comb += Assert(since <= self.bound)
        return m


def test_progress():
    prove(Progress(bound=3), depth=20, name="AXI4-Lite slave")
    with pytest.raises(ProofError):
        prove(Progress(bound=1), depth=8, name="AXI4-Lite slave")
