# amaranth: UnusedElaboratable=no
"""Bypass queue: order, no latency while empty, nothing lost; proof."""

from __future__ import annotations

import pytest
from amaranth.asserts import AnyConst
from amaranth.hdl import Assert, Cover, Module, Mux, Signal
from amaranth.lib import wiring

from attnsieve.hdl.lib.bypass_queue import BypassQueue
from attnsieve.sim.formal import HoldRule, ProofError, free_inputs, prove
from attnsieve.sim.unit import run_streams

ITEMS = [(7 * n) % 256 for n in range(80)]


@pytest.mark.parametrize("depth", [1, 2, 3, 8])
@pytest.mark.parametrize("stall", [0.0, 0.4, {"i": 0.8}, {"o": 0.8}])
def test_order(depth, stall):
    dut = BypassQueue(shape=8, depth=depth)
    assert run_streams(dut, {"i": ITEMS}, {"o": len(ITEMS)}, stall=stall).outputs["o"] == ITEMS


@pytest.mark.parametrize("depth", [1, 2, 8])
def test_no_latency_while_empty(depth):
    result = run_streams(BypassQueue(shape=8, depth=depth), {"i": ITEMS}, {"o": len(ITEMS)})
    assert result.times["o"] == result.times["i"] == list(range(len(ITEMS)))


class Proof(wiring.Component):
    """The n-th payload out is the n-th in; ready does not wait for the output.

    Parameters
    ----------
    shift : int
        Payloads by which the claim is wrong; 0 to prove it.
    """

    def __init__(self, *, depth, shift=0):
        self.depth, self.shift = depth, shift
        super().__init__({})

    def elaborate(self, platform):
        m = Module()
        dut = m.submodules.dut = BypassQueue(shape=3, depth=self.depth)
        free_inputs(m, dut)
        m.submodules += HoldRule(dut.o)
        index, came, left, watched = AnyConst(4), Signal(4), Signal(4), Signal(3)
        comes, goes = dut.i.valid & dut.i.ready, dut.o.valid & dut.o.ready
        m.d.sync += [came.eq(came + comes), left.eq(left + goes)]
        with m.If(comes & (came == index)):
            m.d.sync += watched.eq(dut.i.payload)
        now = Mux(comes & (came == index), dut.i.payload, watched)
        with m.If(dut.o.valid):
            m.d.comb += [
                Assert(left < came + comes),
                Assert((left != index + self.shift) | (dut.o.payload == now)),
            ]
        m.d.comb += [
            Assert(dut.i.ready == (dut.queue.level != self.depth)),
            Cover((left == 2) & (dut.queue.level == self.depth)),
        ]
        return m


@pytest.mark.parametrize("depth", [1, 2, 3, 4])
def test_proof(depth):
    prove(Proof(depth=depth), depth=10, name="bypass queue")


def test_everything_is_reached():
    prove(Proof(depth=3), depth=12, mode="cover", name="bypass queue")


def test_a_wrong_claim_is_refuted():
    with pytest.raises(ProofError):
        prove(Proof(depth=2, shift=1), depth=10, name="bypass queue")
