# amaranth: UnusedElaboratable=no
"""Rows of a job: order, visible keys, addresses, masks."""

from __future__ import annotations

import random

import pytest

from attnsieve.hdl.control.rows import RowSequencer
from attnsieve.sim.unit import run_streams

from .jobs import SMALL, TINY, as_job, good_request

FIELDS = ("parts", "keys", "key_mask", "bank", "o_address", "write", "last_of_kv", "last_of_job")


def scale_of(bank, head):
    return {"mantissa": 0x8000 + 100 * bank + head, "shift": (bank + head) % 64}


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
                "keys": visible if write or last_of_kv else 0,
                "scale": scale_of(r["bank"], head),
                "key_mask": r["key_mask"], "bank": r["bank"],
                "o_address": (r["o_base"] + head * r["o_stride"] + query * 2 * r["head_dim"])
                % (1 << params.addr_width),
                "write": int(write), "last_of_kv": int(last_of_kv),
                "last_of_job": int(last and head == r["heads"] - 1),
            }


def run(params, requests, stall):
    dut = RowSequencer(params=params)

    async def table(ctx):
        while True:
            _, _, en, bank, head, query_en, query = await ctx.tick().sample(
                dut.table_en, dut.bank, dut.table_head, dut.query_en, dut.query)
            if en:
                ctx.set(dut.table_data, scale_of(bank, head))
            if query_en:
                ctx.set(dut.query_valid, valid_of(bank, query))

    want = [row for request in requests for row in rows_of(params, request)]
    result = run_streams(dut, {"job": [as_job(params, r) for r in requests]},
                         {"o": len(want)}, stall=stall, testbenches=(table,))
    for got, row in zip(result.outputs["o"], want, strict=True):
        assert {f: got[f] for f in FIELDS} == {f: row[f] for f in FIELDS}
        assert got.scale.mantissa == row["scale"]["mantissa"]
        assert got.scale.shift == row["scale"]["shift"]
    return result


@pytest.mark.parametrize("params", [SMALL, TINY], ids=["small", "tiny"])
@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_rows(params, stall):
    rng = random.Random(5)
    requests = [good_request(params, rng) | {"queries": rng.randint(1, 6), "keys": 6 + i}
                for i in range(8)]
    run(params, requests, stall)


def test_one_row_a_cycle_without_a_mask():
    request = good_request(SMALL, random.Random(6)) | {
        "heads": 4, "kv_heads": 2, "queries": 20, "keys": 40, "query_mask": 0}
    result = run(SMALL, [request], 0.0)
    assert result.cycles == 1 + 4 * (20 + 3)
