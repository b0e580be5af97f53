# amaranth: UnusedElaboratable=no
"""A row sequencer as the core has it: before a queue of scales."""

from __future__ import annotations

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import connect, flipped

from attnsieve.hdl.lib.queue import Queue


class Queued(wiring.Component):
    """`inner` with a queue of scales behind it: its room stays until it is used."""

    def __init__(self, inner):
        self.inner = inner
        super().__init__(dict(inner.signature.members))

    def elaborate(self, platform):
        m = Module()
        m.submodules.inner = inner = self.inner
        m.submodules.queue = queue = Queue(shape=self.scale.p.shape(), depth=2)
        connect(m, inner.scale, queue.i)
        connect(m, queue.o, flipped(self.scale))
        for name, member in self.signature.members.items():
            mine, other = getattr(self, name), getattr(inner, name)
            if name == "scale":
                continue
            if not member.is_signature:
                m.d.comb += other.eq(mine) if member.flow is wiring.In else mine.eq(other)
            elif member.flow is wiring.In:
                connect(m, flipped(mine), other)
            else:
                connect(m, other, flipped(mine))
        return m
