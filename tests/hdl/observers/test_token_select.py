# amaranth: UnusedElaboratable=no
"""Cascade token pruning: the golden model's tokens, decay, any sizes, the stated latency."""

from __future__ import annotations

import random

import numpy as np
import pytest

from attnsieve.hdl.observers.token_scores import token_rows
from attnsieve.hdl.observers.token_select import TokenSelect
from attnsieve.hdl.params import CoreParams
from attnsieve.hdl.select.radix_select import RadixSelect
from attnsieve.sim.golden.importance import decayed, select_tokens
from attnsieve.sim.unit import simulate

SMALL = {"max_keys": 130, "max_queries": 16, "buffer_elements": 1 << 14}
SIZES = {
    "reference": CoreParams(lanes=64, value_lanes=16, token_lanes=16, **SMALL),
    "one lane": CoreParams(lanes=16, value_lanes=4, token_lanes=1, **{**SMALL, "max_keys": 40}),
    "four lanes": CoreParams(lanes=16, value_lanes=4, token_lanes=4, **SMALL),
    "a word": CoreParams(lanes=64, value_lanes=4, token_lanes=32, **SMALL),
    "one token": CoreParams(lanes=16, value_lanes=4, token_lanes=4, **{**SMALL, "max_keys": 1}),
}


def case(keys, scores, **fields):
    """A job: so many keys, scores of all tokens, candidates, what is asked for."""
    selection = {"keys": keys, "keep": keys, "first": 0, "newest": 0, "candidates": 1, "decay": 0}
    return scores, selection | {"age": 0, "age_base": 0} | fields


def a_base(p, rng, keys):
    """Where ages begin to differ: nowhere, at the ends, behind the last."""
    most = (1 << p.key_bits) - 1
    return min(most, rng.choice([0, 0, 1, keys - 1, keys, most, rng.randrange(keys + 1)]))


def random_case(p, rng):
    keys = rng.choice([1, p.max_keys, rng.randrange(1, p.max_keys + 1)])
    pins = [0, 0, 1, 4, keys - 1, keys, p.max_keys]
    kind = rng.choice(["any", "tied", "small", "largest"])
    drawn = {
        "any": lambda: rng.getrandbits(32),
        "tied": lambda: rng.choice([7, 8]),
        "small": lambda: int(rng.expovariate(0.01)),
        "largest": lambda: rng.choice([0, (1 << 32) - 1, (1 << 32) - 2]),
    }[kind]
    return case(
        keys,
        [drawn() for _ in range(p.max_keys)],
        keep=rng.choice([0, 1, keys - 1, keys, rng.randrange(p.max_keys + 1)]),
        first=min(p.max_keys, rng.choice(pins)),
        newest=min(p.max_keys, rng.choice(pins)),
        candidates=rng.randrange(2),
        decay=rng.choice([0, 0, 1, 5, 31]),
        age=rng.randrange(2),
        age_base=a_base(p, rng, keys),
    )


def run(p, cases, seed=0):
    """Selections one after the other; returns the cycles that each took."""
    dut, rng = TokenSelect(params=p), random.Random(seed)
    scores = [0] * (token_rows(p) * p.token_lanes)
    mask, taken = [0] * len(scores), []

    async def score_rows(ctx):
        ticks = ctx.tick().sample(dut.en, dut.beat, dut.scan, dut.decay, dut.decays)
        here = 0
        while True:
            for lane, value in enumerate(dut.value):
                ctx.set(value, scores[here + lane])
            _, _, en, beat, scan, decay, decays = await ticks
            for lane in range(p.token_lanes):
                if scan and decay and decays >> lane & 1:
                    scores[here + lane] -= scores[here + lane] >> decay
            if en:
                here = beat * p.token_lanes
                part = mask[here : here + p.token_lanes]
                ctx.set(dut.candidate, sum(b << n for n, b in enumerate(part)))

    async def bench(ctx):
        for values, selection in cases:
            keys = selection["keys"]
            scores[:] = values + [rng.getrandbits(32) for _ in range(len(scores) - len(values))]
            mask[:] = [int(rng.random() < 0.7) for _ in mask]
            before = list(scores)
            ctx.set(dut.selection, selection)
            ctx.set(dut.start, 1)
            await ctx.tick()
            ctx.set(dut.start, 0)
            cycles = 0
            while ctx.get(dut.busy):
                await ctx.tick()
                cycles += 1
                assert cycles < 3000
            taken.append(cycles)
            allowed = [bool(m) or not selection["candidates"] for m in mask[:keys]]
            pins = (selection["keep"], selection["first"], selection["newest"])
            base = selection["age_base"] if selection["age"] else None
            want = select_tokens(np.array(before[:keys]), np.array(allowed), *pins, base).tolist()
            found = 0
            for word in range(-(-keys // 32)):
                ctx.set(dut.word, word)
                await ctx.tick()
                found |= ctx.get(dut.next) << 32 * word
            assert found == sum(bit << n for n, bit in enumerate(want)), selection
            left = decayed(np.array(before[:keys]), selection["decay"]).tolist()
            assert scores == left + before[keys:], selection

    simulate(dut, bench, background=[score_rows])
    return dut, taken


@pytest.mark.parametrize("size", SIZES)
def test_random_selections(size):
    p = SIZES[size]
    rng = random.Random(size)
    run(p, [random_case(p, rng) for _ in range(25)], size)


@pytest.mark.parametrize("size", SIZES)
def test_pins(size):
    """Nothing is kept but what is pinned, all is pinned, more is pinned than there is or stays."""
    p = SIZES[size]
    keys = min(p.max_keys, 37)
    scores = [1000 + n for n in range(p.max_keys)]
    cases = []
    for first, newest in ((0, 0), (1, 0), (0, 1), (2, 2), (keys, 0), (0, keys), (keys, keys)):
        pins = {"first": min(first, keys), "newest": min(newest, keys), "candidates": 0}
        for keep in (0, 1, 3, keys):
            cases.append(case(keys, scores, keep=min(keep, keys), **pins))
    cases.append(case(1, scores, keep=1, newest=p.max_keys, first=p.max_keys))
    cases.append(case(keys, scores, keep=2 % (keys + 1), newest=p.max_keys, candidates=0))
    run(p, cases)


def test_a_short_list_clears_the_rest_of_its_word():
    p = SIZES["reference"]
    scores = list(range(130))
    cases = [case(keys, scores, candidates=0) for keys in (130, 1, 33, 16, 64, 65)]
    run(p, cases)


def test_scores_decay_once_by_the_second_walk():
    p = SIZES["reference"]
    scores = [1 << 31] * 130
    run(p, [case(130, scores, keep=50, decay=decay) for decay in (1, 2, 31, 0)])


@pytest.mark.parametrize("size", ["one lane", "four lanes", "one token"])
def test_ages(size):
    """Equal scores: the newest are the youngest. Of those of an age the first ones are taken. Then
    scores that differ, and ages that do not, or that would be none."""
    p, rng = SIZES[size], random.Random(size)
    keys = p.max_keys
    scores = [(1 << 32) - 1] * keys
    ages = {"age": 1, "candidates": 0}
    cases = [
        case(keys, scores, keep=max(1, keys // 3), age_base=base, **ages)
        for base in (0, keys // 2, keys - 1, (1 << p.key_bits) - 1)
    ]
    cases.append(case(1, scores, keep=1, **ages))
    scores = [rng.getrandbits(32) for _ in range(keys)]
    for base in (0, keys, (1 << p.key_bits) - 1):
        cases.append(case(keys, scores, keep=keys // 3, decay=1, age_base=base, **ages))
    run(p, cases)


def test_ages_take_the_stated_cycles():
    """As many more as their rows; the second walk's first row is made while the top-k works."""
    p = SIZES["four lanes"]
    scores, everyone = [1 << 16] * p.max_keys, (1 << p.key_bits) - 1  # ages that are alike
    lengths, cases = (1, 6, p.max_keys), []
    for keys in lengths:
        alike = {"keep": keys, "candidates": 0}
        cases.append(case(keys, scores, **alike))
        cases.append(case(keys, scores, age=1, age_base=everyone, **alike))
        cases.append(case(keys, scores, age=1, **alike))
    dut, taken = run(p, cases)
    row = dut.ages.row_latency
    for number, keys in enumerate(lengths):
        without, more, same = taken[3 * number : 3 * number + 3]
        most = 2 * -(-keys // p.token_lanes) * row
        assert most - row <= more - without <= most
        assert same == more


@pytest.mark.parametrize("size", SIZES)
def test_the_stated_latency(size):
    """From start until it is no longer busy: where the first digit decides, and with passes."""
    p = SIZES[size]
    lengths = sorted({1, min(p.token_lanes, p.max_keys), p.max_keys // 2 or 1, p.max_keys})
    scores = [(1 << 31) + 1000 * n for n in range(p.max_keys)]
    known = [case(keys, scores, keep=keys, candidates=0) for keys in lengths]
    more = [case(keys, scores, keep=keys // 2 + 1, candidates=0) for keys in lengths]
    dut, taken = run(p, [*known, *more])
    engine = RadixSelect(params=dut.top_k)
    extra = set()
    for keys, first, second in zip(lengths, taken, taken[len(lengths) :], strict=False):
        rows = -(-keys // p.token_lanes)
        extra.add(first + 1 - 2 * rows - engine.known_latency)
        most = engine.first_latency + rows + 5 * (rows + engine.pass_latency + engine.late)
        assert first <= second < 2 * rows + most + dut.extra_latency
    assert len(extra) == 1
    assert extra.pop() <= dut.extra_latency


def test_parameters_are_checked():
    with pytest.raises(TypeError, match=r"^Params must be a CoreParams, not 3$"):
        TokenSelect(params=3)
