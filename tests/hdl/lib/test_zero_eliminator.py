# amaranth: UnusedElaboratable=no
"""Zero eliminator: kept items in order, flags and data together, latency, throughput, proof."""

from __future__ import annotations

import random

import pytest
from amaranth.asserts import AnyConst
from amaranth.hdl import Assert, Assume, Cover, Module, Signal
from amaranth.lib import wiring

from attnsieve.hdl.lib.zero_eliminator import ZeroEliminator
from attnsieve.sim.formal import HoldRule, ProofError, free_inputs, prove
from attnsieve.sim.unit import run_streams

LANES = [1, 2, 3, 4, 5, 7, 8, 9, 16, 17, 33, 64]


def beats_of(lanes, count, seed=1, kinds=(0.0, 0.1, 0.5, 0.9, 1.0)):
    rng = random.Random(f"{lanes} {seed}")
    beats = []
    for n in range(count):
        share = kinds[n % len(kinds)]
        keep = [rng.random() < share for _ in range(lanes)]
        beats.append(
            {
                "item": [rng.randrange(1 << 9) for _ in range(lanes)],
                "keep": sum(k << i for i, k in enumerate(keep)),
                "last": rng.randrange(2),
            }
        )
    return beats


def kept(beat):
    return [item for i, item in enumerate(beat["item"]) if beat["keep"] >> i & 1]


def contents(payload):
    return [payload.item[k] for k in range(payload.count)]


@pytest.mark.parametrize("lanes", LANES)
@pytest.mark.parametrize("stall", [0.0, 0.4, {"i": 0.8}, {"o": 0.8}])
def test_kept_items_move_down_in_order(lanes, stall):
    beats = beats_of(lanes, 60)
    dut = ZeroEliminator(shape=9, lanes=lanes)
    got = run_streams(dut, {"i": beats}, {"o": len(beats)}, stall=stall).outputs["o"]
    assert [contents(p) for p in got] == [kept(b) for b in beats]
    assert [p.last for p in got] == [b["last"] for b in beats]


@pytest.mark.parametrize("lanes", [1, 2, 3, 4, 5])
def test_every_pattern(lanes):
    beats = [
        {"item": [10 + k for k in range(lanes)], "keep": keep, "last": 0}
        for keep in range(1 << lanes)
    ]
    dut = ZeroEliminator(shape=5, lanes=lanes)
    got = run_streams(dut, {"i": beats}, {"o": len(beats)}).outputs["o"]
    assert [contents(p) for p in got] == [kept(b) for b in beats]


@pytest.mark.parametrize("lanes", LANES)
def test_latency_and_throughput(lanes):
    beats = beats_of(lanes, 40)
    dut = ZeroEliminator(shape=9, lanes=lanes)
    result = run_streams(dut, {"i": beats}, {"o": len(beats)})
    assert result.first("o") - result.first("i") == dut.latency
    assert result.last("o") - result.first("o") == len(beats) - 1
    levels = (lanes - 1).bit_length()
    assert dut.latency == max(1, 2 * -(-levels // 4))


@pytest.mark.parametrize(
    ("lanes", "error", "message"),
    [
        (0, ValueError, r"^Lanes must be in 1\.\.128, not 0$"),
        (129, ValueError, r"^Lanes must be in 1\.\.128, not 129$"),
        ("8", TypeError, r"^Lanes must be an integer, not '8'$"),
    ],
)
def test_bad_parameters(lanes, error, message):
    with pytest.raises(error, match=message):
        ZeroEliminator(shape=8, lanes=lanes)


class Proof(wiring.Component):
    """Of any beats, watch any item of any one of them: it comes out at its rank.

    Parameters
    ----------
    lanes : int
    late : int
        Beats by which the claim is wrong; 0 to prove it.
    """

    def __init__(self, *, lanes, late=0):
        self.lanes, self.late = lanes, late
        super().__init__({})

    def elaborate(self, platform):
        m = Module()
        dut = m.submodules.dut = ZeroEliminator(shape=2, lanes=self.lanes)
        free_inputs(m, dut)
        m.submodules += HoldRule(dut.o)
        came, left = Signal(4), Signal(4)
        beat, lane = AnyConst(4), AnyConst(range(self.lanes))
        m.d.sync += [
            came.eq(came + (dut.i.valid & dut.i.ready)),
            left.eq(left + (dut.o.valid & dut.o.ready)),
        ]
        here = dut.i.valid & dut.i.ready & (came == beat)
        item, rank, count = Signal(2), Signal(4), Signal(4)
        last, watched = Signal(), Signal()
        below = [
            sum(dut.i.p.keep[j] for j in range(k)) if k else 0 for k in range(self.lanes)
        ]
        m.d.comb += Assume(lane < self.lanes)
        with m.If(here):
            m.d.sync += [count.eq(sum(dut.i.p.keep)), last.eq(dut.i.p.last)]
            with m.Switch(lane):
                for k in range(self.lanes):
                    with m.Case(k):
                        m.d.sync += [
                            item.eq(dut.i.p.item[k]), rank.eq(below[k]),
                            watched.eq(dut.i.p.keep[k]),
                        ]  # fmt: skip
        with m.If(dut.o.valid & (left == beat + self.late)):
            m.d.comb += [
                Assert(came > beat),
                Assert(dut.o.p.count == count),
                Assert(dut.o.p.last == last),
                Assert(~watched | (dut.o.p.item[rank] == item)),
                Cover(watched & (rank == self.lanes - 2) & (beat == 2)),
            ]
        return m


@pytest.mark.parametrize("lanes", [2, 3, 4, 5])
def test_proof(lanes):
    prove(Proof(lanes=lanes), depth=9, name="zero eliminator")


def test_everything_is_reached():
    prove(Proof(lanes=4), depth=12, mode="cover", name="zero eliminator")


def test_a_wrong_claim_is_refuted():
    with pytest.raises(ProofError):
        prove(Proof(lanes=4, late=1), depth=9, name="zero eliminator")
