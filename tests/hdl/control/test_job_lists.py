# amaranth: UnusedElaboratable=no
"""The lists of jobs: what their masks leave, through every read port, one job after another."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from attnsieve.gen import config
from attnsieve.hdl.axi.list_rows import row_lanes
from attnsieve.hdl.control.job_lists import JobLists
from attnsieve.hdl.control.row_list import RowList
from attnsieve.hdl.control.words import job_words
from attnsieve.hdl.params import CoreParams
from attnsieve.sim.unit import simulate

from .jobs import JobMemoryModel, derived_words, good_request, words_of

CORES = {
    "tiny": replace(config.load("spatten-tiny").core, queue_depth=2),
    "planes": replace(config.load("spatten-tiny").core, progressive=True),
    "small": CoreParams(lanes=64, max_keys=70, max_queries=50, max_heads=12, buffer_elements=8192,
                        value_lanes=8, token_lanes=8),
}
LEAST = CoreParams(lanes=4, max_keys=1, max_queries=1, max_heads=1, buffer_elements=128,
                   output_lanes=1, channels=1, value_lanes=1, token_lanes=1)
PLAIN = {
    "keep": 0, "first": 0, "newest": 0, "clear": 0, "select": 0, "candidates": 0, "decay": 0,
    "age": 0, "age_base": 0,
}  # fmt: skip


def job_of(params, rng, **changes):
    """A good request, its masks, and what is to be done with scores."""
    request = good_request(params, rng) | changes
    share = [rng.choice([0.0, 0.1, 0.5, 0.9, 1.0]) for _ in range(2)]
    job = request | {
        "key_bits": [int(rng.random() < share[0]) for _ in range(params.max_keys)],
        "query_bits": [int(rng.random() < share[1]) for _ in range(params.max_queries)],
        "selection": {
            "keep": rng.randint(0, request["keys"]), "first": rng.randint(0, request["keys"]),
            "newest": rng.randint(0, request["keys"]), "decay": rng.randrange(32),
            "age_base": rng.randint(0, request["keys"]),
            **{flag: rng.getrandbits(1) for flag in ("clear", "select", "candidates", "age")}},
    }
    if params.progressive:
        job["selection"] |= {"threshold": rng.randrange(1 << 16), "plane": rng.getrandbits(32)}
        job |= {"threshold": job["selection"]["threshold"], "k_plane": job["selection"]["plane"],
                "k_bits": 8, "v_bits": 6}
    return job | {name: value for name, value in changes.items() if name in job}


def memory_words(params, job):
    known, s = job_words(params), job["selection"]
    return words_of(params, job) | derived_words(params, job) | {
        known["PIN_FIRST"]: s["first"], known["PIN_NEWEST"]: s["newest"],
        known["KEEP_TOKENS"]: s["keep"],
        known["SCORING"]: (
            s["clear"] | s["select"] << 1 | s["candidates"] << 2 | s["age"] << 3 | s["decay"] << 8
            | s["age_base"] << 16)}


def lists_of(job):
    """Listed queries, listed keys, and whether the only query is there by force."""
    queries = [n for n in range(job["queries"]) if job["query_bits"][n] or not job["query_mask"]]
    last = queries[-1] if queries else 0
    seen = last + 1 + job["keys"] - job["queries"] if job["causal"] else job["keys"]
    keys = [n for n in range(seen) if job["key_bits"][n] or not job["key_mask"]]
    return (queries, keys, False) if queries else ([0], [], True)


class Lists:
    """`JobLists` with job memory and masks beside it."""

    def __init__(self, params, *, grant=1.0, seed=0):
        self.params, self.rng = params, random.Random(seed)
        self.dut = JobLists(params=params)
        self.memory = JobMemoryModel(self.dut, grant=grant, seed=seed)
        self.jobs = {}  # by bank

    def bits(self, kind, bank, beat):
        """A beat of a mask; what lies beyond the mask is anything."""
        lanes, mask = self.params.token_lanes, self.jobs[bank][f"{kind}_bits"]
        part = mask[lanes * beat : lanes * (beat + 1)]
        part += [self.rng.getrandbits(1) for _ in range(lanes - len(part))]
        return sum(bit << n for n, bit in enumerate(part))

    async def masks(self, ctx):
        dut, every = self.dut, (1 << self.params.token_lanes) - 1
        kinds = {"key": (dut.key_en, dut.key_masked, dut.key_beat, dut.key_mask),
                 "query": (dut.query_en, dut.query_masked, dut.query_beat, dut.query_mask)}
        ports = [signal for *port, _ in kinds.values() for signal in port]
        while True:
            _, _, bank, *found = await ctx.tick().sample(dut.bank, *ports)
            for place, (kind, (*_, data)) in enumerate(kinds.items()):
                en, masked, beat = found[3 * place : 3 * place + 3]
                if en:
                    ctx.set(data, self.bits(kind, bank, beat) if masked else every)

    async def build(self, ctx, job):
        """Offer a job, wait for its lists; returns the cycles from its transfer to them."""
        dut = self.dut
        self.jobs[job["bank"]] = job
        self.memory.words[job["bank"]] = memory_words(self.params, job)
        ctx.set(dut.job.payload, job["bank"])
        ctx.set(dut.job.valid, 1)
        assert not ctx.get(dut.done)
        await ctx.tick().until(dut.job.ready)
        ctx.set(dut.job.valid, 0)
        ctx.set(dut.job.payload, self.rng.randrange(self.params.banks))
        cycles = 1
        while not ctx.get(dut.done):
            await ctx.tick()
            cycles += 1
            assert cycles < 400
        return cycles

    async def check(self, ctx, job):
        """Counts, what is to be done with scores, and the lists through every read port."""
        dut, p = self.dut, self.params
        queries, keys, forced = lists_of(job)
        assert ctx.get(dut.queries) == len(queries)
        assert ctx.get(dut.keys) == len(keys)
        assert ctx.get(dut.forced) == forced
        found = ctx.get(dut.selection)
        for name, value in {**job["selection"], "keys": job["keys"]}.items():
            assert found[name] == value, name
        line, beat = row_lanes(p), p.groups
        readers = [(dut.list, queries, line, 1), (dut.list, keys, line, 0),
                   (dut.query_entry, queries, line, None), (dut.key_entry, keys, line, None),
                   (dut.key_beat_entry, keys, beat, None)]
        for port, rows, lanes, query in self.rng.sample(readers, len(readers)):
            lines = -(-len(rows) // lanes)
            for number in self.rng.sample(range(lines), min(lines, 16)):
                ctx.set(port.line, number)
                ctx.set(port.en, 1)
                if query is not None:
                    ctx.set(port.query, query)
                await ctx.tick()
                ctx.set(port.en, 0)
                ctx.set(port.line, 0)
                if query is not None:
                    ctx.set(port.query, 1 - query)
                if self.rng.random() < 0.5:
                    await ctx.tick()  # it stays
                for row, entry in zip(rows[lanes * number :], ctx.get(port.data), strict=False):
                    assert entry.index == row
                    assert forced or entry.before == (row - 1 in rows), row
                    assert forced or entry.after == (row + 1 in rows), row


def run(params, jobs, *, grant=1.0):
    """Build and check the lists of one job after another; returns the cycles that each took."""
    lists, cycles = Lists(params, grant=grant), []

    async def bench(ctx):
        for job in jobs:
            cycles.append(await lists.build(ctx, job))
            await lists.check(ctx, job)

    simulate(lists.dut, bench, background=[lists.memory.run, lists.masks])
    return cycles


@pytest.mark.parametrize("core", CORES)
@pytest.mark.parametrize("grant", [1.0, 0.5])
def test_lists(core, grant):
    params = CORES[core]
    rng = random.Random(f"lists {core}")
    run(params, [job_of(params, rng, bank=n % params.banks) for n in range(24)], grant=grant)


@pytest.mark.parametrize("core", CORES)
@pytest.mark.parametrize("causal", [0, 1])
def test_degenerate_jobs(core, causal):
    """One key, one query, masks that leave nothing: each after a job whose lists are long."""
    params, rng, jobs = CORES[core], random.Random(core), []
    none, every = [0] * 70, [1] * 70
    most = {"keys": params.max_keys, "queries": params.max_queries}
    for sizes in ({"keys": 1, "queries": 1}, {"keys": 20, "queries": 1}, most):
        for bits in ({"key_bits": none}, {"query_bits": none}, {"key_bits": every},
                     {"key_bits": none, "query_bits": none}):
            masked = {"causal": causal, "key_mask": 1, "query_mask": 1}
            whole = masked | most | {"key_bits": every, "query_bits": every}
            jobs += [job_of(params, rng, **whole),
                     job_of(params, rng, **masked, **sizes, **{"query_bits": every, **bits})]
    run(params, jobs)


def test_a_core_of_one_key_and_one_query():
    rng = random.Random(3)
    run(LEAST, [job_of(LEAST, rng, bank=n % LEAST.banks) for n in range(24)])


def test_keys_end_with_the_last_one_that_is_seen():
    """Of ten queries on twenty keys only query 2 is valid: it sees the first 13 keys."""
    params, rng = CORES["tiny"], random.Random(1)
    request = {"keys": 20, "queries": 10, "causal": 1, "query_mask": 1, "key_mask": 0,
               "query_bits": [int(n == 2) for n in range(64)]}
    job = job_of(params, rng, **request)
    assert lists_of(job) == ([2], list(range(13)), False)
    run(params, [job])


@pytest.mark.parametrize("core", CORES)
@pytest.mark.parametrize("causal", [0, 1])
def test_latency(core, causal):
    params, rng = CORES[core], random.Random(core)
    job = job_of(params, rng, causal=causal, keys=50, queries=50, query_mask=0, key_mask=0)
    beats = -(-50 // params.token_lanes)
    one = RowList(params=params, rows=params.max_keys, reads=(1,)).latency + beats
    (cycles,) = run(params, [job])
    assert cycles <= one * (1 + causal) + 5


@pytest.mark.parametrize("core", CORES)
@pytest.mark.parametrize("causal", [0, 1])
def test_a_job_behind_a_refused_one(core, causal):
    """The lists of a job that is refused are still being built as the next one is offered."""
    params, rng = CORES[core], random.Random(f"refused {core}")
    whole = {"causal": causal, "keys": params.max_keys, "queries": params.max_queries}
    lists = Lists(params)

    async def bench(ctx):
        for number in range(6):
            refused = job_of(params, rng, bank=0, **(whole if number % 2 else {}))
            lists.jobs[0] = refused
            lists.memory.words[0] = memory_words(params, refused)
            ctx.set(lists.dut.job.payload, 0)
            ctx.set(lists.dut.job.valid, 1)
            await ctx.tick().until(lists.dut.job.ready)
            if number >= 2:
                ctx.set(lists.dut.job.valid, 0)
                await ctx.tick().repeat(rng.randrange(1, 2 * params.max_keys))
            job = job_of(params, rng, bank=1)
            await lists.build(ctx, job)
            await lists.check(ctx, job)

    simulate(lists.dut, bench, background=[lists.memory.run, lists.masks])


def test_lists_stay_until_the_next_job_is_offered():
    params, rng = CORES["small"], random.Random(2)
    jobs = [job_of(params, rng, bank=bank) for bank in range(2)]
    lists = Lists(params)

    async def bench(ctx):
        dut = lists.dut
        for job in jobs:
            await lists.build(ctx, job)
            for _ in range(3):
                await ctx.tick().repeat(20)
                assert ctx.get(dut.done)
                await lists.check(ctx, job)
            ctx.set(dut.job.valid, 1)
            assert not ctx.get(dut.done)  # at once

    simulate(lists.dut, bench, background=[lists.memory.run, lists.masks])
