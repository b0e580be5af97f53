# amaranth: UnusedElaboratable=no
"""Importance and selection for jobs that follow one another, with stalls and software between."""

from __future__ import annotations

import random
from collections import deque

import numpy as np
import pytest

from attnsieve.hdl.observers.token_unit import TokenUnit
from attnsieve.hdl.params import CoreParams
from attnsieve.sim.golden.importance import decayed, select_tokens
from attnsieve.sim.unit import simulate

from .test_token_scores import feeder
from .test_token_shares import beats_of, list_reader, random_row, shared

SMALL = {"max_keys": 130, "max_queries": 16, "buffer_elements": 1 << 14}
SIZES = {
    "reference": CoreParams(lanes=64, value_lanes=16, token_lanes=16, **SMALL),
    "conflicts": CoreParams(lanes=64, value_lanes=16, token_lanes=4, **SMALL),
    "one group": CoreParams(lanes=16, value_lanes=4, token_lanes=4, **SMALL),
    "one token": CoreParams(lanes=16, value_lanes=4, token_lanes=4, **{**SMALL, "max_keys": 1}),
}
NONE = {
    "keep": 0, "first": 0, "newest": 0, "clear": 0, "select": 0, "candidates": 0, "decay": 0,
    "age": 0, "age_base": 0,
}  # fmt: skip


class Jobs:
    """Runs jobs on a unit, and keeps the scores that it must have."""

    def __init__(self, p, *, stall=0.0, seed=0):
        self.p, self.dut, self.rng = p, TokenUnit(params=p), random.Random(f"{seed} jobs")
        self.scores = np.zeros(p.max_keys, np.int64)
        self.inputs = {name: deque() for name in ("i", "statistics", "row")}
        self.tokens: list[int] = []
        self.mask = [0] * (p.max_keys + p.token_lanes)
        self.background = [
            *(feeder(getattr(self.dut, n), items, stall, n) for n, items in self.inputs.items()),
            list_reader(self.dut.entry, self.tokens, p.groups),
            self.candidates,
        ]

    async def candidates(self, ctx):
        lanes = self.p.token_lanes
        while True:
            _, _, en, beat = await ctx.tick().sample(self.dut.en, self.dut.beat)
            if en:
                part = self.mask[beat * lanes : (beat + 1) * lanes]
                ctx.set(self.dut.candidate, sum(b << n for n, b in enumerate(part)))

    async def access(self, ctx, token, value=None):
        """A score as software sees it, or writes it."""
        dut, waited = self.dut, 0
        ctx.set(dut.access, 1)
        ctx.set(dut.token, token)
        ctx.set(dut.write, value is not None)
        ctx.set(dut.data, value or 0)
        while not ctx.get(dut.ready):
            await ctx.tick()
            waited += 1
            assert waited < 2000
        found = ctx.get(dut.score)
        await ctx.tick()
        ctx.set(dut.access, 0)
        ctx.set(dut.write, 0)
        return found

    async def begin(self, ctx, tokens, seen, selection):
        """Start a job whose rows see so many of its tokens; returns its selection."""
        p = self.p
        self.tokens[:] = tokens
        selection = NONE | {"keys": p.max_keys} | selection
        if selection["clear"]:
            self.scores[:] = 0
        for number, keys in enumerate(seen):
            row = random_row(p, self.rng, keys)
            statistics, shares = shared(p, row)
            self.scores[np.array(tokens[:keys], np.int64)] += np.array(shares, np.int64)
            self.inputs["i"] += beats_of(p, row)
            self.inputs["statistics"].append(statistics)
            self.inputs["row"].append({"last_of_job": number == len(seen) - 1})
        ctx.set(self.dut.selection, selection)
        ctx.set(self.dut.begin, 1)
        await ctx.tick()
        ctx.set(self.dut.begin, 0)
        return selection

    async def finish(self, ctx, selection):
        """Wait for the end of a job; check what was selected, and the scores that are left."""
        dut, waited = self.dut, 0
        while not ctx.get(dut.finished):
            await ctx.tick()
            waited += 1
            assert waited < 20000
        assert not any(self.inputs.values())
        assert ctx.get(dut.finished)
        if selection["select"]:
            keys = selection["keys"]
            allowed = np.array([bool(b) or not selection["candidates"] for b in self.mask[:keys]])
            pins = (selection["keep"], selection["first"], selection["newest"])
            base = selection["age_base"] if selection["age"] else None
            want = select_tokens(self.scores[:keys], allowed, *pins, base).tolist()
            found = 0
            for word in range(-(-keys // 32)):
                ctx.set(dut.word, word)
                await ctx.tick()
                found |= ctx.get(dut.next) << 32 * word
            assert found == sum(bit << n for n, bit in enumerate(want))
            self.scores[:keys] = decayed(self.scores[:keys], selection["decay"])

    async def check(self, ctx, tokens=None):
        """Scores as software reads them."""
        for token in range(self.p.max_keys) if tokens is None else tokens:
            assert await self.access(ctx, token) == self.scores[token], token

    def random_job(self):
        """Tokens, the keys that each row sees, and a selection."""
        p, rng = self.p, self.rng
        keys = rng.choice([1, p.max_keys, rng.randrange(1, p.max_keys + 1)])
        tokens = sorted(rng.sample(range(keys), rng.randrange(1, keys + 1)))
        seen = [rng.choice([len(tokens), rng.randrange(len(tokens) + 1)]) for _ in range(4)]
        self.mask[:] = [int(rng.random() < 0.7) for _ in self.mask]
        selection = {
            "keys": keys,
            "keep": rng.randrange(keys + 1),
            "first": rng.choice([0, 1, keys]),
            "newest": rng.choice([0, 1, 3, p.max_keys]) % (p.max_keys + 1),
            "clear": rng.random() < 0.3,
            "select": rng.random() < 0.7,
            "candidates": rng.randrange(2),
            "decay": rng.choice([0, 1, 6]),
            "age": rng.randrange(2),
            "age_base": rng.choice([0, 1, keys // 2, keys]),
        }
        return tokens, seen, selection


@pytest.mark.parametrize("stall", [0.0, 0.4])
@pytest.mark.parametrize("size", SIZES)
def test_jobs_one_after_the_other(size, stall):
    jobs = Jobs(SIZES[size], stall=stall, seed=f"{size} {stall}")

    async def bench(ctx):
        for number in range(12):
            selection = await jobs.begin(ctx, *jobs.random_job())
            await jobs.finish(ctx, selection)
            if number % 3 == 2:
                await jobs.check(ctx)

    simulate(jobs.dut, bench, background=jobs.background)


def test_shares_wait_until_all_scores_are_clear():
    p = SIZES["conflicts"]
    jobs = Jobs(p)

    async def bench(ctx):
        for token in range(p.max_keys):
            await jobs.access(ctx, token, 1 << 20)
        selection = await jobs.begin(ctx, list(range(130)), [1, 130, 7], {"clear": 1})
        assert await jobs.access(ctx, 129) < 1 << 20  # not before all are clear
        await jobs.finish(ctx, selection)
        await jobs.check(ctx)

    simulate(jobs.dut, bench, background=jobs.background)


def test_all_is_added_when_a_job_has_finished():
    """Software that looks at once finds the last share, of tokens that meet in a bank."""
    p = SIZES["conflicts"]
    jobs = Jobs(p)
    tokens = list(range(0, 128, 4))

    async def bench(ctx):
        for _ in range(4):
            selection = await jobs.begin(ctx, tokens, [len(tokens)] * 2, {})
            await jobs.finish(ctx, selection)
            await jobs.check(ctx, reversed(tokens))

    simulate(jobs.dut, bench, background=jobs.background)


def test_software_looks_while_a_job_adds_and_selects():
    """It writes tokens that no row has, and what it reads is right whenever it is ready."""
    p = SIZES["reference"]
    jobs = Jobs(p, stall=0.2)
    rng = jobs.rng

    async def bench(ctx):
        for number in range(4):
            keys = {"keys": 64, "select": 1, "keep": 20, "clear": number == 0, "decay": 1}
            selection = await jobs.begin(ctx, list(range(64)), [64, 30, 64], keys)
            while not ctx.get(jobs.dut.finished):
                token = rng.randrange(64, p.max_keys)
                jobs.scores[token] = rng.getrandbits(32)
                await jobs.access(ctx, token, int(jobs.scores[token]))
                token = rng.randrange(64, p.max_keys)
                assert await jobs.access(ctx, token) == jobs.scores[token]
                for _ in range(rng.randrange(6)):
                    await ctx.tick()
            await jobs.finish(ctx, selection)
            await jobs.check(ctx)

    simulate(jobs.dut, bench, background=jobs.background)


def test_a_job_without_a_key_ends():
    jobs = Jobs(SIZES["reference"])

    async def bench(ctx):
        for select in (0, 1):
            selection = await jobs.begin(ctx, [], [0], {"select": select, "keep": 5})
            await jobs.finish(ctx, selection)
        await jobs.check(ctx, range(0, 130, 11))

    simulate(jobs.dut, bench, background=jobs.background)


def test_parameters_are_checked():
    with pytest.raises(TypeError, match=r"^Params must be a CoreParams, not 3$"):
        TokenUnit(params=3)
