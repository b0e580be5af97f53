"""One stream to several receivers, each with a queue of its own."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from attnsieve.hdl.lib.connect import connect
from attnsieve.hdl.lib.queue import Queue

__all__ = ["Broadcast"]


class Broadcast(wiring.Component):
    """Gives every payload to every receiver.

    A payload is taken when each receiver's queue has room. So the receivers may be ``depth``
    payloads apart, and none waits for another sooner. Latency is that of the queues.

    Parameters
    ----------
    shape : ShapeLike
        Of the payload.
    receivers : int
        Number of outputs.
    depth : int
        Of each queue.
    lut_ram : bool
        See `Queue`.

    Members
    -------
    i : In(stream.Signature(shape))
    o : Out(stream.Signature(shape)).array(receivers)
    """

    i: stream.Interface
    o: Any

    def __init__(self, *, shape: Any, receivers: int, depth: int, lut_ram: bool = True) -> None:
        if isinstance(receivers, bool) or not isinstance(receivers, int):
            raise TypeError(f"Receivers must be an integer, not {receivers!r}")
        if receivers < 1:
            raise ValueError(f"Receivers must be at least 1, not {receivers!r}")
        self.shape, self.receivers = shape, receivers
        self.depth, self.lut_ram = depth, lut_ram
        super().__init__(
            {
                "i": In(stream.Signature(shape)),
                "o": Out(stream.Signature(shape)).array(receivers),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        queues = [
            Queue(shape=self.shape, depth=self.depth, lut_ram=self.lut_ram)
            for _ in range(self.receivers)
        ]
        room: Value = self.i.valid
        for number, (queue, output) in enumerate(zip(queues, self.o, strict=True)):
            m.submodules[f"queue_{number}"] = queue
            connect(m, queue.o, output)
            room = room & queue.i.ready
        m.d.comb += self.i.ready.eq(room)
        for queue in queues:
            m.d.comb += [queue.i.valid.eq(room), queue.i.payload.eq(self.i.payload)]
        return m
