# amaranth: UnusedElaboratable=no
"""Every started job is reported within a bound, whatever errors and aborts come."""

from __future__ import annotations

import pytest
from amaranth.asserts import AnySeq
from amaranth.hdl import Assert, Assume, Cover, Module, ResetInserter, Signal
from amaranth.lib import wiring

from attnsieve.hdl.control.status import StatusCode
from attnsieve.hdl.params import CoreParams
from attnsieve.sim.formal import HoldRule, ProofError, prove

from .stored import Stored

SMALLEST = CoreParams(
    lanes=4, max_head_dim=16, max_keys=2, max_queries=1, max_heads=1, buffer_elements=32,
    output_lanes=1, channels=1, data_width=32, queue_depth=1, lut_ram=False)
#: Cycles from a job's turn to its report: check 24, walk 8, tail 4, twice where a failed
#: neighbour makes it run again.
BOUND = 60


class Environment(wiring.Component):
    """A datapath that moves at least every second cycle, finishes, and answers a stop."""

    def __init__(self, *, bound):
        self.bound = bound
        super().__init__({})

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = dut = Stored(params=SMALLEST)
        m.d.comb += [
            dut.job.valid.eq(AnySeq(1)),
            # Good jobs of one row, and jobs that are refused at once: what a job holds else changes
            # no state of the control but numbers.
            dut.job.p.heads.eq(1), dut.job.p.kv_heads.eq(1), dut.job.p.keys.eq(1),
            dut.job.p.head_dim.eq(16), dut.job.p.queries.eq(AnySeq(1)),
            dut.abort.eq(AnySeq(1)), dut.table_data.mantissa.eq(AnySeq(1) << 15),
            dut.query_valid.eq(AnySeq(1)),
        ]
        m.submodules.hold = HoldRule(dut.job, assume=True)
        m.d.comb += dut.scale.ready.eq(1)
        for name in ("query", "key", "value", "output", "row"):
            ready, before = AnySeq(1), Signal(name=f"{name}_stalled")
            m.d.comb += getattr(dut, name).ready.eq(ready)
            m.d.sync += before.eq(~ready)
            m.d.comb += Assume(ready | ~before)
            m.submodules += ResetInserter(dut.clear)(HoldRule(getattr(dut, name)))
        asked, bit = Signal(), Signal()  # the mask bit stays until the next read
        m.d.sync += [asked.eq(dut.query_en), bit.eq(dut.query_valid)]
        m.d.comb += Assume(asked | (dut.query_valid == bit))
        self._bus(m, dut)
        self._end(m, dut)
        self._rules(m, dut)
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

    def _rules(self, m, dut) -> None:
        age = Signal(8)
        m.d.sync += age.eq(age + 1)
        finish, taken = dut.result.valid & dut.result.ready, AnySeq(1)
        waited = Signal()
        m.d.sync += waited.eq(~taken)
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


def test_every_job_is_reported_in_time():
    prove(Environment(bound=BOUND), depth=22, name="job control", timeout=200)


@pytest.mark.full
def test_every_job_is_reported_in_time_deep():
    prove(Environment(bound=BOUND), depth=BOUND + 20, name="job control", timeout=3000)


def test_reports_are_reached():
    prove(Environment(bound=BOUND), depth=30, mode="cover", name="job control", timeout=200)


def test_a_bound_that_is_too_small_is_refuted():
    with pytest.raises(ProofError):
        prove(Environment(bound=8), depth=24, name="job control", timeout=200)
