"""Keeps count of the jobs that are started and not finished, and how they were judged."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from attnsieve.hdl.control.status import StatusCode
from attnsieve.hdl.params import CoreParams

__all__ = ["JobStore", "verdict_layout"]


def verdict_layout() -> data.StructLayout:
    """What the checker found out about a job."""
    return data.StructLayout({"checked": 1, "code": StatusCode})


class JobStore(wiring.Component):
    """Keeps count of the jobs: those to dispatch and, before them, those under way.

    The jobs themselves wait in the job memory, each in the bank after that of the job before.
    ``advance`` counts the next job as under way, ``remove`` drops the oldest, ``rewind``
    makes all jobs wait again; their verdicts stay.

    Parameters
    ----------
    params : CoreParams
        The core.

    Members
    -------
    jobs : In
        Jobs that are started and not finished.
    waiting, underway : Out
        Jobs not yet dispatched, and dispatched ones.
    bank : Out(bank_bits)
        Of the next job to dispatch.
    verdict : Out(verdict_layout)
        Of that job.
    judge : In(1), code : In(StatusCode)
        Writes its verdict.
    advance, remove, rewind : In(1)
        As above; ``rewind`` wins.
    oldest_code : Out(StatusCode)
        Verdict of the oldest job under way.
    """

    jobs: Signal
    waiting: Signal
    underway: Signal
    bank: Signal
    verdict: Any
    judge: Signal
    code: Signal
    advance: Signal
    remove: Signal
    rewind: Signal
    oldest_code: Signal

    def __init__(self, *, params: CoreParams) -> None:
        self.params = params
        count = range(params.queue_depth + 2)
        super().__init__(
            {
                "jobs": In(count),
                "waiting": Out(count),
                "underway": Out(count),
                "bank": Out(params.bank_bits),
                "verdict": Out(verdict_layout()),
                "judge": In(1),
                "code": In(StatusCode),
                "advance": In(1),
                "remove": In(1),
                "rewind": In(1),
                "oldest_code": Out(StatusCode),
            }
        )

    def _after(self, bank: Value) -> Value:
        return Mux(bank == self.params.banks - 1, 0, bank + 1)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        following, oldest = self.bank, Signal(self.params.bank_bits)
        m.d.comb += self.waiting.eq(self.jobs - self.underway)
        self._judge(m, following, oldest)
        with m.If(self.remove):
            m.d.sync += oldest.eq(self._after(oldest))
        with m.If(self.rewind):
            m.d.sync += [
                following.eq(Mux(self.remove, self._after(oldest), oldest)),
                self.underway.eq(0),
            ]
        with m.Else():
            with m.If(self.advance):
                m.d.sync += following.eq(self._after(following))
            m.d.sync += self.underway.eq(self.underway + self.advance - self.remove)
        return m

    def _judge(self, m: Module, following: Value, oldest: Value) -> None:
        """Verdicts are registers: read at two places, cleared as a job leaves."""
        verdicts = Signal(data.ArrayLayout(verdict_layout(), self.params.banks))
        m.d.comb += [
            self.verdict.eq(verdicts[following]),
            self.oldest_code.eq(verdicts[oldest].code),
        ]
        with m.If(self.judge):
            m.d.sync += [verdicts[following].checked.eq(1), verdicts[following].code.eq(self.code)]
        with m.If(self.remove):
            m.d.sync += verdicts[oldest].checked.eq(0)
