"""Deals keys to the units that have their first slices."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from attnsieve.hdl.layouts import key_mask_signature
from attnsieve.hdl.lib.connect import connect
from attnsieve.hdl.lib.delay import delayed
from attnsieve.hdl.lib.gates import count_flags
from attnsieve.hdl.lib.queue import Queue
from attnsieve.hdl.lib.quotient import quotient
from attnsieve.hdl.params import CoreParams, check_params
from attnsieve.hdl.slices.bit_serial_dot import start_layout
from attnsieve.hdl.slices.key_turns import key_turn_layout
from attnsieve.hdl.slices.row_count import dealt_layout
from attnsieve.hdl.slices.row_parts import arrived_shape, keys_dealt
from attnsieve.hdl.slices.slice_params import slice_params

__all__ = ["KeyDealer", "units_ahead"]


class KeyDealer(wiring.Component):
    """Gives each key of a turn to the unit with its first slice; masked ones to none. Keys wait in
    a queue per unit, so that a unit finds one as soon as it has a place. A turn waits for its keys.

    Throughput: a turn per cycle. Latency: `latency` cycles from a turn to its units.

    Parameters
    ----------
    params : CoreParams
        The core.

    Members
    -------
    turn : In(stream(key_turn_layout))
    arrived : In(arrived_shape)
        Keys that are in the store, of all heads, modulo.
    mask : Out(key_mask_signature)
    o : Out(stream(start_layout)).array(units)
    dealt : Out(stream(dealt_layout, always ready))
        Keys on their way to the units; the last ones of a part, and of a row.
    waiting : Out(range(depth + 1)).array(units)
        Keys that wait for each unit.
    wait_turn, wait_key, wait_unit : Out(1)
        Why no key is dealt: there is no turn, its keys are not there, too many wait for a unit.
    """

    turn: stream.Interface
    arrived: Signal
    o: Any
    dealt: stream.Interface
    waiting: Any

    #: Keys that can wait for a unit: so many that none runs out while another one's queue is full.
    depth = 32
    #: Cycles from a turn to its keys being offered to their units.
    latency = 5

    def __init__(self, *, params: CoreParams) -> None:
        check_params(params)
        self.params, self.slices = p, s = params, slice_params(params)
        super().__init__(
            {
                "turn": In(stream.Signature(key_turn_layout(p))),
                "arrived": In(arrived_shape(p)),
                "mask": Out(key_mask_signature(p)),
                "o": Out(stream.Signature(start_layout(s))).array(s.units),
                "dealt": Out(stream.Signature(dealt_layout(p), always_ready=True)),
                "waiting": Out(range(self.depth + 1)).array(s.units),
                "wait_turn": Out(1),
                "wait_key": Out(1),
                "wait_unit": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m, p = Module(), self.params
        turn, deal, room = self.turn.p, Signal(), Signal()
        there, older = Signal(), Signal.like(self.arrived)
        m.d.comb += [
            older.eq(self.arrived - turn.start),
            there.eq(~turn.opens | (older >= turn.key + turn.count)),
            self.wait_turn.eq(~self.turn.valid),
            self.wait_unit.eq(self.turn.valid & ~room),
            self.wait_key.eq(self.turn.valid & room & ~there),
            deal.eq(self.turn.valid & room & there),
            self.turn.ready.eq(deal),
            self.mask.bank.eq(turn.bank),
            self.mask.beat.eq(turn.key >> (p.groups - 1).bit_length()),
            self.mask.used.eq(turn.key_mask),
            self.mask.en.eq(deal),
        ]
        dealt = Signal(key_turn_layout(p), reset_less=True)
        m.d.sync += dealt.eq(turn)
        chosen, pinned = self._chosen(m, delayed(m, deal, 1), dealt)
        unit, addresses = self._places(m, turn)
        m.d.sync += room.eq(self._hand_out(m, dealt, chosen, pinned, unit, addresses))
        return m

    def _chosen(self, m: Module, valid: Value, turn: Any) -> tuple[Value, Value]:
        """Which keys of a turn are dealt, and which are pinned, two cycles after it; the mask is
        there after one."""
        p, lanes = self.params, keys_dealt(self.params)
        low, high = (lanes - 1).bit_length(), (p.groups - 1).bit_length()
        part = turn.key[low:high] if high > low else 0
        mask = self.mask.data.word_select(part, lanes)
        wanted, chosen, pinned = (Signal(lanes, name=n) for n in ("wanted", "chosen", "pinned"))
        keys = [turn.key + n for n in range(lanes)]
        m.d.comb += wanted.eq(
            Cat(valid & mask[n] & turn.write & (turn.count > n) for n in range(lanes))
        )
        m.d.sync += [
            chosen.eq(wanted),
            pinned.eq(
                Cat((k < turn.pin_first) | (k >= turn.pin_from) | (k == turn.own) for k in keys)
            ),
            self.dealt.valid.eq(valid),
            self.dealt.p.rows.eq(1 << turn.row),
            self.dealt.p.keys.eq(count_flags(list(wanted))),
            self.dealt.p.end_of_part.eq(turn.end_of_part),
            self.dealt.p.end_of_row.eq(turn.end_of_row),
        ]
        return chosen, pinned

    def _places(self, m: Module, turn: Any) -> tuple[Value, list[Value]]:
        """The unit with the first slice of a turn's first key, and the addresses in its group of
        keys and in the next, three cycles after the turn."""
        s = self.slices
        room, first = s.groups * s.units, turn.base + turn.key
        place, at = Signal(range(room)), Signal(range(room))
        group, unit = Signal(range(s.groups)), Signal(range(s.units))
        here, next_one = Signal(range(s.bank_depth)), Signal(range(s.bank_depth))
        m.d.sync += [
            place.eq(Mux(first >= room, first - room, first)),
            group.eq(quotient(place, s.units)),
            at.eq(place),
            unit.eq(at - group * s.units),
            here.eq(group * s.slices),
            next_one.eq(Mux(group == s.groups - 1, 0, group * s.slices + s.slices)),
        ]
        return unit, [here, next_one]

    def _hand_out(
        self, m: Module, turn: Any, chosen: Value, pinned: Value, unit: Value,
        addresses: list[Value],
    ) -> Value:  # fmt: skip
        """Keys enter the queues of their units. Returns whether there is room for more."""
        s, free, (here, next_one) = self.slices, [], addresses
        known = delayed(m, turn, 2)
        chosen, pinned = delayed(m, chosen, 1), delayed(m, pinned, 1)
        for n in range(s.units):
            m.submodules[f"queue{n}"] = queue = Queue(shape=start_layout(s), depth=self.depth)
            connect(m, queue.o, self.o[n])
            m.d.comb += self.waiting[n].eq(queue.level)
            lane, last = units_ahead(unit, n, s.units), n == s.units - 1  # no unit is behind it
            entry, place = Signal(start_layout(s), name=f"entry{n}", reset_less=True), Signal()
            m.d.sync += [
                place.eq(Mux(lane < len(chosen), chosen.bit_select(lane, 1), 0)),
                entry.key.eq(known.key + lane),
                entry.row.eq(known.row),
                entry.number.eq(known.number),
                entry.pinned.eq(pinned.bit_select(lane, 1)),
                entry.address.eq(here if last else Mux(unit > n, next_one, here)),
            ]
            m.d.comb += [queue.i.valid.eq(place), queue.i.p.eq(entry)]
            free.append(queue.level < self.depth - self.latency)
        return Cat(free).all()


def units_ahead(unit: Value, other: int, units: int) -> Value:
    """``(other - unit) mod units``."""
    ahead = (other - unit)[: units.bit_length()]
    if other == units - 1:  # no unit is behind it
        return ahead
    return Mux(unit > other, other + units - unit, ahead)[: units.bit_length()]
