"""When a pass of prob·V may end."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from attnsieve.hdl.lib.credit import Credit
from attnsieve.hdl.params import CoreParams

__all__ = ["PassRoom"]


class PassRoom(wiring.Component):
    """Tells whether the sums of a pass that ends now will find the drain free.

    Sums come to the drain a fixed time after the last step of their pass. With several lane groups
    the drain never waits, since room for the transfers of a pass is reserved in the queue behind
    it: passes may end as many cycles apart as a pass has transfers. With one lane group there is
    no queue: the next pass may end when the transfers of the one before have left.

    Parameters
    ----------
    params : CoreParams
        The core.
    depth : int
        Of the queue behind the drain, two of the longest passes at least; any number with one lane
        group.

    Members
    -------
    end : In(1)
        A pass ends; only while there is ``some`` room.
    mask : In(range(groups))
        Its P - 1.
    left : In(1)
        A transfer has left the queue or, with one lane group, the last one of a pass the drain.
    some : Out(1)
        There is room for a pass. A register.
    """

    end: Signal
    mask: Signal
    left: Signal
    some: Signal

    def __init__(self, *, params: CoreParams, depth: int) -> None:
        self.params, self.depth = params, depth
        self.most = params.segment // params.output_lanes * params.groups  # transfers of a pass
        if params.groups > 1 and depth < 2 * self.most:
            raise ValueError(f"Depth must be at least {2 * self.most}, not {depth!r}")
        super().__init__(
            {
                "end": In(1),
                "mask": In(range(params.groups)),
                "left": In(1),
                "some": Out(1, init=1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        if self.params.groups == 1:
            m.submodules.credit = credit = Credit(count=1)
            m.d.comb += [
                credit.take.eq(self.end),
                credit.give.eq(self.left),
                self.some.eq(credit.some),
            ]
            return m
        chunks = self.params.segment // self.params.output_lanes
        before = Cat(Const(chunks - 1, (chunks - 1).bit_length()), self.mask)  # transfers less one
        wait, space = Signal(range(self.most)), Signal(range(self.depth + 1), init=self.depth)
        next_wait, next_space = Signal.like(wait), Signal.like(space)
        m.d.comb += [
            next_wait.eq(Mux(self.end, before, Mux(wait == 0, 0, wait - 1))),
            next_space.eq(space + self.left - Mux(self.end, before + 1, 0)),
        ]
        m.d.sync += [
            wait.eq(next_wait),
            space.eq(next_space),
            self.some.eq((next_wait == 0) & (next_space >= self.most)),
        ]
        return m
