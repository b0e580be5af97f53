# amaranth: UnusedElaboratable=no
"""Local value pruning in hardware: the golden model, with stalls, at the stated pace; proof."""

from __future__ import annotations

import random

import numpy as np
import pytest
from amaranth.hdl import Assert, Assume, Cover, Module, Signal
from amaranth.lib import wiring

from attnsieve.hdl.params import CoreParams
from attnsieve.hdl.stages.value_select import ValueSelect
from attnsieve.sim.formal import HoldRule, ProofError, free_inputs, prove
from attnsieve.sim.golden.softmax import Terms
from attnsieve.sim.golden.value_select import select_values
from attnsieve.sim.unit import run_streams
from tests.variants import mostly_full

SMALL = {"max_keys": 130, "max_queries": 16, "buffer_elements": 1 << 14}
SIZES = {
    "one": CoreParams(lanes=16, value_lanes=4, **SMALL),
    "narrow": CoreParams(lanes=16, value_lanes=1, **SMALL),
    "two": CoreParams(lanes=32, value_lanes=8, **SMALL),
    "four": CoreParams(lanes=64, value_lanes=16, **SMALL),
    "equal": CoreParams(lanes=64, value_lanes=4, **SMALL),
}


def random_terms(p, rng, n):
    """Mantissas and classes of a row, as exponentials come: none, few, many, tied, zero."""
    kind = rng.choice(["any", "tied", "zero", "steep"])
    mantissas, classes = [], []
    for _ in range(n):
        k = rng.randrange(p.max_class + 1)
        if kind == "steep":
            k = min(p.max_class, int(rng.expovariate(0.5)))
        least = 1 << 11 if k < p.max_class else 1
        m = rng.choice([1 << 16, least, rng.randrange(least, 1 << 16)])
        if kind == "tied":
            k, m = rng.choice([(0, 1 << 11), (1, 1 << 16)])
        elif kind == "zero" and rng.random() < 0.7:
            k, m = 0, 0
        mantissas.append(m)
        classes.append(k)
    return mantissas, classes


def beats_of(p, mantissas, classes):
    terms = [{"mantissa": m, "exponent_class": k} for m, k in zip(mantissas, classes, strict=True)]
    terms += [{"mantissa": 0, "exponent_class": 0}] * (-len(terms) % p.groups)
    beats = [terms[n : n + p.groups] for n in range(0, len(terms), p.groups)] or [
        [{"mantissa": 0, "exponent_class": 0}] * p.groups
    ]
    return [{"term": b, "last": n == len(beats) - 1} for n, b in enumerate(beats)]


def run(p, rows, **options):
    """Rows of (mantissas, classes, k) through the block, compared with the golden model."""
    beats, want = [], []
    for mantissas, classes, k in rows:
        beats += beats_of(p, mantissas, classes)
        kept = select_values(p, Terms(np.array([mantissas]), np.array([classes])), k)[0]
        left = [m if keep else 0 for m, keep in zip(mantissas, kept, strict=True)]
        for beat in beats_of(p, left, classes):
            want.append(([t["mantissa"] for t in beat["term"]], beat["last"]))
    inputs = {"i": beats, "row": [{"values": k} for *_, k in rows]}
    result = run_streams(ValueSelect(params=p), inputs, {"o": len(want)}, **options)
    got = [([t.mantissa for t in o.term], bool(o.last)) for o in result.outputs["o"]]
    assert got == want
    sent = iter(beats)
    for o in result.outputs["o"]:
        for got_term, term in zip(o.term, next(sent)["term"], strict=True):
            assert got_term.mantissa in (0, term["mantissa"])
            assert got_term.mantissa == 0 or got_term.exponent_class == term["exponent_class"]
    return result


@pytest.mark.parametrize("stall", mostly_full([0.0, 0.4, {"o": 0.8}, {"row": 0.9}], 0.0, 0.4))
@pytest.mark.parametrize("size", mostly_full(SIZES, "one", "narrow", "two"))
def test_random_rows(size, stall):
    p = SIZES[size]
    rng = random.Random(f"{size} {stall}")
    rows = []
    for _ in range(25):
        n = rng.choice([1, 2, p.groups, 33, rng.randrange(1, 131)])
        k = rng.choice([0, 1, n - 1, n, n + 1, rng.randrange(131)])
        rows.append((*random_terms(p, rng, n), k))
    run(p, rows, stall=stall)


def test_rows_as_long_as_built_back_to_back():
    p = SIZES["four"]
    rng = random.Random(7)
    rows = [(*random_terms(p, rng, 130), 40) for _ in range(6)]
    result = run(p, rows)
    beats = -(-130 // p.groups)
    assert result.last("i") - result.first("i") == 6 * beats - 1  # never stands


def test_a_row_ends_when_it_is_known():
    p = SIZES["one"]
    rows = [([40000, 50000], [0] * 2, k) for k in (1, 2, 0, 1, 2, 1)]
    run(p, rows, stall={"row": 0.9}, max_cycles=600)


def test_a_row_leaves_when_its_threshold_is_known():
    p = SIZES["four"]
    mantissas = [40000 + n for n in range(100)]
    for k, engine in ((0, 7), (30, None)):
        result = run(p, [(mantissas, [0] * 100, k)])
        dut = ValueSelect(params=p)
        wait = result.first("o") - result.last("i")
        if engine is not None:
            assert wait == engine + dut.extra_latency
        else:
            assert wait > dut.extra_latency


def test_parameters_are_checked():
    with pytest.raises(ValueError, match=r"^Value lanes must not be 0 to select values$"):
        ValueSelect(params=CoreParams())
    with pytest.raises(ValueError, match=r"^value_lanes must be 0 or a multiple of lanes / 16"):
        CoreParams(value_lanes=6)


class Proof(wiring.Component):
    """Beats stay until they are taken; of the first row no more terms stay than asked for.

    Parameters
    ----------
    less : int
        Terms by which the claim is wrong; 0 to prove it.
    """

    def __init__(self, *, less=0):
        self.less = less
        super().__init__({})

    def elaborate(self, platform):
        m = Module()
        p = CoreParams(
            lanes=16, value_lanes=2, token_lanes=2, max_keys=2, max_queries=2,
            buffer_elements=1 << 10,
        )  # fmt: skip
        dut = m.submodules.dut = ValueSelect(params=p)
        free_inputs(m, dut)
        m.submodules += [HoldRule(dut.o), HoldRule(dut.seen)]
        came, values, known, kept, over = Signal(2), Signal(2), Signal(), Signal(2), Signal()
        term = dut.i.p.term[0]  # a few of those that there are
        small = (term.exponent_class == p.max_class) & (term.mantissa < 4)
        some = (term.mantissa == 1 << 16) | (term.mantissa >> 2 == 1 << 9) | small
        m.d.comb += [
            Assume((term.mantissa == 0) | some),
            Assume(term.exponent_class <= p.max_class),
            Assume(known | dut.i.p.last | (came == 0)),
        ]
        with m.If(dut.i.valid & dut.i.ready & ~known):
            m.d.sync += [came.eq(came + 1), known.eq(dut.i.p.last), values.eq(dut.row.p.values)]
        keeps = dut.o.p.term[0].mantissa != 0
        with m.If(dut.o.valid & dut.o.ready & ~over):
            m.d.sync += [kept.eq(kept + keeps), over.eq(dut.o.p.last)]
        with m.If(dut.o.valid & ~over):
            m.d.comb += [
                Assert((values == 0) | (kept + keeps + self.less <= values)),
                Cover(dut.o.p.last & ~keeps & (kept == 1) & (values == 1)),
            ]
        return m


def test_proof():
    prove(Proof(), depth=18, name="value select")


def test_everything_is_reached():
    prove(Proof(), depth=30, mode="cover", name="value select")


def test_a_wrong_claim_is_refuted():
    with pytest.raises(ProofError):
        prove(Proof(less=1), depth=16, name="value select")
