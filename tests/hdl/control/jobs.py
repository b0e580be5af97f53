"""Jobs for the tests of the control blocks, and their rules written down once more."""

from __future__ import annotations

import random

from attnsieve.hdl.control.status import StatusCode
from attnsieve.hdl.params import CoreParams

TINY = CoreParams(
    lanes=4, max_head_dim=32, max_keys=64, max_queries=64, max_heads=16, buffer_elements=1536,
    output_lanes=1, channels=1, data_width=32, lut_ram=False,
)
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
    for tensor in "qkvo":
        request[f"{tensor}_base"] = rng.randrange(1 << 20) * params.alignment
        request[f"{tensor}_stride"] = rng.randrange(1 << 12) * params.alignment
    return request


def sizes(request: dict[str, int]) -> dict[str, tuple[int, int]]:
    """(heads, bytes of a head) of each tensor."""
    bits = 12 if request["wide"] else 8
    row = request["head_dim"] * bits // 8
    return {
        "q": (request["heads"], request["queries"] * row),
        "k": (request["kv_heads"], request["keys"] * row),
        "v": (request["kv_heads"], request["keys"] * row),
        "o": (request["heads"], request["queries"] * request["head_dim"] * 2),
    }


def verdict(params: CoreParams, request: dict[str, int], mantissas: list[int]) -> StatusCode:
    """The status code that a request deserves."""
    r = request
    if 0 in (r["heads"], r["kv_heads"], r["queries"], r["keys"]):
        return StatusCode.ZERO_LENGTH
    if r["head_dim"] == 0 or r["head_dim"] % 16:
        return StatusCode.BAD_HEAD_DIM
    limits = {"heads": params.max_heads, "queries": params.max_queries,
              "keys": params.max_keys, "head_dim": params.max_head_dim}
    if any(r[name] > limit for name, limit in limits.items()):
        return StatusCode.SIZE_OVER_BUILD
    if params.row_lines(r["keys"], r["head_dim"]) > params.kv_lines:
        return StatusCode.SIZE_OVER_BUILD
    if r["wide"] and params.operand_bits < 12:
        return StatusCode.SIZE_OVER_BUILD
    if any(r[f"{t}_{k}"] % params.alignment for t in "qkvo" for k in ("base", "stride")):
        return StatusCode.MISALIGNED
    if r["kv_heads"] > r["heads"]:
        return StatusCode.BAD_GROUP
    if r["causal"] and r["queries"] > r["keys"]:
        return StatusCode.BAD_COUNT
    for tensor, (heads, size) in sizes(r).items():
        end = r[f"{tensor}_base"] + (heads - 1) * r[f"{tensor}_stride"] + size
        if end > 1 << params.addr_width:
            return StatusCode.ADDRESS_WRAP
    if r["heads"] % r["kv_heads"]:
        return StatusCode.BAD_GROUP
    if any(m < 1 << 15 for m in mantissas[: r["heads"]]):
        return StatusCode.BAD_THRESHOLD
    return StatusCode.OK


def as_job(params: CoreParams, request: dict[str, int]) -> dict[str, int]:
    """The job that a good request becomes."""
    job = {k: v for k, v in request.items() if k != "head_dim"}
    return job | {"group": request["heads"] // request["kv_heads"],
                  "parts": request["head_dim"] // params.segment}
