# amaranth: UnusedElaboratable=no
"""The job checker against the rules written down in Python."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from attnsieve.hdl.control.checker import JobChecker
from attnsieve.hdl.control.status import StatusCode
from attnsieve.hdl.control.words import address_words
from attnsieve.hdl.params import CoreParams
from attnsieve.sim.unit import simulate

from .jobs import SMALL, TINY, JobMemoryModel, derived_words, good_request, verdict, words_of

LOW = replace(TINY, addr_width=24)
HIGH = replace(SMALL, addr_width=40)


def check(params, cases, *, grant=1.0, seed=0):
    """[(code, words, cycles)] of the cases: pairs of a request and the mantissas of its heads."""
    dut, results = JobChecker(params=params), []
    memory = JobMemoryModel(dut, grant=grant, seed=seed)

    async def bench(ctx):
        for number, (request, mantissas) in enumerate(cases):
            bank = number % params.banks
            memory.words[bank] = words_of(params, request)
            memory.tables[bank] = mantissas
            ctx.set(dut.bank, bank)
            ctx.set(dut.start, 1)
            await ctx.tick()
            ctx.set(dut.start, 0)
            for cycles in range(1, 1000):
                _, _, done, code = await ctx.tick().sample(dut.done, dut.code)
                if done:
                    results.append((code, dict(memory.words[bank]), cycles))
                    break
            else:
                raise AssertionError("the checker hangs")

    simulate(dut, bench, background=(memory.run,))
    return results


def normal(rng):
    return [rng.randrange(1 << 15, 1 << 16) for _ in range(64)]


@pytest.mark.parametrize(
    "params", [SMALL, TINY, LOW, HIGH], ids=["small", "tiny", "24 bits", "40 bits"])
def test_random_requests(params):
    rng, cases = random.Random(1), []
    for _ in range(150):
        request, mantissas = good_request(params, rng), normal(rng)
        if rng.random() < 0.6:
            field = rng.choice(sorted(request))
            if field in ("heads", "kv_heads", "queries", "keys", "head_dim"):
                request[field] = rng.choice([0, 1, 7, 16, 33, 48, 65, 200, 65535])
            elif "_" in field and field.split("_")[1] in ("base", "stride"):
                top = 1 << params.addr_width
                request[field] = rng.choice([8, top - 32, top >> 2, top - 0x1000])
                if params.addr_width < 32:
                    request[field] += rng.getrandbits(1) << params.addr_width
        if rng.random() < 0.1:
            mantissas[rng.randrange(request["heads"] + 1) % 64] = 0x7FFF
        cases.append((request, mantissas))
    want = [verdict(params, *case) for case in cases]
    got = check(params, cases, grant=0.7)
    for case, code, (got_code, words, _) in zip(cases, want, got, strict=True):
        assert got_code == code, case
        if code == StatusCode.OK:
            assert words == words_of(params, case[0]) | derived_words(params, case[0])
    assert len(set(want)) >= 7, "the cases no longer reach the rules"


@pytest.mark.parametrize("params", [SMALL, HIGH], ids=["32 bits", "40 bits"])
def test_latency(params):
    rng, words = random.Random(2), len(address_words(params, "Q_BASE"))
    cases = [(good_request(params, rng), normal(rng)) for _ in range(40)]
    for (request, _), (code, _, cycles) in zip(cases, check(params, cases), strict=True):
        heads, kv_heads = request["heads"], request["kv_heads"]
        assert code == StatusCode.OK
        assert cycles == 2 * (heads + kv_heads) + heads // kv_heads + heads + 8 * words + 38


def test_range_may_end_at_the_top_of_memory():
    rng = random.Random(3)
    request = good_request(SMALL, rng) | {
        "heads": 1, "kv_heads": 1, "queries": 2, "keys": 2, "head_dim": 16, "wide": 0, "causal": 0}
    for tensor in "qkvo":
        request[f"{tensor}_base"] = 0
    top = request | {"k_base": (1 << 32) - 32}
    over = top | {"keys": 3}
    codes = [code for code, *_ in check(SMALL, [(top, normal(rng)), (over, normal(rng))])]
    assert codes == [StatusCode.OK, StatusCode.ADDRESS_WRAP]


def test_heads_must_fit_the_rings():
    """K of one head may fill the ring, and have no line more."""
    params = CoreParams(lanes=64, max_keys=70, max_queries=50, max_heads=12, buffer_elements=2048)
    rng = random.Random(4)
    fits = good_request(params, rng) | {"keys": 32, "queries": 9, "head_dim": 128}
    assert params.row_lines(32, 128) == params.kv_lines
    codes = [c for c, *_ in check(params, [(fits, normal(rng)),
                                           (fits | {"keys": 33}, normal(rng))])]
    assert codes == [StatusCode.OK, StatusCode.SIZE_OVER_BUILD]
