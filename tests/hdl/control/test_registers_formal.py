# amaranth: UnusedElaboratable=no
"""Registers: jobs that are counted, refused, aborted; the interrupt; whatever software writes."""

from __future__ import annotations

import pytest
from amaranth.hdl import Assert, Assume, Cover, Module, Signal
from amaranth.lib import wiring

from attnsieve.hdl.control.registers import Registers
from attnsieve.hdl.params import CoreParams
from attnsieve.sim.formal import ProofError, free_inputs, prove

#: Cycles in which the job registers are cleared after reset: nothing can be started before.
CLEARED = 128


class Proof(wiring.Component):
    """Any bus and any results of jobs that can be read.

    Parameters
    ----------
    most : int
        Most jobs that are claimed to be under way.
    """

    def __init__(self, *, most=None):
        self.params = CoreParams(
            lanes=4, max_head_dim=16, max_keys=16, max_queries=16, max_heads=1, operand_bits=8,
            buffer_elements=64, output_lanes=1, channels=1, data_width=32, addr_width=20,
            queue_depth=1, lut_ram=False,
        )  # fmt: skip
        self.most = self.params.queue_depth + 1 if most is None else most
        super().__init__({})

    def elaborate(self, platform):
        m = Module()
        dut = m.submodules.dut = Registers(params=self.params)
        free_inputs(m, dut)
        ended = dut.result.valid & dut.result.ready
        jobs, abort, known = Signal.like(dut.jobs), Signal(), Signal()
        m.d.sync += [jobs.eq(dut.jobs), abort.eq(dut.abort), known.eq(1)]
        before = Signal()  # a job ended in the cycle before
        m.d.sync += before.eq(ended)
        m.d.comb += [
            Assume(~dut.result.valid | (dut.jobs != 0)),
            Assert(dut.jobs <= self.most),
            Assert(~dut.result.ready | dut.result.valid),
            # one start or one end in a cycle, or both
            Assert(~known | (dut.jobs + before == jobs) | (dut.jobs + before == jobs + 1)),
            # an abort lasts until all jobs have ended, and none is started meanwhile
            Assert(~abort | dut.abort | (jobs == 0)),
            Assert(~abort | (dut.jobs <= jobs)),
            Cover(dut.abort & (dut.jobs == 2)),
            Cover(dut.irq),
        ]
        return m


def test_proof():
    prove(Proof(), depth=CLEARED + 52, name="registers")


def test_jobs_are_reached():
    prove(Proof(), depth=CLEARED + 62, mode="cover", name="registers")


def test_a_wrong_claim_is_refuted():
    with pytest.raises(ProofError):
        prove(Proof(most=1), depth=CLEARED + 62, name="registers")
