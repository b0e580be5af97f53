"""Slices that have come from memory, fed to a unit for each row that needs them."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from attnsieve.hdl.lib.checks import check_int
from attnsieve.hdl.lib.connect import connect
from attnsieve.hdl.lib.delay import delayed
from attnsieve.hdl.lib.queue import Queue
from attnsieve.hdl.lib.ram import Ram
from attnsieve.hdl.slices.bit_serial_dot import place_layout, resume_layout
from attnsieve.hdl.slices.slice_params import SliceParams

__all__ = ["SliceFeed", "slice_entry_layout", "verdict_layout"]


def slice_entry_layout(p: SliceParams) -> data.StructLayout:
    """One slice of a key, and the rows that need it, at least one."""
    return data.StructLayout(
        {
            "slice": p.slice_layout(),
            "key": range(p.keys),
            "group": range(p.key_groups),  # so many keys of the row had the unit before
            "number": range(p.slices),
            "opens": unsigned(1),  # it is the key's first slice
            "pinned": unsigned(1),
            "rows": unsigned(p.rows),
        }
    )


def verdict_layout(p: SliceParams) -> data.StructLayout:
    """Rows that need a further slice of a key."""
    return data.StructLayout({"rows": unsigned(p.rows)})


class SliceFeed(wiring.Component):
    """Gives a unit the places of a key, row by row, each with the sum of its earlier slices, and
    takes them out of the circle behind it: what goes on waits here, as a sum, for its next slice.

    All slices of a key come to the same unit. A place that leaves it is that of `latency` cycles
    ago, so nothing but its sum needs to come back.

    Throughput: a place per cycle, from key to key too. Latency: 2 cycles from a key to its first
    place; from its last place leaving to its verdict 1.

    Parameters
    ----------
    params : SliceParams
        With demand.
    memory_latency, latency : int
        Of the unit: from a read to its data, and from a place's arrival to its leaving.

    Members
    -------
    i : In(stream(slice_entry_layout, always ready))
        Keys; no more than `depth` whose verdicts have not been taken.
    o : Out(stream(verdict_layout))
        Of each key, in order.
    place : Out(stream(resume_layout))
        To the unit. Valid depends on registers only.
    slice : Out(slice_layout), use : Out(1)
        The data of the unit's read are these.
    leave : In(place_layout)
        Of the unit.
    parked : Out(1)
        The place that leaves is empty: its sum is here.
    """

    i: stream.Interface
    o: stream.Interface
    place: stream.Interface
    slice: Any
    use: Signal
    leave: Any
    parked: Signal

    #: Keys inside.
    depth = 32

    def __init__(self, *, params: SliceParams, memory_latency: int, latency: int) -> None:
        check_int("Memory latency", memory_latency, 1)
        check_int("Latency", latency, memory_latency + 2)
        if not params.demand:
            raise ValueError("demand must be true to feed slices, not false")
        self.params, self.memory_latency, self.latency = params, memory_latency, latency
        p = params
        super().__init__(
            {
                "i": In(stream.Signature(slice_entry_layout(p), always_ready=True)),
                "o": Out(stream.Signature(verdict_layout(p))),
                "place": Out(stream.Signature(resume_layout(p))),
                "slice": Out(p.slice_layout()),
                "use": Out(1),
                "leave": In(place_layout(p)),
                "parked": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m, p = Module(), self.params
        m.submodules.keys = keys = Queue(shape=slice_entry_layout(p), depth=self.depth)
        m.submodules.sums = sums = Ram(
            shape=signed(p.sum_bits), depth=p.rows << (p.key_groups - 1).bit_length()
        )
        m.d.comb += [keys.i.valid.eq(self.i.valid), keys.i.p.eq(self.i.p)]
        row, end, move = self._rows(m, keys)
        place, key = self.place, keys.o.p
        took, gone = Signal(key.slice.shape(), reset_less=True), Signal(self._gone_layout())
        opens, group, last = Signal(), Signal.like(key.group), Signal()
        m.d.comb += [
            sums.read[0].en.eq(move),
            sums.read[0].address.eq(Cat(key.group, row)),
            place.p.sum.eq(Mux(opens, 0, sums.read[0].data)),
            place.p.first.eq(opens),
            gone.valid.eq(place.valid & place.ready),
            gone.row.eq(place.p.row),
            gone.group.eq(group),
            gone.end.eq(last),
        ]
        with m.If(~place.valid | place.ready):
            m.d.sync += [
                place.valid.eq(move),
                *(place.p[n].eq(key[n]) for n in ("key", "number", "pinned")),
                place.p.row.eq(row),
                *(own.eq(its) for own, its in
                  ((took, key.slice), (opens, key.opens), (group, key.group), (last, end))),
            ]
        m.d.comb += [
            self.slice.eq(delayed(m, took, 1 + self.memory_latency)),
            self.use.eq(delayed(m, gone.valid, 1 + self.memory_latency)),
        ]
        self._return(m, sums, delayed(m, gone, self.latency))
        return m

    def _gone_layout(self) -> data.StructLayout:
        """A place that is in the unit."""
        p = self.params
        return data.StructLayout(
            {
                "valid": unsigned(1),
                "row": range(p.rows),
                "group": range(p.key_groups),
                "end": unsigned(1),  # the last one of its key
            }
        )

    def _rows(self, m: Module, keys: Queue) -> tuple[Value, Value, Value]:
        """The rows of the oldest key, one by one. Returns the row, whether it is the key's last,
        and whether it goes on to the unit."""
        p, entry = self.params, keys.o
        left, begun, rows = Signal(p.rows), Signal(), Signal(p.rows)
        row, end, move = Signal(range(p.rows)), Signal(), Signal()
        rest = rows & (rows - 1)
        m.d.comb += [
            rows.eq(Mux(begun, left, entry.p.rows)),
            end.eq(rest == 0),
            move.eq(entry.valid & (~self.place.valid | self.place.ready)),
            entry.ready.eq(move & end),
        ]
        for n in reversed(range(p.rows)):
            with m.If(rows[n]):
                m.d.comb += row.eq(n)
        with m.If(move):
            m.d.sync += [left.eq(rest), begun.eq(~end)]
        return row, end, move

    def _return(self, m: Module, sums: Ram, gone: Any) -> None:
        """What leaves: a sum to be kept, and whether any row of its key goes on."""
        p = self.params
        m.submodules.verdicts = verdicts = Queue(shape=verdict_layout(p), depth=self.depth)
        connect(m, verdicts.o, self.o)
        alive, rows, before = Signal(), Signal(p.rows), Signal(p.rows)
        m.d.comb += [
            alive.eq(gone.valid & self.leave.valid & ~self.leave.done),
            self.parked.eq(alive),
            sums.write.en.eq(alive),
            sums.write.address.eq(Cat(gone.group, gone.row)),
            sums.write.data.eq(self.leave.sum),
            rows.eq(before | (alive << gone.row)),
            verdicts.i.valid.eq(gone.valid & gone.end),
            verdicts.i.p.rows.eq(rows),
        ]
        with m.If(gone.valid):
            m.d.sync += before.eq(Mux(gone.end, 0, rows))
