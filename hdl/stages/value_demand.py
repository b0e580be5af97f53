"""Terms of rows whose V is read on demand: of each row those of the keys that its KV head keeps."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from attnsieve.hdl.layouts import row_layout, term_beat_layout
from attnsieve.hdl.lib.connect import connect
from attnsieve.hdl.lib.credit import Credit
from attnsieve.hdl.lib.packer import Packer
from attnsieve.hdl.lib.queue import Queue
from attnsieve.hdl.lib.zero_eliminator import ZeroEliminator
from attnsieve.hdl.params import CoreParams, check_params
from attnsieve.hdl.stages.key_unions import KeyUnions, key_flags_layout

__all__ = ["ValueDemand", "demand_row_layout"]

#: Beats of flags that may wait, or be on their way: a beat per cycle comes through.
FLAGS = 4


def demand_row_layout(p: CoreParams) -> data.StructLayout:
    """A row, and whether its V waits for it."""
    names = ("parts", "keys", "last_of_kv", "demand")
    return data.StructLayout({name: row_layout(p)[name].shape for name in names})


class ValueDemand(wiring.Component):
    """Keeps the rows of a KV head until it is known which rows of V any of them needs.

    A term is kept if its mantissa is not zero. The flags of a KV head, the union of what its rows
    keep, leave beat by beat with its last row. Then its rows leave, packed: of each the terms of
    the union's keys, in their order, also those that are zero in this row; so a term's place is
    that of its row of V among those that the flags ask for. A row has at least one beat. Rows
    without ``demand`` leave as they came, in their turn.

    All rows of a KV head with ``demand`` have the same keys. There are no more than ``max_heads``
    of them, of no more than ``held_beats`` beats; these wait in a memory of as many, in which the
    rows of the next KV head find what space there is. A KV head enters when the last row of the
    one before the last has left the memory.

    Latency: `latency` cycles from a beat to the one that it drives out, but with ``demand`` no
    less than `union_latency` from the KV head's last beat; `flags_latency` = 2 from a beat of the
    last row to its flags. Throughput: one beat per cycle; with ``demand`` up to 4 cycles in
    every two KV heads are lost where the third waits for the first.

    Parameters
    ----------
    params : CoreParams
        The core; with value_demand.

    Members
    -------
    i : In(stream(term_beat_layout))
    row : In(stream(demand_row_layout))
        One per row: its beats wait for it, it is taken with the last one.
    o : Out(stream(term_beat_layout))
        Packed rows have mantissa 0 in the lanes behind the last of their terms.
    o_row : Out(stream({parts, keys, last_of_kv}))
        One per row, there with its first beat; ``keys`` is the size of the union.
    flags : Out(stream({keep[groups], last}))
        Of each KV head with ``demand`` as many beats as its rows have.
    """

    i: stream.Interface
    row: stream.Interface
    o: stream.Interface
    o_row: stream.Interface
    flags: stream.Interface

    #: Cycles from a beat of a KV head's last row to its flags.
    flags_latency = KeyUnions.latency + Queue(shape=1, depth=FLAGS).latency

    def __init__(self, *, params: CoreParams) -> None:
        check_params(params)
        if not params.value_demand:
            raise ValueError("value_demand must be true to read values on demand, not false")
        self.params = p = params
        beat, row = term_beat_layout(p), demand_row_layout(p)
        term = beat["term"].shape.elem_shape
        self.eliminator = ZeroEliminator(shape=term, lanes=p.groups)
        self.packer = Packer(shape=term, lanes=p.groups)
        self.store = Queue(shape=beat, depth=p.held_beats, lut_ram=False)
        out = {name: row[name].shape for name in ("parts", "keys", "last_of_kv")}
        super().__init__(
            {
                "i": In(stream.Signature(beat)),
                "row": In(stream.Signature(row)),
                "o": Out(stream.Signature(beat)),
                "o_row": Out(stream.Signature(data.StructLayout(out))),
                "flags": Out(stream.Signature(key_flags_layout(p))),
            }
        )

    @property
    def latency(self) -> int:
        """Cycles from a beat to the one that it drives out."""
        return self.store.latency + 1 + self._through

    @property
    def union_latency(self) -> int:
        """Cycles from a KV head's last beat to its first one, if that drives itself out."""
        return KeyUnions.there_latency + self._through

    @property
    def _through(self) -> int:
        """Cycles behind the memory and its register: the union is read, and the row packed."""
        return 1 + self.eliminator.latency + self.packer.latency

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        p = self.params
        m.submodules.store = self.store
        m.submodules.rows = rows = Queue(shape=demand_row_layout(p), depth=2 * p.max_heads)
        m.submodules.unions = unions = KeyUnions(params=p)
        m.submodules.eliminator, m.submodules.packer = self.eliminator, self.packer
        inside = self.eliminator.latency + self.packer.latency + 2  # rows behind the memory
        m.submodules.leaving = leaving = Queue(shape=self.o_row.p.shape(), depth=inside)
        self._enter(m, rows, unions, self._flags(m, unions))
        self._leave(m, rows, unions, leaving)
        connect(m, self.eliminator.o, self.packer.i)
        packed = self.packer.o
        m.d.comb += [
            self.o.valid.eq(packed.valid),
            packed.ready.eq(self.o.ready),
            self.o.p.last.eq(packed.p.last),
        ]
        for lane, (term, item) in enumerate(zip(self.o.p.term, packed.p.item, strict=True)):
            m.d.comb += [
                term.mantissa.eq(Mux(lane < packed.p.count, item.mantissa, 0)),
                term.exponent_class.eq(item.exponent_class),
            ]
        connect(m, leaving.o, self.o_row)
        return m

    def _flags(self, m: Module, unions: KeyUnions) -> Credit:
        """Flags wait in a queue. Returns a credit for each place."""
        m.submodules.flags = flags = Queue(shape=key_flags_layout(self.params), depth=FLAGS)
        m.submodules.credit = credit = Credit(count=FLAGS)
        connect(m, flags.o, self.flags)
        m.d.comb += [
            flags.i.valid.eq(unions.o.valid),
            flags.i.p.eq(unions.o.p),
            credit.give.eq(self.flags.valid & self.flags.ready),
        ]
        return credit

    def _enter(self, m: Module, rows: Queue, unions: KeyUnions, credit: Credit) -> None:
        """Beats into the memory, their flags into the union, rows with their first beat."""
        row, beat, ends = self.row.p, self.i.p, Signal()
        begins, opens = Signal(init=1), Signal(init=1)  # a row, a KV head
        free, take = Signal(), Signal()
        m.d.comb += [
            ends.eq(row.demand & row.last_of_kv),
            free.eq(
                self.row.valid
                & self.store.i.ready
                & (rows.i.ready | ~begins)
                & (unions.room | ~(row.demand & opens & begins))
                & (credit.some | ~ends)
            ),
            take.eq(self.i.valid & free),
            self.i.ready.eq(free),
            self.row.ready.eq(take & beat.last),
            self.store.i.valid.eq(take),
            self.store.i.p.eq(beat),
            rows.i.valid.eq(take & begins),
            rows.i.p.eq(row),
            unions.i.valid.eq(take & row.demand),
            unions.i.p.keep.eq(Cat(term.mantissa != 0 for term in beat.term)),
            unions.i.p.last.eq(beat.last),
            unions.i.p.first_row.eq(opens),
            unions.i.p.last_row.eq(row.last_of_kv),
            credit.take.eq(take & ends),
        ]
        with m.If(take):
            m.d.sync += begins.eq(beat.last)
            with m.If(beat.last & row.demand):
                m.d.sync += opens.eq(row.last_of_kv)

    def _leave(self, m: Module, rows: Queue, unions: KeyUnions, leaving: Queue) -> None:
        """Beats out of the memory, each a cycle later with its beat of the union; rows with their
        first beat."""
        # a block RAM is slow to answer: its beat waits in a register
        m.submodules.waiting = waiting = Queue(shape=self.store.o.p.shape(), depth=2)
        connect(m, self.store.o, waiting.i)
        store, row, out = waiting.o, rows.o.p, self.eliminator.i
        begins, move, free, end = Signal(init=1), Signal(), Signal(), Signal()
        held, valid = Signal(store.p.shape(), reset_less=True), Signal()
        demand, closes = Signal(), Signal()
        m.d.comb += [
            free.eq(
                rows.o.valid
                & (unions.there | ~row.demand)
                & (leaving.i.ready | ~begins)
                & (~valid | out.ready)
            ),
            move.eq(store.valid & free),
            store.ready.eq(free),
            rows.o.ready.eq(move & store.p.last),
            leaving.i.valid.eq(move & begins),
            leaving.i.p.parts.eq(row.parts),
            leaving.i.p.keys.eq(Mux(row.demand, unions.size, row.keys)),
            leaving.i.p.last_of_kv.eq(row.last_of_kv),
            end.eq(store.p.last & row.last_of_kv),
            unions.read.eq(move & row.demand),
            unions.read_last.eq(store.p.last),
            unions.read_end.eq(end),
            unions.free.eq(valid & out.ready & closes),
            out.valid.eq(valid),
            out.p.item.eq(held.term),
            out.p.keep.eq(Mux(demand, unions.keep, -1)),
            out.p.last.eq(held.last),
        ]
        with m.If(move):
            m.d.sync += [begins.eq(store.p.last), held.eq(store.p)]
            m.d.sync += [demand.eq(row.demand), closes.eq(row.demand & end)]
        with m.If(~valid | out.ready):
            m.d.sync += valid.eq(move)
