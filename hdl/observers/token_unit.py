"""Importance of tokens and their selection, for the jobs of a core."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from attnsieve.hdl.control.job_lists import selection_layout
from attnsieve.hdl.control.row_list import entry_read_signature
from attnsieve.hdl.layouts import statistics_layout, term_beat_layout
from attnsieve.hdl.lib.queue import Queue
from attnsieve.hdl.observers.token_scores import TokenScores, share_layout
from attnsieve.hdl.observers.token_select import TokenSelect
from attnsieve.hdl.observers.token_shares import TokenShares
from attnsieve.hdl.params import CoreParams

__all__ = ["TokenUnit"]


class TokenUnit(wiring.Component):
    """Clears the scores if a job asks for it, adds up what its rows give, selects at its end.

    Parameters
    ----------
    params : CoreParams
        The core.

    Members
    -------
    begin : In(1), selection : In(selection_layout)
        A job begins: its lists are there; what is to be done.
    i, statistics, row, entry
        See `TokenShares`.
    finished : Out(1)
        All is done for the job that began last.
    beat, en, candidate, word, next
        See `TokenSelect`.
    access : In(1), token : In, write : In(1), data : In(32), score : Out(32), ready : Out(1)
        Software looks at a score, or writes it: what is asked for in a cycle with ``ready`` is
        done in it. See `TokenScores`.
    """

    begin: Signal
    selection: Any
    i: stream.Interface
    statistics: stream.Interface
    row: stream.Interface
    entry: Any
    finished: Signal
    beat: Signal
    en: Signal
    candidate: Signal
    word: Signal
    next: Signal
    access: Signal
    token: Signal
    write: Signal
    data: Signal
    score: Signal
    ready: Signal

    def __init__(self, *, params: CoreParams) -> None:
        self.params = p = params
        self.scores, self.select = TokenScores(params=p), TokenSelect(params=p)
        select, scores = self.select.signature.members, self.scores.signature.members
        super().__init__(
            {
                "begin": In(1),
                "selection": In(selection_layout(p)),
                "i": In(stream.Signature(term_beat_layout(p))),
                "statistics": In(stream.Signature(statistics_layout(p))),
                "row": In(stream.Signature(data.StructLayout({"last_of_job": 1}))),
                "entry": Out(entry_read_signature(p, p.max_keys, p.groups)),
                "finished": Out(1),
                **{name: select[name] for name in ("beat", "en", "candidate", "word", "next")},
                **{name: scores[name] for name in ("access", "token", "write", "data", "score")},
                "ready": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.scores = scores = self.scores
        m.submodules.select = select = self.select
        waiting = self._shares(m)
        clearing, row = self._clear(m, scores)
        last = self._stages(m, scores, select)
        m.d.comb += [
            scores.i.valid.eq(waiting.o.valid & ~clearing),
            waiting.o.ready.eq(scores.i.ready & ~clearing),
            scores.i.p.eq(waiting.o.p.share),
            last.eq(waiting.o.valid & waiting.o.ready & waiting.o.p.last),
            scores.clear.eq(clearing),
            scores.scan.eq(select.scan),
            scores.en.eq(select.en),
            scores.row.eq(select.beat),
            scores.decay.eq(select.decay),
            scores.decays.eq(select.decays),
            select.selection.eq(self.selection),
            select.candidate.eq(self.candidate),
            select.word.eq(self.word),
            self.beat.eq(select.beat),
            self.en.eq(select.en),
            self.next.eq(select.next),
            scores.access.eq(self.access & ~clearing & ~select.busy),
            scores.token.eq(self.token),
            scores.write.eq(self.write),
            scores.data.eq(self.data),
            self.score.eq(scores.score),
            self.ready.eq(scores.ready),
        ]
        m.d.comb += [its.eq(value) for its, value in zip(select.value, scores.value, strict=True)]
        with m.If(clearing):
            m.d.comb += scores.row.eq(row)
        return m

    def _shares(self, m: Module) -> Queue:
        """Beats of shares. Whether scores take one depends on software too: a queue ends that."""
        m.submodules.shares = shares = TokenShares(params=self.params)
        beat = data.StructLayout({"share": share_layout(self.params), "last": 1})
        m.submodules.waiting = waiting = Queue(shape=beat, depth=2)
        for name in ("i", "statistics", "row"):
            connect(m, flipped(getattr(self, name)), getattr(shares, name))
        connect(m, shares.entry, flipped(self.entry))
        m.d.comb += [
            waiting.i.valid.eq(shares.o.valid),
            shares.o.ready.eq(waiting.i.ready),
            waiting.i.p.share.eq(shares.o.p),
            waiting.i.p.last.eq(shares.last),
        ]
        return waiting

    def _clear(self, m: Module, scores: TokenScores) -> tuple[Signal, Signal]:
        """A walk over all scores as a job begins."""
        clearing, row = Signal(), Signal.like(scores.row)
        with m.If(self.begin):
            m.d.sync += [clearing.eq(self.selection.clear), row.eq(0)]
        with m.Elif(clearing):
            m.d.sync += [row.eq(row + 1), clearing.eq(row != self.select.rows - 1)]
        return clearing, row

    def _stages(self, m: Module, scores: TokenScores, select: TokenSelect) -> Signal:
        """Rows, then the selection. Returns what the caller tells: the last share goes in."""
        last, added = Signal(), Signal()  # of the job; all of it is in
        m.d.comb += select.start.eq(
            added & scores.idle & self.selection.select & ~self.finished & ~select.busy
        )
        with m.If(last):
            m.d.sync += added.eq(1)
        with m.If(added & scores.idle & ~self.selection.select):
            m.d.sync += [self.finished.eq(1), added.eq(0)]
        with m.If(select.start):
            m.d.sync += added.eq(0)
        ended = Signal()
        m.d.sync += ended.eq(select.busy)
        with m.If(ended & ~select.busy):
            m.d.sync += self.finished.eq(1)
        with m.If(self.begin):
            m.d.sync += [self.finished.eq(0), added.eq(0)]
        return last
