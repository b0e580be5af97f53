"""Keeps count of the jobs that are started and not finished, and how they were judged."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from attnsieve.hdl.control.status import StatusCode
from attnsieve.hdl.layouts import request_layout
from attnsieve.hdl.params import CoreParams

__all__ = ["JobStore", "verdict_layout"]


def verdict_layout(p: CoreParams) -> data.StructLayout:
    """What the checker found out about a job."""
    return data.StructLayout(
        {"checked": 1, "code": StatusCode, "group": p.head_bits}
    )


class JobStore(wiring.Component):
    """Keeps count of the jobs: those to dispatch and, before them, those under way.

    The jobs themselves wait in the register block, which gives them in order and, after ``rewind``,
    all unfinished ones again. ``advance`` takes the next job and counts it as under way,
    ``remove`` drops the oldest, ``rewind`` makes all jobs wait again; their verdicts stay.

    Parameters
    ----------
    params : CoreParams
        The core.

    Members
    -------
    i : In(stream(request_layout))
        The next job to dispatch; taken by ``advance``.
    jobs : In
        Jobs that are started and not finished.
    waiting, underway : Out
        Jobs not yet dispatched, and dispatched ones.
    verdict : Out(verdict_layout)
        Of the next job to dispatch.
    judge : In(1), judgement : In(verdict_layout)
        Writes its verdict.
    advance, remove, rewind : In(1)
        As above; ``rewind`` wins.
    oldest_code : Out(StatusCode)
        Verdict of the oldest job under way.
    """

    def __init__(self, *, params: CoreParams) -> None:
        self.params = params
        self.depth = params.queue_depth + 1
        count, verdict = range(self.depth + 1), verdict_layout(params)
        super().__init__(
            {
                "i": In(stream.Signature(request_layout(params))),
                "jobs": In(count),
                "waiting": Out(count),
                "underway": Out(count),
                "verdict": Out(verdict),
                "judge": In(1),
                "judgement": In(verdict),
                "advance": In(1),
                "remove": In(1),
                "rewind": In(1),
                "oldest_code": Out(StatusCode),
            }
        )

    def _after(self, pointer):
        return Mux(pointer == self.depth - 1, 0, pointer + 1)

    def elaborate(self, platform):
        m = Module()
        following, oldest = (
            Signal(range(self.depth), name=name) for name in ("following", "oldest")
        )
        m.d.comb += [
            self.i.ready.eq(self.advance),
            self.waiting.eq(self.jobs - self.underway),
        ]
        self._judge(m, following, oldest)
        with m.If(self.remove):
            m.d.sync += oldest.eq(self._after(oldest))
        with m.If(self.rewind):
            m.d.sync += [
                following.eq(Mux(self.remove, self._after(oldest), oldest)),
                self.underway.eq(0),
            ]
        with m.Else():
            m.d.sync += [
                following.eq(Mux(self.advance, self._after(following), following)),
                self.underway.eq(self.underway + self.advance - self.remove),
            ]
        return m

    def _judge(self, m, following, oldest) -> None:
        """Verdicts are registers: read at two places, cleared as a job leaves."""
        verdicts = Signal(data.ArrayLayout(verdict_layout(self.params), self.depth))
        m.d.comb += [
            self.verdict.eq(verdicts[following]),
            self.oldest_code.eq(verdicts[oldest].code),
        ]
        with m.If(self.judge):
            m.d.sync += verdicts[following].eq(self.judgement)
        with m.If(self.remove):
            m.d.sync += verdicts[oldest].checked.eq(0)
