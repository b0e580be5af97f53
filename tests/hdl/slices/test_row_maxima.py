# amaranth: UnusedElaboratable=no
"""The largest score of each row, in every cycle; of any row what was stored since it was freed
(proof)."""

from __future__ import annotations

import random

import pytest
from amaranth.asserts import AnyConst
from amaranth.hdl import Assert, Assume, Cover, Module, Mux, Signal
from amaranth.lib import wiring

from attnsieve.hdl.slices.row_maxima import RowMaxima
from attnsieve.sim.formal import ProofError, free_inputs, prove
from attnsieve.sim.unit import simulate

from .front_cores import CORES, core


def ways(p):
    """Scores that can be stored in a cycle."""
    return 2 if p.groups > 1 else 1


def score_of(p, rng):
    top = 1 << p.score_bits - 1
    return rng.choice([-top, top - 1, -1, 0, rng.randint(-3, 3), rng.randrange(-top, top)])


def run(p, cycles, *, pace, free, seed=0):
    """Rows store scores, and begin anew, in any order; both ports read any row. Returns how often
    each row was known."""
    dut, rng = RowMaxima(params=p), random.Random(f"{seed} {pace} {free}")
    stored, known = [[] for _ in range(p.slice_rows)], [0] * p.slice_rows
    names = ("key", "pinned")

    async def bench(ctx):
        for cycle in range(cycles):
            freed = rng.randrange(p.slice_rows)
            frees = rng.random() < free
            ctx.set(dut.free, frees)
            ctx.set(dut.freed, freed)
            new = []
            for port in dut.i:
                row, valid = rng.randrange(p.slice_rows), rng.random() < pace
                valid = valid and not (frees and row == freed)  # all of its scores are there
                score = score_of(p, rng)
                noise = {name: rng.randrange(2) if p.max_keys > 1 else 0 for name in names}
                ctx.set(port.valid, valid)
                ctx.set(port.p, {"row": row, "score": score} | noise)
                new += [(row, score)] if valid else []
            rows = [rng.randrange(p.slice_rows) for _ in dut.read]
            for port, row in zip(dut.read, rows, strict=True):
                ctx.set(port.row, row)
            want = [max(stored[row], default=None) for row in rows]
            await ctx.tick()
            for port, row, best in zip(dut.read, rows, want, strict=True):
                assert ctx.get(port.known) == (best is not None), cycle
                assert best in (None, ctx.get(port.score)), cycle
                known[row] += best is not None
            for row, score in new:
                stored[row].append(score)
            if frees:
                stored[freed].clear()

    simulate(dut, bench)
    return known


@pytest.mark.parametrize("free", [0.02, 0.3])
@pytest.mark.parametrize("pace", [0.1, 0.5, 1.0])
@pytest.mark.parametrize("name", CORES)
def test_random_scores(name, pace, free):
    assert all(run(CORES[name], 400, pace=pace, free=free, seed=name))


@pytest.mark.parametrize("name", CORES)
def test_the_stated_latency(name):
    """A score is in what is read from the next cycle on, whichever way it came; equal ones and
    smaller ones change nothing."""
    p, dut = CORES[name], RowMaxima(params=CORES[name])
    row, top = p.slice_rows - 1, 1 << p.score_bits - 1

    async def bench(ctx):
        for port in dut.read:
            ctx.set(port.row, row)
        known, best = 0, None
        for way in range(ways(p)):
            for score in (-top, -top, -1, -2, 5 + way, -1):
                ctx.set(dut.i[way].valid, 1)
                ctx.set(dut.i[way].p, {"row": row, "score": score})
                await ctx.tick()
                ctx.set(dut.i[way].valid, 0)
                for port in dut.read:  # what was there before
                    assert ctx.get(port.known) == known
                    assert best in (None, ctx.get(port.score))
                known, best = 1, score if best is None else max(best, score)
                await ctx.tick()
                for port in dut.read:
                    assert (ctx.get(port.known), ctx.get(port.score)) == (1, best)
        ctx.set(dut.free, 1)
        ctx.set(dut.freed, row)
        await ctx.tick()
        ctx.set(dut.free, 0)
        await ctx.tick()
        assert [ctx.get(port.known) for port in dut.read] == [0, 0]

    simulate(dut, bench)


@pytest.mark.parametrize("way", [0, 1])
def test_both_ways_at_once(way):
    """The larger one, whichever way it comes; and one row does not touch another."""
    p = CORES["more"]
    dut = RowMaxima(params=p)

    async def bench(ctx):
        for n, port in enumerate(dut.i):
            ctx.set(port.valid, 1)
            ctx.set(port.p, {"row": 3, "score": 9 if n == way else -9})
        await ctx.tick()
        for port in dut.i:
            ctx.set(port.valid, 0)
        ctx.set(dut.read[0].row, 3)
        ctx.set(dut.read[1].row, 2)
        await ctx.tick()
        assert (ctx.get(dut.read[0].known), ctx.get(dut.read[0].score)) == (1, 9)
        assert ctx.get(dut.read[1].known) == 0

    simulate(dut, bench)


class Contract(wiring.Component):
    """Any scores by all ways, and rows that begin anew: of the row that is watched both ports give
    the largest score that was stored since. The first port always reads it, the second any row.

    Parameters
    ----------
    less : int
        By which the claim is wrong; 0 to prove it.
    """

    def __init__(self, params, *, less=0):
        self.params, self.less = params, less
        super().__init__({})

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = dut = RowMaxima(params=self.params)
        free_inputs(m, dut)
        row = AnyConst(range(self.params.slice_rows))
        known, best = Signal(), Signal.like(dut.i[0].p.score)
        some, most = known, best
        for port in dut.i:
            mine = port.valid & (port.p.row == row)
            most = Mux(mine & (~some | (port.p.score > most)), port.p.score, most)
            some = some | mine
            m.d.comb += Assume(~(mine & dut.free & (dut.freed == row)))
        m.d.comb += Assume(dut.read[0].row == row)
        free = dut.free & (dut.freed == row)
        m.d.sync += [known.eq(some & ~free), best.eq(most)]
        was, before = Signal(), Signal.like(best)
        m.d.sync += [was.eq(known), before.eq(best)]
        for n, port in enumerate(dut.read):
            asked = Signal(name=f"asked{n}")
            m.d.sync += asked.eq(port.row == row)
            with m.If(asked):
                m.d.comb += [Assert(port.known == was), Cover(was & (before == -3))]
                with m.If(was):
                    m.d.comb += Assert(port.score == before - self.less)
        return m


def small(groups, rows):
    return core(lanes=16 * groups, max_head_dim=16, max_keys=2, operand_bits=8, slice_rows=rows)


@pytest.mark.parametrize(("groups", "rows"), [(1, 2), (2, 2), (1, 8)])
def test_proof(groups, rows):
    prove(Contract(small(groups, rows)), depth=2, mode="induction", name="row maxima")


def test_everything_is_reached():
    prove(Contract(small(2, 2)), depth=8, mode="cover", name="row maxima")


def test_a_wrong_claim_is_refuted():
    with pytest.raises(ProofError):
        prove(Contract(small(2, 2), less=1), depth=4, name="row maxima")
