"""What the units find of a packet's keys: whether it goes on, and for whom."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from attnsieve.hdl.lib.connect import connect
from attnsieve.hdl.lib.queue import Queue
from attnsieve.hdl.lib.reduce import either
from attnsieve.hdl.params import CoreParams, check_params
from attnsieve.hdl.slices.demand.packets import hand_layout, packet_layout, packet_params
from attnsieve.hdl.slices.demand.slice_feed import verdict_layout
from attnsieve.hdl.slices.key_dealer import units_ahead
from attnsieve.hdl.slices.slice_params import slice_params

__all__ = ["PacketVerdicts"]


class PacketVerdicts(wiring.Component):
    """Joins the verdicts on the keys of a packet, in the order in which they were handed out. A
    packet goes on with its next slice while any row needs a key of it.

    Throughput: a hand per cycle. Latency: 2 cycles from a hand to its packet, if its verdicts are
    there.

    Parameters
    ----------
    params : CoreParams

    Members
    -------
    hand : In(stream(hand_layout))
    verdict : In(stream(verdict_layout)).array(units)
    again : Out(stream(packet_layout, always ready))
        Packets with the next slice, and who needs it.
    ended : Out(1)
        A packet is through.
    """

    hand: stream.Interface
    verdict: Any
    again: stream.Interface
    ended: Signal

    #: Hands whose keys are in the units.
    depth = 32

    def __init__(self, *, params: CoreParams) -> None:
        check_params(params)
        self.params, self.slices, self.sizes = p, s, _ = (
            params, slice_params(params), packet_params(params)
        )  # fmt: skip
        super().__init__(
            {
                "hand": In(stream.Signature(hand_layout(p))),
                "verdict": In(stream.Signature(verdict_layout(s))).array(s.units),
                "again": Out(stream.Signature(packet_layout(p), always_ready=True)),
                "ended": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m, p, s, sizes = Module(), self.params, self.slices, self.sizes
        m.submodules.hands = hands = Queue(shape=hand_layout(p), depth=self.depth)
        connect(m, self.hand, hands.i)
        hand, go = hands.o.p, Signal()
        lanes: list[list[Value]] = [[] for _ in range(sizes.hand)]
        there = []
        for n, verdict in enumerate(self.verdict):
            lane = units_ahead(hand.place, n, s.units)
            wanted = (lane < sizes.hand) & hand.some.bit_select(lane, 1)
            there.append(~wanted | verdict.valid)
            m.d.comb += verdict.ready.eq(go & wanted)
            for number, found in enumerate(lanes):
                found.append(Mux(wanted & (lane == number), verdict.p.rows, 0))
        m.d.comb += [go.eq(hands.o.valid & Cat(there).all()), hands.o.ready.eq(go)]
        self._gather(m, hand, go, [either(found) for found in lanes])
        return m

    def _gather(self, m: Module, hand: Any, go: Value, found: list[Value]) -> None:
        """Hands of a packet in a register; behind the last one it is decided."""
        sizes, complete = self.sizes, Signal()
        packet = Signal(packet_layout(self.params), reset_less=True)
        some = Value.cast(packet.alive).any()
        m.d.sync += complete.eq(go & (hand.number == sizes.hands - 1))
        with m.If(go):
            m.d.sync += [
                *(packet[n].eq(hand.packet[n]) for n in ("plane", "word", "place", "group",
                                                        "pinned")),
                packet.unit.eq(hand.packet.unit + hand.packet.plane),
                packet.number.eq(hand.packet.number + 1),
                packet.opens.eq(0),
            ]
            for key, rows in enumerate(packet.alive):
                number, lane = divmod(key, sizes.hand)
                with m.If(hand.number == number):
                    m.d.sync += rows.eq(found[lane])
        m.d.comb += [
            self.again.valid.eq(complete & some),
            self.again.p.eq(packet),
            self.ended.eq(complete & ~some),
        ]
