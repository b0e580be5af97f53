"""Collects the keys that are kept, whichever unit they come from."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from attnsieve.hdl.lib.checks import check_int
from attnsieve.hdl.lib.connect import connect
from attnsieve.hdl.lib.queue import Queue
from attnsieve.hdl.slices.bit_serial_dot import survivor_layout
from attnsieve.hdl.slices.slice_params import SliceParams

__all__ = ["Survivors"]


class Survivors(wiring.Component):
    """A queue per unit; one key leaves per cycle, from each queue in turn that has one.

    Latency: 2 cycles. Nothing is dropped: a unit whose queue is full waits.

    Parameters
    ----------
    params : SliceParams
    depth : int
        Keys that a queue holds.

    Members
    -------
    i : In(stream(survivor_layout)).array(units)
    o : Out(stream(survivor_layout))
    """

    i: Any
    o: stream.Interface

    def __init__(self, *, params: SliceParams, depth: int = 4) -> None:
        check_int("Depth", depth, 1)
        self.params, self.depth = params, depth
        key = survivor_layout(params)
        super().__init__(
            {
                "i": In(stream.Signature(key)).array(params.units),
                "o": Out(stream.Signature(key)),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        units = self.params.units
        queues = [
            Queue(shape=survivor_layout(self.params), depth=self.depth) for _ in range(units)
        ]
        for n, queue in enumerate(queues):
            m.submodules[f"queue{n}"] = queue
            connect(m, self.i[n], queue.i)
        turn = Signal(range(units))  # the queue that was last
        with m.If(~self.o.valid | self.o.ready):
            m.d.sync += self.o.valid.eq(Cat(queue.o.valid for queue in queues).any())
            with m.Switch(turn):
                for last in range(units):
                    order = [(last + 1 + n) % units for n in range(units)]
                    with m.Case(last):
                        self._first(m, queues, order, turn)
        return m

    def _first(self, m: Module, queues: list[Queue], order: list[int], turn: Signal) -> None:
        """Take from the first queue in this order that has a key."""
        for place, n in enumerate(order):
            with (m.If if place == 0 else m.Elif)(queues[n].o.valid):
                m.d.comb += queues[n].o.ready.eq(1)
                m.d.sync += [self.o.p.eq(queues[n].o.p), turn.eq(n)]
