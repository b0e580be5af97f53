# amaranth: UnusedElaboratable=no
"""Every started job is reported within a bound, whatever errors and aborts come.

The units behind the dispatcher are replaced by ones that answer within a few cycles, in any order
and with any verdict; that the checker ends is proved by itself.
"""

from __future__ import annotations

import pytest
from amaranth.asserts import AnySeq
from amaranth.hdl import Assert, Assume, Cover, Module, Mux, ResetInserter, Signal
from amaranth.lib import wiring

from attnsieve.hdl.control.checker import JobChecker
from attnsieve.hdl.control.dispatcher import UNITS, Dispatcher
from attnsieve.hdl.control.job_control import JobControl
from attnsieve.hdl.control.sequencers import Sequencers
from attnsieve.hdl.control.status import StatusCode
from attnsieve.hdl.params import CoreParams
from attnsieve.sim.formal import HoldRule, ProofError, prove

SMALLEST = CoreParams(
    lanes=4, max_head_dim=16, max_keys=2, max_queries=1, max_heads=1, buffer_elements=32,
    output_lanes=1, channels=1, data_width=32, queue_depth=1, lut_ram=False)
#: Cycles from a job's turn to its report: check, walk and tail, twice where a failed neighbour
#: makes it run again.
BOUND = 36
#: Cycles of a check of one head, if the memory grants every second cycle at least.
CHECK_BOUND = 76


class AnyUnits(Sequencers):
    """The dispatcher with units that answer within two cycles: a verdict, a job's only row."""

    def elaborate(self, platform):
        m = Module()
        m.submodules.dispatcher = dispatcher = Dispatcher(params=self.params)
        checking, good, given = Signal(), AnySeq(1), Signal()
        m.d.sync += checking.eq(dispatcher.check)
        m.d.comb += [
            dispatcher.waiting.eq(self.waiting),
            dispatcher.bank.eq(self.bank),
            dispatcher.verdict.eq(self.verdict),
            dispatcher.hold.eq(self.hold),
            dispatcher.checked.eq(checking),
            self.advance.eq(dispatcher.advance),
            self.offering.eq(dispatcher.offering),
            self.judge.eq(checking),
            self.code.eq(Mux(good, StatusCode.OK, StatusCode.ZERO_LENGTH)),
        ]
        for name in (unit for unit in UNITS if unit != "row"):
            taken, late = AnySeq(1), Signal(name=f"{name}_late")
            m.d.comb += [getattr(dispatcher, name).ready.eq(taken), Assume(taken | late)]
            m.d.sync += late.eq(~taken)
        m.d.comb += [
            dispatcher.row.ready.eq(~given),
            self.row.valid.eq(given),
            self.row.p.last_of_job.eq(1),
        ]
        with m.If(dispatcher.row.valid & ~given):
            m.d.sync += given.eq(1)
        with m.If(given & self.row.ready):
            m.d.sync += given.eq(0)
        return m


class AnyControl(JobControl):
    """Job control with such units."""

    units = AnyUnits


class Environment(wiring.Component):
    """A datapath that moves at least every second cycle, finishes, and answers a stop."""

    def __init__(self, *, bound):
        self.bound = bound
        super().__init__({})

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = dut = AnyControl(params=SMALLEST)
        starts, finish = AnySeq(1), dut.result.valid & dut.result.ready
        ready, stalled = AnySeq(1), Signal()
        m.d.sync += [dut.jobs.eq(dut.jobs + starts - finish), stalled.eq(~ready)]
        m.d.comb += [
            Assume(~starts | (dut.jobs <= SMALLEST.queue_depth)),
            dut.abort.eq(AnySeq(1)),
            dut.row.ready.eq(ready),
            Assume(ready | ~stalled),
        ]
        m.submodules += ResetInserter(dut.clear)(HoldRule(dut.row))
        self._bus(m, dut)
        self._end(m, dut)
        self._rules(m, dut, finish)
        return m

    def _bus(self, m, dut) -> None:
        """Errors stay until the clear and come with a job; a stop is answered in three cycles."""
        was, waited = Signal(2), Signal(2)
        clear, idle = Signal(), Signal()
        m.d.sync += [was.eq(dut.read_error), clear.eq(dut.clear)]
        m.d.comb += [
            dut.read_error.eq(AnySeq(2)), idle.eq(AnySeq(1)), dut.idle.eq(idle),
            Assume((dut.read_error != 1) & ((dut.read_error == 0) | dut.jobs.any())),
            Assume((was == 0) | clear | (dut.read_error == was)),
            Assume(~clear | (dut.read_error == 0)),
            Assume(idle | (waited != 2)),
        ]
        m.d.sync += waited.eq(waited + 1)
        with m.If(~dut.stop | idle):
            m.d.sync += waited.eq(0)

    def _end(self, m, dut) -> None:
        """done comes once for each job whose last row was taken, within three cycles."""
        due, waited, done = Signal(2), Signal(2), Signal()
        last = dut.row.valid & dut.row.ready & dut.row.p.last_of_job
        m.d.comb += [done.eq(AnySeq(1)), dut.done.eq(done),
                     Assume(~done | (due != 0)), Assume(done | (due == 0) | (waited != 2))]
        m.d.sync += [due.eq(due + last - done), waited.eq(waited + 1)]
        with m.If(done | (due == 0)):
            m.d.sync += waited.eq(0)
        with m.If(dut.clear):
            m.d.sync += [due.eq(0), waited.eq(0)]

    def _rules(self, m, dut, finish) -> None:
        age, taken, waited = Signal(8), AnySeq(1), Signal()
        m.d.sync += [age.eq(age + 1), waited.eq(~taken)]
        m.d.comb += [dut.result.ready.eq(taken), Assume(taken | ~waited)]
        m.submodules += HoldRule(dut.result)
        with m.If(finish | (dut.jobs == 0)):
            m.d.sync += age.eq(0)
        m.d.comb += [
            Assert(age < self.bound),
            Assert(~finish | (dut.jobs != 0)),
            Assert(dut.jobs <= SMALLEST.queue_depth + 1),
            Cover(finish & (dut.result.p == StatusCode.OK)),
            Cover(finish & (dut.result.p == StatusCode.READ_SLVERR)),
        ]


class AnyWords(wiring.Component):
    """A checker that is given any words, at least in every second cycle."""

    def __init__(self, *, bound):
        self.bound = bound
        super().__init__({})

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = dut = JobChecker(params=SMALLEST)
        busy, age = Signal(), Signal(8)
        for port in (dut.fetch, dut.store):
            late = Signal()
            m.d.comb += [port.grant.eq(AnySeq(1)), Assume(port.grant | ~late)]
            m.d.sync += late.eq(~port.grant)
        m.d.comb += [
            dut.fetch.data.eq(AnySeq(32)),
            dut.start.eq(~busy),
            Assert(age < self.bound),
            Assert(~dut.done | busy),
            Cover(dut.done & (dut.code == StatusCode.OK)),
            Cover(dut.done & (dut.code == StatusCode.ADDRESS_WRAP)),
        ]
        m.d.sync += [busy.eq(~dut.done), age.eq(Mux(busy & ~dut.done, age + 1, 0))]
        return m


def test_every_job_is_reported_in_time():
    prove(Environment(bound=BOUND), depth=22, name="job control", timeout=200)


@pytest.mark.full
def test_every_job_is_reported_in_time_deep():
    prove(Environment(bound=BOUND), depth=BOUND + 20, name="job control", timeout=3000)


def test_reports_are_reached():
    prove(Environment(bound=BOUND), depth=20, mode="cover", name="job control", timeout=200)


def test_a_bound_that_is_too_small_is_refuted():
    with pytest.raises(ProofError):
        prove(Environment(bound=8), depth=24, name="job control", timeout=200)


def test_every_check_ends():
    prove(AnyWords(bound=CHECK_BOUND), depth=CHECK_BOUND + 4, name="checker", timeout=300)


def test_verdicts_are_reached():
    prove(AnyWords(bound=CHECK_BOUND), depth=58, mode="cover", name="checker", timeout=300)
