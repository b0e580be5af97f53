"""Cascade head pruning: the heads that go on are those with the largest scores."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from attnsieve.hdl.lib.delay import delayed
from attnsieve.hdl.lib.gates import count_flags
from attnsieve.hdl.observers.head_scores import HEAD_SCORE_BITS
from attnsieve.hdl.params import CoreParams, check_params

__all__ = ["HeadSelect"]


class HeadSelect(wiring.Component):
    """Of the heads that live, selects the ``keep`` ones with the largest scores.

    Heads are few: each in turn is compared with all others at once, and goes on if fewer than
    ``keep`` are before it: those with a larger score, and those with the same and a lower number.

    Latency: ``max_heads`` + `extra_latency` cycles.

    Parameters
    ----------
    params : CoreParams
        The core.

    Members
    -------
    start : In(1), keep : In, alive : In(max_heads)
        Begin; how many, of which heads. They stay meanwhile, as do the scores.
    score : In(HEAD_SCORE_BITS).array(max_heads)
    busy : Out(1)
    next : Out(max_heads)
        The heads that go on.
    """

    start: Signal
    keep: Signal
    alive: Signal
    score: Any
    busy: Signal
    next: Signal

    #: Cycles beside one for each head.
    extra_latency = 3

    def __init__(self, *, params: CoreParams) -> None:
        check_params(params)
        self.params = p = params
        super().__init__(
            {
                "start": In(1),
                "keep": In(p.head_bits),
                "alive": In(p.max_heads),
                "score": In(HEAD_SCORE_BITS).array(p.max_heads),
                "busy": Out(1),
                "next": Out(p.max_heads),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        heads = self.params.max_heads
        number, taken = Signal(range(heads)), Signal()
        mine = Signal(HEAD_SCORE_BITS)
        scores = Cat(self.score)
        with m.If(self.start):
            m.d.sync += [number.eq(0), taken.eq(1), self.busy.eq(1)]
        with m.Elif(taken):
            m.d.sync += [number.eq(number + 1), taken.eq(number != heads - 1)]
        # first cycle: its score; second: who is before it; third: does it go on
        before, looked, place, last = Signal(heads), Signal(2), Signal.like(number), Signal(2)
        m.d.sync += [
            mine.eq(scores.word_select(number, HEAD_SCORE_BITS)),
            looked.eq(Cat(taken, looked)),
            place.eq(number),
            last.eq(Cat(taken & (number == heads - 1), last)),
        ]
        for n, score in enumerate(self.score):
            first = (score == mine) & (place > n) if n < heads - 1 else 0  # none is behind the last
            m.d.sync += before[n].eq(self.alive[n] & ((score > mine) | first))
        goes = Signal()
        m.d.comb += goes.eq(self.alive.bit_select(delayed(m, place, 1), 1)
                            & (count_flags(before) < self.keep))
        with m.If(looked[1]):
            m.d.sync += self.next.eq(Cat(self.next[1:], goes))
        with m.If(last[1]):
            m.d.sync += self.busy.eq(0)
        return m
