"""Reads units from anywhere in memory, several per cycle, over all channels, in order."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from attnsieve.hdl.axi.reader import BurstReader
from attnsieve.hdl.axi.signature import AXI4Signature
from attnsieve.hdl.lib.checks import check_int, check_power_of_two
from attnsieve.hdl.lib.matching import Matching
from attnsieve.hdl.lib.queue import Queue
from attnsieve.hdl.lib.ram import Ram
from attnsieve.hdl.lib.reduce import either

__all__ = ["GatherReader", "gather_beat_layout"]


def gather_beat_layout(*, unit_bits: int, channels: int, tag: Any) -> data.StructLayout:
    """Units of memory that are wanted together: in the lowest ``count`` lanes, in order."""
    return data.StructLayout(
        {
            "unit": data.ArrayLayout(unsigned(unit_bits), channels),  # number in linear memory
            "count": range(channels + 1),
            "tag": tag,
        }
    )


class GatherReader(wiring.Component):
    """Beats of unit numbers in, beats of units out, in the same order.

    Beats go to ``spread`` groups of lanes in turn, a lane for each of their units: with 16
    channels, 32 lanes (SpAtten, section IV-A). Unit u is on channel ``u mod channels``; so lanes
    may want the same channel. Each lane has a queue of addresses for every channel, and in every
    cycle a `Matching` sends at most one of each lane to each channel: the address crossbar. What it
    sends in a cycle is a *round*. Data come back in rounds too, channel by channel in order, so no
    two units of a round want the same lane: the data crossbar needs no queues. Each lane puts its
    unit into the slot of the unit's beat, and a beat leaves when all its units are there.

    Latency from a beat to the beat of its units: `latency` cycles and the memory's. Throughput: one
    beat per cycle if its units are on different channels, or if such beats are mixed with others
    that lean the other way; up to ``slots`` beats are inside.

    ``stop``, ``idle`` and ``error`` are as in `BurstReader`, over all channels.

    Parameters
    ----------
    addr_width, data_width, unit_bytes, channels : int
        As in `CoreParams`.
    tag : ShapeLike
        What goes with a beat.
    spread : int
        Groups of lanes, a power of two.
    slots : int
        Most beats inside, a power of two, at least ``4 * spread``.
    waiting : int
        Addresses that each queue holds.
    outstanding_beats : int
        Read beats that a channel may have in flight.

    Members
    -------
    i : In(stream(gather_beat_layout))
    o : Out(stream({unit[channels], count, tag}))
    bus : Out(AXI4Signature).array(channels)
        Read channels.
    stop : In(1), idle : Out(1), error : Out(2)
    """

    i: stream.Interface
    o: stream.Interface
    bus: Any
    stop: Signal
    idle: Signal
    error: Signal

    def __init__(
        self,
        *,
        addr_width: int,
        data_width: int,
        unit_bytes: int,
        channels: int,
        tag: Any = 0,
        spread: int = 2,
        slots: int = 128,
        waiting: int = 16,
        outstanding_beats: int = 64,
    ) -> None:
        check_power_of_two("Channels", channels, 1, 16)
        check_power_of_two("Spread", spread, 1, 4)
        check_power_of_two("Slots", slots, 4 * spread, 1024)
        check_int("Waiting", waiting, 1)
        self.channels, self.slots, self.waiting = channels, slots, waiting
        self.spread, self.lanes = spread, spread * channels
        self.unit_bytes = unit_bytes
        self.addr_width, self.data_width = addr_width, data_width
        self.outstanding_beats = outstanding_beats
        self.unit_bits = addr_width - (unit_bytes.bit_length() - 1)
        self.channel_bits = channels.bit_length() - 1
        bus = AXI4Signature(addr_width=addr_width, data_width=data_width, write=False)
        asked = gather_beat_layout(unit_bits=self.unit_bits, channels=channels, tag=tag)
        self.order = data.StructLayout({"count": range(channels + 1), "tag": tag})
        came = data.StructLayout(
            {"unit": data.ArrayLayout(unsigned(8 * unit_bytes), channels), **self.order.members}
        )
        super().__init__(
            {
                "i": In(stream.Signature(asked)),
                "o": Out(stream.Signature(came)),
                "bus": Out(bus).array(channels),
                "stop": In(1),
                "idle": Out(1),
                "error": Out(2),
            }
        )

    @property
    def latency(self) -> int:
        """Cycles from a beat to its units beside the memory's: the queue, the request, the data
        queue, the slot and its output."""
        return 5 + (8 * self.unit_bytes > self.data_width)

    def _reader(self) -> BurstReader:
        return BurstReader(
            addr_width=self.addr_width,
            data_width=self.data_width,
            unit_bytes=self.unit_bytes,
            max_units=1,
            outstanding_beats=self.outstanding_beats,
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        self._units: list[Value] = []  # of each lane, as they are read
        readers = [self._reader() for _ in range(self.channels)]
        for channel, reader in enumerate(readers):
            m.submodules[f"reader{channel}"] = reader
            m.d.comb += reader.stop.eq(self.stop)
            wiring.connect(m, reader.bus, wiring.flipped(self.bus[channel]))
        m.d.comb += self.idle.eq(Cat(reader.idle for reader in readers).all())
        with m.If(self.error == 0):
            m.d.sync += self.error.eq(self._first_error(readers))
        queues, beats = self._ask(m)
        m.submodules.rounds = rounds = Queue(shape=self._round(), depth=self.slots)
        self._send(m, queues, readers, rounds)
        self._receive(m, readers, rounds, beats)
        return m

    @staticmethod
    def _first_error(readers: list[BurstReader]) -> Value:
        """The first error of any channel; of two at once, the lower channel's."""
        found = readers[-1].error
        for reader in reversed(readers[:-1]):
            found = Mux(reader.error != 0, reader.error, found)
        return found

    def _round(self) -> data.ArrayLayout:
        """For each lane: whether it sends, to which channel, and the slot of what comes."""
        slots = range(self.slots // self.spread)
        lane = {"valid": 1, "channel": range(self.channels), "slot": slots}
        return data.ArrayLayout(data.StructLayout(lane), self.lanes)

    def _ask(self, m: Module) -> tuple[list[list[Queue]], Any]:
        """Beats to the lanes' queues and to the queue of beats, which is returned."""
        address = data.StructLayout(
            {
                "index": unsigned(self.unit_bits - self.channel_bits),
                "slot": range(self.slots // self.spread),
            }
        )
        m.submodules.beats = beats = Queue(shape=self.order, depth=self.slots)
        beat, place = self.i.p, Signal(range(self.slots))  # group of lanes, and slot there
        group, slot = place[: self._group_bits], place[self._group_bits :]
        take, room = Signal(), [beats.i.ready]
        queues = []
        for lane in range(self.lanes):
            turn, which = divmod(lane, self.channels)
            used, unit = Signal(name=f"used{lane}"), beat.unit[which]
            m.d.comb += used.eq((which < beat.count) & (group == turn))
            row = []
            for channel in range(self.channels):
                queue = Queue(shape=address, depth=self.waiting)
                m.submodules[f"queue{lane}_{channel}"] = queue
                mine = used & (unit[: self.channel_bits] == channel)
                room.append(queue.i.ready | ~mine)
                m.d.comb += [
                    queue.i.valid.eq(take & mine),
                    queue.i.p.index.eq(unit >> self.channel_bits),
                    queue.i.p.slot.eq(slot),
                ]
                row.append(queue)
            queues.append(row)
        m.d.comb += [
            self.i.ready.eq(Cat(room).all() & ~self.stop),
            take.eq(self.i.valid & self.i.ready),
            beats.i.valid.eq(take),
            beats.i.p.count.eq(beat.count),
            beats.i.p.tag.eq(beat.tag),
        ]
        with m.If(take):
            m.d.sync += place.eq(place + 1)
        return queues, beats.o

    @property
    def _group_bits(self) -> int:
        return self.spread.bit_length() - 1

    def _send(
        self, m: Module, queues: list[list[Queue]], readers: list[BurstReader], rounds: Queue
    ) -> None:
        """A round of addresses to the channels."""
        m.submodules.matching = matching = Matching(askers=self.lanes, servers=self.channels)
        unit_bits = self.unit_bytes.bit_length() - 1
        sends = []
        for lane, row in enumerate(queues):
            match, record = matching.match[lane], rounds.i.p[lane]
            for channel, queue in enumerate(row):
                able = readers[channel].request.ready & rounds.i.ready
                m.d.comb += [
                    matching.request[lane][channel].eq(queue.o.valid & able),
                    queue.o.ready.eq(match[channel]),
                ]
            m.d.comb += [
                record.valid.eq(match.any()),
                record.channel.eq(either([Mux(match[c], c, 0) for c in range(self.channels)])),
                record.slot.eq(_chosen(match, [queue.o.p.slot for queue in row])),
            ]
            sends.append(match.any())
        m.d.comb += rounds.i.valid.eq(Cat(sends).any())
        for channel, reader in enumerate(readers):
            column = Cat(match[channel] for match in matching.match)
            index = _chosen(column, [row[channel].o.p.index for row in queues])
            m.d.comb += [
                reader.request.valid.eq(column.any()),
                reader.request.payload.address.eq(Cat(Const(0, unit_bits), index)),
                reader.request.payload.units.eq(1),
            ]

    def _receive(
        self, m: Module, readers: list[BurstReader], rounds: Queue, beat: Any
    ) -> None:
        """A round of data to the lanes' slots, and whole beats out of them."""
        wanted, missing, come = Signal(self.channels), Signal(self.channels), Signal()
        records = rounds.o.p
        for channel, reader in enumerate(readers):
            wants = Cat(r.valid & (r.channel == channel) for r in records)
            m.d.comb += [
                wanted[channel].eq(wants.any()),
                missing[channel].eq(wanted[channel] & ~reader.o.valid),
                reader.o.ready.eq(come & wanted[channel]),
            ]
        m.d.comb += [come.eq(rounds.o.valid & ~missing.any()), rounds.o.ready.eq(come)]
        turn, read = Signal(range(self.spread)), Signal()  # of the groups of lanes
        depth = self.slots // self.spread
        heads = [Signal(range(depth), name=f"head{number}") for number in range(self.spread)]
        there: list[Value] = []
        for lane, record in enumerate(records):
            units = [reader.o.payload for reader in readers]
            unit = Signal(8 * self.unit_bytes, name=f"unit{lane}")
            here = [record.channel == channel for channel in range(self.channels)]
            m.d.comb += unit.eq(_chosen(Cat(here), units))
            written = come & record.valid
            number, which = divmod(lane, self.channels)
            mine = read & (turn == number)
            has = self._slots(m, lane, written, record.slot, unit, heads[number], mine)
            there.append(has | (which >= beat.p.count) | (turn != number))
        for number, head in enumerate(heads):
            m.d.sync += head.eq(head + (read & (turn == number)))
        self._leave(m, beat, turn, read, Cat(there).all())

    def _slots(
        self, m: Module, lane: int, written: Value, slot: Value, unit: Value, head: Signal,
        read: Value,
    ) -> Value:  # fmt: skip
        """A lane's units. Returns whether the one at ``head`` is there: a register, which knows
        of the next one as that is read. The mark of what was read goes a cycle later; nothing
        comes to its slot, and nobody looks there, so soon."""
        depth = self.slots // self.spread
        m.submodules[f"slots{lane}"] = ram = Ram(
            shape=8 * self.unit_bytes, depth=depth, distributed=True
        )
        full, has = Signal(depth, name=f"full{lane}"), Signal(name=f"has{lane}")
        was_read, gone = Signal(name=f"was_read{lane}"), Signal.like(head, name=f"gone{lane}")
        m.d.comb += [
            ram.write.address.eq(slot),
            ram.write.data.eq(unit),
            ram.write.en.eq(written),
            ram.read[0].address.eq(head),
            ram.read[0].en.eq(read),
        ]
        self._units.append(ram.read[0].data)
        after = (head + 1)[: len(head)]
        at_head, at_next = (
            full.bit_select(place, 1) | (written & (slot == place)) for place in (head, after)
        )
        m.d.sync += [has.eq(Mux(read, at_next, at_head)), was_read.eq(read), gone.eq(head)]
        with m.If(was_read):
            m.d.sync += full.bit_select(gone, 1).eq(0)
        with m.If(written):
            m.d.sync += full.bit_select(slot, 1).eq(1)
        return has

    def _leave(self, m: Module, beat: Any, turn: Signal, read: Signal, there: Value) -> None:
        """The oldest beat leaves when its units are there."""
        free, shown = ~self.o.valid | self.o.ready, Signal(range(self.spread))
        m.d.comb += [read.eq(beat.valid & there & free), beat.ready.eq(read)]
        for number in range(self.spread):
            first, end = number * self.channels, (number + 1) * self.channels
            with m.If(shown == number):
                m.d.comb += Cat(self.o.p.unit).eq(Cat(self._units[first:end]))
        with m.If(free):
            m.d.sync += self.o.valid.eq(read)
        with m.If(read):
            m.d.sync += [
                turn.eq(turn + 1),
                shown.eq(turn),
                self.o.p.count.eq(beat.p.count),
                self.o.p.tag.eq(beat.p.tag),
            ]


def _chosen(one: Value, values: list[Value]) -> Value:
    """The value whose bit is set; 0 if none is."""
    return either([Mux(bit, value, 0) for bit, value in zip(one, values, strict=True)])
