"""Importance of heads: what the magnitudes of their outputs add up to."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from attnsieve.hdl.layouts import output_layout
from attnsieve.hdl.lib.delay import delayed
from attnsieve.hdl.params import CoreParams, check_params

__all__ = ["HEAD_SCORE_BITS", "WEIGHT_BITS", "HeadScores", "head_weight_layout"]

#: Bits of a head's score: of magnitudes of 15 bits, those of all elements of all its rows, and of
#: 16 layers with 1024 rows of 128, or as much.
HEAD_SCORE_BITS = 36
#: Fraction bits of a head's weight.
WEIGHT_BITS = 10


def head_weight_layout(p: CoreParams) -> data.StructLayout:
    """A head, and what its outputs count: they have a scale of their own in every head."""
    return data.StructLayout({"head": range(p.max_heads), "weight": WEIGHT_BITS})


class HeadScores(wiring.Component):
    """Adds up the magnitudes of all output elements of each head (SpAtten, section III-B).

    At the end of a head its sum, times its weight, rounded down, is added to its score, which
    saturates. Scores stay through a reset: only ``clear`` and software end them. Latency: `latency`
    cycles from the last elements of a head to its score. Throughput: ``output_lanes`` elements per
    cycle.

    Parameters
    ----------
    params : CoreParams
        The core.

    Members
    -------
    i : In(output_layout), beat : In(1)
        Elements pass.
    row : In(stream({write, last_of_head, last_of_job}))
        One per row, taken with its last elements. Rows that are not written do not count.
    head : In(stream(head_weight_layout))
        One per head, taken with its last elements.
    ended : Out(1)
        The last head of a job has been added.
    score : Out(HEAD_SCORE_BITS).array(max_heads)
    clear : In(1)
        All scores are zero from the next cycle on.
    write : In(1), number : In, data : In(HEAD_SCORE_BITS)
        Software sets a score, while no job runs.
    """

    i: Any
    beat: Signal
    row: stream.Interface
    head: stream.Interface
    ended: Signal
    score: Any
    clear: Signal
    write: Signal
    number: Signal
    data: Signal

    #: Cycles: magnitudes, their sum, the head's sum, product, score.
    latency = 5

    def __init__(self, *, params: CoreParams) -> None:
        check_params(params)
        self.params = p = params
        row = data.StructLayout({"write": 1, "last_of_head": 1, "last_of_job": 1})
        super().__init__(
            {
                "i": In(output_layout(p)),
                "beat": In(1),
                "row": In(stream.Signature(row)),
                "head": In(stream.Signature(head_weight_layout(p))),
                "ended": Out(1),
                "score": Out(HEAD_SCORE_BITS).array(p.max_heads),
                "clear": In(1),
                "write": In(1),
                "number": In(range(p.max_heads)),
                "data": In(HEAD_SCORE_BITS),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        p = self.params
        last = self.beat & self.i.last
        end = last & self.row.p.last_of_head
        m.d.comb += [self.row.ready.eq(last), self.head.ready.eq(end)]
        magnitudes = [Signal(16, name=f"magnitude{n}") for n in range(p.output_lanes)]
        for magnitude, element in zip(magnitudes, self.i.element, strict=True):
            counts = self.beat & self.row.p.write
            m.d.sync += magnitude.eq(Mux(counts, Mux(element < 0, -element, element), 0))
        beat_sum, total = Signal(16 + p.output_lanes.bit_length()), Signal(HEAD_SCORE_BITS)
        m.d.sync += beat_sum.eq(sum(magnitudes))
        ends = delayed(m, end, 2)
        whole = Signal(HEAD_SCORE_BITS)  # the sum of a head
        m.d.sync += total.eq(Mux(ends, 0, total + beat_sum))
        with m.If(ends):
            m.d.sync += whole.eq(total + beat_sum)
        head = delayed(m, self.head.p.as_value(), 3)
        head = data.View(head_weight_layout(p), head)
        product = Signal(HEAD_SCORE_BITS + WEIGHT_BITS)
        m.d.sync += product.eq(whole * head.weight)
        self._add(m, product, delayed(m, end, 4), delayed(m, head.head, 1))
        m.d.comb += self.ended.eq(delayed(m, end & self.row.p.last_of_job, self.latency))
        return m

    def _add(self, m: Module, product: Signal, add: Any, number: Any) -> None:
        """A head's product to its score."""
        share, most = product >> WEIGHT_BITS, (1 << HEAD_SCORE_BITS) - 1
        for n, shown in enumerate(self.score):
            # like the scores of tokens, which are in a memory, it stays through a reset
            score = Signal(HEAD_SCORE_BITS, name=f"kept_score{n}", reset_less=True)
            total = Signal(HEAD_SCORE_BITS + 1, name=f"total{n}")
            m.d.comb += [total.eq(score + share), shown.eq(score)]
            with m.If(self.clear):
                m.d.sync += score.eq(0)
            with m.Elif(self.write & (self.number == n)):
                m.d.sync += score.eq(self.data)
            with m.Elif(add & (number == n)):
                m.d.sync += score.eq(Mux(total[-1], most, total))
