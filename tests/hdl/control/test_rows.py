# amaranth: UnusedElaboratable=no
"""Rows of a job: order, visible keys, addresses, masks."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from attnsieve.hdl.control.rows import RowSequencer
from attnsieve.sim.unit import run_streams, simulate

from .jobs import SMALL, TINY, JobMemoryModel, derived_words, good_request, words_of
from .queued import Queued

SLICED = replace(SMALL, slice_units=2)
DEMAND = replace(SLICED, value_demand=True)
PLANAR = replace(DEMAND, slice_demand=True)
FIELDS = ("parts", "keys", "key_mask", "bank", "write", "last_of_head", "last_of_kv", "last_of_job")


def scale_of(bank, head):
    return {"mantissa": 0x8000 + 100 * bank + head, "shift": (bank + head) % 64}


def threshold_of(params, bank, head):
    """A word, and the score that it stands for: some are beyond all scores."""
    bits = params.threshold_bits
    value = ((bank * 37 + head * 101) * 0x1234567 & 0xFFFFFFFF) - (1 << 31)
    value = (value, value >> 32 - bits, -(1 << 31), (1 << 31) - 1)[(bank + head) % 4]
    end = 1 << bits - 1
    return value & 0xFFFFFFFF, min(max(value, -end), end - 1)


def valid_of(bank, query):
    return (query * 7 + bank) % 3 != 0


def rows_of(params, request):
    r = request
    for head in range(r["heads"]):
        group = r["heads"] // r["kv_heads"]
        for query in range(r["queries"]):
            last = query == r["queries"] - 1
            last_of_kv = last and head % group == group - 1
            write = not r["query_mask"] or valid_of(r["bank"], query)
            visible = query + r["keys"] - r["queries"] + 1 if r["causal"] else r["keys"]
            yield {
                "parts": r["head_dim"] // params.segment,
                "keys": visible if write or last_of_kv or r.get("demand") else 0,
                "key_mask": r["key_mask"], "bank": r["bank"],
                "write": int(write), "last_of_head": int(last), "last_of_kv": int(last_of_kv),
                "last_of_job": int(last and head == r["heads"] - 1),
            }


def run(params, requests, stall, grant=1.0):
    """Rows of requests, one after another, each in the bank it names."""
    dut = Queued(RowSequencer(params=params))
    memory = JobMemoryModel(dut, grant=grant)
    for request in requests:
        bank = request["bank"]
        memory.words[bank] = words_of(params, request) | derived_words(params, request)
        memory.tables[bank] = [
            s["mantissa"] | s["shift"] << 16
            for s in (scale_of(bank, head) for head in range(params.max_heads))]
        if params.threshold_bits:
            memory.tables[bank] += [None] * (128 - params.max_heads) + [
                threshold_of(params, bank, head)[0] for head in range(params.max_heads)]

    async def mask(ctx):
        while True:
            _, _, bank, en, query = await ctx.tick().sample(dut.bank, dut.query_en, dut.query)
            if en:
                ctx.set(dut.query_valid, valid_of(bank, query))

    want = [row for request in requests for row in rows_of(params, request)]
    scales = [scale_of(r["bank"], head) for r in requests for head in range(r["heads"])]
    result = run_streams(dut, {"job": [r["bank"] for r in requests]},
                         {"o": len(want), "scale": len(scales)}, stall=stall,
                         testbenches=(mask, memory.run))
    for got, row in zip(result.outputs["o"], want, strict=True):
        assert {f: got[f] for f in FIELDS} == row
    for got, scale in zip(result.outputs["scale"], scales, strict=True):
        assert (got.mantissa, got.shift) == (scale["mantissa"], scale["shift"])
    if params.threshold_bits:
        assert [scale.threshold for scale in result.outputs["scale"]] == [
            threshold_of(params, r["bank"], head)[1]
            for r in requests for head in range(r["heads"])]
        each = ((r, n) for r in requests for n, _ in enumerate(rows_of(params, r)))
        for got, (r, n) in zip(result.outputs["o"], each, strict=True):
            most = (1 << params.key_bits) - 1
            query = n % r["queries"]
            own = query + r["keys"] - r["queries"] if r["causal"] else query
            assert (got.wide, got.relative) == (r["wide"], r.get("relative", 0))
            assert got.pin_first == min(r.get("pin_first", 0), most)
            assert got.pin_newest == min(r.get("pin_newest", 0), most)
            assert got.own == (min(own, most) if r.get("pin_self") else most)
            if params.value_demand:
                assert got.demand == r["demand"]
            if params.slice_demand:
                assert got.planar == r["planar"]
    return result


@pytest.mark.parametrize("params", [SMALL, TINY], ids=["small", "tiny"])
@pytest.mark.parametrize("stall, grant", [(0.0, 1.0), (0.5, 0.6)])
def test_rows(params, stall, grant):
    rng = random.Random(5)
    requests = [good_request(params, rng) | {
        "queries": rng.randint(1, 6), "keys": 6 + i, "bank": i, "query_mask": i % 2}
        for i in range(params.banks)]
    run(params, requests, stall, grant)


@pytest.mark.parametrize("stall, grant", [(0.0, 1.0), (0.5, 0.6)])
def test_thresholds(stall, grant):
    rng = random.Random(8)
    requests = [good_request(SLICED, rng) | {
        "queries": rng.randint(1, 4), "keys": 6 + i, "bank": i, "query_mask": i % 2,
        "wide": i % 2, "relative": rng.randrange(2), "pin_first": rng.choice([0, 3, 65535]),
        "pin_newest": rng.choice([0, 2, 40000]), "pin_self": i % 2}
        for i in range(SLICED.banks)]
    run(SLICED, requests, stall, grant)


@pytest.mark.parametrize("stall, grant", [(0.0, 1.0), (0.5, 0.6)])
def test_rows_of_a_head_on_demand_have_the_same_keys(stall, grant):
    """Also those of a masked query."""
    rng = random.Random(9)
    requests = [good_request(DEMAND, rng) | {
        "heads": 6, "kv_heads": 2, "queries": 1, "keys": 6 + i, "bank": i, "query_mask": 1,
        "demand": int(i != 1)}
        for i in range(DEMAND.banks)]
    assert not all(valid_of(r["bank"], 0) for r in requests)
    run(DEMAND, requests, stall, grant)


@pytest.mark.parametrize("stall, grant", [(0.0, 1.0), (0.5, 0.6)])
def test_rows_tell_where_their_keys_lie(stall, grant):
    rng = random.Random(10)
    requests = [good_request(PLANAR, rng) | {
        "queries": 1, "bank": bank, "demand": bank % 2, "planar": int(bank != 1)}
        for bank in range(PLANAR.banks)]
    run(PLANAR, requests, stall, grant)


def test_more_queries_than_keys_can_be():
    """The last ones have no key at their position."""
    request = good_request(SLICED, random.Random(6)) | {
        "heads": 1, "kv_heads": 1, "queries": SLICED.max_queries, "keys": 3, "causal": 0,
        "query_mask": 0, "pin_self": 1}
    run(SLICED, [request], 0.0)


def test_a_head_with_a_threshold_takes_three_cycles_more():
    request = good_request(SLICED, random.Random(6)) | {
        "heads": 4, "kv_heads": 2, "queries": 20, "keys": 40, "query_mask": 0}
    result = run(SLICED, [request], 0.0)
    assert result.last("o") + 1 == RowSequencer(params=SLICED).job_cycles + 4 * (20 + 6)


def test_one_row_a_cycle_without_a_mask():
    request = good_request(SMALL, random.Random(6)) | {
        "heads": 4, "kv_heads": 2, "queries": 20, "keys": 40, "query_mask": 0}
    result = run(SMALL, [request], 0.0)
    assert result.last("o") + 1 == RowSequencer(params=SMALL).job_cycles + 4 * (20 + 3)


def test_no_scale_is_lost_for_want_of_room():
    """Rows leave at once, scales only later."""
    request = good_request(SMALL, random.Random(7)) | {
        "heads": 6, "kv_heads": 6, "queries": 1, "keys": 3, "query_mask": 0, "bank": 0}
    dut = Queued(RowSequencer(params=SMALL))
    memory = JobMemoryModel(dut)
    memory.words[0] = words_of(SMALL, request) | derived_words(SMALL, request)
    memory.tables[0] = [scale_of(0, head)["mantissa"] for head in range(SMALL.max_heads)]
    found = []

    async def bench(ctx):
        ctx.set(dut.job.valid, 1)
        ctx.set(dut.o.ready, 1)
        await ctx.tick().until(dut.job.ready)
        ctx.set(dut.job.valid, 0)
        await ctx.tick().repeat(100)
        ctx.set(dut.scale.ready, 1)
        for _ in range(100):
            _, _, valid, scale = await ctx.tick().sample(dut.scale.valid, dut.scale.p.mantissa)
            found.extend([scale] * valid)

    simulate(dut, bench, background=[memory.run])
    assert found == memory.tables[0][:6]
