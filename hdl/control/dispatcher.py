"""Has jobs checked in order and hands them to the units that walk them."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Const, Module, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from attnsieve.hdl.control.job_store import verdict_layout
from attnsieve.hdl.control.status import StatusCode
from attnsieve.hdl.params import CoreParams

__all__ = ["UNITS", "Dispatcher"]

#: The units that walk a job, each at its own pace; the first are served first: V is needed after
#: the first scores, and O after that.
UNITS = ("query", "key", "row", "value", "output")


class Dispatcher(wiring.Component):
    """Takes the waiting jobs of a store one after another: check, then offer to every unit.

    A job is offered to all units at once; each takes it when it is done with the job before. So
    the next job's loading starts while this one computes. A refused job is offered to none.
    A unit sees an offered job two cycles after the check. With lists a job is offered, or passed
    over, only once its lists have been taken: what is offered stays.

    Parameters
    ----------
    params : CoreParams
        The core.

    Members
    -------
    waiting : In, bank : In(bank_bits), verdict : In(verdict_layout), advance : Out(1)
        The next job of the store.
    check : Out(1), checked : In(1)
        To the checker: begin; from it: the verdict is there.
    hold : In(1)
        Offer no further job.
    offering : Out(1)
        A job is being offered.
    query, key, value, output, row : Out(stream(bank_bits))
        Its bank, for each unit.
    lists : Out(stream(bank_bits))
        With lists only: the next job, while none is under way and whether it is checked or not.
    """

    waiting: Signal
    bank: Signal
    verdict: Any
    advance: Signal
    check: Signal
    checked: Signal
    hold: Signal
    offering: Signal

    def __init__(self, *, params: CoreParams) -> None:
        self.params = params
        lists = params.token_lanes != 0
        super().__init__(
            {
                "waiting": In(range(params.queue_depth + 2)),
                "bank": In(params.bank_bits),
                "verdict": In(verdict_layout()),
                "advance": Out(1),
                "check": Out(1),
                "checked": In(1),
                "hold": In(1),
                "offering": Out(1),
                **{unit: Out(stream.Signature(params.bank_bits)) for unit in UNITS},
                **({"lists": Out(stream.Signature(params.bank_bits))} if lists else {}),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        left = Signal(len(UNITS))  # units that have not taken the offered job
        unlisted = self._lists(m) if self.params.token_lanes else Const(0)
        with m.FSM() as fsm:
            m.d.comb += self.offering.eq(fsm.ongoing("OFFER"))
            with m.State("IDLE"):
                with m.If(self.waiting == 0):
                    pass
                with m.Elif(~self.verdict.checked):
                    m.d.comb += self.check.eq(1)
                    m.next = "CHECK"
                with m.Elif(self.verdict.code != StatusCode.OK):
                    m.d.comb += self.advance.eq(~unlisted)
                with m.Elif(~self.hold & ~unlisted):
                    m.d.sync += left.eq(-1)
                    m.next = "OFFER"
            with m.State("CHECK"):
                with m.If(self.checked):
                    m.next = "IDLE"
            with m.State("OFFER"):
                with m.If(left == 0):
                    m.d.comb += self.advance.eq(1)
                    m.next = "IDLE"
        for index, unit in enumerate(UNITS):
            offer = getattr(self, unit)
            m.d.comb += [offer.valid.eq(left[index]), offer.payload.eq(self.bank)]
            with m.If(offer.valid & offer.ready):
                m.d.sync += left[index].eq(0)
        return m

    def _lists(self, m: Module) -> Value:
        """The lists of the next job touch no memory: they are built while the job is checked.
        Returns whether it is offered to them."""
        listed = Signal()
        m.d.comb += [
            self.lists.valid.eq((self.waiting != 0) & ~self.hold & ~listed),
            self.lists.payload.eq(self.bank),
        ]
        with m.If(self.advance):
            m.d.sync += listed.eq(0)
        with m.Elif(self.lists.valid & self.lists.ready):
            m.d.sync += listed.eq(1)
        return self.lists.valid
