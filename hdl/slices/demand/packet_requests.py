"""Asks for the units of packets: again those whose keys are not decided, then new ones."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from attnsieve.hdl.lib.connect import connect
from attnsieve.hdl.lib.queue import Queue
from attnsieve.hdl.lib.zero_eliminator import ZeroEliminator
from attnsieve.hdl.params import CoreParams, check_params
from attnsieve.hdl.slices.demand.packets import packet_layout, packet_params

__all__ = ["PacketRequests", "needed_units", "unit_request_layout"]


def unit_request_layout(p: CoreParams) -> data.StructLayout:
    """Units that are read for a packet, by their numbers in memory: the lowest ``count`` lanes."""
    unit = packet_layout(p)["unit"].width
    return data.StructLayout(
        {"unit": data.ArrayLayout(unit, p.channels), "count": range(p.channels + 1)}
    )


def needed_units(p: CoreParams, packet: Any) -> list[Value]:
    """Of each unit of a packet, whether some row needs one of its keys."""
    sizes = packet_params(p)
    return [
        Cat(packet.alive[key] for key in sizes.unit_keys(unit)).any()
        for unit in range(p.channels)
    ]


class PacketRequests(wiring.Component):
    """Packets wait here until their units come. No more than `packets` are on their way at once,
    from the first request until no key of theirs goes on: so there is room for each wherever it
    waits, and packets that go on come before new ones.

    Throughput: a packet per cycle. Latency: `latency` cycles from a packet to its request.

    Parameters
    ----------
    params : CoreParams

    Members
    -------
    seed : In(stream(packet_layout))
        New packets.
    again : In(stream(packet_layout, always ready))
        Packets that go on, with the next slice.
    ended : In(1)
        One does not.
    ask : Out(stream(unit_request_layout))
        Units to read, at least one.
    o : Out(stream(packet_layout))
        The packets of the requests, in their order.
    waiting : Out(1)
        Some are on their way.
    """

    seed: stream.Interface
    again: stream.Interface
    ended: Signal
    ask: stream.Interface
    o: stream.Interface
    waiting: Signal

    #: Packets that go around at most: as many as are on their way through memory and the units.
    packets = 128

    def __init__(self, *, params: CoreParams) -> None:
        check_params(params)
        self.params = p = params
        packet, ask = packet_layout(p), unit_request_layout(p)
        self.eliminator = ZeroEliminator(shape=ask["unit"].shape.elem_shape, lanes=p.channels)
        super().__init__(
            {
                "seed": In(stream.Signature(packet)),
                "again": In(stream.Signature(packet, always_ready=True)),
                "ended": In(1),
                "ask": Out(stream.Signature(ask)),
                "o": Out(stream.Signature(packet)),
                "waiting": Out(1),
            }
        )

    @property
    def latency(self) -> int:
        """Cycles from a packet to its request; one that goes on waits two more in its queue."""
        return self.eliminator.latency

    def elaborate(self, platform: Any) -> Module:
        m, p = Module(), self.params
        shape = packet_layout(p)
        m.submodules.again = again = Queue(shape=shape, depth=self.packets, lut_ram=False)
        m.submodules.flying = flying = Queue(shape=shape, depth=self.packets, lut_ram=False)
        m.submodules.eliminator = eliminator = self.eliminator
        new, go, count = Signal(), Signal(), Signal(range(self.packets + 1))
        room = count != self.packets
        chosen, beat = flying.i.p, eliminator.i
        m.d.comb += [
            again.i.valid.eq(self.again.valid),
            again.i.p.eq(self.again.p),
            new.eq(~again.o.valid),
            go.eq((again.o.valid | (self.seed.valid & room)) & beat.ready & flying.i.ready),
            again.o.ready.eq(go),
            self.seed.ready.eq(go & new),
            chosen.eq(Mux(new, self.seed.p, again.o.p)),
            flying.i.valid.eq(go),
            beat.valid.eq(go),
            *(item.eq(chosen.unit + n) for n, item in enumerate(beat.p.item)),
            beat.p.keep.eq(Cat(needed_units(p, chosen))),
            self.waiting.eq(count.any()),
        ]
        m.d.sync += count.eq(count + (go & new) - self.ended)
        connect(m, flying.o, self.o)
        asked = eliminator.o
        m.d.comb += [
            self.ask.valid.eq(asked.valid),
            asked.ready.eq(self.ask.ready),
            self.ask.p.count.eq(asked.p.count),
            *(unit.eq(item) for unit, item in zip(self.ask.p.unit, asked.p.item, strict=True)),
        ]
        return m
