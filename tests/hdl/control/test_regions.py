# amaranth: UnusedElaboratable=no
"""Regions of Q, K, V and O."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from attnsieve.hdl.control.regions import RegionSequencer
from attnsieve.hdl.control.words import job_words
from attnsieve.sim.unit import run_streams

from .jobs import (
    SMALL,
    TINY,
    JobMemoryModel,
    derived_words,
    good_request,
    sizes,
    with_planes,
    words_of,
)

HIGH = replace(SMALL, addr_width=40)
PLANES = replace(
    SMALL, value_lanes=16, token_lanes=16, lut_ram=True, channels=2, progressive=True)
DEMAND = replace(SMALL, value_lanes=16, token_lanes=16, lut_ram=True, value_demand=True)
SLICED = replace(SMALL, slice_units=2, lut_ram=True, value_demand=True)
PLANAR = replace(SLICED, slice_demand=True)
PRUNED = replace(SMALL, value_lanes=16, token_lanes=16, lut_ram=True)


def test_tensor_is_checked():
    with pytest.raises(ValueError, match=r'^Tensor must be "q", "k", "v" or "o", not \'p\'$'):
        RegionSequencer(params=SMALL, tensor="p")


def run(params, tensor, requests, *, stall=0.0, grant=1.0):
    """Regions of requests, one after another, each in the next bank."""
    dut = RegionSequencer(params=params, tensor=tensor)
    memory = JobMemoryModel(dut, grant=grant)
    memory.words = {n: words_of(params, r) | derived_words(params, r)
                    for n, r in enumerate(requests)}
    count = sum(sizes(r)["q" if tensor == "o" else tensor][0] for r in requests)
    return run_streams(dut, {"job": list(range(len(requests)))}, {"o": count}, stall=stall,
                       testbenches=(memory.run,))


@pytest.mark.parametrize("params", [SMALL, TINY, HIGH], ids=["small", "tiny", "40 bits"])
@pytest.mark.parametrize("tensor", ["q", "k", "v", "o"])
@pytest.mark.parametrize("stall, grant", [(0.0, 1.0), (0.4, 0.6)])
def test_regions(params, tensor, stall, grant):
    rng = random.Random(4)
    requests = [good_request(params, rng) for _ in range(params.banks)]
    want = []
    for request in requests:
        heads, size = sizes(request)["q" if tensor == "o" else tensor]
        rows = request["keys" if tensor in "kv" else "queries"]
        for head in range(heads):
            address = request[f"{tensor}_base"] + head * request[f"{tensor}_stride"]
            lines = params.row_lines(rows, request["head_dim"])
            parts = request["head_dim"] // params.segment
            want.append((address, lines, size, request["wide"], rows, parts))
    result = run(params, tensor, requests, stall=stall, grant=grant)
    assert [(r.address, r.lines, r.bytes, r.wide, r.rows, r.parts)
            for r in result.outputs["o"]] == want
    if stall == 0:
        latency = RegionSequencer(params=params, tensor=tensor).latency
        assert result.cycles == len(want) + latency * len(requests)


@pytest.mark.parametrize("tensor", ["q", "k", "v", "o"])
@pytest.mark.parametrize("stall, grant", [(0.0, 1.0), (0.4, 0.6)])
def test_pruned_heads_have_no_region(tensor, stall, grant):
    params, rng = PRUNED, random.Random(f"pruned {tensor}")
    requests = [good_request(params, rng) for _ in range(params.banks)]
    requests[0] |= {"heads": 12, "kv_heads": 4}
    dut = RegionSequencer(params=params, tensor=tensor)
    memory, want = JobMemoryModel(dut, grant=grant), []
    for bank, request in enumerate(requests):
        heads, group = request["heads"], request["heads"] // request["kv_heads"]
        alive = [rng.random() < 0.4 for _ in range(heads)]
        alive[rng.randrange(heads)] = True
        word = sum(1 << head for head, lives in enumerate(alive) if not lives)
        memory.words[bank] = words_of(params, request) | derived_words(params, request) | {
            job_words(params)["PRUNED_HEADS"]: word}
        if tensor in "kv":
            alive = [any(alive[first : first + group]) for first in range(0, heads, group)]
        want += [request[f"{tensor}_base"] + head * request[f"{tensor}_stride"]
                 for head, lives in enumerate(alive) if lives]
    result = run_streams(dut, {"job": list(range(len(requests)))}, {"o": len(want)}, stall=stall,
                         testbenches=(memory.run,))
    assert [r.address for r in result.outputs["o"]] == want


@pytest.mark.parametrize("params", [DEMAND, SLICED], ids=["lists", "slices"])
@pytest.mark.parametrize("tensor", ["q", "k", "v"])
@pytest.mark.parametrize("stall, grant", [(0.0, 1.0), (0.4, 0.6)])
def test_demand(params, tensor, stall, grant):
    """Regions of V have that of their job, no others have it."""
    rng = random.Random(f"demand {tensor}")
    requests = [with_planes(params, rng, good_request(params, rng)) | {"demand": bank % 2}
                for bank in range(params.banks)]
    want = [int(tensor == "v") & request["demand"]
            for request in requests for _ in range(sizes(request)[tensor][0])]
    result = run(params, tensor, requests, stall=stall, grant=grant)
    assert [r.demand for r in result.outputs["o"]] == want
    assert not any(r.half for r in result.outputs["o"])


@pytest.mark.parametrize("tensor", ["q", "k", "v"])
@pytest.mark.parametrize("stall, grant", [(0.0, 1.0), (0.4, 0.6)])
def test_planes_of_slices(tensor, stall, grant):
    """Regions of K have those of their job, no others have any."""
    rng, params = random.Random(f"planes {tensor}"), PLANAR
    requests = [with_planes(params, rng, good_request(params, rng)) | {"planar": bank % 2}
                for bank in range(params.banks)]
    requests[1]["k_plane"] = (1 << 32) - params.alignment
    want = [(int(tensor == "k") & r["planar"], r["k_plane"] // 32 if tensor == "k" else 0)
            for r in requests for _ in range(sizes(r)[tensor][0])]
    result = run(params, tensor, requests, stall=stall, grant=grant)
    assert [(r.planar, r.plane) for r in result.outputs["o"]] == want
    if stall == 0:
        latency = RegionSequencer(params=params, tensor=tensor).latency
        assert result.cycles == len(want) + latency * len(requests)


@pytest.mark.parametrize("tensor", ["q", "k", "v", "o"])
@pytest.mark.parametrize("stall, grant", [(0.0, 1.0), (0.4, 0.6)])
def test_widths(tensor, stall, grant):
    """K and V have a width of their own, or that of Q; it is a place among the widths."""
    params, rng = PLANES, random.Random(f"widths {tensor}")
    for turn in range(5):
        requests = [with_planes(params, rng, good_request(params, rng))
                    for _ in range(params.banks)]
        if turn == 0:  # a job without widths behind one that has them
            requests[1] |= {"k_bits": 0, "v_bits": 0}
        want = []
        for request in requests:
            own = {"k": request["k_bits"], "v": request["v_bits"]}.get(tensor, 0)
            bits = own or (12 if request["wide"] else 8)
            heads, _ = sizes(request)["q" if tensor == "o" else tensor]
            want += [((4, 6, 8, 10, 12).index(bits), 0)] * heads
        result = run(params, tensor, requests, stall=stall, grant=grant)
        assert [(r.width, r.second) for r in result.outputs["o"]] == want
