# amaranth: UnusedElaboratable=no
"""Packer: full beats, order, groups of any length, latency, throughput, proof."""

from __future__ import annotations

import random

import pytest
from amaranth.asserts import AnyConst
from amaranth.hdl import Assert, Assume, Cover, Module, Signal
from amaranth.lib import wiring

from attnsieve.hdl.lib.packer import Packer
from attnsieve.sim.formal import HoldRule, ProofError, free_inputs, prove
from attnsieve.sim.unit import run_streams

LANES = [1, 2, 3, 4, 5, 7, 8, 16, 17, 33, 64]


def beats_of(lanes, groups, seed=1, kinds=(0.0, 0.1, 0.5, 0.9, 1.0)):
    """Groups of one to six beats, from empty to full ones."""
    rng = random.Random(f"{lanes} {seed}")
    beats = []
    for n in range(groups):
        length = rng.randint(1, 6)
        for k in range(length):
            share = kinds[(n + rng.randrange(2)) % len(kinds)]
            beats.append(
                {
                    "item": [rng.randrange(1 << 9) for _ in range(lanes)],
                    "count": sum(rng.random() < share for _ in range(lanes)),
                    "last": int(k == length - 1),
                }
            )
    return beats


def packed(beats, lanes):
    """What should come out: (items, last) of each beat."""
    result, group = [], []
    for beat in beats:
        group += beat["item"][: beat["count"]]
        if beat["last"]:
            starts = range(0, max(1, len(group)), lanes)
            cut = [group[s : s + lanes] for s in starts]
            result += [(items, int(n == len(cut) - 1)) for n, items in enumerate(cut)]
            group = []
    return result


def taken(outputs):
    return [([p.item[k] for k in range(p.count)], p.last) for p in outputs]


@pytest.mark.parametrize("lanes", LANES)
@pytest.mark.parametrize("stall", [0.0, 0.4, {"i": 0.8}, {"o": 0.8}])
def test_groups_come_out_packed(lanes, stall):
    beats = beats_of(lanes, 30)
    want = packed(beats, lanes)
    dut = Packer(shape=9, lanes=lanes)
    got = run_streams(dut, {"i": beats}, {"o": len(want)}, stall=stall).outputs["o"]
    assert taken(got) == want


@pytest.mark.parametrize("lanes", LANES)
def test_latency_and_throughput(lanes):
    full = [
        {"item": list(range(lanes)), "count": lanes, "last": int(n % 5 == 4)} for n in range(40)
    ]
    dut = Packer(shape=9, lanes=lanes)
    result = run_streams(dut, {"i": full}, {"o": len(full)})
    times = result.times
    assert times["o"][0] - times["i"][1] == dut.latency  # the second beat drives the first out
    assert times["o"][4] - times["i"][4] == dut.latency + 1
    assert result.last("i") - result.first("i") == len(full) - 1
    levels = (lanes - 1).bit_length()
    assert dut.latency == max(1, -(-levels // 4)) + 1


@pytest.mark.parametrize(("length", "waits"), [(1, 1), (2, 0)])
def test_only_a_beat_that_gives_one_waits_behind_a_group_that_gives_two(length, waits):
    item = [1, 2, 3, 0]
    beats = [{"item": item, "count": 3, "last": n} for n in (0, 1)]
    beats += [{"item": item, "count": 2, "last": int(n == length - 1)} for n in range(length)]
    result = run_streams(Packer(shape=9, lanes=4), {"i": beats * 10}, {"o": 30})
    assert result.last("i") - result.first("i") == 10 * len(beats) - 1 + 9 * waits
    assert taken(result.outputs["o"]) == packed(beats * 10, 4)


@pytest.mark.parametrize(
    ("lanes", "error", "message"),
    [
        (0, ValueError, r"^Lanes must be in 1\.\.128, not 0$"),
        (129, ValueError, r"^Lanes must be in 1\.\.128, not 129$"),
        (True, TypeError, r"^Lanes must be an integer, not True$"),
    ],
)
def test_bad_parameters(lanes, error, message):
    with pytest.raises(error, match=message):
        Packer(shape=8, lanes=lanes)


class Proof(wiring.Component):
    """Of any groups, watch any item of the first: it comes out in its place.

    Parameters
    ----------
    lanes : int
    shift : int
        Places by which the claim is wrong; 0 to prove it.
    """

    def __init__(self, *, lanes, shift=0):
        self.lanes, self.shift = lanes, shift
        super().__init__({})

    def elaborate(self, platform):
        m = Module()
        lanes = self.lanes
        dut = m.submodules.dut = Packer(shape=2, lanes=lanes)
        free_inputs(m, dut)
        m.submodules += HoldRule(dut.o)
        place = AnyConst(4)
        came, left, over, ended = Signal(6), Signal(6), Signal(), Signal()
        item = Signal(2)
        take, give = dut.i.valid & dut.i.ready, dut.o.valid & dut.o.ready
        m.d.comb += Assume(~dut.i.valid | (dut.i.p.count <= lanes))
        with m.If(take & ~ended):  # the first group
            m.d.sync += [came.eq(came + dut.i.p.count), ended.eq(dut.i.p.last)]
            for k in range(lanes):
                with m.If((k < dut.i.p.count) & (came + k == place)):
                    m.d.sync += item.eq(dut.i.p.item[k])
        with m.If(give & ~over):
            m.d.sync += [left.eq(left + dut.o.p.count), over.eq(dut.o.p.last)]
        with m.If(dut.o.valid & ~over):
            for k in range(lanes):
                with m.If((k < dut.o.p.count) & (left + k == place + self.shift)):
                    m.d.comb += Assert(dut.o.p.item[k] == item)
            m.d.comb += [
                Assert(left + dut.o.p.count <= came),
                Assert(dut.o.p.last | (dut.o.p.count == lanes)),
                Assert(~dut.o.p.last | (ended & (left + dut.o.p.count == came))),
                Assert((dut.o.p.count != 0) | (left == 0)),
                Cover(dut.o.p.last & (left == 2 * lanes) & (dut.o.p.count == lanes - 1)),
            ]
        return m


@pytest.mark.parametrize("lanes", [1, 2, 3, 4])
def test_proof(lanes):
    prove(Proof(lanes=lanes), depth=11, name="packer")


def test_everything_is_reached():
    prove(Proof(lanes=3), depth=14, mode="cover", name="packer")


def test_a_wrong_claim_is_refuted():
    with pytest.raises(ProofError):
        prove(Proof(lanes=3, shift=1), depth=11, name="packer")
