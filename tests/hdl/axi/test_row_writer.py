# amaranth: UnusedElaboratable=no
"""Row writer: bytes in interleaved memory, neighbours, gaps, stop, errors, end of jobs."""

from __future__ import annotations

import random
from dataclasses import dataclass

import pytest

from attnsieve.hdl.axi.row_writer import RowWriter
from attnsieve.hdl.params import CoreParams
from attnsieve.sim.unit import run_streams
from attnsieve.sim.unit.axi_write_memory import AXIWriteMemory


def make_params(**kwargs):
    defaults = {"lanes": 64, "max_keys": 64, "max_queries": 64, "max_heads": 8, "lut_ram": False}
    return CoreParams(**(defaults | kwargs))


@dataclass
class Row:
    address: int
    elements: list[int]
    write: bool = True
    last_of_job: bool = False


def rows_at(rng, count, head_dim, *, write=1.0, high=20000):
    """Rows of one size at random places that do not overlap."""
    places = rng.sample(range(high // (2 * head_dim)), count)
    shift = rng.randrange(4) * 32
    return [
        Row(
            place * 2 * head_dim + shift,
            [rng.randint(-32768, 32767) for _ in range(head_dim)],
            rng.random() < write,
            index == count - 1,
        )
        for index, place in enumerate(places)
    ]


def payloads(params, rows):
    """What goes into ``row`` and ``i``."""
    descriptions, beats = [], []
    for row in rows:
        descriptions.append(
            {
                "o_address": row.address,
                "parts": params.parts(len(row.elements)),
                "write": row.write,
                "last_of_job": row.last_of_job,
            }
        )
        for start in range(0, len(row.elements), params.output_lanes):
            end = start + params.output_lanes
            beats.append(
                {"element": row.elements[start:end], "last": end >= len(row.elements)}
            )
    return {"row": descriptions, "i": beats}


def linear(params, memories):
    """All bytes that were written, by their linear address."""
    found, unit = {}, params.unit_bytes
    for channel, memory in enumerate(memories):
        for address, value in memory.memory.items():
            index, offset = divmod(address, unit)
            found[(index * params.channels + channel) * unit + offset] = value
    return found


def wanted(rows):
    found = {}
    for row in rows:
        if row.write:
            for index, element in enumerate(row.elements):
                found[row.address + 2 * index] = element & 255
                found[row.address + 2 * index + 1] = element >> 8 & 255
    return found


def run(params, rows, *, stall=0.0, seed=0, memory=None, settle=80):
    dut = RowWriter(params=params)
    memories = [
        AXIWriteMemory(
            dut.bus[c],
            aw_stall=stall,
            w_stall=stall,
            b_stall=stall,
            seed=seed + c,
            **(memory or {}),
        )
        for c in range(params.channels)
    ]
    seen = {"done": [], "granules": 0, "row_end": 0, "job_end": 0, "open": []}

    async def watch(ctx):
        cycle = 0
        async for _, _, done, granules, row_end, job_end in ctx.tick().sample(
            dut.done, dut.granules, dut.row_end, dut.job_end
        ):
            if done:
                seen["done"].append(cycle)
                seen["open"].append(sum(m.outstanding for m in memories))
            seen["granules"] += granules
            seen["row_end"] += row_end
            seen["job_end"] += job_end
            cycle += 1

    inputs = payloads(params, rows)
    result = run_streams(
        dut,
        inputs,
        {},
        stall=stall,
        seed=seed,
        testbenches=[watch, *(m.bench for m in memories)],
        settle=settle,
    )
    return dut, memories, seen, result


SHAPES = [
    (channels, data_width, output_lanes)
    for channels in (1, 2, 4)
    for data_width in (32, 64, 256, 512)
    for output_lanes in (1, 4, 16)
]


@pytest.mark.parametrize("stall", [0.0, 0.4])
@pytest.mark.parametrize("channels, data_width, output_lanes", SHAPES)
def test_bytes(channels, data_width, output_lanes, stall):
    params = make_params(channels=channels, data_width=data_width, output_lanes=output_lanes)
    rng = random.Random(f"{channels} {data_width} {output_lanes}")
    rows = []
    for head_dim in (16, 48, 128):
        some = rows_at(rng, 3, head_dim, write=0.8)
        for row in some:  # apart from the other sizes
            row.address += 32768 * head_dim
        rows += some
    _, memories, seen, _ = run(params, rows, stall=stall)
    assert linear(params, memories) == wanted(rows)
    assert sum(m.outstanding for m in memories) == 0
    assert seen["granules"] == sum(len(r.elements) // 16 for r in rows if r.write)
    assert seen["row_end"] == len(rows)
    assert seen["job_end"] == len(seen["done"]) == 3
