# amaranth: UnusedElaboratable=no
"""A small core with every kind of cell that reports tell apart: tests of the flow use it."""

import pytest
from amaranth.hdl import Module, Signal, signed
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out


class Mac(wiring.Component):
    """One multiply-accumulate lane; latency two cycles."""

    def __init__(self, *, width, acc):
        self.width, self.acc = width, acc
        super().__init__(
            {
                "a": In(signed(width)),
                "b": In(signed(width)),
                "clear": In(1),
                "o": Out(signed(acc)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        product = Signal(signed(2 * self.width))
        m.d.sync += product.eq(self.a * self.b)
        with m.If(self.clear):
            m.d.sync += self.o.eq(0)
        with m.Else():
            m.d.sync += self.o.eq(self.o + product)
        return m


class Store(wiring.Component):
    """Words in a memory, read a cycle after their address."""

    def __init__(self, *, width, depth):
        self.width, self.depth = width, depth
        super().__init__(
            {
                "i": In(stream.Signature(width, always_ready=True)),
                "address": In(range(depth)),
                "o": Out(width),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.memory = mem = memory.Memory(shape=self.width, depth=self.depth, init=[])
        write, read = mem.write_port(), mem.read_port()
        at = Signal(range(self.depth))
        m.d.comb += [write.addr.eq(at), write.data.eq(self.i.payload), write.en.eq(self.i.valid)]
        with m.If(self.i.valid):
            m.d.sync += at.eq(at + 1)
        m.d.comb += [read.addr.eq(self.address), read.en.eq(1), self.o.eq(read.data)]
        return m


class StandIn(wiring.Component):
    """A store and ``lanes`` MACs behind a stream."""

    def __init__(self, *, lanes, width=12, depth=256):
        self.lanes, self.width, self.depth = lanes, width, depth
        word = width * lanes
        super().__init__(
            {
                "m_axi_rdata": In(word),
                "m_axi_rvalid": In(1),
                "m_axi_rready": Out(1),
                "s_axil_awaddr": In(range(depth)),
                "irq": Out(1),
                "o": Out(stream.Signature(signed(40))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.store = store = Store(width=self.width * self.lanes, depth=self.depth)
        m.d.comb += [
            store.i.payload.eq(self.m_axi_rdata),
            store.i.valid.eq(self.m_axi_rvalid),
            self.m_axi_rready.eq(1),
            store.address.eq(self.s_axil_awaddr),
        ]
        total = Signal(signed(40))
        sums = []
        for lane in range(self.lanes):
            m.submodules[f"mac_{lane}"] = mac = Mac(width=self.width, acc=40)
            m.d.comb += [
                mac.a.eq(store.o[lane * self.width :][: self.width]),
                mac.b.eq(self.m_axi_rdata[lane * self.width :][: self.width]),
            ]
            sums.append(mac.o)
        m.d.sync += total.eq(sum(sums))
        with m.FSM():
            with m.State("IDLE"):
                with m.If(self.m_axi_rvalid):
                    m.next = "RUN"
            with m.State("RUN"):
                m.d.comb += self.o.valid.eq(1)
                with m.If(self.o.ready):
                    m.next = "IDLE"
        m.d.comb += [self.o.payload.eq(total), self.irq.eq(total[-1])]
        return m


@pytest.fixture
def stand_in():
    """Makes a stand-in: ``stand_in(lanes=4)``."""
    return StandIn
