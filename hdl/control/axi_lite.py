"""AXI4-Lite slave front end: turns the bus into one write stream and one read stream."""

from __future__ import annotations

from amaranth.hdl import Module, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from attnsieve.hdl.axi.signature import AXI4LiteSignature
from attnsieve.hdl.lib.checks import check_int

__all__ = ["AXILiteSlave", "write_layout"]


def write_layout(word_bits: int) -> data.StructLayout:
    """A write of 32 bits: word address, data, byte strobes."""
    return data.StructLayout(
        {"word": unsigned(word_bits), "data": unsigned(32), "strobe": unsigned(4)}
    )


class AXILiteSlave(wiring.Component):
    """One write and one read at a time, each with its own pace.

    Requests stay on the bus until they have been carried out, and only then are taken from it:
    ``write`` and ``read`` have their payloads straight from there. All outputs of the bus are
    registers. The response to a write follows its transfer on ``write``; every response is OKAY.
    A read is transferred on ``read``, then answered by ``data_valid`` at any later cycle; ``read``
    keeps its payload until then. Reads and writes under way together have no order.

    Latency: none from the later of address and data to ``write``, 2 cycles from there to
    ``bvalid``; none from address to ``read``, 2 cycles from ``data_valid`` to ``rvalid``.
    Throughput: one write in 2 cycles; one read in 2 cycles plus the time to ``data_valid``.

    Parameters
    ----------
    addr_width : int
        Address bits of the bus. The lowest two bits are ignored.

    Members
    -------
    bus : In(AXI4LiteSignature)
        The bus, 32 data bits.
    write : Out(stream(write_layout))
        Writes; word address, data, byte strobes.
    read : Out(stream(word address))
        Reads.
    data : In(32), data_valid : In(1)
        Answer to the last read taken.
    """

    def __init__(self, *, addr_width: int) -> None:
        check_int("Address width", addr_width, 3, 64)
        self.addr_width = addr_width
        self.asked = Signal()  # a read was transferred and is not answered; for proofs
        word_bits = addr_width - 2
        super().__init__(
            {
                "bus": In(AXI4LiteSignature(addr_width=addr_width, data_width=32)),
                "write": Out(stream.Signature(write_layout(word_bits))),
                "read": Out(stream.Signature(unsigned(word_bits))),
                "data": In(32),
                "data_valid": In(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        self._write(m)
        self._read(m)
        return m

    def _write(self, m: Module) -> None:
        bus, request = self.bus, self.write.payload
        taken = Signal()  # it was transferred: off the bus with it
        idle = ~taken & (~bus.bvalid | bus.bready)
        m.d.comb += [
            self.write.valid.eq(bus.awvalid & bus.wvalid & idle),
            request.word.eq(bus.awaddr[2:]),
            request.data.eq(bus.wdata),
            request.strobe.eq(bus.wstrb),
            bus.awready.eq(taken),
            bus.wready.eq(taken),
        ]
        m.d.sync += taken.eq(self.write.valid & self.write.ready)
        with m.If(~bus.bvalid | bus.bready):
            m.d.sync += bus.bvalid.eq(taken)

    def _read(self, m: Module) -> None:
        bus = self.bus
        asked, answered = self.asked, Signal()
        idle = ~asked & ~answered & (~bus.rvalid | bus.rready)
        m.d.comb += [
            self.read.valid.eq(bus.arvalid & idle),
            self.read.payload.eq(bus.araddr[2:]),
            bus.arready.eq(answered),
        ]
        with m.If(self.read.valid & self.read.ready):
            m.d.sync += asked.eq(1)
        m.d.sync += answered.eq(asked & self.data_valid)
        with m.If(asked & self.data_valid):
            m.d.sync += [asked.eq(0), bus.rdata.eq(self.data)]
        with m.If(~bus.rvalid | bus.rready):
            m.d.sync += bus.rvalid.eq(answered)
