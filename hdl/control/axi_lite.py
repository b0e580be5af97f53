"""AXI4-Lite slave front end: turns the bus into one write stream and one read stream."""

from __future__ import annotations

from amaranth.hdl import Module, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from attnsieve.hdl.axi.signature import AXI4LiteSignature

__all__ = ["AXILiteSlave", "write_layout"]


def write_layout(word_bits: int) -> data.StructLayout:
    """A write of 32 bits: word address, data, byte strobes."""
    return data.StructLayout(
        {"word": unsigned(word_bits), "data": unsigned(32), "strobe": unsigned(4)}
    )


class AXILiteSlave(wiring.Component):
    """One write and one read at a time, each with its own pace.

    Address and data of a write arrive in any order. All handshake outputs of the bus are
    registers. The response to a write follows its transfer on ``write``; every response is OKAY.
    A read is transferred on ``read``, then answered by ``data_valid`` at any later cycle. Reads
    and writes under way together have no order.

    Latency: 1 cycle from the later of address and data to ``write``, 1 more to ``bvalid``; 1
    cycle from address to ``read``, 1 from ``data_valid`` to ``rvalid``.
    Throughput: one write in 2 cycles; one read in 3 cycles plus the time to ``data_valid``.

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
        if isinstance(addr_width, bool) or not isinstance(addr_width, int):
            raise TypeError(f"Address width must be an integer, not {addr_width!r}")
        if not 3 <= addr_width <= 64:
            raise ValueError(f"Address width must be in 3..64, not {addr_width!r}")
        self.addr_width = addr_width
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
        address_held, data_held, responding = Signal(), Signal(), Signal()
        m.d.comb += [
            bus.awready.eq(~address_held),
            bus.wready.eq(~data_held),
            bus.bvalid.eq(responding),
            self.write.valid.eq(address_held & data_held & ~responding),
        ]
        with m.If(bus.awvalid & bus.awready):
            m.d.sync += [address_held.eq(1), request.word.eq(bus.awaddr[2:])]
        with m.If(bus.wvalid & bus.wready):
            m.d.sync += [data_held.eq(1), request.data.eq(bus.wdata), request.strobe.eq(bus.wstrb)]
        with m.If(self.write.valid & self.write.ready):
            m.d.sync += [address_held.eq(0), data_held.eq(0), responding.eq(1)]
        with m.If(bus.bvalid & bus.bready):
            m.d.sync += responding.eq(0)

    def _read(self, m: Module) -> None:
        bus = self.bus
        address_held, taken, responding = Signal(), Signal(), Signal()
        m.d.comb += [
            bus.arready.eq(~address_held),
            bus.rvalid.eq(responding),
            self.read.valid.eq(address_held & ~taken & ~responding),
        ]
        with m.If(bus.arvalid & bus.arready):
            m.d.sync += [address_held.eq(1), self.read.payload.eq(bus.araddr[2:])]
        with m.If(self.read.valid & self.read.ready):
            m.d.sync += taken.eq(1)
        with m.If(taken & self.data_valid):
            m.d.sync += [taken.eq(0), address_held.eq(0), responding.eq(1), bus.rdata.eq(self.data)]
        with m.If(bus.rvalid & bus.rready):
            m.d.sync += responding.eq(0)
