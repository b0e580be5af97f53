"""Loads Q, K and V from memory as lines of operands, over all channels."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from attnsieve.hdl.axi.burst import BurstSplitter
from attnsieve.hdl.axi.burst_sequencer import BURST, CHUNK, BurstSequencer, tag_layout
from attnsieve.hdl.axi.chunker import Chunker, ChunkSizes, Sink, chunk_entry_layout, issue_layout
from attnsieve.hdl.axi.gatherer import UnitGatherer, word_layout
from attnsieve.hdl.axi.line_former import LineFormer
from attnsieve.hdl.axi.line_sinks import LineSinks
from attnsieve.hdl.axi.reader import BurstReader, request_layout
from attnsieve.hdl.axi.signature import AXI4Signature
from attnsieve.hdl.axi.tagged_reader import TaggedReader
from attnsieve.hdl.axi.unpacker import Unpacker
from attnsieve.hdl.layouts import line_layout, region_layout
from attnsieve.hdl.lib.connect import connect
from attnsieve.hdl.lib.queue import Queue
from attnsieve.hdl.params import CoreParams

__all__ = ["Loader", "is_compact"]


def is_compact(params: CoreParams) -> bool:
    """Whether a core has the loader of few cells."""
    return not params.lut_ram and BurstSequencer.serves(params)


class Loader(wiring.Component):
    """Regions in, lines of operands out, over 1 to 16 AXI4 read masters.

    Three streams of regions share the memory: a `Chunker` cuts them into chunks and picks the
    order, a `BurstReader` per channel fetches, a `UnitGatherer` joins the channels and an
    `Unpacker` makes lines. A chunk is asked for only if its sink has room for all its lines beside
    those on their way, so no line waits in front of a full sink: each is there for one cycle, and
    the sink's ``ready`` is not looked at. Lines of a region come in order; lines of different
    streams interleave by chunks. Value lines are left-aligned (``v << (operand_bits - b)``), query
    and key lines sign-extended. What the last line of a region lacks is undefined.

    Latency from a region to its first line: `latency` cycles and the memory's (from AR transfer
    to the beat after the last that the line needs); with LUT RAM a value line comes a cycle
    later. Throughput: one wide word or one line per
    cycle, whichever is less, while ``outstanding_beats`` cover the memory's latency.

    Without LUT RAM, and with one channel whose beats are lines of 8-bit operands (`compact`), less
    does it: a `BurstSequencer` asks for bursts, a `TaggedReader` fetches them, and a `LineFormer`
    makes lines. Regions are whole steps of 16 elements then. With these `latency` is an upper
    bound: up to 2 cycles less.

    ``stop`` ends all reading; ``idle`` under ``stop`` means that nothing is outstanding and
    nothing will be; then a reset of the component makes it as new.

    Parameters
    ----------
    params : CoreParams
        The core.

    Members
    -------
    query, key, value : In(stream(region_layout))
        Regions, at least one line each.
    q_line, k_line, v_line : Out(stream(line_layout))
        Lines. A sink takes each at once.
    q_space, k_space, v_space : In(unsigned)
        Free lines of each sink, as the sink sees them. A line counts as taken at the latest one
        cycle after its transfer.
    bus : Out(AXI4Signature) of channels
        Read channels.
    stop : In(1)
        Stop reading.
    idle : Out(1)
        No read is outstanding and none is being asked for.
    waiting : Out(1)
        A chunk has been asked for and not all its data have come.
    error : Out(2)
        First SLVERR (2) or DECERR (3) of any channel, else 0.
    read_units : Out(unsigned)
        Units asked for in this cycle.
    waste : Out(unsigned)
        Bytes of them that lie beyond the end of their region.
    """

    query: stream.Interface
    key: stream.Interface
    value: stream.Interface
    q_line: stream.Interface
    k_line: stream.Interface
    v_line: stream.Interface
    q_space: Signal
    k_space: Signal
    v_space: Signal
    stop: Signal
    idle: Signal
    waiting: Signal
    error: Signal
    read_units: Signal
    waste: Signal

    def __init__(self, *, params: CoreParams) -> None:
        if params.lanes < 2:
            raise ValueError(f"Lanes must be at least 2 to load lines, not {params.lanes!r}")
        self.params = params
        issue = issue_layout(params)
        region = stream.Signature(region_layout(params))
        line = stream.Signature(line_layout(params))
        space = unsigned(params.kv_lines.bit_length())
        bus = AXI4Signature(
            addr_width=params.addr_width, data_width=params.data_width, write=False
        )
        super().__init__(
            {
                "query": In(region),
                "key": In(region),
                "value": In(region),
                "q_line": Out(line),
                "k_line": Out(line),
                "v_line": Out(line),
                "q_space": In(space),
                "k_space": In(space),
                "v_space": In(space),
                "bus": Out(bus).array(params.channels),
                "stop": In(1),
                "idle": Out(1),
                "waiting": Out(1),
                "error": Out(2),
                "read_units": Out(issue["units"].width),
                "waste": Out(issue["waste"].width),
            }
        )

    @property
    def compact(self) -> bool:
        """Whether the loader is the one of few cells."""
        return is_compact(self.params)

    @property
    def granule_lines(self) -> int:
        """Lines that a sink must be able to have free at once for its stream to move."""
        if self.compact:
            return CHUNK // self.params.lanes
        return max(ChunkSizes.of(self.params, bits).lines for bits in self.params.operand_widths)

    @property
    def latency(self) -> int:
        """Cycles from a region to its first line beside the memory's, when nothing else loads."""
        if self.compact:
            return BurstSequencer.latency + 2 + TaggedReader.latency
        latency = Chunker.latency + BurstSplitter.latency
        latency += 2 if self.params.wide_bytes >= self.params.lanes else 1  # unpacker
        if self.params.channels > 1:
            latency += 1  # queue of requests
            latency += 1 if self.params.lut_ram else 2  # data queue
            latency += self.params.unit_bytes > self.params.beat_bytes  # beats to units
            latency += 2  # gatherer's queues
        return latency + self.line_registers

    @property
    def line_registers(self) -> int:
        """Registers of a query or key line behind the unpacker; a value line has one more."""
        return int(self.params.lut_ram)

    def _reader(self) -> BurstReader:
        p = self.params
        return BurstReader(
            addr_width=p.addr_width,
            data_width=p.data_width,
            unit_bytes=p.unit_bytes,
            max_units=self._max_units,
            burst_beats=p.burst_beats,
            outstanding_beats=p.outstanding_beats,
            queued=p.channels > 1,  # with one channel, the sinks' room is room enough
            lut_ram=p.lut_ram,
        )

    @property
    def _max_units(self) -> int:
        p = self.params
        return max(ChunkSizes.of(p, bits).most_words for bits in p.operand_widths)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        if self.compact:
            self._compact(m)
        else:
            self._general(m)
        return m

    def _general(self, m: Module) -> None:
        """Any number of channels: chunks, units, words, lines."""
        p = self.params
        m.submodules.chunker = chunker = Chunker(params=p)
        m.submodules.gatherer = gatherer = UnitGatherer(params=p)
        m.submodules.chunks = chunks = Queue(
            shape=chunk_entry_layout(p), depth=16 if p.lut_ram else 4, lut_ram=p.lut_ram
        )
        readers = [self._reader() for _ in range(p.channels)]
        for c, reader in enumerate(readers):
            m.submodules[f"reader{c}"] = reader
            m.d.comb += reader.stop.eq(self.stop)
            wiring.connect(m, reader.bus, wiring.flipped(self.bus[c]))
            connect(m, reader.o, gatherer.i[c])
        self._regions(m, chunker)
        self._fork(m, chunker.o, chunks, readers)
        connect(m, chunks.o, gatherer.chunk)
        self._lines(m, gatherer, chunker.delivered)
        m.d.comb += [
            self.idle.eq(Cat(reader.idle for reader in readers).all()),
            self.waiting.eq(chunks.o.valid),
        ]
        self._error(m, readers)

    def _compact(self, m: Module) -> None:
        """One channel whose beats are lines of 8-bit operands: bursts, beats, lines."""
        p = self.params
        beats = BURST // p.beat_bytes
        bursts = min(p.outstanding_beats // beats, 32)
        m.submodules.sequencer = sequencer = BurstSequencer(params=p, max_bursts=bursts)
        m.submodules.reader = reader = TaggedReader(
            addr_width=p.addr_width,
            data_width=p.data_width,
            max_beats=beats,
            max_bursts=bursts,
            tag=tag_layout(),
        )
        m.submodules.former = former = LineFormer(lanes=p.lanes, operand_bits=p.operand_bits)
        wiring.connect(m, reader.bus, wiring.flipped(self.bus[0]))
        self._regions(m, sequencer)
        connect(m, sequencer.o, reader.request)
        beat, word = reader.o, former.i
        tag = beat.payload.tag
        m.d.comb += [
            word.valid.eq(beat.valid),
            beat.ready.eq(word.ready),
            word.payload.data.eq(beat.payload.data),
            word.payload.format.wide.eq(tag.wide),
            word.payload.format.left.eq(tag.sink == Sink.VALUE),
            former.o.ready.eq(1),
        ]
        delivered = self._sinks(m, former.o, former.o.payload, tag.sink)
        asked = sequencer.o.valid & sequencer.o.ready
        m.d.comb += [
            sequencer.returned.eq(Mux(beat.payload.last & tag.end, delivered, 0)),
            reader.stop.eq(self.stop),
            self.idle.eq(reader.idle),
            self.waiting.eq(~reader.idle),
            self.error.eq(reader.error),
            self.read_units.eq(Mux(asked, sequencer.o.payload.len + 1, 0)),
        ]

    def _regions(self, m: Module, sequencer: Chunker | BurstSequencer) -> None:
        """Regions, and the room for their lines."""
        for number, region in enumerate((self.query, self.key, self.value)):
            connect(m, region, sequencer.region[number])
        m.d.comb += Cat(sequencer.space).eq(Cat(self.q_space, self.k_space, self.v_space))

    def _fork(
        self, m: Module, issue: stream.Interface, chunks: Queue, readers: list[BurstReader]
    ) -> None:
        """Each chunk goes to the queue of chunks and its requests to the channels, all at once."""
        targets = []
        for c, reader in enumerate(readers):
            target = reader.request
            if len(readers) > 1:
                queue = Queue(
                    shape=request_layout(
                        addr_width=self.params.addr_width, max_units=self._max_units
                    ),
                    depth=2,
                )
                m.submodules[f"requests{c}"] = queue
                connect(m, queue.o, reader.request)
                target = queue.i
            targets.append(target)
        taken = issue.valid & issue.ready
        stopped = Signal()
        m.d.sync += stopped.eq(self.stop)
        for target, request in zip(targets, issue.payload.request, strict=True):
            m.d.comb += [
                target.payload.eq(request),
                target.valid.eq(taken & (request.units != 0)),
            ]
        m.d.comb += [
            chunks.i.payload.eq(issue.payload.chunk),
            chunks.i.valid.eq(taken),
            issue.ready.eq(
                chunks.i.ready & Cat(t.ready for t in targets).all() & ~stopped
            ),
            self.read_units.eq(Mux(taken, issue.payload.units, 0)),
            self.waste.eq(Mux(taken, issue.payload.waste, 0)),
        ]

    def _lines(self, m: Module, gatherer: UnitGatherer, delivered: Signal) -> None:
        """Words to lines, and each line to its sink."""
        p = self.params
        m.submodules.unpacker = unpacker = Unpacker(
            lanes=p.lanes,
            wide_bytes=p.wide_bytes,
            widths=p.operand_widths,
            max_lines=1 << word_layout(p)["chunk"].shape["lines"].width,
            tag_bits=2,
        )
        connect(m, gatherer.o, unpacker.i)
        line = unpacker.o
        if not p.lut_ram:
            m.d.comb += delivered.eq(self._sinks(m, line, line.p.line, line.p.tag))
            return
        m.submodules.sinks = sinks = LineSinks(params=p)
        m.d.comb += [
            sinks.i.valid.eq(line.valid),
            sinks.i.payload.eq(line.payload),
            delivered.eq(sinks.delivered),
        ]
        for name in ("q_line", "k_line", "v_line"):
            connect(m, getattr(sinks, name), getattr(self, name))

    def _sinks(
        self, m: Module, line: stream.Interface, payload: data.View, tag: Value
    ) -> Signal:
        """Each line to its sink. Returns which of them takes one."""
        delivered = Signal(3)
        for number, sink in enumerate((self.q_line, self.k_line, self.v_line)):
            m.d.comb += [
                sink.payload.eq(payload),
                sink.valid.eq(line.valid & (tag == number)),
                delivered[number].eq(sink.valid),
            ]
        return delivered

    def _error(self, m: Module, readers: list[BurstReader]) -> None:
        """The first error of any channel; of two at once, the lower channel's."""
        if len(readers) == 1:
            m.d.comb += self.error.eq(readers[0].error)
            return
        found = readers[-1].error
        for reader in reversed(readers[:-1]):
            found = Mux(reader.error != 0, reader.error, found)
        with m.If(self.error == 0):
            m.d.sync += self.error.eq(found)
