# amaranth: UnusedElaboratable=no
"""Shares of tokens: the golden model's probabilities with the tokens of the list, with stalls."""

from __future__ import annotations

import random

import numpy as np
import pytest
from amaranth.hdl import Assert, Assume, Cover, Module, Signal
from amaranth.lib import wiring

from attnsieve.hdl.observers.token_shares import TokenShares
from attnsieve.hdl.params import CoreParams
from attnsieve.hdl.stages.probability import Probability
from attnsieve.sim.formal import HoldRule, ProofError, free_inputs, prove
from attnsieve.sim.golden.softmax import Terms, probabilities, reciprocal, row_sum
from attnsieve.sim.unit import run_streams

SMALL = {"max_keys": 130, "max_queries": 16, "buffer_elements": 1 << 14}
SIZES = {
    "one group": CoreParams(lanes=16, value_lanes=4, token_lanes=4, **SMALL),
    "reference": CoreParams(lanes=64, value_lanes=16, token_lanes=16, **SMALL),
    "wide": CoreParams(lanes=256, value_lanes=16, token_lanes=32, p_bits=16, **SMALL),
    "one token": CoreParams(lanes=64, value_lanes=4, token_lanes=4, **{**SMALL, "max_keys": 1}),
}


def random_row(p, rng, keys):
    """Terms of a row of so many keys, as exponentials come: the largest is one, or all are zero."""
    mantissa = [rng.choice([0, 1, 1 << 16, rng.randrange((1 << 16) + 1)]) for _ in range(keys)]
    classes = [rng.randrange(p.max_class + 1) if t else 0 for t in mantissa]
    if keys:
        top = rng.randrange(keys)
        mantissa[top], classes[top] = 1 << 16, 0
    if rng.random() < 0.1:
        mantissa, classes = [0] * keys, [0] * keys
    return Terms(np.array([mantissa], np.int64), np.array([classes], np.int64))


def shared(p, row):
    """Statistics of a row, and the probability of each of its keys."""
    mantissa, exponent = reciprocal(p, row_sum(p, row))
    statistics = {"mantissa": int(mantissa[0]), "exponent": int(exponent[0])}
    return statistics, probabilities(p, row, mantissa, exponent)[0].tolist()


def beats_of(p, row):
    lanes = list(zip(row.mantissa[0].tolist(), row.exponent_class[0].tolist(), strict=True))
    lanes += [(0, 0)] * (-len(lanes) % p.groups if lanes else p.groups)
    terms = [{"mantissa": m, "exponent_class": k} for m, k in lanes]
    beats = [terms[n : n + p.groups] for n in range(0, len(terms), p.groups)]
    return [{"term": beat, "last": n == len(beats) - 1} for n, beat in enumerate(beats)]


def list_reader(port, tokens, lanes, seed=0):
    """A testbench that answers as a list of keys does; beyond its end is anything."""
    rng = random.Random(f"{seed} list")

    async def bench(ctx):
        while True:
            _, _, en, line = await ctx.tick().sample(port.en, port.line)
            if en:
                part = list(tokens[line * lanes : (line + 1) * lanes])
                part += [rng.randrange(1 << 10) for _ in range(lanes - len(part))]
                ctx.set(port.data, [{"index": t} for t in part])

    return bench


def last_recorder(dut, lasts):
    async def bench(ctx):
        ticks = ctx.tick().sample(dut.o.valid, dut.o.ready, dut.last)
        async for _, _, valid, ready, last in ticks:
            if valid and ready:
                lasts.append(last)

    return bench


def run(p, tokens, rows, ends, **options):
    """Rows over the first keys of a list of tokens; ``ends`` are those that end a job."""
    beats, statistics, want, last_beats = [], [], [], []
    for number, row in enumerate(rows):
        own = beats_of(p, row)
        beats += own
        its, shares = shared(p, row)
        statistics.append(its)
        want += [*zip(tokens, shares, strict=False)]
        want += [None] * (len(own) * p.groups - len(shares))
        last_beats += [0] * (len(own) - 1) + [int(number in ends)]
    dut, lasts = TokenShares(params=p), []
    result = run_streams(
        dut,
        {
            "i": beats,
            "statistics": statistics,
            "row": [{"last_of_job": n in ends} for n in range(len(rows))],
        },
        {"o": len(beats)},
        testbenches=[list_reader(dut.entry, tokens, p.groups), last_recorder(dut, lasts)],
        **options,
    )
    got = [pair for o in result.outputs["o"] for pair in zip(o.token, o.share, strict=True)]
    for pair, wanted in zip(got, want, strict=True):
        assert pair[1] == (wanted[1] if wanted else 0)
        if wanted:
            assert pair[0] == wanted[0]
    assert lasts == last_beats
    return result


@pytest.mark.parametrize("stall", [0.0, 0.4, {"o": 0.8}, {"row": 0.9}, {"statistics": 0.8}])
@pytest.mark.parametrize("size", SIZES)
def test_random_rows(size, stall):
    p = SIZES[size]
    rng = random.Random(f"{size} {stall}")
    count = rng.randrange(1, p.max_keys + 1)
    tokens = sorted(rng.sample(range(p.max_keys), count))
    seen = [rng.choice([0, 1, count, rng.randrange(count + 1)]) for _ in range(25)]
    rows = [random_row(p, rng, n) for n in seen]
    run(p, tokens, rows, {0, 7, 8, 24}, stall=stall, seed=3)


def test_a_row_ends_when_it_is_known():
    p = SIZES["reference"]
    rows = [random_row(p, random.Random(n), 9) for n in range(6)]
    run(p, range(20, 30), rows, {2, 5}, stall={"row": 0.7}, max_cycles=300)


@pytest.mark.parametrize("size", SIZES)
def test_latency_and_throughput(size):
    p = SIZES[size]
    rng = random.Random(size)
    rows = [random_row(p, rng, p.max_keys) for _ in range(4)]
    result = run(p, range(p.max_keys), rows, {3})
    times = result.times
    assert {o - i for i, o in zip(times["i"], times["o"], strict=True)} == {Probability.latency}
    assert result.last("i") - result.first("i") == len(times["i"]) - 1


def test_parameters_are_checked():
    with pytest.raises(TypeError, match=r"^Params must be a CoreParams, not None$"):
        TokenShares(params=None)


class Proof(wiring.Component):
    """Whatever comes, beats at the output stay until they are taken; tokens go with their beats.

    Parameters
    ----------
    more : int
        Beats by which the claim about tokens is wrong; 0 to prove it.
    """

    def __init__(self, *, more=0):
        self.more = more
        super().__init__({})

    def elaborate(self, platform):
        m = Module()
        p = CoreParams(
            lanes=16, value_lanes=1, token_lanes=1, max_keys=4, max_queries=4,
            buffer_elements=1 << 10,
        )  # fmt: skip
        dut = m.submodules.dut = TokenShares(params=p)
        free_inputs(m, dut, but=("entry",))
        m.submodules += HoldRule(dut.o)
        line, came, left, over = Signal(2), Signal(3), Signal(5), Signal()
        with m.If(dut.entry.en):
            m.d.sync += line.eq(dut.entry.line)
        m.d.comb += dut.entry.data[0].index.eq(line)
        with m.If(dut.i.valid):
            m.d.comb += Assume(over | dut.i.p.last | (came < p.max_beats - 1))
        with m.If(dut.i.valid & dut.i.ready & ~over):  # the first row
            m.d.sync += [came.eq(came + 1), over.eq(dut.i.p.last)]
        with m.If(dut.o.valid & dut.o.ready):
            m.d.sync += left.eq(left + 1)
        with m.If(dut.o.valid & (left < came)):
            m.d.comb += [
                Assert(dut.o.p.token[0] == (left + self.more)[:2]),
                Cover((left == 3) & (dut.o.p.share[0] != 0)),
            ]
        return m


def test_proof():
    prove(Proof(), depth=12, name="token shares")


def test_everything_is_reached():
    prove(Proof(), depth=12, mode="cover", name="token shares")


def test_a_wrong_claim_is_refuted():
    with pytest.raises(ProofError):
        prove(Proof(more=1), depth=12, name="token shares")
