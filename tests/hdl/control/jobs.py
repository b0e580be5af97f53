"""Jobs for the tests of the control blocks, and their rules written down once more."""

from __future__ import annotations

import random
from dataclasses import replace

from attnsieve.gen import config
from attnsieve.hdl.control.status import StatusCode
from attnsieve.hdl.control.words import address_words, extent_layout, job_words, size_layout
from attnsieve.hdl.params import CoreParams

TINY = replace(config.load("dense-tiny").core, queue_depth=2)
SMALL = CoreParams(lanes=64, max_keys=70, max_queries=50, max_heads=12, buffer_elements=8192)


def good_request(params: CoreParams, rng: random.Random) -> dict[str, int]:
    """A request that breaks no rule."""
    kv_heads = rng.randint(1, max(1, params.max_heads // 2))
    group = rng.randint(1, params.max_heads // kv_heads)
    keys = rng.randint(1, params.max_keys)
    causal = rng.getrandbits(1)
    queries = rng.randint(1, min(keys, params.max_queries) if causal else params.max_queries)
    request = {
        "heads": kv_heads * group, "kv_heads": kv_heads, "queries": queries, "keys": keys,
        "head_dim": rng.choice(params.head_dims), "wide": rng.getrandbits(1), "causal": causal,
        "key_mask": rng.getrandbits(1), "query_mask": rng.getrandbits(1),
        "bank": rng.randrange(params.banks),
    }
    bases = 1 << params.addr_width - 8
    for tensor in "qkvo":
        request[f"{tensor}_base"] = rng.randrange(bases) * params.alignment
        request[f"{tensor}_stride"] = rng.randrange(1 << 12) * params.alignment
    return request


def with_planes(params: CoreParams, rng: random.Random, request: dict[str, int]) -> dict[str, int]:
    """The request with widths of K and V, and rows that wait; it need not be good any more."""
    widths = (0, *params.operand_widths)
    more = {"threshold": rng.choice([0, 1, 6554, 65535]), "k_bits": rng.choice(widths),
            "v_bits": rng.choice(widths), "k_plane": 32 * rng.randrange(1 << 12)}
    if not params.progressive:
        more = dict.fromkeys(more, 0)
    more["demand"] = rng.getrandbits(1) if params.value_demand else 0
    more["planar"] = rng.getrandbits(1) if params.slice_demand else 0
    if params.slice_demand:
        more["k_plane"] = params.alignment * rng.randrange(1 << 12)
    if more["threshold"] or more["demand"] or more["planar"]:
        more["queries"] = 1
    return request | more


def sizes(request: dict[str, int]) -> dict[str, tuple[int, int]]:
    """(heads, bytes of a head at most) of each tensor."""
    own = request.get("k_bits", 0) | request.get("v_bits", 0)
    row = request["head_dim"] * (12 if request["wide"] else 8) // 8
    kv_row = request["head_dim"] * (12 if request["wide"] or own else 8) // 8
    return {
        "q": (request["heads"], request["queries"] * row),
        "k": (request["kv_heads"], request["keys"] * kv_row),
        "v": (request["kv_heads"], request["keys"] * kv_row),
        "o": (request["heads"], request["queries"] * request["head_dim"] * 2),
    }


def verdict(params: CoreParams, request: dict[str, int], mantissas: list[int]) -> StatusCode:
    """The status code that a request deserves."""
    r = request
    if 0 in (r["heads"], r["kv_heads"], r["queries"], r["keys"]):
        return StatusCode.ZERO_LENGTH
    if r["head_dim"] == 0 or r["head_dim"] % 16:
        return StatusCode.BAD_HEAD_DIM
    limits = {"heads": params.max_heads, "kv_heads": params.max_heads,
              "queries": params.max_queries, "keys": params.max_keys,
              "head_dim": params.max_head_dim}
    if any(r[name] > limit for name, limit in limits.items()):
        return StatusCode.SIZE_OVER_BUILD
    if r["wide"] and params.operand_bits < 12:
        return StatusCode.SIZE_OVER_BUILD
    if r["kv_heads"] > r["heads"]:
        return StatusCode.BAD_GROUP
    if r["causal"] and r["queries"] > r["keys"]:
        return StatusCode.BAD_COUNT
    code = planes_verdict(params, r)
    if code != StatusCode.OK:
        return code
    for tensor in "qokv":
        if tensor == "k" and params.row_lines(r["keys"], r["head_dim"]) > params.kv_lines:
            return StatusCode.SIZE_OVER_BUILD
        heads, size = sizes(r)[tensor]
        if tensor == "k":
            size = key_bytes(params, r, size)
            if size > 1 << params.addr_width:
                return StatusCode.ADDRESS_WRAP
        code = range_verdict(params, *(r[f"{tensor}_{kind}"] for kind in ("base", "stride")),
                             heads, size)
        if code != StatusCode.OK:
            return code
    if r["heads"] % r["kv_heads"]:
        return StatusCode.BAD_GROUP
    group = r["heads"] // r["kv_heads"]
    if r.get("threshold", 0) or r.get("demand", 0):
        if group * -(-r["keys"] // params.groups) > params.held_beats:
            return StatusCode.BAD_GROUP
    if r.get("planar", 0) and group > params.slice_rows:
        return StatusCode.BAD_GROUP
    if r.get("threshold", 0) and group * params.parts(r["head_dim"]) > params.held_segments:
        return StatusCode.BAD_GROUP
    if any(m < 1 << 15 for m in mantissas[: r["heads"]]):
        return StatusCode.BAD_THRESHOLD
    return StatusCode.OK


def key_bytes(params: CoreParams, request: dict[str, int], size: int) -> int:
    """Bytes from the first one of a head of K to its last: so many if it has one plane."""
    r = request
    if r.get("threshold", 0):
        return size + r["k_plane"]
    if r.get("planar", 0):
        bits = params.max_head_dim * params.slice_bits
        pitch = min(n for n in (1, 2, 4, 8, 16, 32, 64) if 8 * n >= bits)
        planes = -(-params.operand_bits // params.slice_bits)
        if not r["wide"]:
            planes -= (params.operand_bits - 8) // params.slice_bits
        return r["keys"] * pitch + (planes - 1) * r["k_plane"]
    return size


def planes_verdict(params: CoreParams, request: dict[str, int]) -> StatusCode:
    """What is wrong with widths of K and V, and with what makes rows wait."""
    r = request
    if params.progressive:
        if any(r[n] not in (0, 4, 6, 8, 10, 12) for n in ("k_bits", "v_bits")):
            return StatusCode.BAD_COUNT
        if r["threshold"] and r["queries"] != 1:
            return StatusCode.BAD_THRESHOLD
        if r["threshold"] and r["k_plane"] % params.alignment:
            return StatusCode.MISALIGNED
    if params.value_demand and (r["demand"] or r.get("planar", 0)) and r["queries"] != 1:
        return StatusCode.BAD_COUNT
    if r.get("planar", 0):
        if r.get("relative", 0):
            return StatusCode.BAD_THRESHOLD
        if r["k_plane"] % params.alignment:
            return StatusCode.MISALIGNED
    return StatusCode.OK


def range_verdict(params: CoreParams, base: int, stride: int, heads: int, size: int) -> StatusCode:
    """What is wrong first with the addresses of a tensor."""
    top = 1 << params.addr_width
    if base % params.alignment:
        return StatusCode.MISALIGNED
    if base + size > top:
        return StatusCode.ADDRESS_WRAP
    if stride % params.alignment:
        return StatusCode.MISALIGNED
    if base + (heads - 1) * stride + size > top:
        return StatusCode.ADDRESS_WRAP
    return StatusCode.OK


def words_of(params: CoreParams, request: dict[str, int]) -> dict[int, int]:
    """The job registers of a request, by word."""
    known, r = job_words(params), request
    words = {known[name.upper()]: r[name]
             for name in ("heads", "kv_heads", "queries", "keys", "head_dim")}
    words[known["MODE"]] = (
        r["wide"] | r["causal"] << 1 | r["key_mask"] << 2 | r["query_mask"] << 3)
    if params.slice_units:
        words[known["MODE"]] |= r.get("relative", 0) << 4
        words |= {known[name.upper()]: r.get(name, 0)
                  for name in ("pin_first", "pin_newest", "pin_self")}
    for tensor in "qkvo":
        for kind in ("base", "stride"):
            name = f"{tensor}_{kind}".upper()
            for place, word in enumerate(address_words(params, name)):
                words[known[word]] = r[f"{tensor}_{kind}"] >> 32 * place & 0xFFFFFFFF
    if params.progressive:
        widths = r.get("k_bits", 0) << 16 | r.get("v_bits", 0) << 20
        words[known["PRECISION"]] = r.get("threshold", 0) | widths
        words[known["K_PLANE"]] = r.get("k_plane", 0)
    if params.value_demand:
        words[known["FETCH"]] = r.get("demand", 0) | r.get("planar", 0) << 1
    if params.slice_demand:
        words[known["K_PLANE"]] = r.get("k_plane", 0)
    return words


def derived_words(params: CoreParams, request: dict[str, int]) -> dict[int, int]:
    """What the checker adds to the words of a good request."""
    known, r = job_words(params), request
    words = {known["GROUP"]: r["heads"] // r["kv_heads"]}
    for name, tensor, rows in (("Q", "q", r["queries"]), ("KV", "k", r["keys"])):
        heads, size = sizes(r)[tensor]
        extent = {"lines": params.row_lines(rows, r["head_dim"]), "rows": rows}
        shape = {"eights": size // 8, "wide": r["wide"], "heads": heads,
                 "parts": r["head_dim"] // params.segment}
        words[known[f"{name}_EXTENT"]] = extent_layout(params).const(extent).as_value().value
        words[known[f"{name}_SIZE"]] = size_layout(params).const(shape).as_value().value
    return words


class JobMemoryModel:
    """Serves a fetch port, and a store port if there is one; grants at random."""

    def __init__(self, dut, *, grant: float = 1.0, seed: int = 0):
        self.dut, self.grant, self.rng = dut, grant, random.Random(seed)
        self.words: dict[int, dict[int, int]] = {}  # by bank
        self.tables: dict[int, list[int]] = {}

    async def run(self, ctx):
        coming = None  # what is read; it is there a cycle later
        fetch, store = self.dut.fetch, getattr(self.dut, "store", None)
        stored = (store.en, store.grant, store.bank, store.index, store.data) if store else (
            fetch.en,) * 5
        while True:
            ctx.set(fetch.grant, self.rng.random() < self.grant)
            if store:
                ctx.set(store.grant, self.rng.random() < self.grant)
            _, _, en, granted, bank, table, index, *write = await ctx.tick().sample(
                fetch.en, fetch.grant, fetch.bank, fetch.table, fetch.index, *stored)
            if store and write[0] and write[1]:
                self.words[write[2]][write[3]] = write[4]
            ctx.set(fetch.data, self.rng.getrandbits(32) if coming is None else coming)
            coming = None  # nothing holds but after a read
            if en and granted:
                coming = self.tables[bank][index] if table else self.words[bank].get(index, 0)
