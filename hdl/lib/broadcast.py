"""One stream to several receivers, each with a queue of what it needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from amaranth.hdl import Const, Module, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from attnsieve.hdl.lib.connect import connect
from attnsieve.hdl.lib.queue import Queue

__all__ = ["Broadcast"]


class Broadcast(wiring.Component):
    """Gives the fields of every payload to those who need them.

    A payload is taken when each receiver's queue has room. So the receivers may be ``depth``
    payloads apart, and none waits for another sooner. Latency is that of the queues.

    Parameters
    ----------
    shape : StructLayout
        Of the payload.
    fields : dict of str to sequence of str
        For each receiver the fields it gets.
    depth : int
        Of each queue.
    lut_ram : bool
        See `Queue`.

    Members
    -------
    i : In(stream.Signature(shape))
    (receiver) : Out(stream.Signature(StructLayout of its fields))
        One for each receiver, under its name.
    """

    i: stream.Interface

    def __init__(
        self,
        *,
        shape: data.StructLayout,
        fields: Mapping[str, Sequence[str]],
        depth: int,
        lut_ram: bool = True,
    ) -> None:
        if not fields:
            raise ValueError("Fields must name at least one receiver, not none")
        known = {name for name, _ in shape}
        for receiver, names in fields.items():
            for name in names:
                if name not in known:
                    raise ValueError(f"Fields of {receiver} must be of the payload, not {name!r}")
        self.shape, self.fields = shape, {r: tuple(names) for r, names in fields.items()}
        self.depth, self.lut_ram = depth, lut_ram
        super().__init__(
            {
                "i": In(stream.Signature(shape)),
                **{r: Out(stream.Signature(self.layout(r))) for r in self.fields},
            }
        )

    def layout(self, receiver: str) -> data.StructLayout:
        """What a receiver gets."""
        return data.StructLayout({name: self.shape[name].shape for name in self.fields[receiver]})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        room: Value = Const(1)
        queues = []
        for receiver, names in self.fields.items():
            queue = Queue(shape=self.layout(receiver), depth=self.depth, lut_ram=self.lut_ram)
            m.submodules[receiver] = queue
            connect(m, queue.o, getattr(self, receiver))
            m.d.comb += [queue.i.p[name].eq(self.i.p[name]) for name in names]
            room = room & queue.i.ready
            queues.append(queue)
        m.d.comb += self.i.ready.eq(room)
        m.d.comb += [queue.i.valid.eq(self.i.valid & room) for queue in queues]
        return m
