"""Reads pieces of memory over one AXI4 master."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from attnsieve.hdl.axi.burst import BurstSplitter, burst_layout, whole_burst
from attnsieve.hdl.axi.signature import AXI4Signature
from attnsieve.hdl.lib.checks import check_int, check_power_of_two
from attnsieve.hdl.lib.connect import connect
from attnsieve.hdl.lib.queue import Queue

__all__ = ["BurstReader", "request_layout"]


def request_layout(*, addr_width: int, max_units: int) -> data.StructLayout:
    """A contiguous piece of one channel's memory: where, and how many units."""
    return data.StructLayout(
        {"address": unsigned(addr_width), "units": unsigned(max_units.bit_length())}
    )


class BurstReader(wiring.Component):
    """Requests of whole units in, their bytes out, in order, with many beats in flight.

    A burst has at most `burst` beats and is asked for only when the data queue has room for all of
    it beside what is in flight: so with a queue ``rready`` is always 1, and no channel waits for
    another one's data. Without a queue (``queued`` false) data go straight from the bus to ``o``,
    whose consumer has reserved space; ``rready`` is ``o.ready`` then. Beats of a unit are joined,
    the first lowest.

    With ``max_units`` 1 a burst is a unit, and there is one per request and cycle.

    Latency from request to ``arvalid``: 1 cycle. From a beat to ``o``: the data queue's (1 cycle
    with LUT RAM, 2 without), none when not queued; one more where several beats make a unit.
    Throughput: one beat per cycle while ``outstanding_beats - burst`` covers the round trip:
    the memory's latency and `overhead` cycles.

    ``stop`` ends all reading: from its second cycle on no further AR is asserted (one that waits
    stays until it is taken), and arriving data are dropped. Once ``idle`` is 1 under ``stop`` it
    stays, and a reset of the component makes it as new.

    Parameters
    ----------
    addr_width, data_width : int
        Of the bus.
    unit_bytes : int
        Bytes of a unit, a power of two of at least one beat.
    max_units : int
        Most units of a request.
    burst_beats : int
        Most beats of a burst.
    outstanding_beats : int
        Most beats in flight; depth of the data queue.
    queued : bool
        Whether there is a data queue.
    lut_ram : bool
        Of the queue.

    Members
    -------
    request : In(stream(request_layout))
        ``address`` (in bytes, a multiple of the unit) and ``units`` (at least 1).
    o : Out(stream)
        Units.
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
    stop: Signal
    idle: Signal
    error: Signal

    def __init__(
        self,
        *,
        addr_width: int,
        data_width: int,
        unit_bytes: int,
        max_units: int,
        burst_beats: int = 16,
        outstanding_beats: int = 64,
        queued: bool = True,
        lut_ram: bool = True,
    ) -> None:
        signature = AXI4Signature(addr_width=addr_width, data_width=data_width, write=False)
        check_power_of_two("Unit bytes", unit_bytes, data_width // 8, 4096)
        check_int("Max units", max_units, 1, 1 << 32)
        check_int("Burst beats", burst_beats, 1, 256)
        check_int("Outstanding beats", outstanding_beats, 2, 1 << 16)
        self.addr_width, self.data_width = addr_width, data_width
        self.unit_bytes, self.max_units = unit_bytes, max_units
        self.burst_beats, self.outstanding_beats = burst_beats, outstanding_beats
        self.queued, self.lut_ram = queued, lut_ram
        super().__init__(
            {
                "request": In(
                    stream.Signature(request_layout(addr_width=addr_width, max_units=max_units))
                ),
                "o": Out(stream.Signature(unsigned(unit_bytes * 8))),
                "bus": Out(signature),
                "stop": In(1),
                "idle": Out(1),
                "error": Out(2),
            }
        )

    @property
    def unit_beats(self) -> int:
        """Beats of a unit."""
        return self.unit_bytes * 8 // self.data_width

    @property
    def single(self) -> bool:
        """Whether each request is a burst, of one unit: it cannot cross 4 KB."""
        return self.max_units == 1

    @property
    def burst(self) -> int:
        """Most beats of a burst here: a unit's, or an eighth of ``outstanding_beats``, or
        ``burst_beats``."""
        if self.single:
            return self.unit_beats
        # a burst waits for room for all its beats: long ones would cost beats in flight
        beats = max(1, min(self.burst_beats, self.outstanding_beats // 8))
        return whole_burst(burst_beats=beats, data_width=self.data_width)

    @property
    def latency(self) -> int:
        """Cycles from the beat that completes a unit to the unit."""
        queue = (1 if self.lut_ram else 2) if self.queued else 0
        return queue + (self.unit_beats > 1)

    @property
    def overhead(self) -> int:
        """Cycles beside the memory's latency for which a beat counts as in flight."""
        return self.latency + 2

    def elaborate(self, platform: object) -> Module:
        m = Module()
        bursts = self._units(m) if self.single else self._pieces(m)
        beat = stream.Signature(unsigned(self.data_width)).create(path=("beat",))
        freed = self._data(m, beat)
        self._address(m, bursts, freed)
        self._join(m, beat)
        with m.If((self.error == 0) & self.bus.rvalid & self.bus.rready & self.bus.rresp[1]):
            m.d.sync += self.error.eq(self.bus.rresp)
        return m

    def _pieces(self, m: Module) -> stream.Interface:
        """Bursts of pieces of several units."""
        m.submodules.splitter = splitter = BurstSplitter(
            addr_width=self.addr_width,
            data_width=self.data_width,
            burst_beats=self.burst,
            max_beats=self.max_units * self.unit_beats,
        )
        shift = self.unit_beats.bit_length() - 1
        m.d.comb += [
            splitter.i.valid.eq(self.request.valid),
            splitter.i.payload.address.eq(self.request.payload.address),
            splitter.i.payload.beats.eq(self.request.payload.units << shift),
            self.request.ready.eq(splitter.i.ready),
        ]
        return splitter.o

    def _units(self, m: Module) -> stream.Interface:
        """A burst for each unit, one per cycle."""
        layout = burst_layout(self.addr_width)
        m.submodules.bursts = bursts = Queue(shape=layout, depth=2)
        m.d.comb += [
            bursts.i.valid.eq(self.request.valid),
            bursts.i.payload.address.eq(self.request.payload.address),
            bursts.i.payload.len.eq(self.unit_beats - 1),
            bursts.i.payload.last.eq(1),
            self.request.ready.eq(bursts.i.ready),
        ]
        return bursts.o

    def _address(self, m: Module, burst: stream.Interface, freed: Value) -> None:
        """AR straight from the splitter, when there is room for a whole burst."""
        bus, depth = self.bus, self.outstanding_beats
        # beats that could still be asked for beside a whole burst; without room for one, negative
        room = Signal(signed(depth.bit_length() + 1), init=depth - self.burst)
        offered = Signal()  # AR was asserted and not taken: it must stay
        stopped = Signal()
        taken = Signal()
        m.d.sync += stopped.eq(self.stop)
        m.d.comb += [
            bus.arvalid.eq(burst.valid & (room >= 0) & (~stopped | offered)),
            bus.araddr.eq(burst.payload.address),
            bus.arlen.eq(burst.payload.len),
            burst.ready.eq(bus.arready & bus.arvalid),
            taken.eq(bus.arready & bus.arvalid),
        ]
        beats = Signal(range(self.burst + 1))
        m.d.comb += beats.eq(Mux(taken, burst.payload.len + 1, 0))
        m.d.sync += [
            offered.eq(bus.arvalid & ~bus.arready),
            room.eq(room - beats + freed),
        ]
        arrived = bus.rvalid & bus.rready
        outstanding = Signal(range(depth + 1))  # beats asked for that have not come
        m.d.sync += outstanding.eq(outstanding + beats - arrived)
        m.d.comb += self.idle.eq((outstanding == 0) & ~bus.arvalid)

    def _data(self, m: Module, beat: stream.Interface) -> Value:
        """R to the stream of beats; returns whether a beat gives its place back."""
        bus = self.bus
        if not self.queued:
            m.d.comb += [
                beat.valid.eq(bus.rvalid & ~self.stop),
                beat.payload.eq(bus.rdata),
                bus.rready.eq(beat.ready | self.stop),
            ]
            return bus.rvalid & bus.rready
        m.submodules.queue = queue = Queue(
            shape=unsigned(self.data_width), depth=self.outstanding_beats, lut_ram=self.lut_ram
        )
        m.d.comb += [
            queue.i.valid.eq(bus.rvalid & ~self.stop),
            queue.i.payload.eq(bus.rdata),
            bus.rready.eq(1),
        ]
        connect(m, queue.o, beat)
        return beat.valid & beat.ready

    def _join(self, m: Module, beat: stream.Interface) -> None:
        """Collect the beats of a unit."""
        if self.unit_beats == 1:
            connect(m, beat, self.o)
            return
        count = Signal(range(self.unit_beats))
        m.d.comb += beat.ready.eq(~self.o.valid | self.o.ready)
        with m.If(beat.ready):
            m.d.sync += self.o.valid.eq(beat.valid & (count == self.unit_beats - 1))
        with m.If(beat.ready & beat.valid):
            m.d.sync += [
                count.eq(count + 1),
                self.o.payload.eq(Cat(self.o.payload, beat.payload)[self.data_width :]),
            ]
