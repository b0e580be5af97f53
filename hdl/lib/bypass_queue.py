"""A queue that an empty one lets through."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from attnsieve.hdl.lib.queue import Queue

__all__ = ["BypassQueue"]


class BypassQueue(wiring.Component):
    """A queue whose output is its input while nothing waits: no latency, but a path through it.

    Ready does not depend on the output: what is not taken at once has a place in a `Queue`.

    Latency: 0 cycles while empty, else the queue's. Throughput: one payload per cycle.

    Parameters
    ----------
    shape : ShapeLike
        Of the payload.
    depth : int
        Most payloads inside, at least 1.
    lut_ram : bool
        Use LUT RAM where memory is needed.

    Members
    -------
    i : In(stream.Signature(shape))
    o : Out(stream.Signature(shape))
    """

    i: stream.Interface
    o: stream.Interface

    latency = 0

    def __init__(self, *, shape: Any, depth: int, lut_ram: bool = True) -> None:
        self.queue = Queue(shape=shape, depth=depth, lut_ram=lut_ram)
        super().__init__(
            {"i": In(stream.Signature(shape)), "o": Out(stream.Signature(shape))}
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.queue = queue = self.queue
        waiting = Signal()
        m.d.comb += [
            waiting.eq(queue.level != 0),
            self.i.ready.eq(queue.i.ready),
            self.o.valid.eq(Mux(waiting, queue.o.valid, self.i.valid & queue.i.ready)),
            self.o.payload.eq(Mux(waiting, queue.o.payload, self.i.payload)),
            queue.i.payload.eq(self.i.payload),
            queue.i.valid.eq(self.i.valid & (waiting | ~self.o.ready)),
            queue.o.ready.eq(self.o.ready & waiting),
        ]
        return m
