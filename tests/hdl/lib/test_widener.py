# amaranth: UnusedElaboratable=no
"""Narrow beats side by side: every lane in its place, with stalls; hold rule."""

from __future__ import annotations

import random

import pytest
from amaranth.asserts import AnyConst
from amaranth.hdl import Assert, Cover, Module, Signal, unsigned
from amaranth.lib import wiring

from attnsieve.hdl.lib.widener import Widener
from attnsieve.sim.formal import HoldRule, ProofError, free_inputs, prove
from attnsieve.sim.unit import run_streams


def beats(rng, lanes, ratio, groups):
    """Narrow beats of groups of any length, and the wide ones that must come of them."""
    narrow, wide = [], []
    for _ in range(groups):
        items = [
            ([rng.randrange(256) for _ in range(lanes)], rng.randrange(1 << lanes))
            for _ in range(rng.randrange(1, 3 * ratio + 1))
        ]
        for n, (item, keep) in enumerate(items):
            narrow.append({"item": item, "keep": keep, "last": n == len(items) - 1})
        for first in range(0, len(items), ratio):
            part = items[first : first + ratio]
            keep = sum(k << lanes * n for n, (_, k) in enumerate(part))
            wide.append((sum((i for i, _ in part), []), keep, first + ratio >= len(items)))
    return narrow, wide


@pytest.mark.parametrize("stall", [0.0, 0.4, {"o": 0.8}])
@pytest.mark.parametrize(("lanes", "ratio"), [(1, 1), (1, 4), (4, 4), (2, 3), (4, 1)])
def test_lanes_lie_side_by_side(lanes, ratio, stall):
    rng = random.Random(f"{lanes} {ratio}")
    narrow, wide = beats(rng, lanes, ratio, 12)
    dut = Widener(shape=unsigned(8), lanes=lanes, ratio=ratio)
    result = run_streams(dut, {"i": narrow}, {"o": len(wide)}, stall=stall)
    for got, (items, keep, last) in zip(result.outputs["o"], wide, strict=True):
        assert (got.keep, bool(got.last)) == (keep, last)
        assert [got.item[n] for n in range(len(items))] == items
    if stall == 0.0:
        assert result.cycles == len(narrow) + Widener.latency


class Proof(wiring.Component):
    """Watch any beat of the first group: its item comes out in its lane.

    Parameters
    ----------
    shift : int
        Lanes by which the claim is wrong; 0 to prove it.
    """

    def __init__(self, *, shift=0, ratio=3):
        self.shift, self.ratio = shift, ratio
        super().__init__({})

    def elaborate(self, platform):
        m = Module()
        ratio = self.ratio
        dut = m.submodules.dut = Widener(shape=2, lanes=1, ratio=ratio)
        free_inputs(m, dut)
        m.submodules += HoldRule(dut.o)
        place = AnyConst(3)
        came, left, ended, over = Signal(4), Signal(4), Signal(), Signal()
        item, keep = Signal(2), Signal()
        with m.If(dut.i.valid & dut.i.ready & ~ended):
            m.d.sync += [came.eq(came + 1), ended.eq(dut.i.p.last)]
            with m.If(came == place):
                m.d.sync += [item.eq(dut.i.p.item[0]), keep.eq(dut.i.p.keep)]
        with m.If(dut.o.valid & dut.o.ready & ~over):
            m.d.sync += [left.eq(left + ratio), over.eq(dut.o.p.last)]
        with m.If(dut.o.valid & ~over):
            for lane in range(ratio):
                with m.If(left + lane == place):
                    claimed = dut.o.p.keep[(lane + self.shift) % ratio]
                    m.d.comb += [
                        Assert(~(place < came) | (claimed == keep)),
                        Assert(~(place < came) | ~keep | (dut.o.p.item[lane] == item)),
                        Assert((place < came) | ~dut.o.p.keep[lane]),
                    ]
            m.d.comb += [
                Assert(dut.o.p.last | (left + ratio <= came)),
                Assert(~dut.o.p.last | (ended & (came > left) & (came <= left + ratio))),
                Cover(dut.o.p.last & (left == 3) & (came >= 4)),
            ]
        return m


@pytest.mark.parametrize("ratio", [1, 3])
def test_proof(ratio):
    prove(Proof(ratio=ratio), depth=12, name="widener")


def test_everything_is_reached():
    prove(Proof(), depth=12, mode="cover", name="widener")


def test_a_wrong_claim_is_refuted():
    with pytest.raises(ProofError):
        prove(Proof(shift=1), depth=10, name="widener")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lanes": 0, "ratio": 1}, r"^Lanes must be at least 1, not 0$"),
        ({"lanes": 1, "ratio": 0}, r"^Ratio must be at least 1, not 0$"),
    ],
)
def test_parameters_are_checked(options, message):
    with pytest.raises(ValueError, match=message):
        Widener(shape=unsigned(8), **options)
