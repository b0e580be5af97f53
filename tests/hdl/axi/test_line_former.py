# amaranth: UnusedElaboratable=no
"""Line former: both formats, changes between them, throughput."""

from __future__ import annotations

import random

import pytest

from attnsieve.hdl.axi.line_former import LineFormer
from attnsieve.sim.unit import run_streams

from .packing import cut, pack


def group_of(rng, dut, bits):
    """A line of 8-bit operands, or two of 12-bit ones: words, and what must come out."""
    count = dut.lanes * (2 if bits == 12 else 1)
    low, high = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
    values = [rng.choice((low, high, -1, rng.randint(low, high))) for _ in range(count)]
    text, left = pack(values, bits), rng.randrange(2)
    words = [
        {
            "data": int.from_bytes(text[i : i + dut.lanes], "little"),
            "format": {"wide": bits == 12, "left": left},
        }
        for i in range(0, len(text), dut.lanes)
    ]
    shift = dut.operand_bits - bits if left else 0
    return words, [[v << shift for v in line] for line in cut(values, dut.lanes)]


@pytest.mark.parametrize("lanes", [2, 4, 8])
@pytest.mark.parametrize("operand_bits", [8, 12])
@pytest.mark.parametrize("stall", [0.0, 0.4])
def test_lines(lanes, operand_bits, stall):
    rng = random.Random(lanes)
    dut = LineFormer(lanes=lanes, operand_bits=operand_bits)
    words, want = [], []
    for _ in range(60):
        more, lines = group_of(rng, dut, rng.choice([8, operand_bits]))
        words += more
        want += lines
    result = run_streams(dut, {"i": words}, {"o": len(want)}, stall=stall, seed=lanes)
    assert [list(line) for line in result.outputs["o"]] == want
    if not stall:
        assert result.last("i") - result.first("i") == len(words) - 1
        assert result.last("o") == result.last("i")


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"lanes": 3}, r"^Lanes must be even, not 3$"),
        ({"lanes": 4, "operand_bits": 10}, r"^Operand bits must be 8 or 12, not 10$"),
    ],
)
def test_bad_parameters(kwargs, message):
    with pytest.raises(ValueError, match=message):
        LineFormer(**kwargs)
