# amaranth: UnusedElaboratable=no
"""Scores of one plane of K or of both: integers, with stalls, in any order of rows; proof."""

from __future__ import annotations

import random

import pytest
from amaranth.asserts import AnyConst
from amaranth.hdl import Assert, Assume, Cover, Module, Signal
from amaranth.lib import wiring

from attnsieve.hdl.params import CoreParams
from attnsieve.hdl.stages.plane_scores import PlaneScores
from attnsieve.sim.formal import HoldRule, ProofError, free_inputs, prove
from attnsieve.sim.unit import run_streams

from .plane_rows import CORES, Room, core


class Rows:
    """Rows of the block, one after the other, and the scores that they must give."""

    def __init__(self, p, seed):
        self.p, self.rng = p, random.Random(seed)
        self.room, self.held = Room(p.held_beats), []  # rows that can come again
        self.beats, self.rows, self.want, self.again = [], [], [], []

    def products(self, beats, most):
        """Extremes too."""
        r, groups = self.rng, self.p.groups
        return [
            [r.choice([-most, most - 1, 0, r.randrange(-most, most)]) for _ in range(groups)]
            for _ in range(beats)
        ]

    def _add(self, row, products, scores):
        self.rows.append(row)
        for n, (beat, want) in enumerate(zip(products, scores, strict=True)):
            valid, last = self.rng.getrandbits(self.p.groups), n == len(products) - 1
            self.beats.append({"score": beat, "valid": valid, "last": last})
            self.want.append((want, valid, last))
            self.again.append(bool(row.get("again")))

    @property
    def first_most(self):
        """As large as a product with the first plane can be."""
        return 1 << (self.p.product_bits - 2)

    @property
    def second_most(self):
        """As large as one with the second plane can be."""
        p = self.p
        return p.max_head_dim << (p.operand_bits - 1 + p.lsb_bits - 1)

    def plain(self, beats):
        products = self.products(beats, self.first_most)
        row = {name: self.rng.randrange(2) for name in ("place",)}  # of no account
        self._add(row, products, products)

    def first(self, beats):
        products = self.products(beats, self.first_most)
        place = self.room.take(beats)
        self._add({"progressive": 1, "place": place}, products,
                  [[16 * x for x in beat] for beat in products])
        self.held.append((place, products))

    def second(self, number):
        """A row that came first comes again."""
        place, before = self.held.pop(number)
        products = self.products(len(before), self.second_most)
        scores = [[16 * x + y for x, y in zip(*beats, strict=True)]
                  for beats in zip(before, products, strict=True)]
        self._add({"progressive": 1, "again": 1, "place": place}, products, scores)

    def fill(self, count):
        """Rows of all kinds; places are used anew once all that are held have come again."""
        p, r = self.p, self.rng
        for _ in range(count):
            beats = r.choice([1, p.max_beats, r.randint(1, p.max_beats)])
            kind = r.choice(["plain", "first", "first", "again", "again"])
            if kind == "plain":
                self.plain(beats)
            elif kind == "again" and self.held:
                self.second(r.randrange(len(self.held)))
            elif beats <= self.room.free:
                self.first(beats)
            else:
                while self.held and r.random() < 0.7:
                    self.second(r.randrange(len(self.held)))
                self.held.clear()  # others were good as they were
                while self.room.pieces:
                    self.room.give()

    def run(self, **options):
        dut, said = PlaneScores(params=self.p), []

        async def watch(ctx):
            async for _, _, moved, again in ctx.tick().sample(
                dut.i.valid & dut.i.ready, dut.again
            ):
                said.extend([bool(again)] * moved)

        result = run_streams(dut, {"i": self.beats, "row": self.rows}, {"o": len(self.want)},
                             testbenches=[watch], **options)
        got = [(list(o.score), o.valid, bool(o.last)) for o in result.outputs["o"]]
        assert got == self.want
        assert said == self.again
        return result


@pytest.mark.parametrize("stall", [0.0, 0.4, {"o": 0.8}, {"row": 0.9}, {"i": 0.8}])
@pytest.mark.parametrize("size", CORES)
def test_random_rows(size, stall):
    rows = Rows(CORES[size], f"{size} {stall}")
    rows.fill(60)
    rows.run(stall=stall)


@pytest.mark.parametrize("size", CORES)
@pytest.mark.parametrize("order", ["all", "none", "backwards"])
def test_memory_is_full(size, order):
    """Rows as long as can be until nothing is free; then all come again, none, or the last first;
    and once more, from another place on."""
    rows = Rows(CORES[size], size)
    for turn in range(3):
        while rows.room.free > 3 * rows.p.max_beats:
            rows.first(1)
        for _ in range(3):  # the last one goes around the end of the memory in later turns
            rows.first(rows.p.max_beats)
        while order != "none" and rows.held:
            rows.second(0 if order == "all" else -1)
        rows.held.clear()
        while rows.room.pieces:
            rows.room.give()
        if turn == 0 and rows.p.held_beats > 1:
            rows.first(1)
            rows.second(0)
            rows.room.give()
    rows.run()


def test_a_row_comes_again_at_once():
    """Its first products are read in the cycle after they were written."""
    rows = Rows(CORES["four groups"], 3)
    for _ in range(20):
        rows.first(1)
        rows.second(0)
        rows.room.give()
    rows.run()


@pytest.mark.parametrize("size", CORES)
def test_latency_and_pace(size):
    rows = Rows(CORES[size], 5)
    for _ in range(4):
        rows.first(rows.p.max_beats)
    for _ in range(4):
        rows.second(0)
    rows.plain(3)
    result = rows.run()
    assert result.first("o") - result.first("i") == PlaneScores.latency
    assert result.last("o") - result.first("o") == len(rows.want) - 1


@pytest.mark.parametrize("msb, lsb", [(4, 4), (6, 4), (8, 4), (10, 4), (12, 4)])
def test_both_planes_are_all_bits(msb, lsb):
    """Scores of K cut into two planes are those of K, at every width, with the largest operands."""
    p, rng = core(max_head_dim=128), random.Random(msb)
    half, top = 1 << (msb + lsb - 1), 1 << (p.operand_bits - 1)
    rows = Rows(p, 0)
    for extreme in (True, False):
        keys = [[rng.choice([-half, half - 9] if extreme else range(-half, half - 8))
                 for _ in range(128)] for _ in range(p.max_keys)]
        query = [rng.choice([-top, top - 1] if extreme else range(-top, top)) for _ in range(128)]
        first = [[(k + 8) >> lsb for k in key] for key in keys]
        second = [[k - (f << lsb) for k, f in zip(*both, strict=True)]
                  for both in zip(keys, first, strict=True)]
        assert all(-8 <= x < 8 for key in second for x in key)
        assert all(-(1 << msb - 1) <= x < 1 << msb - 1 for key in first for x in key)
        dots = [[[sum(a * b for a, b in zip(query, key, strict=True))] for key in plane]
                for plane in (first, second, keys)]
        place = rows.room.take(p.max_keys)
        rows._add({"progressive": 1, "place": place}, dots[0], [[16 * x[0]] for x in dots[0]])
        rows._add({"progressive": 1, "again": 1, "place": place}, dots[1], dots[2])
    rows.run()


def test_parameters_are_checked():
    with pytest.raises(ValueError, match=r"^Params must be of a core with progressive$"):
        PlaneScores(params=CoreParams())
    with pytest.raises(TypeError, match=r"^Params must be a CoreParams, not 3$"):
        PlaneScores(params=3)


class Proof(wiring.Component):
    """Any beat of a row that comes again is 16 times its first product and the second.

    Rows have one beat or two. Beats stay until they are taken.

    Parameters
    ----------
    more : int
        By which the claim is wrong; 0 to prove it.
    """

    def __init__(self, *, more=0):
        self.more = more
        super().__init__({})

    def elaborate(self, platform):
        m = Module()
        p = core(max_head_dim=16, max_keys=1, max_heads=1)  # a memory of four beats
        dut = m.submodules.dut = PlaneScores(params=p)
        free_inputs(m, dut)
        m.submodules.hold = HoldRule(dut.o)
        row, take = dut.row.p, dut.i.valid & dut.i.ready
        number, address = Signal(), Signal(range(2 * p.held_beats))
        end = row.place + number
        m.d.comb += [
            address.eq(end - (end >= p.held_beats) * p.held_beats),
            Assume(row.place < p.held_beats),
            Assume(dut.i.p.last | ~number),
            Assume(row.progressive | ~row.again),
        ]
        with m.If(take):
            m.d.sync += number.eq(~dut.i.p.last)
        place, which = AnyConst(range(p.held_beats)), AnyConst(2)
        known, first = Signal(), Signal.like(dut.i.p.score[0])
        came, left = Signal(4), Signal(4)
        found, want = Signal(), Signal.like(dut.o.p.score[0])
        product = dut.i.p.score[0]
        m.d.comb += Assume((product < 8) & (product >= -8))  # else it takes minutes
        with m.If(take):
            m.d.sync += came.eq(came + 1)
            with m.If(row.progressive & ~row.again & (address == place)):
                m.d.sync += [known.eq(1), first.eq(product)]
            with m.If((came == which) & (address == place) & known & row.again):
                m.d.sync += [found.eq(1), want.eq(16 * first + product + self.more)]
            with m.If((came == which) & row.progressive & ~row.again):
                m.d.sync += [found.eq(1), want.eq(16 * product)]
            with m.If((came == which) & ~row.progressive):
                m.d.sync += [found.eq(1), want.eq(product)]
        with m.If(dut.o.valid):
            m.d.comb += Assert(left < came)
            with m.If((left == which) & found):
                m.d.comb += Assert(dut.o.p.score[0] == want)
                m.d.comb += Cover((which == 3) & (want == 16 * 7 - 5) & (first == 7))
            with m.If(dut.o.ready):
                m.d.sync += left.eq(left + 1)
        return m


def test_proof():
    prove(Proof(), depth=7, name="plane scores")


def test_everything_is_reached():
    prove(Proof(), depth=9, mode="cover", name="plane scores")


def test_a_wrong_claim_is_refuted():
    with pytest.raises(ProofError):
        prove(Proof(more=1), depth=7, name="plane scores")
