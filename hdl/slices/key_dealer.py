"""Deals the keys of rows to the units that have their first slices."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from attnsieve.hdl.lib.connect import connect
from attnsieve.hdl.lib.gates import count_flags
from attnsieve.hdl.lib.queue import Queue
from attnsieve.hdl.params import CoreParams, check_params
from attnsieve.hdl.slices.bit_serial_dot import start_layout
from attnsieve.hdl.slices.slice_params import slice_params

__all__ = ["KeyDealer", "dealt_layout", "dealt_row_layout", "keys_dealt"]


def keys_dealt(p: CoreParams) -> int:
    """Keys that are dealt at once, each to another unit: a power of two that divides a beat of the
    key mask."""
    units = 1 << p.slice_units.bit_length() - 1
    return min(p.groups, units)


def dealt_row_layout(p: CoreParams) -> data.StructLayout:
    """A row whose query and bounds the units have."""
    return data.StructLayout(
        {
            "row": range(p.slice_rows),
            "number": range(slice_params(p).slices),  # of a key's first slice
            "keys": unsigned(p.key_bits),
            "key_mask": unsigned(1),
            "bank": unsigned(p.bank_bits),
            "write": unsigned(1),  # 0: none of its keys is scored
            "last_of_kv": unsigned(1),
            "last_of_job": unsigned(1),
            "job": unsigned(1),  # of two that may be inside
        }
    )


def dealt_layout(p: CoreParams) -> data.StructLayout:
    """So many keys of a row have been dealt."""
    return data.StructLayout(
        {"row": range(p.slice_rows), "keys": range(keys_dealt(p) + 1), "last": unsigned(1)}
    )


class KeyDealer(wiring.Component):
    """Walks over the keys of one row after the other, and gives each to the unit with its first
    slice; masked ones to none. Keys wait in a queue per unit, so that a unit finds one as soon as
    it has a place, of the next rows too. A row waits for keys that are not there yet.

    Throughput: `keys_dealt` keys per cycle, from row to row too; a row without a key takes a cycle.
    Latency: three cycles from a key's turn to its unit.

    Parameters
    ----------
    params : CoreParams
        The core.

    Members
    -------
    row : In(stream(dealt_row_layout))
    append : In(1)
        Of `SliceStore`: a key is complete.
    mask_bank, mask_beat, mask_used, mask_en : Out, mask_data : In(groups)
        Key mask; see `ParallelScorer`.
    o : Out(stream(start_layout)).array(units)
    dealt : Out(stream(dealt_layout, always ready))
        Keys on their way to the units; the last ones of a row.
    wait_row, wait_key, wait_unit : Out(1)
        Why no key is dealt: there is no row, the key is not there, too many wait for a unit.
    """

    row: stream.Interface
    append: Signal
    o: Any
    dealt: stream.Interface

    #: Keys that can wait for a unit: so many that none runs out while another one's queue is full.
    depth = 32

    def __init__(self, *, params: CoreParams) -> None:
        check_params(params)
        self.params, self.slices = p, s = params, slice_params(params)
        super().__init__(
            {
                "row": In(stream.Signature(dealt_row_layout(p))),
                "append": In(1),
                "mask_bank": Out(p.bank_bits),
                "mask_beat": Out(range(p.max_beats)),
                "mask_used": Out(1),
                "mask_en": Out(1),
                "mask_data": In(p.groups),
                "o": Out(stream.Signature(start_layout(s))).array(s.units),
                "dealt": Out(stream.Signature(dealt_layout(p), always_ready=True)),
                "wait_row": Out(1),
                "wait_key": Out(1),
                "wait_unit": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        p, s, lanes = self.params, self.slices, keys_dealt(self.params)
        row, key = self.row.p, Signal(range(p.max_keys + lanes))  # the next one
        unit = Signal(range(s.units))  # that has its first slice
        left = Signal(p.key_bits)
        count, last, deal = Signal(range(lanes + 1)), Signal(), Signal()
        room = Signal()
        there = self._there(m, key, deal, last, count)
        m.d.comb += [
            left.eq(row.keys - key),
            last.eq(left <= lanes),
            count.eq(Mux(last, left, lanes)),
            self.wait_row.eq(~self.row.valid),
            self.wait_unit.eq(self.row.valid & ~room),
            self.wait_key.eq(self.row.valid & room & (there < count)),
            deal.eq(self.row.valid & room & (there >= count)),
            self.row.ready.eq(deal & last),
            self.mask_bank.eq(row.bank),
            self.mask_beat.eq(key >> (p.groups - 1).bit_length()),
            self.mask_used.eq(row.key_mask),
            self.mask_en.eq(deal),
        ]
        with m.If(deal):
            m.d.sync += key.eq(Mux(last, 0, key + lanes))
        self._walk(m, deal, last, count, unit)
        turn = Signal(self._turn_layout())
        m.d.sync += [
            turn.valid.eq(deal),
            turn.key.eq(key),
            turn.unit.eq(unit),
            turn.count.eq(count),
            turn.last.eq(last),
            turn.write.eq(row.write),
            turn.row.eq(row.row),
            turn.number.eq(row.number),
        ]
        lanes_dealt = self._masked(m, turn)
        m.d.sync += room.eq(self._hand_out(m, turn, lanes_dealt))
        return m

    def _turn_layout(self) -> data.StructLayout:
        """Keys that are dealt, while their mask is read."""
        p, s = self.params, self.slices
        return data.StructLayout(
            {
                "valid": unsigned(1),
                "key": range(p.max_keys),  # the first one
                "unit": range(s.units),  # that has its first slice
                "count": range(keys_dealt(p) + 1),
                "last": unsigned(1),
                "write": unsigned(1),
                "row": range(s.rows),
                "number": range(s.slices),
            }
        )

    def _there(self, m: Module, key: Value, deal: Value, last: Value, count: Value) -> Signal:
        """How many of the keys from the one at hand on are in the store."""
        s = self.slices
        held = Signal(range(s.groups * s.units + 1))  # of this head and those behind it
        rest = Signal.like(held)
        more = self.append
        with m.If(deal & last):
            with m.If(self.row.p.last_of_kv):
                m.d.sync += [held.eq(rest - count + more), rest.eq(rest - count + more)]
            with m.Else():
                m.d.sync += [held.eq(held + more), rest.eq(held + more)]
        with m.Else():
            m.d.sync += [held.eq(held + more), rest.eq(rest - Mux(deal, count, 0) + more)]
        return rest

    def _walk(self, m: Module, deal: Value, last: Value, count: Value, unit: Signal) -> None:
        """The unit with the first slice of the next key, and for each unit the address of the next
        key of its own. The rows of a head all start where the head does."""
        s = self.slices
        back = last & ~self.row.p.last_of_kv
        total, after = Signal(range(2 * s.units)), Signal(range(s.units))
        m.d.comb += [
            total.eq(unit + count),
            after.eq(Mux(total >= s.units, total - s.units, total)),
        ]
        self._follow(m, deal, last, back, unit, after, "unit_of_head")
        self.addresses = []
        for n in range(s.units):
            address, following = (
                Signal(range(s.bank_depth), name=f"{name}{n}") for name in ("address", "following")
            )
            end = address == s.bank_depth - s.slices
            further = Mux(end, 0, address + s.slices)
            mine = _turns(unit, n, s.units) < count
            m.d.comb += following.eq(Mux(mine, further, address))
            self._follow(m, deal, last, back, address, following, f"address_of_head{n}")
            self.addresses.append(address)

    def _follow(
        self, m: Module, deal: Value, last: Value, back: Value, here: Signal, after: Signal,
        name: str,
    ) -> None:  # fmt: skip
        """Go on, or back to where the head starts."""
        start = Signal.like(here, name=name)
        with m.If(deal):
            m.d.sync += here.eq(Mux(back, start, after))
            with m.If(last & ~back):
                m.d.sync += start.eq(after)

    def _masked(self, m: Module, turn: Any) -> Value:
        """Which keys of a turn are dealt; the mask is there."""
        p, lanes = self.params, keys_dealt(self.params)
        low, high = (lanes - 1).bit_length(), (p.groups - 1).bit_length()
        part = turn.key[low:high] if high > low else 0
        mask = self.mask_data.word_select(part, lanes)
        chosen = Signal(lanes)
        m.d.comb += chosen.eq(Cat(mask[n] & turn.write & (turn.count > n) for n in range(lanes)))
        m.d.sync += [
            self.dealt.valid.eq(turn.valid),
            self.dealt.p.row.eq(turn.row),
            self.dealt.p.keys.eq(count_flags(list(chosen))),
            self.dealt.p.last.eq(turn.last),
        ]
        return chosen

    def _hand_out(self, m: Module, turn: Any, chosen: Value) -> Value:
        """Keys enter the queues of their units. Returns whether there is room for more."""
        s, free = self.slices, []
        for n, address in enumerate(self.addresses):
            m.submodules[f"queue{n}"] = queue = Queue(shape=start_layout(s), depth=self.depth)
            connect(m, queue.o, self.o[n])
            its, place = Signal.like(address, name=f"its_address{n}"), Signal(name=f"wanted{n}")
            lane = _turns(turn.unit, n, s.units)
            entry = Signal(start_layout(s), name=f"entry{n}", reset_less=True)
            m.d.sync += [
                its.eq(address),
                place.eq(turn.valid & Mux(lane < len(chosen), chosen.bit_select(lane, 1), 0)),
                entry.key.eq(turn.key + lane),
                entry.row.eq(turn.row),
                entry.number.eq(turn.number),
                entry.address.eq(its),
            ]
            m.d.comb += [queue.i.valid.eq(place), queue.i.p.eq(entry)]
            free.append(queue.level < self.depth - 3)
        return Cat(free).all()


def _turns(unit: Value, other: int, units: int) -> Value:
    """``(other - unit) mod units``."""
    ahead = (other - unit)[: units.bit_length()]
    if other == units - 1:  # no unit is behind it
        return ahead
    return Mux(unit > other, other + units - unit, ahead)[: units.bit_length()]
