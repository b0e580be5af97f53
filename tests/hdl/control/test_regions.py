# amaranth: UnusedElaboratable=no
"""Regions of Q, K and V."""

from __future__ import annotations

import random

import pytest

from attnsieve.hdl.control.regions import RegionSequencer
from attnsieve.sim.unit import run_streams

from .jobs import SMALL, TINY, as_job, good_request, sizes


def test_tensor_is_checked():
    with pytest.raises(ValueError, match=r'^Tensor must be "q", "k" or "v", not \'o\'$'):
        RegionSequencer(params=SMALL, tensor="o")


@pytest.mark.parametrize("params", [SMALL, TINY], ids=["small", "tiny"])
@pytest.mark.parametrize("tensor", ["q", "k", "v"])
@pytest.mark.parametrize("stall", [0.0, 0.4])
def test_regions(params, tensor, stall):
    rng = random.Random(4)
    requests = [good_request(params, rng) for _ in range(12)]
    want = []
    for request in requests:
        heads, size = sizes(request)[tensor]
        rows = request["queries" if tensor == "q" else "keys"]
        for head in range(heads):
            address = request[f"{tensor}_base"] + head * request[f"{tensor}_stride"]
            lines = params.row_lines(rows, request["head_dim"])
            parts = request["head_dim"] // params.segment
            want.append((address, lines, size, request["wide"], rows, parts))
    result = run_streams(
        RegionSequencer(params=params, tensor=tensor),
        {"job": [as_job(params, r) for r in requests]}, {"o": len(want)}, stall=stall)
    assert [
        (r.address, r.lines, r.bytes, r.wide, r.rows, r.parts) for r in result.outputs["o"]
    ] == want
    if stall == 0:
        assert result.cycles == len(want) + 2 * len(requests)
