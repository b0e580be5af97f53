# amaranth: UnusedElaboratable=no
"""The sparse prob·V against the golden model, and its schedule to the cycle; proofs."""

from __future__ import annotations

import random
from math import gcd

import pytest
from amaranth.asserts import AnyConst
from amaranth.hdl import Assert, Assume, Cover, Module, Signal
from amaranth.lib import wiring

from attnsieve.hdl.params import CoreParams
from attnsieve.hdl.stages.prob_v_drain import PassDrain
from attnsieve.hdl.stages.sparse_prob_v import SparseProbV
from attnsieve.hdl.stages.term_lanes import TermLanes
from attnsieve.sim.formal import HoldRule, ProofError, free_inputs, prove
from tests.variants import mostly_full

from .value_rows import EIGHT, FOUR, STALLS, TINY, TWO, Work, run, run_recorded


def steps(work: Work) -> list[int]:
    """Steps of each row: passes times the terms of the largest class of lanes, counted anew."""
    p, counts, rows = work.params, [], []
    lanes = [0] * p.groups
    for beat in work.beats:
        lanes = [n + (t["mantissa"] > 0) for n, t in zip(lanes, beat["term"], strict=True)]
        if beat["last"]:
            counts.append(lanes)
            lanes = [0] * p.groups
    for row, lanes in zip(work.rows, counts, strict=True):
        side = gcd(row["parts"], p.groups)
        keys = p.groups // side
        classes = [sum(lanes[c::keys]) for c in range(keys)]
        rows.append(row["parts"] // side * max([1, *classes]))
    return rows


@pytest.mark.parametrize("head_dim", range(16, 129, 16))
@pytest.mark.parametrize("stall", mostly_full([0.0, 0.3], 0.3))
def test_every_head_dim(head_dim, stall):
    rng = random.Random(f"{head_dim} {stall}")
    work = Work(FOUR)
    for keys in (1, 5, rng.randrange(2, 71)):
        seen = [rng.randrange(keys + 1) for _ in range(2)]
        work.head(rng, head_dim, keys, [*seen, keys])
    run(SparseProbV, work, stall, seed=head_dim)


@pytest.mark.parametrize("params", [TINY, TWO, EIGHT], ids=["tiny", "two", "eight"])
@pytest.mark.parametrize("stall", mostly_full(STALLS, 0.3, {"o": 0.8}))
def test_rows_of_different_parts_back_to_back(params, stall):
    rng = random.Random(f"{params.lanes} {stall}")
    work = Work(params)
    for _ in range(5 if params.lanes < 128 else 2):
        keys = rng.randrange(1, min(40, params.max_keys))
        seen = [rng.randrange(keys + 1) for _ in range(rng.randrange(3))]
        work.head(rng, rng.choice(params.head_dims), keys, [*seen, keys])
    run(SparseProbV, work, stall, seed=1)


SIZES = [(TINY, 16), (TWO, 48), (TWO, 64), (EIGHT, 80), (EIGHT, 128)]
SIZES += [(FOUR, head_dim) for head_dim in FOUR.head_dims]


@pytest.mark.parametrize(("params", "head_dim"), SIZES)
def test_only_terms_take_steps_and_none_is_lost(params, head_dim):
    """Behind the first row, which waits for its lines, steps follow each other to the cycle."""
    rng = random.Random(head_dim)
    work = Work(params)
    keys = 33 + params.groups
    for _ in range(3):
        work.head(rng, head_dim, keys, [keys - 1, keys, keys])
    _, _, seen = run_recorded(SparseProbV, work)
    wanted = steps(work)
    busy = seen["busy"]
    assert len(busy) == sum(wanted)
    assert set(busy).isdisjoint(seen["value"])
    assert set(busy).isdisjoint(seen["output"])
    gaps = sum(b - a - 1 for a, b in zip(busy[wanted[0] :], busy[wanted[0] + 1 :], strict=False))
    waits = len(seen["output"]) + len(seen["value"])
    short = sum(n == 1 for n in wanted)
    # without a gap but for rows of one step, and for rows that are still on their way
    arrival = sum(max(0, -(-keys // params.groups) - n) + 3 for n in wanted)
    assert gaps <= waits + short + arrival


@pytest.mark.parametrize("params", [TINY, TWO, FOUR, EIGHT], ids=["tiny", "two", "four", "eight"])
def test_the_stated_latency(params):
    work = Work(params)
    rng = random.Random(0)
    head_dim = min(16 * params.groups, 128) if params.groups > 1 else 16
    work.head(rng, head_dim, 1, [1])
    dut, result, seen = run_recorded(SparseProbV, work)
    begun = max(result.last("i"), result.last("line") - 1)
    passes = len(seen["busy"])
    first = result.first("o") - begun
    assert abs(dut.dut.latency - first) <= passes - 1
    levels = (params.groups - 1).bit_length()
    want = 4 + 5 + 3 + (2 + levels if levels else 1)
    assert dut.dut.latency == want
    assert PassDrain.latency_of(params) == (2 + levels if levels else 1)


def test_lines_leave_behind_the_last_row():
    work = Work(FOUR)
    work.head(random.Random(4), 128, 70, [70, 1, 70])
    _, _, seen = run_recorded(SparseProbV, work)
    level = seen["level"]
    assert max(level) == 140
    assert level[seen["busy"][-1]] == 140
    assert level[-1] == 0


def test_heads_that_fill_the_ring_follow_each_other():
    work = Work(FOUR)
    for rows in ([70, 70], [70], [70]):
        work.head(random.Random(4), 128, 70, rows)
    _, _, seen = run_recorded(SparseProbV, work)
    assert max(seen["level"]) == FOUR.kv_lines
    assert seen["level"][-1] == 0


def test_terms_stay_until_the_last_pass():
    """Rows that fill the lanes, one behind the other, in three passes each."""
    work = Work(FOUR)
    work.head(random.Random(9), 48, 70, [70] * 5)
    run(SparseProbV, work)


def test_sums_that_cannot_leave_stop_the_steps():
    rng = random.Random(5)
    work = Work(FOUR)
    work.head(rng, 64, 12, [12] * 4)
    _, _, seen = run_recorded(SparseProbV, work, {"o": 0.8})
    assert seen["output"]
    assert set(seen["output"]).isdisjoint(seen["busy"])


def test_rows_wait_for_their_lines():
    work = Work(FOUR)
    work.head(random.Random(6), 48, 40, [40, 40])
    _, _, seen = run_recorded(SparseProbV, work, {"line": 0.9})
    assert len(seen["value"]) > 100
    assert len(seen["busy"]) == sum(steps(work))


def test_parameters_are_checked():
    with pytest.raises(TypeError, match=r"^Params must be a CoreParams, not 'dense'$"):
        SparseProbV(params="dense")


class LanesProof(wiring.Component):
    """Rows stay until they are taken. Of a lane, watch any term of the first row that is not zero:
    it is read in its place, and counts.

    Parameters
    ----------
    shift : int
        Places by which the claim is wrong; 0 to prove it.
    """

    def __init__(self, *, shift=0):
        self.shift = shift
        super().__init__({})

    def elaborate(self, platform):
        m = Module()
        p = CoreParams(
            lanes=32, max_head_dim=32, value_lanes=2, max_keys=4, max_queries=4, buffer_elements=64
        )
        dut = m.submodules.dut = TermLanes(params=p)
        free_inputs(m, dut, but=("free",))  # nothing is free again, so all entries stay
        m.submodules += HoldRule(dut.o)
        place, lane = AnyConst(1), 1
        came, beats, ended, term = Signal(2), Signal(2), Signal(), Signal(17)
        mine = dut.i.p.term[lane]
        with m.If(dut.i.valid & ~ended):
            m.d.comb += Assume(dut.i.p.last | (beats < p.max_beats - 1))
        with m.If(dut.i.valid & dut.i.ready & ~ended):  # the first row
            m.d.sync += [beats.eq(beats + 1), ended.eq(dut.i.p.last)]
            with m.If(mine.mantissa != 0):
                m.d.sync += came.eq(came + 1)
                with m.If(came == place):
                    m.d.sync += term.eq(mine.mantissa)
        first, looked = Signal(init=1), Signal()
        with m.If(dut.o.valid & dut.o.ready):
            m.d.sync += first.eq(0)
        m.d.sync += looked.eq((dut.address[lane] == place + self.shift) & (came > place))
        with m.If(looked):
            m.d.comb += Assert(dut.entry[lane].term.mantissa == term)
        with m.If(dut.o.valid & first):
            m.d.comb += [
                Assert(dut.o.p.count[lane] == came),
                Assert(dut.o.p.beats == beats),
                Cover((came == 2) & looked & (place == 1)),
            ]
        return m


def test_proof_of_lanes():
    prove(LanesProof(), depth=10, name="term lanes")


def test_everything_is_reached_in_lanes():
    prove(LanesProof(), depth=10, mode="cover", name="term lanes")


def test_a_wrong_claim_about_lanes_is_refuted():
    with pytest.raises(ProofError):
        prove(LanesProof(shift=1), depth=10, name="term lanes")


class Holds(wiring.Component):
    """Sums stay until they are taken, whatever the inputs do.

    Parameters
    ----------
    never : bool
        Claim that there are none; False to prove the rule.
    """

    def __init__(self, *, never=False):
        self.never = never
        super().__init__({})

    def elaborate(self, platform):
        m = Module()
        p = CoreParams(
            lanes=4, max_head_dim=16, value_lanes=1, max_keys=2, max_queries=2, operand_bits=8,
            buffer_elements=32, output_lanes=1,
        )  # fmt: skip
        dut = m.submodules.dut = SparseProbV(params=p)
        free_inputs(m, dut)
        m.submodules += HoldRule(dut.o)
        m.d.comb += Cover(dut.o.valid & ~dut.o.ready)
        if self.never:
            m.d.comb += Assert(~dut.o.valid)
        return m


def test_sums_hold():
    prove(Holds(), depth=16, name="sparse prob·V")
    prove(Holds(), depth=16, mode="cover", name="sparse prob·V")


def test_that_there_are_no_sums_is_refuted():
    with pytest.raises(ProofError):
        prove(Holds(never=True), depth=16, name="sparse prob·V")
