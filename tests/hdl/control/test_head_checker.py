# amaranth: UnusedElaboratable=no
"""What a job says of its heads: each rule by itself, at the stated pace."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from attnsieve.hdl.control.head_checker import HeadChecker
from attnsieve.hdl.control.status import StatusCode
from attnsieve.hdl.control.words import head_words, job_words
from attnsieve.sim.unit import simulate

from .jobs import SMALL, TINY, JobMemoryModel

_LISTED = {"value_lanes": 16, "token_lanes": 16, "channels": 2}
CORES = {
    "tiny": TINY,
    "small": SMALL,
    "lists": replace(SMALL, **_LISTED),
    "demand": replace(SMALL, **_LISTED, value_demand=True),
    "slices": replace(SMALL, slice_units=2, value_demand=True, slice_demand=True, slice_rows=4),
    "64 heads": replace(SMALL, **_LISTED, progressive=True, max_heads=64),
}


def check(params, *, grant=1.0, pruned=0, mantissas=None, **job):
    """(code, group, cycles) of a job."""
    dut, found = HeadChecker(params=params), []
    memory = JobMemoryModel(dut, grant=grant, seed=3)
    words = job_words(params)
    names = head_words(params) if params.token_lanes else ()
    memory.words[0] = {words[name]: pruned >> 32 * n & 0xFFFFFFFF for n, name in enumerate(names)}
    memory.tables[0] = mantissas or [1 << 15] * 64
    job = {"keys": 16, "dim": 1, "threshold": 0, "demand": 0, "planar": 0, **job}

    async def bench(ctx):
        for name, value in job.items():
            ctx.set(getattr(dut, name), value)
        await ctx.tick().repeat(3)
        assert not ctx.get(dut.done)
        ctx.set(dut.go, 1)
        for cycles in range(1, 1000):
            await ctx.tick()
            ctx.set(dut.go, 0)
            if ctx.get(dut.done):
                found.append((ctx.get(dut.code), ctx.get(dut.group), cycles))
                return

    simulate(dut, bench, background=(memory.run,))
    return found[0]


@pytest.mark.parametrize("core", CORES)
def test_good_heads_and_their_latency(core):
    params = CORES[core]
    waits = params.progressive or params.value_demand
    most = params.max_heads
    for heads, kv_heads in ((1, 1), (4, 4), (most, 1), (most, most)):
        code, group, cycles = check(params, heads=heads, kv_heads=kv_heads)
        assert (code, group) == (StatusCode.OK, heads // kv_heads)
        words = len(head_words(params)) + 3 if params.token_lanes else 0
        room = group + 1 if waits else 0
        assert cycles == group + heads + 7 + room + words


@pytest.mark.parametrize("core", CORES)
@pytest.mark.parametrize("grant", [1.0, 0.4])
def test_each_rule(core, grant):
    params = CORES[core]
    for heads, kv_heads in ((3, 2), (5, 4), (params.max_heads, params.max_heads - 1)):
        assert check(params, grant=grant, heads=heads, kv_heads=kv_heads)[0] == StatusCode.BAD_GROUP
    for bad in range(4):
        mantissas = [1 << 15] * 64
        mantissas[bad] = random.Random(bad).randrange(1 << 15)
        code, group, _ = check(params, grant=grant, heads=4, kv_heads=2, mantissas=mantissas)
        assert (code, group) == (StatusCode.BAD_THRESHOLD, 2)
    mantissas = [1 << 15] * 4 + [0] * 60  # of heads that the job does not have
    assert check(params, grant=grant, heads=4, kv_heads=2, mantissas=mantissas)[0] == StatusCode.OK


@pytest.mark.parametrize("core", ["lists", "demand", "64 heads"])
def test_one_head_lives(core):
    params = CORES[core]
    most = params.max_heads
    for heads in (1, 3, most):
        for alive in {0, heads - 1}:
            pruned = ((1 << heads) - 1) ^ 1 << alive
            assert check(params, heads=heads, kv_heads=1, pruned=pruned)[0] == StatusCode.OK
        beyond = ((1 << heads) - 1)  # the heads that the job does not have seem to live
        code, _, _ = check(params, heads=heads, kv_heads=1, pruned=beyond)
        assert code == StatusCode.BAD_COUNT


def test_room_for_the_rows_of_a_group():
    """As many beats as the memory holds, and one group more."""
    params = CORES["demand"]
    keys = params.max_keys
    beats = -(-keys // params.groups)
    most = params.held_beats // beats
    fits = {"heads": most, "kv_heads": 1, "keys": keys, "demand": 1}
    assert check(params, **fits)[0] == StatusCode.OK
    assert check(params, **fits | {"heads": most + 1})[0] == StatusCode.BAD_GROUP
    assert check(params, **fits | {"heads": most + 1, "demand": 0})[0] == StatusCode.OK


def test_rows_of_a_group_are_scored_together():
    """As many as the units work on at once, where K lies in planes."""
    params = CORES["slices"]
    most = params.slice_rows
    fits = {"heads": 2 * most, "kv_heads": 2, "planar": 1}
    assert check(params, **fits)[:2] == (StatusCode.OK, most)
    assert check(params, **fits | {"heads": 2 * most + 2})[0] == StatusCode.BAD_GROUP
    assert check(params, **fits | {"heads": 2 * most + 2, "planar": 0})[0] == StatusCode.OK
