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
        """Each address and each data are passed on once, together, then taken and answered."""
        bus, payload = dut.bus, dut.write.payload
        passed, taken = dut.write.valid & dut.write.ready, bus.awvalid & bus.awready
        owed, answers = Signal(2), Signal(2)
        m.d.sync += [
            owed.eq(owed + passed - taken),
            answers.eq(answers + taken - (bus.bvalid & bus.bready)),
        ]
        m.d.comb += [
            Assert(owed == bus.awready),
            Assert(bus.awready == bus.wready),
            Assert(~bus.awready | (bus.awvalid & bus.wvalid)),
            Assert(~(dut.write.valid & bus.awready)),
            Assert(answers == bus.bvalid),
            Assert(bus.bresp == 0),
            Cover(bus.bvalid & bus.bready & dut.write.valid),
        ]
        with m.If(dut.write.valid):
            m.d.comb += [
                Assert(bus.awvalid & bus.wvalid),
                Assert(payload.word == bus.awaddr[2:]),
                Assert(Cat(payload.data, payload.strobe) == Cat(bus.wdata, bus.wstrb)),
            ]
        if self.never_answered:
            m.d.comb += Assert(~bus.bvalid)

    def _reads(self, m, dut):
        """Each address is passed on once, kept until data came for it, then taken and answered."""
        bus = dut.bus
        passed, taken = dut.read.valid & dut.read.ready, bus.arvalid & bus.arready
        waiting, owed, answers = Signal(2), Signal(2), Signal(2)
        word, value = Signal.like(dut.read.payload), Signal(32)
        came = (waiting == 1) & dut.data_valid
        m.d.sync += [
            waiting.eq(waiting + passed - came),
            owed.eq(owed + came - taken),
            answers.eq(answers + taken - (bus.rvalid & bus.rready)),
        ]
        with m.If(passed):
            m.d.sync += word.eq(bus.araddr[2:])
        with m.If(came):
            m.d.sync += value.eq(dut.data)
        # the registers answer only what they were asked
        m.d.comb += [
            Assume(~dut.data_valid | (waiting == 1)),
            Assert(waiting == dut.asked),
            Assert(owed == bus.arready),
            Assert(answers == bus.rvalid),
            Assert(waiting + owed + answers <= 1),
            Assert(~(dut.read.valid & ((waiting == 1) | bus.arready))),
            Assert(~(bus.arready | bus.rvalid) | (bus.rdata == value)),
            Assert(bus.rresp == 0),
            Cover(bus.rvalid & bus.rready & dut.read.valid),
        ]
        with m.If(dut.read.valid):
            m.d.comb += Assert(bus.arvalid & (dut.read.payload == bus.araddr[2:]))
        with m.If((waiting == 1) | (owed == 1)):
            m.d.comb += Assert(bus.arvalid & (dut.read.payload == word))


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
