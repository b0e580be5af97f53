"""Importance of heads and their selection, for the jobs of a core."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from attnsieve.hdl.layouts import output_layout
from attnsieve.hdl.observers.head_scores import HEAD_SCORE_BITS, HeadScores, head_weight_layout
from attnsieve.hdl.observers.head_select import HeadSelect
from attnsieve.hdl.params import CoreParams

__all__ = ["HeadUnit"]


class HeadUnit(wiring.Component):
    """Clears the scores if a job asks for it, adds up what its outputs give, selects at its end.

    Parameters
    ----------
    params : CoreParams
        The core.

    Members
    -------
    begin : In(1), clear : In(1), select : In(1), keep : In, alive : In(max_heads)
        A job begins; what is to be done. All but the first stay meanwhile.
    i, beat, row, head
        See `HeadScores`.
    finished : Out(1)
        All is done for the job that began last.
    next : Out(max_heads)
        The heads that go on.
    half : In, write : In(1), data : In(32), score : Out(32)
        Software's way to the scores: half ``2 h`` is the lower word of head h, ``2 h + 1`` the
        upper. A score is written with its upper half.
    """

    begin: Signal
    clear: Signal
    select: Signal
    keep: Signal
    alive: Signal
    i: Any
    beat: Signal
    row: stream.Interface
    head: stream.Interface
    finished: Signal
    next: Signal
    half: Signal
    write: Signal
    data: Signal
    score: Signal

    def __init__(self, *, params: CoreParams) -> None:
        self.params = p = params
        row = data.StructLayout({"write": 1, "last_of_head": 1, "last_of_job": 1})
        super().__init__(
            {
                "begin": In(1),
                "clear": In(1),
                "select": In(1),
                "keep": In(p.head_bits),
                "alive": In(p.max_heads),
                "i": In(output_layout(p)),
                "beat": In(1),
                "row": In(stream.Signature(row)),
                "head": In(stream.Signature(head_weight_layout(p))),
                "finished": Out(1),
                "next": Out(p.max_heads),
                "half": In(range(2 * p.max_heads)),
                "write": In(1),
                "data": In(32),
                "score": Out(32),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.scores = scores = HeadScores(params=self.params)
        m.submodules.select = select = HeadSelect(params=self.params)
        for stream_, its in ((self.row, scores.row), (self.head, scores.head)):
            m.d.comb += [
                its.valid.eq(stream_.valid),
                its.p.eq(stream_.p),
                stream_.ready.eq(its.ready),
            ]
        m.d.comb += [
            scores.i.eq(self.i),
            scores.beat.eq(self.beat),
            scores.clear.eq(self.begin & self.clear),
            select.start.eq(scores.ended & self.select),
            select.keep.eq(self.keep),
            select.alive.eq(self.alive),
            self.next.eq(select.next),
            *(its.eq(score) for its, score in zip(select.score, scores.score, strict=True)),
        ]
        self._finish(m, scores, select)
        self._access(m, scores)
        return m

    def _finish(self, m: Module, scores: HeadScores, select: HeadSelect) -> None:
        busy = Signal()  # a cycle ago
        m.d.sync += busy.eq(select.busy)
        with m.If(self.begin):
            m.d.sync += self.finished.eq(0)
        with m.Elif((scores.ended & ~self.select) | (busy & ~select.busy)):
            m.d.sync += self.finished.eq(1)

    def _access(self, m: Module, scores: HeadScores) -> None:
        """Halves of scores; the lower one waits for the upper to be written."""
        lower = Signal(32)
        score = Signal(HEAD_SCORE_BITS)
        number = self.half[1:]
        with m.If(self.write & ~self.half[0]):
            m.d.sync += lower.eq(self.data)
        m.d.comb += [
            score.eq(Cat(scores.score).word_select(number, HEAD_SCORE_BITS)),
            self.score.eq(Mux(self.half[0], score[32:], score[:32])),
            scores.number.eq(number),
            scores.write.eq(self.write & self.half[0]),
            scores.data.eq(Cat(lower, self.data)),
        ]
