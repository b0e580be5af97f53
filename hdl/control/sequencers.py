"""The units that check and walk jobs, and the dispatcher that feeds them."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from attnsieve.hdl.control.checker import JobChecker
from attnsieve.hdl.control.dispatcher import UNITS, Dispatcher
from attnsieve.hdl.control.job_store import verdict_layout
from attnsieve.hdl.control.regions import RegionSequencer
from attnsieve.hdl.control.rows import RowSequencer
from attnsieve.hdl.control.status import StatusCode
from attnsieve.hdl.control.walk import ListWalk, forward_walk, walk_members
from attnsieve.hdl.control.words import FetchArbiter, fetch_signature, store_signature
from attnsieve.hdl.layouts import work_members
from attnsieve.hdl.params import CoreParams

__all__ = ["Sequencers"]


class Sequencers(wiring.Component):
    """Dispatcher, checker, one region sequencer per tensor, and the row sequencer.

    They share the read port of the job memory: lists go first, then the others in the order in
    which what they walk is needed, then the checker.

    Parameters
    ----------
    params : CoreParams
        The core.

    Members
    -------
    waiting, bank, verdict, advance, hold, offering
        See `Dispatcher`.
    judge : Out(1), code : Out(StatusCode)
        The verdict on the next job.
    fetch : Out(fetch_signature), store : Out(store_signature)
        Ports of the job memory.
    query, key, value, output, scale, row : Out(stream)
        The work of each job; see `work_members`.
    (masks, lists) : see `walk_members`
    """

    waiting: Signal
    bank: Signal
    verdict: Any
    advance: Signal
    hold: Signal
    offering: Signal
    judge: Signal
    code: Signal
    fetch: Any
    store: Any

    def __init__(self, *, params: CoreParams) -> None:
        self.params = params
        super().__init__(
            {
                "waiting": In(range(params.queue_depth + 2)),
                "bank": In(params.bank_bits),
                "verdict": In(verdict_layout()),
                "advance": Out(1),
                "hold": In(1),
                "offering": Out(1),
                "judge": Out(1),
                "code": Out(StatusCode),
                "fetch": Out(fetch_signature(params)),
                "store": Out(store_signature(params)),
                **work_members(params),
                **walk_members(params),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.dispatcher = dispatcher = Dispatcher(params=self.params)
        m.submodules.checker = checker = JobChecker(params=self.params)
        m.submodules.row = rows = self._rows(m, dispatcher)
        walkers: dict[str, Any] = {"row": rows}
        for unit in (unit for unit in UNITS if unit != "row"):
            walkers[unit] = RegionSequencer(params=self.params, tensor=unit[0])
            m.submodules[unit] = walkers[unit]
        for unit in UNITS:
            connect(m, getattr(dispatcher, unit), walkers[unit].job)
            connect(m, walkers[unit].o, flipped(getattr(self, unit)))
        connect(m, rows.scale, flipped(self.scale))
        lists = [rows.list_fetch] if self.params.token_lanes else []
        readers = [*lists, *(walkers[unit].fetch for unit in UNITS), checker.fetch]
        m.submodules.arbiter = arbiter = FetchArbiter(params=self.params, readers=len(readers))
        for reader, port in zip(readers, arbiter.reader, strict=True):
            connect(m, reader, port)
        connect(m, arbiter.o, flipped(self.fetch))
        connect(m, checker.store, flipped(self.store))
        m.d.comb += [
            dispatcher.waiting.eq(self.waiting),
            dispatcher.bank.eq(self.bank),
            dispatcher.verdict.eq(self.verdict),
            dispatcher.hold.eq(self.hold),
            dispatcher.checked.eq(checker.done),
            self.advance.eq(dispatcher.advance),
            self.offering.eq(dispatcher.offering),
            checker.start.eq(dispatcher.check),
            checker.bank.eq(self.bank),
            self.judge.eq(checker.done),
            self.code.eq(checker.code),
        ]
        return m

    def _rows(self, m: Module, dispatcher: Dispatcher) -> Any:
        """Who walks the rows, with the masks or the lists that it reads."""
        if self.params.token_lanes:
            walk = ListWalk(params=self.params)
            connect(m, dispatcher.lists, walk.lists)
            forward_walk(m, walk, self)
            return walk
        rows = RowSequencer(params=self.params)
        m.d.comb += [
            self.query_bank.eq(rows.bank),
            self.query_index.eq(rows.query),
            self.query_masked.eq(1),
            self.query_en.eq(rows.query_en),
            rows.query_valid.eq(self.query_valid),
        ]
        return rows
