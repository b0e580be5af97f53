"""Writes pieces of memory in bursts of 32 bytes over one AXI4 master."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from attnsieve.hdl.axi.responses import Responses
from attnsieve.hdl.axi.signature import AXI4Signature
from attnsieve.hdl.axi.writer import unit_layout, write_request_layout

__all__ = ["GranuleWriter"]

#: Bytes of a burst.
GRANULE = 32


class GranuleWriter(wiring.Component):
    """Requests of whole granules, and their beats, to INCR bursts of a granule each.

    Of few cells: bursts are all alike, requests wait in their stream until the last of their
    bursts is asked for, and beats go to the bus straight from theirs. W beats of a burst may go
    before, with or after its AW, never before that AW is asserted. At most two bursts wait for
    their beats.

    ``stop``, ``idle``, ``oldest`` and ``pending`` are as in `BurstWriter`.

    Latency from request to ``awvalid``, and to ``wvalid`` if the beat is there: 1 cycle.
    Throughput: a beat per cycle.

    Parameters
    ----------
    addr_width, data_width : int
        Of the bus; beats are shorter than granules.
    max_units : int
        Most beats of a request.
    max_outstanding : int
        Most bursts of a job that wait for a response.

    Members
    -------
    request : In(stream(write_request_layout))
        ``address`` (a multiple of 32 bytes), ``units`` (beats, whole granules of them), ``job``.
    i : In(stream(unit_layout))
        Beats, in the order of the requests. Under ``stop`` the payload does not change, valid or
        not.
    bus : Out(AXI4Signature)
        Write channels.
    stop, oldest : In(1), idle : Out(1), error, pending : Out(2)
        As in `BurstWriter`.
    """

    request: stream.Interface
    i: stream.Interface
    bus: wiring.PureInterface
    stop: Signal
    idle: Signal
    error: Signal
    oldest: Signal
    pending: Signal

    latency = 1
    data_latency = 1

    def __init__(
        self, *, addr_width: int, data_width: int, max_units: int, max_outstanding: int = 3
    ) -> None:
        unit_bytes = data_width // 8
        if not unit_bytes < GRANULE:
            raise ValueError(f"Data width must be less than {8 * GRANULE}, not {data_width!r}")
        self.beats = GRANULE // unit_bytes
        self.max_granules = max_units // self.beats
        self.max_outstanding = max_outstanding
        request = write_request_layout(addr_width=addr_width, max_units=max_units)
        super().__init__(
            {
                "request": In(stream.Signature(request)),
                "i": In(stream.Signature(unit_layout(unit_bytes))),
                "bus": Out(
                    AXI4Signature(addr_width=addr_width, data_width=data_width, read=False)
                ),
                "stop": In(1),
                "idle": Out(1),
                "error": Out(2),
                "oldest": In(1),
                "pending": Out(2),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        bus, request = self.bus, self.request
        m.submodules.responses = responses = Responses(most=self.max_outstanding)
        started = Signal()  # a burst is asked for
        ahead = Signal(range(3))  # bursts asked for whose beats are not all gone
        draining = Signal()  # under stop, and the last beat with strobes is gone
        m.d.comb += [
            responses.started.eq(started),
            responses.job.eq(request.payload.job),
            responses.answered.eq(bus.bvalid),
            responses.oldest.eq(self.oldest),
            self.idle.eq(responses.waiting == 0),
            bus.bready.eq(1),
        ]
        for k in range(2):
            mine = request.valid & (request.payload.job == k)
            m.d.comb += self.pending[k].eq(responses.waiting[k] | mine)
        with m.If((self.error == 0) & bus.bvalid & bus.bresp[1]):
            m.d.sync += self.error.eq(bus.bresp)
        room = responses.room.bit_select(request.payload.job, 1)
        free = (~bus.awvalid | bus.awready) & room & (ahead != 2)
        m.d.comb += started.eq(request.valid & free & ~self.stop & ~draining)
        self._address(m, started)
        ended = self._data(m, ahead != 0, draining)
        m.d.sync += ahead.eq(ahead + started - ended)
        return m

    def _address(self, m: Module, started: Signal) -> None:
        """AW: a register. A request is taken with its last burst."""
        bus, request = self.bus, self.request
        burst_bits = GRANULE.bit_length() - 1
        granule = Signal(range(self.max_granules))
        count = request.payload.units >> (self.beats.bit_length() - 1)
        last = granule == count - 1
        m.d.comb += [
            request.ready.eq(started & last),
            bus.awlen.eq(self.beats - 1),
        ]
        with m.If(started):
            m.d.sync += [
                granule.eq(Mux(last, 0, granule + 1)),
                bus.awvalid.eq(1),
                bus.awaddr.eq(
                    Cat(Const(0, burst_bits), request.payload.address[burst_bits:] + granule)
                ),
            ]
        with m.Elif(bus.awready):
            m.d.sync += bus.awvalid.eq(0)

    def _data(self, m: Module, active: Signal, draining: Signal) -> Signal:
        """W: straight from the beats. Returns whether a burst is complete."""
        bus, unit = self.bus, self.i.payload
        beat, moved, ended = Signal(range(self.beats)), Signal(), Signal()
        m.d.comb += [
            bus.wvalid.eq(active & (self.i.valid | draining)),
            bus.wlast.eq(beat == self.beats - 1),
            bus.wdata.eq(unit.data),
            bus.wstrb.eq(Mux(draining, 0, unit.strobe)),
            self.i.ready.eq(active & bus.wready & ~draining),
            moved.eq(bus.wvalid & bus.wready),
            ended.eq(moved & bus.wlast),
        ]
        with m.If(moved):
            m.d.sync += beat.eq(beat + 1)
        with m.If((self.stop | draining) & (~bus.wvalid | bus.wready)):
            m.d.sync += draining.eq(1)
        return ended
