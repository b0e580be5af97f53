"""Rows part by part: a part of a row comes once all keys of the part before are decided."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Mux, Shape, Signal, Value, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from attnsieve.hdl.lib.queue import Queue
from attnsieve.hdl.params import CoreParams, check_params
from attnsieve.hdl.slices.slice_params import slice_params

__all__ = [
    "RowParts",
    "arrived_shape",
    "dealt_row_layout",
    "keys_dealt",
    "row_part_layout",
    "row_turns",
]


def keys_dealt(p: CoreParams) -> int:
    """Keys that are dealt at once, each to another unit: a power of two that divides a beat of the
    key mask."""
    units = 1 << slice_params(p).units.bit_length() - 1
    return min(p.groups, units)


def row_turns(p: CoreParams) -> int:
    """Turns in which all keys of the longest row are dealt."""
    return -(-p.max_keys // keys_dealt(p))


def arrived_shape(p: CoreParams) -> Shape:
    """Keys of all heads that have come to the store, modulo: a difference of two such counts is
    that of the numbers themselves."""
    s = slice_params(p)
    return signed((s.groups * s.units + p.max_keys).bit_length() + 1)


def dealt_row_layout(p: CoreParams) -> data.StructLayout:
    """A row whose query and bounds the units have."""
    s = slice_params(p)
    return data.StructLayout(
        {
            "row": range(p.slice_rows),
            "number": range(s.slices),  # of a key's first slice
            "keys": unsigned(p.key_bits),
            "key_mask": unsigned(1),
            "bank": unsigned(p.bank_bits),
            "write": unsigned(1),  # 0: none of its keys is scored
            "relative": unsigned(1),  # its bounds follow its maximum
            "margin": unsigned(s.score_bits),  # how far below that a score is kept
            "pin_first": unsigned(p.key_bits),  # so many of the first keys are kept,
            "pin_newest": unsigned(p.key_bits),  # so many of the last,
            "own": unsigned(p.key_bits),  # and this one
            "last_of_kv": unsigned(1),
            "last_of_job": unsigned(1),
            "job": unsigned(1),  # of two that may be inside
            **({"planar": unsigned(1)} if p.slice_demand else {}),  # K lies in planes
        }
    )


def _held_layout(p: CoreParams) -> data.StructLayout:
    """What is kept of a row for all its parts."""
    s, row = slice_params(p), dealt_row_layout(p).members
    names = ("row", "number", "keys", "key_mask", "bank", "write", "pin_first", "own")
    return data.StructLayout(
        {
            **{name: row[name] for name in names},
            "pin_from": unsigned(p.key_bits),  # keys from this one on are kept
            "down": unsigned(1),  # turn 0 has the first keys, turn 1 the last, and so on down
            "base": range(s.groups * s.units),  # of its first key in the store
            "start": arrived_shape(p),  # keys of the heads before, modulo
            "turns": range(row_turns(p) + 1),
        }
    )


def row_part_layout(p: CoreParams) -> data.StructLayout:
    """Some turns of a row."""
    turns = range(row_turns(p) + 1)
    return data.StructLayout(
        {
            **_held_layout(p).members,
            "first": turns,
            "end": turns,  # behind its last
            "opens": unsigned(1),  # keys may not be there yet
            "last": unsigned(1),  # nothing of the row is left
        }
    )


class RowParts(wiring.Component):
    """Cuts rows whose bounds follow their maximum into parts: 2 turns, 6, and all that are left.
    Other rows are one part, with turns upwards.

    The second and the third part come once all keys of the part before are decided and the bounds
    follow from the maximum so far, which ``renewed`` tells. Meanwhile others of the rows inside go
    on: first parts first, then second, then third ones, of each kind the oldest. So what a bound
    depends on is the same whatever waits for what.

    A row begins when all its keys are there; one whose threshold is absolute earlier too, if no row
    inside has a part left: no row ever waits behind one whose keys may need the room of its own.

    Throughput: a part per cycle, first parts of rows that wait for their keys every second one.
    Latency: a cycle from a row to its first part; two from its last key.

    Parameters
    ----------
    params : CoreParams
        The core.

    Members
    -------
    row : In(stream(dealt_row_layout))
    renewed : In(1), renewed_row : In(range(slice_rows))
        The next part of this row may come.
    append : In(1)
        Of `SliceStore`: a key is complete.
    arrived : Out(arrived_shape)
        Keys that are complete.
    o : Out(stream(row_part_layout))
    wait_key : Out(1)
        There is a row, but not its keys, and no other part is there.
    """

    row: stream.Interface
    renewed: Signal
    renewed_row: Signal
    append: Signal
    arrived: Signal
    o: stream.Interface
    wait_key: Signal

    #: Turns of a row before its second, and before its third part.
    ENDS = (2, 8)

    def __init__(self, *, params: CoreParams) -> None:
        check_params(params)
        self.params, self.slices = p, _ = params, slice_params(params)
        super().__init__(
            {
                "row": In(stream.Signature(dealt_row_layout(p))),
                "renewed": In(1),
                "renewed_row": In(range(p.slice_rows)),
                "append": In(1),
                "arrived": Out(arrived_shape(p)),
                "o": Out(stream.Signature(row_part_layout(p))),
                "wait_key": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m, p = Module(), self.params
        settled, free = Signal(p.slice_rows), Signal()
        later = [Queue(shape=_held_layout(p), depth=p.slice_rows) for _ in self.ENDS]
        m.submodules.second, m.submodules.third = later
        first = Signal(_held_layout(p))
        enough, short = self._first(m, first)
        alone = ~self.row.p.relative & ~later[0].level.any() & ~later[1].level.any()
        m.d.comb += [
            free.eq(~self.o.valid | self.o.ready),
            self.wait_key.eq(~self.o.valid & short),
        ]
        with m.If(self.renewed):
            m.d.sync += settled.bit_select(self.renewed_row, 1).eq(1)
        with m.If(free):
            m.d.sync += self.o.valid.eq(0)
            with m.If(self.row.valid & (enough | alone)):
                m.d.comb += self.row.ready.eq(1)
                self._part(m, first, 0, later, settled)
            for number, queue in enumerate(later, 1):
                with m.Elif(queue.o.valid & settled.bit_select(queue.o.p.row, 1)):
                    m.d.comb += queue.o.ready.eq(1)
                    self._part(m, queue.o.p, number, later, settled)
        return m

    def _first(self, m: Module, held: Any) -> tuple[Value, Value]:
        """What is known of the row that comes. Returns whether all its keys are there, and whether
        not; neither in the first cycle."""
        s, row = self.slices, self.row.p
        low = (keys_dealt(self.params) - 1).bit_length()
        start, base = Signal.like(held.start), Signal.like(held.base)
        room, ended = s.groups * s.units, base + row.keys
        older, waits = Signal.like(self.arrived), self.row.valid & ~self.row.ready
        enough, short = Signal(), Signal()
        m.d.sync += [
            self.arrived.eq(self.arrived + self.append),
            enough.eq(waits & (older >= row.keys)),
            short.eq(waits & (older < row.keys)),
        ]
        with m.If(self.row.ready & row.last_of_kv):
            m.d.sync += [
                start.eq(start + row.keys),
                base.eq(Mux(ended >= room, ended - room, ended)),
            ]
        m.d.comb += [
            *(held[name].eq(row[name]) for name, _ in held.shape() if name in row.shape().members),
            held.pin_from.eq(Mux(row.pin_newest > row.keys, 0, row.keys - row.pin_newest)),
            held.down.eq(row.relative & row.write),
            held.base.eq(base),
            held.start.eq(start),
            held.turns.eq((row.keys + (1 << low) - 1) >> low),
            older.eq(self.arrived - start),
        ]
        return enough, short

    def _part(
        self, m: Module, held: Any, number: int, later: list[Queue], settled: Signal
    ) -> None:
        """This part of the row comes next; the row waits for its next one if it has any."""
        o, more = self.o, Signal(name=f"more{number}")
        if number < len(self.ENDS):
            m.d.comb += [
                more.eq(held.down & (held.turns > self.ENDS[number])),
                later[number].i.valid.eq(more),
                later[number].i.p.eq(held),
            ]
        m.d.sync += [
            settled.bit_select(held.row, 1).eq(0),
            o.valid.eq(1),
            *(o.p[name].eq(held[name]) for name, _ in held.shape()),
            o.p.first.eq((0, *self.ENDS)[number]),
            o.p.end.eq(Mux(more, (*self.ENDS, 0)[number], held.turns)),
            o.p.opens.eq(number == 0),
            o.p.last.eq(~more),
        ]
