# amaranth: UnusedElaboratable=no
"""Matching: pairs only, none left over, nobody waits for ever; proof."""

from __future__ import annotations

import random

import pytest
from amaranth.asserts import AnySeq
from amaranth.hdl import Assert, Assume, Module, Signal
from amaranth.lib import wiring

from attnsieve.hdl.lib.matching import Matching
from attnsieve.sim.formal import ProofError, prove
from attnsieve.sim.unit import simulate


def pairs_of(askers, servers, requests):
    """Pairs of each cycle, as the block makes them."""
    dut, found = Matching(askers=askers, servers=servers), []

    async def bench(ctx):
        for row in requests:
            for asker, wanted in enumerate(row):
                ctx.set(dut.request[asker], wanted)
            found.append([ctx.get(dut.match[asker]) for asker in range(askers)])
            await ctx.tick()

    simulate(dut, bench)
    return found


@pytest.mark.parametrize(("askers", "servers"), [(1, 1), (2, 2), (4, 3), (8, 4), (16, 16)])
def test_pairs(askers, servers):
    rng = random.Random(askers)
    requests = [[rng.getrandbits(servers) for _ in range(askers)] for _ in range(150)]
    for row, match in zip(requests, pairs_of(askers, servers, requests), strict=True):
        taken = 0
        for wanted, got in zip(row, match, strict=True):
            assert got & ~wanted == 0
            assert got & (got - 1) == 0
            assert got & taken == 0
            taken |= got
        assert all(got or not wanted & ~taken for wanted, got in zip(row, match, strict=True))


class Proof(wiring.Component):
    """Two askers and two servers: pairs only; a request that stays is served within a bound.

    Parameters
    ----------
    bound : int
        Cycles.
    """

    def __init__(self, *, bound):
        self.bound = bound
        super().__init__({})

    def elaborate(self, platform):
        m = Module()
        dut = m.submodules.dut = Matching(askers=2, servers=2)
        for asker in range(2):
            request, match = dut.request[asker], dut.match[asker]
            m.d.comb += request.eq(AnySeq(2))
            m.d.comb += [Assert((match & ~request) == 0), Assert(match != 3)]
            for server in range(2):
                waits = Signal(range(self.bound + 2), name=f"waits{asker}{server}")
                held = Signal(name=f"held{asker}{server}")
                m.d.comb += Assume(~held | request[server])
                m.d.sync += held.eq(request[server] & ~match[server])
                with m.If(request[server] & ~match[server]):
                    m.d.sync += waits.eq(waits + 1)
                with m.Else():
                    m.d.sync += waits.eq(0)
                m.d.comb += Assert(waits <= self.bound)
        m.d.comb += Assert((dut.match[0] & dut.match[1]) == 0)
        for asker in range(2):  # maximal
            left = dut.request[asker] & ~(dut.match[0] | dut.match[1])
            m.d.comb += Assert((left == 0) | (dut.match[asker] != 0))
        return m


def test_proof():
    prove(Proof(bound=1), depth=14, name="matching")


def test_a_bound_that_is_too_tight_is_refuted():
    with pytest.raises(ProofError):
        prove(Proof(bound=0), depth=14, name="matching")


def test_parameters_are_checked():
    with pytest.raises(ValueError, match=r"^Askers must be a power of two"):
        Matching(askers=3, servers=1)
    with pytest.raises(ValueError, match=r"^Servers must be in 1\.\.2, not 3$"):
        Matching(askers=2, servers=3)
