# amaranth: UnusedElaboratable=no
"""The row buffer: same beats, right maxima, cycles; nothing lost (proof)."""

import random

import pytest
from amaranth.asserts import AnyConst
from amaranth.hdl import Assert, Assume, Module, Mux, Signal, signed
from amaranth.lib import wiring

from attnsieve.hdl.params import CoreParams
from attnsieve.hdl.stages.row_buffer import RowBuffer
from attnsieve.sim.formal import HoldRule, free_inputs, prove
from attnsieve.sim.unit import run_streams
from tests.variants import mostly_full


def params(groups, *, keys=64, lut_ram=True, lanes=None, **others):
    return CoreParams(
        lanes=lanes or 16 * groups, max_keys=keys, output_lanes=1, lut_ram=lut_ram, **others
    )


CONFIGS = {
    "tiny": params(1, lanes=4, max_head_dim=32, lut_ram=False),
    "one": params(1),
    "two": params(2, keys=17),
    "four": params(4, keys=100, lut_ram=False),
    "eight": params(8, keys=50),
    "one key": params(1, keys=1),
}


def rows(p, lengths, rng, density=0.8):
    """Beats of rows with so many beats, and the rows' maxima (None if nothing is valid)."""
    top = 1 << (p.score_bits - 1)
    beats, maxima = [], []
    for length in lengths:
        best = None
        chance = rng.choice((0, density, 1))
        around = rng.choice((-top, 0, rng.randrange(-top, top), top - 1))
        for n in range(length):
            scores = [
                max(-top, min(top - 1, around + rng.choice((0, rng.randrange(-9, 9)))))
                for _ in range(p.groups)
            ]
            valid = [rng.random() < chance for _ in range(p.groups)]
            seen = [s for s, v in zip(scores, valid, strict=True) if v]
            best = max(seen + ([] if best is None else [best]), default=None)
            beats.append({
                "score": scores,
                "valid": sum(v << k for k, v in enumerate(valid)),
                "last": n == length - 1,
            })  # fmt: skip
        maxima += [best] * length
    return beats, maxima


def check(p, beats, maxima, got):
    for number, (beat, best, out) in enumerate(zip(beats, maxima, got, strict=True)):
        assert [int(s) for s in out.score] == beat["score"], f"beat {number}"
        assert out.valid == beat["valid"]
        assert out.last == beat["last"]
        if best is not None:
            assert out.maximum == best, f"beat {number}"


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("stall", [0, 0.4, {"o": 0.8}, {"i": 0.8}])
def test_random_rows(name, stall):
    p = CONFIGS[name]
    rng = random.Random(f"{name} {stall}")
    most = p.max_beats
    lengths = [rng.choice((1, 1, most, rng.randint(1, most))) for _ in range(25)] + [1] * 40
    beats, maxima = rows(p, lengths, rng)
    r = run_streams(RowBuffer(params=p), {"i": beats}, {"o": len(beats)}, stall=stall)
    check(p, beats, maxima, r.outputs["o"])


@pytest.mark.parametrize("name", CONFIGS)
def test_latency_and_throughput(name):
    p = CONFIGS[name]
    rng = random.Random(name)
    many = RowBuffer(params=p).rows > 2
    for lengths in ([1] * 60, [p.max_beats] * 5, [1, p.max_beats, 1, 1, p.max_beats, 2, 1]):
        lengths = [min(n, p.max_beats) for n in lengths]
        beats, _ = rows(p, lengths, rng)
        dut = RowBuffer(params=p)
        r = run_streams(dut, {"i": beats}, {"o": len(beats)})
        assert r.first("o") == lengths[0] - 1 + dut.latency
        if not many:  # a row waits until the one before the last has left
            assert r.last("i") <= 2 * len(beats) + dut.latency * len(lengths)
            continue
        assert r.times["i"] == list(range(len(beats)))  # never stalled
        if len(set(lengths)) == 1:  # beats then leave without a gap
            assert r.last("o") - r.first("o") == len(beats) - 1


@pytest.mark.parametrize("name", mostly_full(["tiny", "two"], "two"))
def test_two_longest_rows_fit(name):
    p = CONFIGS[name]
    beats, _ = rows(p, [p.max_beats] * 6, random.Random(1))
    dut = RowBuffer(params=p)
    r = run_streams(dut, {"i": beats}, {"o": None}, stall={"o": 0.999}, settle=0)
    held = [sum(t <= now for t in r.times["i"]) - sum(t <= now for t in r.times["o"])
            for now in r.times["i"]]  # fmt: skip
    assert max(held) >= 2 * p.max_beats


def test_bad_params():
    with pytest.raises(TypeError, match=r"^Params must be a CoreParams, not 3$"):
        RowBuffer(params=3)


class Contract(wiring.Component):
    """Any one beat comes out as it went in; the maximum is one of its row and not below it."""

    def __init__(self, dut):
        self.dut = dut
        super().__init__({})

    def elaborate(self, platform):
        m = Module()
        dut = m.submodules.dut = self.dut
        free_inputs(m, dut)
        m.submodules.hold = HoldRule(dut.o)
        taken, given, chosen = Signal(4), Signal(4), AnyConst(4)
        length = Signal(4)  # of the row that enters
        beat = Signal.like(dut.i.payload)
        m.d.comb += Assume((taken != 15) & ((length < dut.params.max_beats - 1) | dut.i.p.last))
        with m.If(dut.i.valid & dut.i.ready):
            m.d.sync += [taken.eq(taken + 1), length.eq(Mux(dut.i.p.last, 0, length + 1))]
            with m.If(taken == chosen):
                m.d.sync += beat.eq(dut.i.payload)
        with m.If(dut.o.valid & dut.o.ready):
            m.d.sync += given.eq(given + 1)
        with m.If(dut.o.valid):
            m.d.comb += Assert(given < taken)
            with m.If(given == chosen):
                m.d.comb += [
                    Assert(dut.o.p.score.as_value() == beat.score.as_value()),
                    Assert(dut.o.p.valid == beat.valid),
                    Assert(dut.o.p.last == beat.last),
                ]
            for lane in range(dut.params.groups):
                with m.If(dut.o.p.valid[lane]):
                    m.d.comb += Assert(dut.o.p.maximum >= dut.o.p.score[lane])
        # the maximum was reached by the end of the row
        reached, some = Signal(), Signal()
        hits = [
            dut.o.p.valid[lane] & (dut.o.p.score[lane] == dut.o.p.maximum)
            for lane in range(dut.params.groups)
        ]
        hit = hits[0] if len(hits) == 1 else hits[0] | hits[1]
        with m.If(dut.o.valid & dut.o.ready):
            m.d.sync += [reached.eq(reached | hit), some.eq(some | dut.o.p.valid.any())]
            with m.If(dut.o.p.last):
                m.d.comb += Assert(reached | hit | ~(some | dut.o.p.valid.any()))
                m.d.sync += [reached.eq(0), some.eq(0)]
        return m


class Narrow(CoreParams):
    """Scores of few bits, to keep the proof small."""

    @property
    def score_bits(self):
        return 3


@pytest.mark.parametrize("lanes, lut_ram", [(4, False), (16, True), (32, True)])
def test_proof(lanes, lut_ram):
    p = Narrow(lanes=lanes, max_keys=2 * max(1, lanes // 16), output_lanes=1, lut_ram=lut_ram)
    prove(Contract(RowBuffer(params=p)), depth=9)


def test_signedness():
    assert RowBuffer(params=params(1)).o.p.maximum.shape() == signed(31)


@pytest.mark.parametrize("name", CONFIGS)
def test_latency_formula(name):
    """As docs/reference/blocks/row_buffer.md has it."""
    p = CONFIGS[name]
    dut = RowBuffer(params=p)
    assert dut.latency == (2 if dut.rows == 2 else (p.groups - 1).bit_length() + 3 + p.lut_ram)
