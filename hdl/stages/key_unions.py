"""Which keys any row of a KV head keeps."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from attnsieve.hdl.lib.credit import Credit
from attnsieve.hdl.lib.gates import count_flags
from attnsieve.hdl.lib.ram import Ram
from attnsieve.hdl.params import CoreParams, check_params

__all__ = ["KeyUnions", "key_flags_layout", "row_flags_layout"]


def key_flags_layout(p: CoreParams) -> data.StructLayout:
    """Flags of ``groups`` keys, in the order of their list."""
    return data.StructLayout({"keep": p.groups, "last": 1})


def row_flags_layout(p: CoreParams) -> data.StructLayout:
    """The flags of a row's beat."""
    return data.StructLayout(
        {
            "keep": p.groups,
            "last": 1,  # of the row
            "first_row": 1,  # of its KV head
            "last_row": 1,
        }
    )


class KeyUnions(wiring.Component):
    """Ors the flags of the rows of a KV head, beat by beat, into a memory.

    There are two memories, used in turn: one union is built while the one before is read. Each
    beat reads what is there and writes it back with its own flags a cycle later; where rows have
    one beat, that is what the beat before is just writing.

    Latency: `latency` = 1 cycle from a beat of the last row to its union at ``o``; `there_latency`
    = 2 from the last beat until the union can be read. Throughput: a beat per cycle in, and one
    out.

    Parameters
    ----------
    params : CoreParams
        The core.

    Members
    -------
    i : In(stream(row_flags_layout)), always ready
        Rows of one KV head have the same number of beats. A KV head begins only while ``room``.
    o : Out(stream(key_flags_layout)), always taken
        The union, with the beats of the last row.
    room : Out(1)
        There is a memory for another KV head.
    there : Out(1), size : Out
        The oldest union is complete; its keys.
    read : In(1), read_last : In(1), read_end : In(1)
        Read the next beat of the oldest union; it is the row's last; the KV head's last. From the
        next cycle on the next union is the oldest.
    keep : Out(groups)
        One cycle after ``read``, and until the next.
    free : In(1)
        The ``keep`` of a ``read_end`` is not needed any more.
    """

    i: stream.Interface
    o: stream.Interface
    room: Signal
    there: Signal
    size: Signal
    read: Signal
    read_last: Signal
    read_end: Signal
    keep: Signal
    free: Signal

    #: Cycles from a beat to its union.
    latency = 1
    #: Cycles from the last beat until its KV head is ``there``.
    there_latency = 2

    def __init__(self, *, params: CoreParams) -> None:
        check_params(params)
        self.params = p = params
        super().__init__(
            {
                "i": In(stream.Signature(row_flags_layout(p), always_ready=True)),
                "o": Out(stream.Signature(key_flags_layout(p), always_ready=True)),
                "room": Out(1, init=1),
                "there": Out(1),
                "size": Out(p.key_bits),
                "read": In(1),
                "read_last": In(1),
                "read_end": In(1),
                "keep": Out(p.groups),
                "free": In(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        p = self.params
        rams = [Ram(shape=p.groups, depth=p.max_beats, distributed=True) for _ in range(2)]
        m.submodules.union0, m.submodules.union1 = rams
        m.submodules.free = free = Credit(count=2)
        m.submodules.complete = complete = Credit(count=2, first=0)
        m.d.comb += [self.room.eq(free.some), self.there.eq(complete.some), free.give.eq(self.free)]
        place, building = self._place(m, free)
        which, end = self._merge(m, place, building, rams)
        oldest, out_place = self._read(m, rams)
        m.d.comb += [complete.give.eq(end), complete.take.eq(self.read & self.read_end)]
        for n, ram in enumerate(rams):  # one is built while the other is read
            enters, leaves = self.i.valid & (building == n), self.read & (oldest == n)
            m.d.comb += [
                ram.read[0].address.eq(Mux(enters, place, out_place)),
                ram.read[0].en.eq(enters | leaves),
            ]
        sizes = [Signal(p.key_bits, name=f"size{n}") for n in range(2)]
        m.d.comb += self.size.eq(Mux(oldest, sizes[1], sizes[0]))
        self._count(m, which, sizes)
        return m

    def _place(self, m: Module, free: Credit) -> tuple[Signal, Signal]:
        """Place of the beat at the input, and whose turn it is to be built."""
        place, building, begins = Signal(range(self.params.max_beats)), Signal(), Signal(init=1)
        beat, end = self.i.p, Signal()
        m.d.comb += [
            end.eq(beat.last & beat.last_row),
            free.take.eq(self.i.valid & begins),
        ]
        with m.If(self.i.valid):
            m.d.sync += [
                place.eq(Mux(beat.last, 0, place + 1)),
                building.eq(building ^ end),
                begins.eq(end),
            ]
        return place, building

    def _merge(
        self, m: Module, place: Signal, building: Signal, rams: list[Ram]
    ) -> tuple[Signal, Value]:
        """What is there and the flags of a beat, written back. Returns where to, and whether a
        union ends."""
        beat, there, where, which = Signal(self.i.p.shape()), Signal(), Signal.like(place), Signal()
        again, written = Signal(), Signal(self.params.groups)  # a row of one beat after another
        found = Mux(which, rams[1].read[0].data, rams[0].read[0].data)
        union = beat.keep | Mux(beat.first_row, 0, Mux(again, written, found))
        m.d.sync += [
            beat.eq(self.i.p),
            there.eq(self.i.valid),
            where.eq(place),
            which.eq(building),
            again.eq(there & beat.last & (where == 0)),
            written.eq(union),
        ]
        m.d.comb += [
            self.o.valid.eq(there & beat.last_row),
            self.o.p.keep.eq(union),
            self.o.p.last.eq(beat.last),
        ]
        for n, ram in enumerate(rams):
            m.d.comb += [
                ram.write.address.eq(where),
                ram.write.data.eq(union),
                ram.write.en.eq(there & (which == n)),
            ]
        return which, self.o.valid & self.o.p.last

    def _read(self, m: Module, rams: list[Ram]) -> tuple[Signal, Signal]:
        """Whose turn it is to be read, and the place."""
        place, oldest, shown = Signal(range(self.params.max_beats)), Signal(), Signal()
        with m.If(self.read):
            m.d.sync += [
                place.eq(Mux(self.read_last, 0, place + 1)),
                oldest.eq(oldest ^ self.read_end),
                shown.eq(oldest),
            ]
        m.d.comb += self.keep.eq(Mux(shown, rams[1].read[0].data, rams[0].read[0].data))
        return oldest, place

    def _count(self, m: Module, which: Signal, sizes: list[Signal]) -> None:
        """Keys of a union, as it leaves."""
        count, after = Signal(self.params.key_bits), Signal(self.params.key_bits)
        m.d.comb += after.eq(count + count_flags(list(self.o.p.keep)))
        with m.If(self.o.valid):
            m.d.sync += count.eq(Mux(self.o.p.last, 0, after))
            for n, size in enumerate(sizes):
                with m.If(self.o.p.last & (which == n)):
                    m.d.sync += size.eq(after)
