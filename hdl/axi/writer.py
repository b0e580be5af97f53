"""Writes pieces of memory over one AXI4 master."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from attnsieve.hdl.axi.burst import BurstSplitter
from attnsieve.hdl.axi.responses import Responses
from attnsieve.hdl.axi.signature import AXI4Signature
from attnsieve.hdl.lib.checks import check_int, check_power_of_two
from attnsieve.hdl.lib.queue import Queue

__all__ = ["BurstWriter", "unit_layout", "write_request_layout"]


def write_request_layout(*, addr_width: int, max_units: int) -> data.StructLayout:
    """A contiguous piece of one channel's memory, and whether its job is an odd one."""
    return data.StructLayout(
        {
            "address": unsigned(addr_width),
            "units": unsigned(max_units.bit_length()),
            "job": unsigned(1),
        }
    )


def unit_layout(unit_bytes: int) -> data.StructLayout:
    """Bytes of a unit and which of them to write."""
    return data.StructLayout({"data": unsigned(8 * unit_bytes), "strobe": unsigned(unit_bytes)})


class BurstWriter(wiring.Component):
    """Requests of whole units, and the units, to INCR bursts.

    A request becomes one burst, split only at 4 KB (at 256 beats if that is less). W beats of a
    burst may go before, with or after its AW, never before that AW is asserted. Up to
    `max_outstanding` bursts of a job wait for their responses.

    ``stop`` ends all writing: from its second cycle on no further AW is asserted. Bursts whose AW
    was asserted are completed at once with beats without strobes; only a beat that is already
    asserted keeps its own. ``stop`` stays high until ``idle``, then the component is reset.

    Jobs are told apart by one bit, so at most two may be under way; ``pending`` says for each
    whether requests are not wholly answered. Responses belong to the ``oldest`` job first.

    Latency from request to ``awvalid``: 1 cycle; to ``wvalid``: 3 cycles, or 1 from the unit if
    that is later. Throughput: one beat per cycle; a request takes at least 2 cycles.

    Parameters
    ----------
    addr_width, data_width : int
        Of the bus.
    unit_bytes : int
        Bytes of a unit, a power of two of at least one beat.
    max_units : int
        Most units of a request.
    max_outstanding : int
        Most bursts of a job that wait for a response.

    Members
    -------
    request : In(stream(write_request_layout))
        ``address`` (in bytes, a multiple of the unit), ``units`` (at least 1), ``job``.
    i : In(stream(unit_layout))
        Units, in the order of the requests.
    bus : Out(AXI4Signature)
        Write channels.
    stop : In(1)
        Write nothing more.
    idle : Out(1)
        No AW is asserted and no response outstanding.
    error : Out(2)
        First SLVERR (2) or DECERR (3) since reset, else 0.
    oldest : In(1)
        Job to which the next response belongs, if it waits for one.
    pending : Out(2)
        For each job: a request has not been answered yet.
    """

    request: stream.Interface
    i: stream.Interface
    bus: wiring.PureInterface
    stop: Signal
    idle: Signal
    error: Signal
    oldest: Signal
    pending: Signal

    #: Cycles from a request to AW, and to W if data are there.
    latency = 1
    data_latency = 3

    def __init__(
        self,
        *,
        addr_width: int,
        data_width: int,
        unit_bytes: int,
        max_units: int,
        max_outstanding: int = 15,
    ) -> None:
        signature = AXI4Signature(addr_width=addr_width, data_width=data_width, read=False)
        check_power_of_two("Unit bytes", unit_bytes, data_width // 8, 4096)
        check_int("Max units", max_units, 1, 1 << 32)
        check_int("Max outstanding", max_outstanding, 1, 255)
        self.addr_width, self.data_width = addr_width, data_width
        self.unit_bytes, self.max_units = unit_bytes, max_units
        self.max_outstanding = max_outstanding
        self._splitter = BurstSplitter(
            addr_width=addr_width,
            data_width=data_width,
            burst_beats=256,
            max_beats=max_units * self.unit_beats,
        )
        request = write_request_layout(addr_width=addr_width, max_units=max_units)
        super().__init__(
            {
                "request": In(stream.Signature(request)),
                "i": In(stream.Signature(unit_layout(unit_bytes))),
                "bus": Out(signature),
                "stop": In(1),
                "idle": Out(1),
                "error": Out(2),
                "oldest": In(1),
                "pending": Out(2),
            }
        )

    @property
    def unit_beats(self) -> int:
        """Beats of a unit."""
        return self.unit_bytes * 8 // self.data_width

    @property
    def burst(self) -> int:
        """Most beats of a burst."""
        return self._splitter.burst

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.splitter = splitter = self._splitter
        job = Signal()  # of the request in the splitter
        m.d.comb += [
            splitter.i.valid.eq(self.request.valid),
            splitter.i.payload.address.eq(self.request.payload.address),
            splitter.i.payload.beats.eq(
                self.request.payload.units << (self.unit_beats.bit_length() - 1)
            ),
            self.request.ready.eq(splitter.i.ready),
        ]
        next_job = Mux(splitter.i.ready, self.request.payload.job, job)
        m.d.sync += job.eq(next_job)
        draining = Signal()  # under stop, and the last beat with strobes is gone
        waiting = Signal()  # a burst whose AW was asserted waits for its turn on W
        started = self._address(m, job, next_job, waiting)
        self._data(m, draining, waiting, started)
        return m

    def _address(self, m: Module, job: Signal, next_job: Value, waiting: Signal) -> Value:
        """AW and B. Returns whether a burst's AW is asserted for the first time."""
        bus, burst = self.bus, self._splitter.o
        asserted, started = Signal(), Signal()
        m.submodules.responses = responses = Responses(most=self.max_outstanding)
        may = Signal()  # as of the cycle before: what was started then is in the way
        m.d.sync += may.eq(responses.room.bit_select(next_job, 1) & ~self.stop)
        m.d.comb += [
            started.eq(burst.valid & ~asserted & ~waiting & may),
            responses.started.eq(started),
            responses.job.eq(job),
            responses.answered.eq(bus.bvalid),
            responses.oldest.eq(self.oldest),
            bus.awvalid.eq(asserted | started),
            bus.awaddr.eq(burst.payload.address),
            bus.awlen.eq(burst.payload.len),
            burst.ready.eq(bus.awvalid & bus.awready),
            bus.bready.eq(1),
            self.idle.eq((responses.waiting == 0) & ~bus.awvalid),
        ]
        m.d.sync += asserted.eq(bus.awvalid & ~bus.awready)
        for k in range(2):
            mine = burst.valid & (job == k)
            m.d.comb += self.pending[k].eq(responses.waiting[k] | mine)
        with m.If((self.error == 0) & bus.bvalid & bus.bresp[1]):
            m.d.sync += self.error.eq(bus.bresp)
        return started

    def _data(self, m: Module, draining: Signal, waiting: Signal, started: Value) -> None:
        """W: a queue in front of the bus, the burst under way, and one that waits."""
        bus = self.bus
        longest = range(min(self.burst, self.max_units * self.unit_beats))
        next_left, left = Signal(longest), Signal(longest)
        active, moved = Signal(), Signal()
        with m.If(started):
            m.d.sync += [waiting.eq(1), next_left.eq(self._splitter.o.payload.len)]
        with m.Elif(~active | (moved & bus.wlast)):
            m.d.sync += waiting.eq(0)
        m.d.comb += [
            bus.wlast.eq(left == 0),
            moved.eq(bus.wvalid & bus.wready),
        ]
        with m.If(~active | (moved & bus.wlast)):
            m.d.sync += [active.eq(waiting), left.eq(next_left)]
        with m.Elif(moved):
            m.d.sync += left.eq(left - 1)

        # of two beats, so that WREADY leads to no wide register
        layout = data.StructLayout({"data": self.data_width, "strobe": self.data_width // 8})
        m.submodules.beats = beats = Queue(shape=layout, depth=2)
        beat = Signal(range(self.unit_beats))
        m.d.comb += [
            beats.i.valid.eq(self.i.valid),
            beats.i.payload.data.eq(self.i.payload.data.word_select(beat, self.data_width)),
            beats.i.payload.strobe.eq(
                self.i.payload.strobe.word_select(beat, self.data_width // 8)
            ),
            self.i.ready.eq(beats.i.ready & (beat == self.unit_beats - 1)),
            bus.wvalid.eq(active & (beats.o.valid | draining)),
            bus.wdata.eq(Mux(draining, 0, beats.o.payload.data)),  # which an empty queue changes
            bus.wstrb.eq(Mux(draining, 0, beats.o.payload.strobe)),
            beats.o.ready.eq(active & bus.wready & ~draining),
        ]
        with m.If(beats.i.valid & beats.i.ready):
            m.d.sync += beat.eq(beat + 1)
        with m.If((self.stop | draining) & (~bus.wvalid | bus.wready)):
            m.d.sync += draining.eq(1)
