"""Packets whose units have come, handed key by key to the units that score them."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from attnsieve.hdl.lib.credit import Credit
from attnsieve.hdl.lib.gates import count_flags
from attnsieve.hdl.params import CoreParams, check_params
from attnsieve.hdl.slices.demand.packet_requests import needed_units
from attnsieve.hdl.slices.demand.packets import hand_layout, packet_layout, packet_params
from attnsieve.hdl.slices.demand.slice_feed import SliceFeed, slice_entry_layout
from attnsieve.hdl.slices.key_dealer import units_ahead
from attnsieve.hdl.slices.slice_params import slice_params

__all__ = ["PacketHands", "unit_word_layout"]


def unit_word_layout(p: CoreParams) -> data.StructLayout:
    """The units of a packet, in the lowest lanes."""
    return data.StructLayout({"unit": data.ArrayLayout(unsigned(8 * p.unit_bytes), p.channels)})


class PacketHands(wiring.Component):
    """Key j of a row is scored by unit ``j mod units``, all its slices, for all rows of its KV
    head. A packet waits until each unit has room for a key.

    Throughput: a hand per cycle. Latency: one cycle.

    Parameters
    ----------
    params : CoreParams

    Members
    -------
    packet : In(stream(packet_layout)), word : In(stream(unit_word_layout))
        Packets, and their units.
    entry : Out(stream(slice_entry_layout, always ready)).array(units)
        Keys, with their slices.
    o : Out(stream(hand_layout))
        Which unit has which key.
    taken : In(units)
        A unit has room for one more.
    """

    packet: stream.Interface
    word: stream.Interface
    entry: Any
    o: stream.Interface
    taken: Signal

    def __init__(self, *, params: CoreParams) -> None:
        check_params(params)
        self.params, self.slices, self.sizes = p, s, _ = (
            params, slice_params(params), packet_params(params)
        )  # fmt: skip
        entry = stream.Signature(slice_entry_layout(s), always_ready=True)
        super().__init__(
            {
                "packet": In(stream.Signature(packet_layout(p))),
                "word": In(stream.Signature(unit_word_layout(p))),
                "entry": Out(entry).array(s.units),
                "o": Out(stream.Signature(hand_layout(p))),
                "taken": In(s.units),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        packet, o, sizes, s = self.packet.p, self.o, self.sizes, self.slices
        hand, last, go, room = Signal.like(o.p.number), Signal(), Signal(), Signal()
        alive = Signal(data.ArrayLayout(unsigned(s.rows), sizes.hand))
        place, group = self._place(m, hand, last, go)
        some = Cat(rows.any() for rows in alive)
        m.d.comb += [
            Value.cast(alive).eq(Value.cast(packet.alive).word_select(hand, len(alive.as_value()))),
            last.eq(hand == sizes.hands - 1),
            go.eq(self.packet.valid & self.word.valid & room & (~o.valid | o.ready)),
            self.packet.ready.eq(go & last),
            self.word.ready.eq(go & last),
        ]
        with m.If(go):
            m.d.sync += hand.eq(Mux(last, 0, hand + 1))
        with m.If(~o.valid | o.ready):
            m.d.sync += [
                o.valid.eq(go),
                o.p.packet.eq(packet),
                o.p.place.eq(place),
                o.p.some.eq(some),
                o.p.number.eq(hand),
            ]
        m.d.comb += room.eq(self._hand_out(m, go, hand, alive, place, group))
        return m

    def _place(self, m: Module, hand: Value, last: Value, go: Value) -> tuple[Value, Value]:
        """The unit that scores a hand's first key, and how many keys of the row it had before."""
        s, packet = self.slices, self.packet.p
        place, group = Signal.like(packet.place), Signal.like(packet.group)
        next_place, next_group = Signal.like(place), Signal.like(group)
        ahead = place + self.sizes.hand
        m.d.comb += [
            place.eq(Mux(hand == 0, packet.place, next_place)),
            group.eq(Mux(hand == 0, packet.group, next_group)),
        ]
        with m.If(go):
            m.d.sync += [
                next_place.eq(Mux(ahead >= s.units, ahead - s.units, ahead)),
                next_group.eq(group + (ahead >= s.units)),
            ]
        return place, group

    def _hand_out(
        self, m: Module, go: Value, hand: Value, alive: Any, place: Value, group: Value
    ) -> Value:
        """Keys to their units. Returns whether each has room for one more."""
        s, sizes, packet, some = self.slices, self.sizes, self.packet.p, []
        slices = self._slices()
        for n in range(s.units):
            m.submodules[f"credit{n}"] = credit = Credit(count=SliceFeed.depth)
            lane, entry = units_ahead(place, n, s.units), self.entry[n]
            mine = (lane < sizes.hand) & alive[lane].any()
            key = Cat(lane[: (sizes.hand - 1).bit_length()], hand)[: (sizes.keys - 1).bit_length()]
            m.d.comb += [credit.take.eq(go & mine), credit.give.eq(self.taken[n])]
            m.d.sync += [
                entry.valid.eq(go & mine),
                entry.p.key.eq(packet.word * sizes.keys + key),
                entry.p.group.eq(group + (place > n) if n < s.units - 1 else group),
                entry.p.number.eq(packet.number),
                entry.p.opens.eq(packet.opens),
                entry.p.pinned.eq(packet.pinned.bit_select(key, 1)),
                entry.p.rows.eq(alive[lane]),
                Value.cast(entry.p.slice).eq(slices.word_select(key, 8 * sizes.row_bytes)),
            ]
            some.append(credit.some)
        return Cat(some).all()

    def _slices(self) -> Value:
        """Of all keys of a packet: what was not read is anything."""
        flags, units = needed_units(self.params, self.packet.p), self.word.p.unit
        return Cat(
            Value.cast(units).word_select(count_flags(flags[:n]), units[0].shape().width)
            if n else units[0]
            for n in range(len(flags))
        )  # fmt: skip
