# amaranth: UnusedElaboratable=no
"""The dispatcher of a core with lists: what it offers stays until it is taken, whatever happens."""

from __future__ import annotations

from dataclasses import replace

import pytest
from amaranth.asserts import AnySeq
from amaranth.hdl import Assert, Assume, Cover, Module, Mux, Signal
from amaranth.lib import wiring

from attnsieve.gen import config
from attnsieve.hdl.control.dispatcher import UNITS, Dispatcher
from attnsieve.hdl.control.job_store import JobStore
from attnsieve.hdl.control.status import StatusCode
from attnsieve.sim.formal import ProofError, prove
from attnsieve.sim.formal.hold import HoldRule

PARAMS = replace(config.load("spatten-tiny").core, queue_depth=1)


class Proof(wiring.Component):
    """Jobs with any verdict, units that take them at any time; one job at once is under way.

    Parameters
    ----------
    wrong : bool
        Claim that no job is refused before its lists were taken.
    """

    def __init__(self, *, wrong=False):
        self.wrong = wrong
        super().__init__({})

    def elaborate(self, platform):
        m = Module()
        m.submodules.store = store = JobStore(params=PARAMS)
        m.submodules.dut = dut = Dispatcher(params=PARAMS)
        starts, removes, checked = AnySeq(1), AnySeq(1), AnySeq(1)
        good = AnySeq(1)
        checking, jobs = Signal(), Signal.like(store.jobs)
        m.d.sync += [
            jobs.eq(jobs + starts - removes),
            checking.eq((checking & ~checked) | dut.check),
        ]
        m.d.comb += [
            Assume(~starts | (jobs <= PARAMS.queue_depth)),
            Assume(~removes | (store.underway != 0)),
            store.jobs.eq(jobs),
            store.judge.eq(checking & checked),
            store.code.eq(Mux(good, StatusCode.OK, StatusCode.ZERO_LENGTH)),
            store.advance.eq(dut.advance),
            store.remove.eq(removes),
            dut.waiting.eq(store.waiting),
            dut.bank.eq(store.bank),
            dut.verdict.eq(store.verdict),
            dut.checked.eq(checking & checked),
            dut.hold.eq(store.underway != 0),
            *(getattr(dut, name).ready.eq(AnySeq(1)) for name in (*UNITS, "lists")),
        ]
        m.submodules += [HoldRule(getattr(dut, name)) for name in (*UNITS, "lists")]
        self._order(m, dut)
        return m

    def _order(self, m, dut):
        """No unit has a job whose lists were not taken; a refused one may be passed over."""
        taken, refused = Signal(), dut.verdict.code != StatusCode.OK
        with m.If(dut.advance):
            m.d.sync += taken.eq(0)
        with m.Elif(dut.lists.valid & dut.lists.ready):
            m.d.sync += taken.eq(1)
        m.d.comb += [
            *(Assert(~getattr(dut, name).valid | taken) for name in UNITS),
            Assert(~dut.advance | taken | (refused & (not self.wrong))),
            Cover(dut.advance & refused & ~taken),
            Cover(dut.advance & refused & taken),
            Cover(dut.advance & ~refused),
        ]


def test_proof():
    prove(Proof(), depth=18, name="dispatcher")


def test_everything_is_reached():
    prove(Proof(), depth=18, mode="cover", name="dispatcher")


def test_a_wrong_claim_is_refuted():
    with pytest.raises(ProofError):
        prove(Proof(wrong=True), depth=18, name="dispatcher")
