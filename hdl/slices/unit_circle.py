"""Bit-serial units in a circle: any of them takes the next key."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from attnsieve.hdl.slices.bit_serial_dot import (
    BitSerialDot,
    bound_layout,
    ended_layout,
    query_write_layout,
    slice_read_signature,
    start_layout,
    survivor_layout,
)
from attnsieve.hdl.slices.demand.slice_feed import (
    SliceFeed,
    slice_entry_layout,
    verdict_layout,
)
from attnsieve.hdl.slices.slice_params import SliceParams

__all__ = ["UnitCircle"]


class UnitCircle(wiring.Component):
    """``units`` bit-serial units; what leaves one arrives at the next, or with static dealing at
    the same again.

    A key starts at the unit that has its first slice, in any place that is free there, and each of
    its further slices is in the bank of the unit that it comes to. ``units * latency`` keys are
    inside, so no slice is read of a key that is decided, and every unit reads one per cycle while
    there are keys for it.

    With `SliceParams.demand` a `SliceFeed` beside each unit gives it slices that have come from
    memory, and takes the places of their keys out of the circle again.

    Parameters
    ----------
    params : SliceParams

    Members
    -------
    start : In(stream(start_layout)).array(units)
        Keys whose first slice the unit has.
    passes : In(units)
        A unit's free places go on to the next.
    read : Out(slice_read_signature).array(units)
        Banks.
    query : In(stream(query_write_layout, always ready))
    bound : In(stream(bound_layout, always ready))
        Of a row, before its keys; to all units.
    o : Out(stream(survivor_layout)).array(units)
        Keys that are kept.
    ended : Out(stream(ended_layout, always ready)).array(units)
        Every key that is decided.
    entry : In(stream(slice_entry_layout, always ready)).array(units)
    verdict : Out(stream(verdict_layout)).array(units)
        Slices from memory, and which rows go on; see `SliceFeed`. Only with `SliceParams.demand`.
    """

    start: Any
    passes: Signal
    read: Any
    query: stream.Interface
    bound: stream.Interface
    o: Any
    ended: Any

    #: Cycles from a read of a bank to its data.
    memory_latency = 2

    def __init__(self, *, params: SliceParams) -> None:
        self.params = p = params
        ended = stream.Signature(ended_layout(p), always_ready=True)
        super().__init__(
            {
                "start": In(stream.Signature(start_layout(p))).array(p.units),
                "passes": In(p.units),
                "read": Out(slice_read_signature(p)).array(p.units),
                "query": In(stream.Signature(query_write_layout(p), always_ready=True)),
                "bound": In(stream.Signature(bound_layout(p), always_ready=True)),
                "o": Out(stream.Signature(survivor_layout(p))).array(p.units),
                "ended": Out(ended).array(p.units),
                **(self._demanded() if p.demand else {}),
            }
        )

    def _demanded(self) -> dict[str, Any]:
        """To and from the feeds."""
        p = self.params
        entry = stream.Signature(slice_entry_layout(p), always_ready=True)
        verdict = stream.Signature(verdict_layout(p))
        return {"entry": In(entry).array(p.units), "verdict": Out(verdict).array(p.units)}

    @property
    def latency(self) -> int:
        """Cycles from a key's arrival at a unit to that at the next."""
        return BitSerialDot(params=self.params, memory_latency=self.memory_latency).latency

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        count = self.params.units
        units = [
            BitSerialDot(params=self.params, memory_latency=self.memory_latency)
            for _ in range(count)
        ]
        for n, unit in enumerate(units):
            m.submodules[f"unit{n}"], behind = unit, units[self.params.bank(n, 1)]
            connect(m, flipped(self.start[n]), unit.start)
            connect(m, unit.o, flipped(self.o[n]))
            connect(m, unit.ended, flipped(self.ended[n]))
            m.d.comb += [
                unit.query.valid.eq(self.query.valid),
                unit.query.p.eq(self.query.p),
                unit.bound.valid.eq(self.bound.valid),
                unit.bound.p.eq(self.bound.p),
                behind.arrive.eq(unit.leave),
                unit.passes.eq(self.passes[n]),
            ]
            if self.params.demand:
                self._feed(m, n, unit, behind)
            else:
                connect(m, unit.read, flipped(self.read[n]))
        return m

    def _feed(self, m: Module, n: int, unit: BitSerialDot, behind: BitSerialDot) -> None:
        """Slices from memory beside those from the unit's bank."""
        feed = SliceFeed(
            params=self.params, memory_latency=self.memory_latency, latency=unit.latency
        )
        m.submodules[f"feed{n}"] = feed
        connect(m, flipped(self.entry[n]), feed.i)
        connect(m, feed.o, flipped(self.verdict[n]))
        connect(m, feed.place, unit.resume)
        bank = self.read[n]
        m.d.comb += [
            bank.en.eq(unit.read.en),
            bank.address.eq(unit.read.address),
            unit.read.data.eq(
                Mux(feed.use, feed.slice.as_value(), Value.cast(bank.data))
            ),
            feed.leave.eq(unit.leave),
            behind.arrive.valid.eq(unit.leave.valid & ~feed.parked),
        ]
