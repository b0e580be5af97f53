"""Reads single bursts over one AXI4 master; each beat comes with its burst's tag."""

from __future__ import annotations

from amaranth.hdl import Module, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from attnsieve.hdl.axi.signature import AXI4Signature
from attnsieve.hdl.lib.queue import Queue

__all__ = ["TaggedReader", "burst_layout"]


def burst_layout(
    *, addr_width: int, max_beats: int, tag: data.StructLayout
) -> data.StructLayout:
    """A burst to read, and what is to be known of its beats."""
    return data.StructLayout(
        {
            "address": unsigned(addr_width),
            "len": unsigned((max_beats - 1).bit_length()),  # beats - 1
            "tag": tag,
        }
    )


class TaggedReader(wiring.Component):
    """Bursts in, their beats out in order, straight from the bus.

    Whoever takes the beats has reserved space for them before it asks: ``rready`` is ``o.ready``.
    The end of a burst is known by RLAST.

    Latency from request to ``arvalid``: 1 cycle; from R to ``o``: none. Throughput: a burst per
    cycle, a beat per cycle; a burst is in flight for the memory's latency, its beats and 1 cycle.

    ``stop`` ends all reading: from its second cycle on no further AR is asserted (one that waits
    stays until it is taken), and arriving data are dropped. Once ``idle`` is 1 under ``stop`` it
    stays, and a reset of the component makes it as new.

    Parameters
    ----------
    addr_width, data_width : int
        Of the bus.
    max_beats : int
        Most beats of a burst.
    max_bursts : int
        Most bursts in flight, few enough for their tags to be in registers.
    tag : StructLayout
        Of a burst.

    Members
    -------
    request : In(stream(burst_layout))
        ``address`` in bytes, a multiple of the beat; no burst crosses 4 KB.
    o : Out(stream)
        ``data``, ``last`` (of its burst), ``tag``.
    bus : Out(AXI4Signature)
        Read channels.
    stop : In(1)
        Ask for nothing more, drop what comes.
    idle : Out(1)
        Nothing is outstanding and no AR is asserted.
    error : Out(2)
        First SLVERR (2) or DECERR (3) since reset, else 0.
    """

    request: stream.Interface
    o: stream.Interface
    bus: wiring.PureInterface

    latency = 1

    def __init__(
        self,
        *,
        addr_width: int,
        data_width: int,
        max_beats: int,
        max_bursts: int,
        tag: data.StructLayout,
    ) -> None:
        burst = burst_layout(addr_width=addr_width, max_beats=max_beats, tag=tag)
        beat = data.StructLayout({"data": unsigned(data_width), "last": unsigned(1), "tag": tag})
        self.tag, self.max_bursts = tag, max_bursts
        super().__init__(
            {
                "request": In(stream.Signature(burst)),
                "o": Out(stream.Signature(beat)),
                "bus": Out(
                    AXI4Signature(addr_width=addr_width, data_width=data_width, write=False)
                ),
                "stop": In(1),
                "idle": Out(1),
                "error": Out(2),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.flight = flight = Queue(
            shape=self.tag, depth=self.max_bursts, lut_ram=False
        )
        bus, request = self.bus, self.request
        free = ~bus.arvalid | bus.arready
        m.d.comb += [
            request.ready.eq(free & flight.i.ready & ~self.stop),
            flight.i.valid.eq(request.valid & free & ~self.stop),
            flight.i.payload.eq(request.payload.tag),
            flight.o.ready.eq(bus.rvalid & bus.rready & bus.rlast),
            self.idle.eq(~flight.o.valid),
            self.o.valid.eq(bus.rvalid & ~self.stop),
            self.o.payload.data.eq(bus.rdata),
            self.o.payload.last.eq(bus.rlast),
            self.o.payload.tag.eq(flight.o.payload),
            bus.rready.eq(self.o.ready | self.stop),
        ]
        with m.If(free):
            m.d.sync += [
                bus.arvalid.eq(request.valid & request.ready),
                bus.araddr.eq(request.payload.address),
                bus.arlen.eq(request.payload.len),
            ]
        with m.If((self.error == 0) & bus.rvalid & bus.rready & bus.rresp[1]):
            m.d.sync += self.error.eq(bus.rresp)
        return m
