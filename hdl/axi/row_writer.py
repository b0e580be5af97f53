"""Writes output rows to memory that is interleaved over channels."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from attnsieve.hdl.axi.granule_writer import GRANULE, GranuleWriter
from attnsieve.hdl.axi.interleave import share_of_channel
from attnsieve.hdl.axi.signature import AXI4Signature
from attnsieve.hdl.axi.writer import BurstWriter, unit_layout
from attnsieve.hdl.layouts import output_layout, output_row_layout
from attnsieve.hdl.lib.connect import connect
from attnsieve.hdl.lib.queue import Queue
from attnsieve.hdl.params import CoreParams, check_params

__all__ = ["GRANULE", "RowWriter"]

_Writer = BurstWriter | GranuleWriter


def _log2(power: int) -> int:
    return power.bit_length() - 1


class RowWriter(wiring.Component):
    """Packs the int16 elements of rows into units and writes them, channel after channel.

    A row is one burst on every channel that it touches (split at 4 KB), or, without LUT RAM and
    with one channel of short beats (`compact`), bursts of 32 bytes. Its requests are made when
    its first elements are there, so a burst never waits for computing that has not begun. Rows
    begin at any multiple of 32 bytes: where a unit is longer, byte strobes leave its other half
    alone. Rows that are not to be written are taken and dropped.

    Latency from the first elements to ``awvalid``: `latency` = 1 cycle, or 2 with LUT RAM, where
    a queue of two keeps the elements near. Throughput:
    ``output_lanes`` elements per cycle without a gap between rows while the buses take as much; a
    row takes at least 2 cycles.

    ``stop``, ``idle``: see `BurstWriter`.

    Parameters
    ----------
    params : CoreParams
        The core.

    Members
    -------
    row : In(stream(output_row_layout))
        Rows; ``o_address``, ``parts``, ``write`` and ``last_of_job`` are used. A row is taken with
        its last elements.
    i : In(stream(output_layout))
        Elements of the rows.
    bus : Out(AXI4Signature).array(channels)
        Write channels.
    row_end : Out(1), job_end : Out(1)
        The last elements of a row, of a job, are packed in this cycle.
    granules : Out
        Pieces of 32 bytes of the row that ended in the cycle before, if it is written; else 0.
    done : Out(1)
        High for one cycle when all writes of a job have been answered.
    stop : In(1), idle : Out(1), error : Out(2)
        Of all channels; ``error`` is the first.
    """

    row: stream.Interface
    i: stream.Interface

    def __init__(self, *, params: CoreParams) -> None:
        check_params(params)
        self.params = params
        bus = AXI4Signature(
            addr_width=params.addr_width, data_width=params.data_width, read=False
        )
        super().__init__(
            {
                "row": In(stream.Signature(output_row_layout(params))),
                "i": In(stream.Signature(output_layout(params))),
                "bus": Out(bus).array(params.channels),
                "row_end": Out(1),
                "job_end": Out(1),
                "granules": Out(range(params.max_head_dim * 2 // GRANULE + 1)),
                "done": Out(1),
                "stop": In(1),
                "idle": Out(1),
                "error": Out(2),
            }
        )

    @property
    def latency(self) -> int:
        """Cycles from a row's first elements to its first address."""
        return 1 + self.params.lut_ram

    @property
    def unit_elements(self) -> int:
        """Elements of a unit."""
        return self.params.unit_bytes // 2

    @property
    def max_units(self) -> int:
        """Most units of a row on one channel."""
        p = self.params
        granules, more = p.max_head_dim * 2 // GRANULE, p.unit_bytes // GRANULE
        units = (granules + 2 * (more - 1)) // more if more else granules * GRANULE // p.unit_bytes
        return -(-units // p.channels)

    @property
    def compact(self) -> bool:
        """Whether the writer is the one of few cells, of bursts of 32 bytes."""
        p = self.params
        return not p.lut_ram and p.channels == 1 and p.unit_bytes < GRANULE

    def _writer(self) -> _Writer:
        """Of a channel."""
        p = self.params
        bus = {"addr_width": p.addr_width, "data_width": p.data_width}
        if self.compact:
            return GranuleWriter(**bus, max_units=self.max_units)
        return BurstWriter(**bus, unit_bytes=p.unit_bytes, max_units=self.max_units)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        p = self.params
        writers = [self._writer() for _ in range(p.channels)]
        for channel, writer in enumerate(writers):
            m.submodules[f"channel{channel}"] = writer
            wiring.connect(m, writer.bus, wiring.flipped(self.bus[channel]))
            m.d.comb += writer.stop.eq(self.stop)
        job, blocked = self._jobs(m, writers)
        begun = Signal()  # elements of the row at hand have been taken
        self._elements = self.i
        if p.lut_ram:
            m.submodules.elements = elements = Queue(shape=output_layout(p), depth=2)
            connect(m, wiring.flipped(self.i), elements.i)
            self._elements = elements.o
        asked = self._requests(m, writers, job, ~blocked & (self._elements.valid | begun))
        unit = self._pack(m, begun, asked, blocked)
        self._distribute(m, unit, writers)
        m.d.comb += self.idle.eq(Cat(writer.idle for writer in writers).all())
        for writer in writers:
            with m.If((self.error == 0) & (writer.error != 0)):
                m.d.sync += self.error.eq(writer.error)
        return m

    def _jobs(self, m: Module, writers: list[_Writer]) -> tuple[Signal, Value]:
        """Two jobs may be under way: one whose rows come, one that waits for responses."""
        job, oldest, ended = Signal(), Signal(), Signal(2)
        answered = Signal()
        pending = [
            Cat(writer.pending[k] for writer in writers).any() for k in range(2)
        ]
        m.d.comb += [
            self.job_end.eq(self.row_end & self.row.payload.last_of_job),
            answered.eq(ended.bit_select(oldest, 1) & ~Mux(oldest, pending[1], pending[0])),
            self.done.eq(answered & ~self.stop),
        ]
        m.d.comb += [writer.oldest.eq(oldest) for writer in writers]
        with m.If(self.job_end):
            m.d.sync += [job.eq(~job), ended.bit_select(job, 1).eq(1)]
        with m.If(self.done):
            m.d.sync += [oldest.eq(~oldest), ended.bit_select(oldest, 1).eq(0)]
        return job, ended.all()

    @property
    def _row_granules(self) -> Value:
        """Granules of the row at hand: one for 16 elements."""
        return self.row.payload.parts >> _log2(16 // self.params.segment)

    @property
    def _first_channel(self) -> Value:
        """Channel of the first unit of the row at hand."""
        unit_bits, channel_bits = _log2(self.params.unit_bytes), _log2(self.params.channels)
        return self.row.payload.o_address[unit_bits : unit_bits + channel_bits]

    @property
    def _offset(self) -> Value:
        """Granules of the first unit of the row at hand that belong to the row before."""
        unit_bytes = max(GRANULE, self.params.unit_bytes)
        return self.row.payload.o_address[_log2(GRANULE) : _log2(unit_bytes)]

    @property
    def _units(self) -> Value:
        """Units that the row at hand touches."""
        unit_bytes = self.params.unit_bytes
        if unit_bytes < GRANULE:
            return self._row_granules << _log2(GRANULE // unit_bytes)
        more = unit_bytes // GRANULE
        return (self._row_granules + self._offset + (more - 1)) >> _log2(more)

    def _requests(
        self, m: Module, writers: list[_Writer], job: Signal, go: Value
    ) -> Value:
        """One request to each channel that the row touches. Returns whether all are made."""
        p, row = self.params, self.row.payload
        unit_bits, channel_bits = _log2(p.unit_bytes), _log2(p.channels)
        first = self._first_channel
        above = row.o_address[unit_bits + channel_bits :]
        later = Signal.like(Cat(above, Signal()), name="later")
        m.d.comb += later.eq(above + 1)
        open_ = Signal(p.channels, init=-1)  # channels whose request is not made yet
        for channel, writer in enumerate(writers):
            count = Signal(range(self.max_units + 1), name=f"count{channel}")
            index, units = share_of_channel(
                channel, first=first, index=above, following=later, units=self._units
            )
            m.d.comb += count.eq(units)
            request, touched = writer.request, row.write & (count != 0)
            m.d.comb += [
                request.payload.address.eq(Cat(Const(0, unit_bits), index)),
                request.payload.units.eq(count),
                request.payload.job.eq(job),
                request.valid.eq(self.row.valid & go & open_[channel] & touched),
            ]
            with m.If(self.row_end):
                m.d.sync += open_[channel].eq(1)
            with m.Elif((request.valid & request.ready) | (self.row.valid & ~touched)):
                m.d.sync += open_[channel].eq(0)
        return open_ == 0

    def _pack(self, m: Module, begun: Signal, asked: Value, blocked: Value) -> stream.Interface:
        """Elements to units: each set of elements has its place in the unit being made."""
        p, row = self.params, self.row.payload
        unit = stream.Signature(unit_layout(p.unit_bytes)).create(path=("unit",))
        self._channel = channel = Signal(range(p.channels))  # of the unit
        elements, last, taken = self._pieces(m)
        step_bytes = len(elements) // 8
        places = p.unit_bytes // step_bytes
        free, fire, whole = Signal(), Signal(), Signal()
        place, stored = Signal(range(places)), Signal(range(places))
        next_channel = Signal.like(channel)
        here = Mux(begun, next_channel, self._first_channel)
        halted = self.stop if self.compact else Const(0)  # its beats may not change then
        if len(self._offset):
            start = self._offset << _log2(max(1, GRANULE // step_bytes))
            m.d.comb += place.eq(Mux(begun, stored, start))
        else:
            m.d.comb += place.eq(stored)
        m.d.comb += [
            free.eq(~unit.valid | unit.ready),
            fire.eq(
                self.row.valid
                & self._elements.valid
                & free
                & ~blocked
                & (asked | ~last)
                & ~halted
            ),
            whole.eq(last | (place == places - 1)),
            taken.eq(fire),
            self.row_end.eq(fire & last),
            self.row.ready.eq(self.row_end),
        ]
        m.d.sync += self.granules.eq(Mux(self.row_end & row.write, self._row_granules, 0))
        with m.If(free):
            m.d.sync += unit.valid.eq(fire & whole & row.write)
        with m.If(fire):
            m.d.sync += [
                begun.eq(~last),
                stored.eq(Mux(whole, 0, place + 1)),
                next_channel.eq(here + whole),
                channel.eq(here),
            ]
        self._strobes(m, unit, place, places, fire)
        # without waiting for elements, but that beats may not change under stop
        self._store(m, unit, elements, place, places, fire if self.compact else free)
        return unit

    def _pieces(self, m: Module) -> tuple[Value, Value, Signal]:
        """Elements of a cycle, cut to units where a unit is shorter; the last; whether taken."""
        p, taken = self.params, Signal()
        elements = self._elements.payload.element.as_value()
        pieces = max(1, len(elements) // 8 // p.unit_bytes)
        piece = Signal(range(pieces))
        end = piece == pieces - 1
        with m.If(taken):
            m.d.sync += piece.eq(piece + 1)
        m.d.comb += self._elements.ready.eq(taken & end)
        chosen = elements.word_select(piece, len(elements) // pieces)
        return chosen, self._elements.payload.last & end, taken

    def _strobes(
        self, m: Module, unit: stream.Interface, place: Signal, places: int, fire: Value
    ) -> None:
        """Strobes are kept for each granule."""
        p = self.params
        granules = max(1, p.unit_bytes // GRANULE)
        strobes = Signal(granules)
        fresh = Signal(init=1)  # the next elements are the first of a unit
        with m.If(fire):
            now = Cat((place // (places // granules)) == g for g in range(granules))
            m.d.sync += [
                fresh.eq((place == places - 1) | self.row_end),
                strobes.eq(Mux(fresh, 0, strobes) | now),
            ]
        m.d.comb += unit.payload.strobe.eq(
            Cat(strobe.replicate(p.unit_bytes // granules) for strobe in strobes)
        )

    def _store(
        self,
        m: Module,
        unit: stream.Interface,
        elements: Value,
        place: Signal,
        places: int,
        load: Value,
    ) -> None:
        """Puts elements at their place."""
        stored = Signal(unit.payload.data.shape(), name="data", reset_less=True)
        for index in range(places):
            with m.If(load & (place == index)):
                m.d.sync += stored.word_select(index, len(elements)).eq(elements)
        m.d.comb += unit.payload.data.eq(stored)

    def _distribute(self, m: Module, unit: stream.Interface, writers: list[_Writer]) -> None:
        """Each unit to the writer of its channel."""
        p = self.params
        ready = []
        for channel, writer in enumerate(writers):
            here = self._channel == channel
            target = writer.i
            if self.unit_elements < 2 * p.output_lanes:  # a unit in every cycle
                m.submodules[f"queue{channel}"] = queue = Queue(
                    shape=unit_layout(p.unit_bytes), depth=4 if p.lut_ram else 2, lut_ram=p.lut_ram
                )
                wiring.connect(m, queue.o, writer.i)
                target = queue.i
            m.d.comb += [
                target.valid.eq(unit.valid & here),
                target.payload.eq(unit.payload),
            ]
            ready.append(target.ready & here)
        m.d.comb += unit.ready.eq(Cat(ready).any())
