"""Checks jobs in order and hands them to the units that walk them."""

from __future__ import annotations

from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from attnsieve.hdl.control.checker import JobChecker
from attnsieve.hdl.control.job_store import verdict_layout
from attnsieve.hdl.control.status import StatusCode
from attnsieve.hdl.layouts import head_layout, job_layout, request_layout
from attnsieve.hdl.params import CoreParams

__all__ = ["UNITS", "Dispatcher"]

#: The units that walk a job, each at its own pace.
UNITS = ("query", "key", "value", "row")


class Dispatcher(wiring.Component):
    """Takes the waiting jobs of a store one after another: check, then offer to every unit.

    A job is offered to all units at once; each takes it when it is done with the job before. So
    the next job's loading starts while this one computes. A refused job is offered to none.
    A unit sees an offered job one cycle after the check.

    Parameters
    ----------
    params : CoreParams
        The core.

    Members
    -------
    waiting : In, request : In(request_layout), verdict : In(verdict_layout)
        The next job of the store.
    judge : Out(1), judgement : Out(verdict_layout), advance : Out(1)
        To the store.
    hold : In(1)
        Offer no further job.
    offering : Out(1)
        A job is being offered.
    query, key, value, row : Out(stream(job_layout))
        The job, for each unit.
    table_head, table_en, table_grant, table_data
        Head table of the request's bank, for the checker.
    """

    def __init__(self, *, params: CoreParams) -> None:
        self.params = params
        super().__init__(
            {
                "waiting": In(range(params.queue_depth + 2)),
                "request": In(request_layout(params)),
                "verdict": In(verdict_layout(params)),
                "judge": Out(1),
                "judgement": Out(verdict_layout(params)),
                "advance": Out(1),
                "hold": In(1),
                "offering": Out(1),
                **{unit: Out(stream.Signature(job_layout(params))) for unit in UNITS},
                "table_head": Out(params.head_bits),
                "table_en": Out(1),
                "table_grant": In(1),
                "table_data": In(head_layout(params)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.checker = checker = JobChecker(params=self.params)
        left = Signal(len(UNITS))  # units that have not taken the offered job
        self._connect(m, checker, left)
        with m.FSM() as fsm:
            m.d.comb += self.offering.eq(fsm.ongoing("OFFER"))
            with m.State("IDLE"):
                with m.If(self.waiting == 0):
                    pass
                with m.Elif(~self.verdict.checked):
                    m.d.comb += checker.start.eq(1)
                    m.next = "CHECK"
                with m.Elif(self.verdict.code != StatusCode.OK):
                    m.d.comb += self.advance.eq(1)
                with m.Elif(~self.hold):
                    m.d.sync += left.eq(-1)
                    m.next = "OFFER"
            with m.State("CHECK"):
                m.d.comb += self.judge.eq(checker.done)
                with m.If(checker.done):
                    m.next = "IDLE"
            with m.State("OFFER"):
                with m.If(left == 0):
                    m.d.comb += self.advance.eq(1)
                    m.next = "IDLE"
        return m

    def _connect(self, m, checker, left) -> None:
        job = Signal(job_layout(self.params))
        for name, _ in job.shape():
            if name == "group":
                m.d.comb += job.group.eq(self.verdict.group)
            elif name == "parts":
                shift = (self.params.segment - 1).bit_length()
                m.d.comb += job.parts.eq(self.request.head_dim >> shift)
            else:
                m.d.comb += job[name].eq(self.request[name])
        for index, unit in enumerate(UNITS):
            offer = getattr(self, unit)
            m.d.comb += [offer.valid.eq(left[index]), offer.p.eq(job)]
            with m.If(offer.valid & offer.ready):
                m.d.sync += left[index].eq(0)
        m.d.comb += [
            checker.request.eq(self.request),
            self.judgement.checked.eq(1),
            self.judgement.code.eq(checker.code),
            self.judgement.group.eq(checker.group),
            self.table_head.eq(checker.table_head),
            self.table_en.eq(checker.table_en),
            checker.table_grant.eq(self.table_grant),
            checker.table_data.eq(self.table_data),
        ]
