"""A small core with a core's ports: each channel copies beats from one address to another."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import fifo, wiring
from amaranth.lib.wiring import In, Out

from attnsieve.hdl.axi.signature import AXI4LiteSignature, AXI4Signature, flat_members, forward

__all__ = ["CONTROL", "COUNT", "CYCLES", "DESTINATION", "SOURCE", "STATUS", "CopyEngine"]

CONTROL, SOURCE, DESTINATION, COUNT, STATUS, CYCLES = range(0, 24, 4)
BURST = 16
QUEUE = 64


class Channel(wiring.Component):
    """Copies ``count`` beats; ``bug`` breaks a protocol rule for tests of the checkers."""

    def __init__(self, *, data_width, bug=None):
        self.data_width = data_width
        self.bug = bug
        super().__init__(
            {
                "start": In(1),
                "source": In(32),
                "destination": In(32),
                "count": In(16),
                "busy": Out(1),
                "error": Out(2),
                "bus": Out(AXI4Signature(addr_width=32, data_width=data_width)),
            }
        )

    def _burst(self, left, address):
        """Beats of the next burst: at most BURST, none across 4 KB."""
        beats = self.data_width // 8
        room = Signal.like(left)
        most = BURST if self.bug == "boundary" else (4096 - address[:12]) // beats
        return room, room.eq(most), lambda: Mux(
            left < Mux(room < BURST, room, BURST), left, Mux(room < BURST, room, BURST)
        )

    def _reader(self, m, queue):
        bus, width = self.bus, self.data_width // 8
        left, address, free = Signal(17), Signal(32), Signal(range(QUEUE + 1), init=QUEUE)
        room, limit, beats_of = self._burst(left, address)
        beats = Signal(range(BURST + 1))
        m.d.comb += [limit, beats.eq(beats_of())]
        issue = Signal()
        with m.If(self.start):
            m.d.sync += [left.eq(self.count), address.eq(self.source)]
        with m.Elif(~bus.arvalid & (left != 0) & (free >= beats)):
            m.d.comb += issue.eq(1)
            m.d.sync += [
                bus.arvalid.eq(1),
                bus.araddr.eq(address),
                bus.arlen.eq(beats - 1),
                left.eq(left - beats),
                address.eq(address + beats * width),
            ]
        with m.If(bus.arvalid & bus.arready):
            m.d.sync += bus.arvalid.eq(0)
        taken = queue.r_rdy & queue.r_en
        m.d.sync += free.eq(free - Mux(issue, beats, 0) + taken)
        m.d.comb += [
            queue.w_data.eq(bus.rdata),
            queue.w_en.eq(bus.rvalid),
            bus.rready.eq(queue.w_rdy),
        ]
        with m.If(bus.rvalid & bus.rready & (bus.rresp != 0)):
            m.d.sync += self.error.eq(bus.rresp)
        return left

    def _writer(self, m, queue):
        bus, width = self.bus, self.data_width // 8
        left, address, pending = Signal(17), Signal(32), Signal(17)
        room, limit, beats_of = self._burst(left, address)
        beats, burst = Signal(range(BURST + 1)), Signal(range(BURST + 1))
        m.d.comb += [limit, beats.eq(beats_of())]
        with m.If(self.start):
            m.d.sync += [left.eq(self.count), address.eq(self.destination)]
        with m.Elif((burst == 0) & ~bus.awvalid & (left != 0) & (queue.level >= beats)):
            m.d.sync += [
                bus.awvalid.eq(1),
                bus.awaddr.eq(address),
                bus.awlen.eq(beats - 1),
                burst.eq(beats),
                left.eq(left - beats),
                address.eq(address + beats * width),
            ]
        with m.If(bus.awvalid & bus.awready):
            m.d.sync += bus.awvalid.eq(0)
        m.d.comb += [
            bus.wvalid.eq((burst != 0) & queue.r_rdy),
            bus.wdata.eq(queue.r_data),
            bus.wstrb.eq(-1),
            bus.wlast.eq(burst == (2 if self.bug == "wlast" else 1)),
            queue.r_en.eq(bus.wvalid & bus.wready),
            bus.bready.eq(1),
        ]
        if self.bug == "hold":
            flip = Signal()
            m.d.sync += flip.eq(~flip)
            m.d.comb += bus.wdata[0].eq(flip)
        with m.If(queue.r_en):
            m.d.sync += burst.eq(burst - 1)
        opened, closed = bus.awvalid & bus.awready, bus.bvalid & bus.bready
        m.d.sync += pending.eq(pending + opened - closed)
        with m.If(closed & (bus.bresp != 0)):
            m.d.sync += self.error.eq(bus.bresp)
        return (left != 0) | (burst != 0) | bus.awvalid | (pending != 0)

    def elaborate(self, platform):
        m = Module()
        m.submodules.queue = queue = fifo.SyncFIFOBuffered(width=self.data_width, depth=QUEUE)
        with m.If(self.start):
            m.d.sync += self.error.eq(0)
        reading = self._reader(m, queue)
        writing = self._writer(m, queue)
        m.d.comb += self.busy.eq((reading != 0) | writing)
        return m


class CopyEngine(wiring.Component):
    """Registers, one `Channel` per AXI4 master, an interrupt when all are done."""

    def __init__(self, *, channels=1, data_width=32, bug=None):
        self.channels, self.data_width, self.bug = channels, data_width, bug
        self.names = ["m_axi"] if channels == 1 else [f"m_axi{c}" for c in range(channels)]
        bus = AXI4Signature(addr_width=32, data_width=data_width)
        members = {"irq": Out(1)}
        members |= flat_members("s_axil", AXI4LiteSignature(addr_width=8).flip())
        for name in self.names:
            members |= flat_members(name, bus)
        super().__init__(members)

    def _registers(self, m, status):
        values = [Signal(32, name=n) for n in ("source", "destination", "count")]
        start, cycles = Signal(), Signal(32)
        write = self.s_axil_awvalid & self.s_axil_wvalid & ~self.s_axil_bvalid
        if self.bug == "mute":
            write = write & 0
        m.d.comb += [self.s_axil_awready.eq(write), self.s_axil_wready.eq(write)]
        word, data = self.s_axil_awaddr[2:5], self.s_axil_wdata
        with m.If(write):
            m.d.sync += self.s_axil_bvalid.eq(1)
            with m.Switch(word):
                for k, value in enumerate(values, start=1):
                    with m.Case(k):
                        m.d.sync += value.eq(data)
            m.d.comb += start.eq((word == 0) & data[0])
            with m.If((word == 0) & data[1]):
                m.d.sync += self.irq.eq(0)
        with m.Elif(self.s_axil_bready):
            m.d.sync += self.s_axil_bvalid.eq(0)
        read = self.s_axil_arvalid & ~self.s_axil_rvalid
        m.d.comb += self.s_axil_arready.eq(read)
        with m.If(read):
            m.d.sync += self.s_axil_rvalid.eq(1)
            with m.Switch(self.s_axil_araddr[2:5]):
                for k, value in enumerate([*values, status, cycles], start=1):
                    with m.Case(k):
                        m.d.sync += self.s_axil_rdata.eq(value)
                with m.Default():
                    m.d.sync += self.s_axil_rdata.eq(0)
        with m.Elif(self.s_axil_rready):
            m.d.sync += self.s_axil_rvalid.eq(0)
        return values, start, cycles

    def elaborate(self, platform):
        m = Module()
        status = Signal(32)
        (source, destination, count), start, cycles = self._registers(m, status)
        started, busy, errors = Signal(), [], []
        m.d.sync += started.eq(start)
        for c, name in enumerate(self.names):
            m.submodules[f"channel{c}"] = channel = Channel(
                data_width=self.data_width, bug=self.bug
            )
            forward(m, channel.bus, self, prefix=name)
            m.d.comb += [
                channel.start.eq(started),
                channel.source.eq(source),
                channel.destination.eq(destination),
                channel.count.eq(count),
            ]
            busy.append(channel.busy)
            errors.append(channel.error)
        running = Signal()
        m.d.comb += status.eq(Cat(running, *errors))
        with m.If(start):
            m.d.sync += [running.eq(1), cycles.eq(0)]
        with m.Elif(running):
            m.d.sync += cycles.eq(cycles + 1)
            with m.If(~started & ~Cat(*busy).any()):
                m.d.sync += [running.eq(0), self.irq.eq(1)]
        return m
