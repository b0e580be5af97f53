# amaranth: UnusedElaboratable=no
"""The numbers of docs/reference/memory.md against the packer, the address map and the RTL."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from attnsieve.hdl.axi.loader import Loader
from attnsieve.hdl.params import CoreParams
from attnsieve.sim.driver.packing import pack, split_channels
from attnsieve.sim.unit import run_streams
from attnsieve.sim.unit.axi_memory import AXIReadMemory

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "memory.md"
PARAMS = CoreParams()
HEAD_DIM, BITS, KEYS = 16, 12, 3
K_ROWS = np.array([[(i + 1) * (-1) ** i + 16 * r for i in range(16)] for r in range(KEYS)])


def table(first_column):
    """Rows of the table whose header begins with this column."""
    lines = PAGE.read_text().splitlines()
    begin = next(i for i, line in enumerate(lines) if line.startswith(f"| {first_column} |"))
    rows = []
    for line in lines[begin + 2 :]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    assert rows
    return rows


@pytest.fixture(scope="module")
def fields():
    return {name: int(value, 0) for name, value in table("field")}


def memory_image(fields):
    image = np.zeros(0x3000, np.uint8)
    rows = pack(K_ROWS, BITS).reshape(-1)
    image[fields["k_base"] : fields["k_base"] + len(rows)] = rows
    return image


def test_parameters_of_the_example(fields):
    assert (PARAMS.channels, PARAMS.data_width, PARAMS.lanes) == (2, 256, 64)
    assert (PARAMS.unit_bytes, PARAMS.wide_bytes) == (32, 64)
    assert all(value % PARAMS.alignment == 0 for value in fields.values())


def test_rows(fields):
    for name, first, last in table("row"):
        tensor, _, head, _, row = name.split()
        pitch = HEAD_DIM * (16 if tensor == "O" else BITS) // 8
        prefix = tensor.lower()
        address = fields[f"{prefix}_base"] + int(head) * fields[f"{prefix}_stride"]
        assert int(first, 0) == address + int(row) * pitch
        assert int(last, 0) == int(first, 0) + pitch - 1


def test_bytes(fields):
    image = memory_image(fields)
    assert list(K_ROWS[0][:4]) == [1, -2, 3, -4]
    for address, text, elements in table("address"):
        at = int(address, 0)
        assert bytes(image[at : at + 3]) == bytes.fromhex(text)
        index = (at - fields["k_base"]) * 2 // 3
        assert [int(e) for e in elements.split(",")] == list(K_ROWS[0][index : index + 2])


def test_units(fields):
    image = memory_image(fields)
    channels = split_channels(PARAMS, image)
    end, total = fields["k_base"] + KEYS * HEAD_DIM * BITS // 8, 0
    for linear, unit, channel, there, wanted in table("linear address"):
        at, size = int(linear, 0), PARAMS.unit_bytes
        assert int(unit) == at // size
        assert int(channel) == at // size % PARAMS.channels
        assert int(there, 0) == at // PARAMS.wide_bytes * size + at % size
        assert int(wanted) == min(size, end - at)
        total += int(wanted)
        begin = int(there, 0)
        np.testing.assert_array_equal(
            channels[int(channel)][begin : begin + size], image[at : at + size]
        )
    assert total == 72


def test_bursts_and_line_of_the_rtl(fields):
    dut = Loader(params=PARAMS)
    channels = split_channels(PARAMS, memory_image(fields))
    memories = [
        AXIReadMemory(dut.bus[c], lambda a, n, image=channels[c]: bytes(image[a : a + n]))
        for c in range(PARAMS.channels)
    ]
    waste = []

    async def watch(ctx):
        ctx.set(dut.k_space, 4)
        while True:
            _, _, now = await ctx.tick().sample(dut.waste)
            waste.append(now)

    region = {"address": fields["k_base"], "lines": 1, "bytes": 72, "wide": 1}
    result = run_streams(
        dut,
        {"key": [region]},
        {"k_line": 1},
        testbenches=[watch, *(memory.bench for memory in memories)],
    )
    bursts = [
        [str(c), f"{address:#x}", str(count - 1)]
        for c, memory in enumerate(memories)
        for address, count in memory.bursts
    ]
    assert bursts == table("channel")
    assert sum(waste) == 24
    (line,) = result.outputs["k_line"]
    assert [line[k] for k in range(48)] == list(K_ROWS.reshape(-1))
