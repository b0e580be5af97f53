"""The first slices of all keys that no mask hides."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from attnsieve.hdl.layouts import key_mask_signature
from attnsieve.hdl.lib.connect import connect
from attnsieve.hdl.lib.delay import delayed
from attnsieve.hdl.lib.gates import count_flags
from attnsieve.hdl.lib.queue import Queue
from attnsieve.hdl.params import CoreParams, check_params
from attnsieve.hdl.slices.demand.packets import kv_rows_layout, packet_layout, packet_params
from attnsieve.hdl.slices.row_count import dealt_layout
from attnsieve.hdl.slices.slice_params import slice_params

__all__ = ["PacketSeeds"]

#: Packets that may wait, and that may be on their way to where they do.
WAITING, COMING = 8, 4


class PacketSeeds(wiring.Component):
    """Walks over the keys of a KV head, as many at a time as a packet or a beat of the key mask
    has, and gives a packet for those that are not hidden; none if all are, or if no row is scored.

    Throughput: ``min(keys of a packet, groups)`` keys per cycle, and a cycle per KV head. Latency:
    `latency` cycles from the last keys of a packet to the packet; to ``dealt`` 2.

    Parameters
    ----------
    params : CoreParams

    Members
    -------
    i : In(stream(kv_rows_layout))
    o : Out(stream(packet_layout))
    dealt : Out(stream(dealt_layout, always ready))
        Keys that the rows that are scored will come to.
    mask : Out(key_mask_signature)
    hold : In(1)
        Another one reads the mask in this cycle.
    """

    i: stream.Interface
    o: stream.Interface
    dealt: stream.Interface
    mask: Any
    hold: Signal

    #: Cycles from the last keys of a packet to the packet.
    latency = 3

    def __init__(self, *, params: CoreParams) -> None:
        check_params(params)
        self.params, self.slices, self.sizes = p, _, _ = (
            params, slice_params(params), packet_params(params)
        )  # fmt: skip
        super().__init__(
            {
                "i": In(stream.Signature(kv_rows_layout(p))),
                "o": Out(stream.Signature(packet_layout(p))),
                "dealt": Out(stream.Signature(dealt_layout(p), always_ready=True)),
                "mask": Out(key_mask_signature(p)),
                "hold": In(1),
            }
        )

    @property
    def step(self) -> int:
        """Keys whose mask is read at once."""
        return min(self.sizes.keys, self.params.groups)

    def elaborate(self, platform: Any) -> Module:
        m, p = Module(), self.params
        m.submodules.queue = queue = Queue(shape=packet_layout(p), depth=WAITING)
        connect(m, queue.o, self.o)
        step = Signal(self._step_layout())
        key, closing, more = Signal(p.key_bits), Signal(), Signal()
        head = self.i.p
        m.d.comb += [
            more.eq(self.i.valid & (queue.level < WAITING - COMING) & ~self.hold),
            step.valid.eq(more & ~closing),
            step.closes.eq(more & closing),
            step.key.eq(key),
            step.end.eq(
                (key[: (self.sizes.keys - 1).bit_length()] == self.sizes.keys - self.step)
                | (key + self.step >= head.keys)
            ),
            self.i.ready.eq(step.closes),
            self.mask.bank.eq(head.bank),
            self.mask.beat.eq(key >> (p.groups - 1).bit_length()),
            self.mask.used.eq(head.key_mask),
            self.mask.en.eq(step.valid),
        ]
        with m.If(step.valid):
            m.d.sync += [key.eq(key + self.step), closing.eq(key + self.step >= head.keys)]
        with m.If(step.closes):
            m.d.sync += [key.eq(0), closing.eq(0)]
        rows = Signal(kv_rows_layout(p), reset_less=True)
        m.d.sync += rows.eq(head)
        shown = delayed(m, step, 1)
        self._packet(m, queue, shown, rows, self._wanted(m, shown, rows))
        return m

    def _step_layout(self) -> data.StructLayout:
        """Some keys; or the end of their KV head."""
        return data.StructLayout(
            {
                "valid": unsigned(1),
                "closes": unsigned(1),
                "key": unsigned(self.params.key_bits),
                "end": unsigned(1),  # of the packet
            }
        )

    def _wanted(self, m: Module, step: Any, rows: Any) -> Value:
        """Keys of a step that are not hidden; the rows that are scored come to them all."""
        low, high = (n.bit_length() - 1 for n in (self.step, self.params.groups))
        part = step.key[low:high] if high > low else 0
        mask = self.mask.data.word_select(part, self.step)
        wanted = Signal(self.step)
        m.d.comb += wanted.eq(
            Cat(step.valid & mask[n] & (step.key + n < rows.keys) for n in range(self.step))
        )
        m.d.sync += [
            self.dealt.valid.eq(step.valid | step.closes),
            self.dealt.p.rows.eq(Mux(step.closes, rows.rows, rows.written)),
            self.dealt.p.keys.eq(count_flags(list(wanted))),
            self.dealt.p.end_of_part.eq(step.closes),
            self.dealt.p.end_of_row.eq(step.closes),
        ]
        return wanted

    def _packet(self, m: Module, queue: Queue, step: Any, rows: Any, wanted: Value) -> None:
        """Steps gather in a register; behind their last one the packet goes."""
        size, packet = self.sizes, queue.i.p
        chosen, complete, closed = Signal(size.keys), Signal(), Signal()
        first = Signal(self.params.key_bits)  # key of the packet
        held = Signal(rows.shape(), reset_less=True)
        parts = [chosen[n : n + self.step] for n in range(0, size.keys, self.step)]
        at = step.key[self.step.bit_length() - 1 : size.keys.bit_length() - 1]
        m.d.sync += [complete.eq(step.valid & step.end), closed.eq(step.closes), held.eq(rows)]
        with m.If(step.valid):
            m.d.sync += first.eq(step.key & -size.keys)
            for number, part in enumerate(parts):
                with m.If(at == number):
                    m.d.sync += part.eq(wanted)
                with m.Elif(at == 0):  # what is behind the last key of a head is not there
                    m.d.sync += part.eq(0)
        keys = [first + n for n in range(size.keys)]
        self._walk(m, packet, complete, closed)
        m.d.comb += [
            queue.i.valid.eq(complete & chosen.any() & held.written.any()),
            packet.unit.eq(held.unit + packet.word * size.channels),
            packet.plane.eq(held.plane),
            packet.number.eq(held.number),
            packet.opens.eq(1),
            packet.pinned.eq(
                Cat((k < held.pin_first) | (k >= held.pin_from) | (k == held.own) for k in keys)
            ),
            *(alive.eq(Mux(chosen[n], held.written, 0)) for n, alive in enumerate(packet.alive)),
        ]

    def _walk(self, m: Module, packet: Any, complete: Value, closed: Value) -> None:
        """Which packet of its KV head it is, and which unit scores its first key."""
        s, turns = self.slices, divmod(self.sizes.keys, self.slices.units)
        word, place, group = (Signal.like(packet[n]) for n in ("word", "place", "group"))
        wraps = place + turns[1] >= s.units
        m.d.comb += [packet.word.eq(word), packet.place.eq(place), packet.group.eq(group)]
        with m.If(complete):
            m.d.sync += [
                word.eq(word + 1),
                place.eq(place + turns[1] - Mux(wraps, s.units, 0)),
                group.eq(group + turns[0] + wraps),
            ]
        with m.If(closed):
            m.d.sync += [word.eq(0), place.eq(0), group.eq(0)]
