# amaranth: UnusedElaboratable=no
"""Row writer: bytes in interleaved memory, neighbours, gaps, stop, errors, end of jobs."""

from __future__ import annotations

import random
from dataclasses import dataclass

import pytest

from attnsieve.hdl.axi.row_writer import RowWriter
from attnsieve.hdl.params import CoreParams
from attnsieve.sim.unit import run_streams, simulate
from attnsieve.sim.unit.axi_write_memory import AXIWriteMemory
from tests.variants import mostly_full


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
    seen = {"done": [], "granules": 0, "row_end": 0, "job_end": 0, "answered": [], "error": 0}

    async def watch(ctx):
        cycle = 0
        async for _, _, done, granules, row_end, job_end, error in ctx.tick().sample(
            dut.done, dut.granules, dut.row_end, dut.job_end, dut.error
        ):
            seen["error"] = error
            if done:
                seen["done"].append(cycle)
                seen["answered"].append([m.answered for m in memories])
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


@pytest.mark.parametrize("stall", [pytest.param(0.0, marks=pytest.mark.full), 0.4])
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


PRESETS = {
    "tiny": make_params(
        lanes=4, max_head_dim=32, buffer_elements=1536, output_lanes=1, channels=1, data_width=32
    ),
    "dense": make_params(lut_ram=True),
    "full": make_params(lanes=512, output_lanes=16, channels=16, lut_ram=True),
    "longest beats": make_params(output_lanes=8, channels=2, data_width=512, lut_ram=True),
}


def adjacent(params, head_dim, count, jobs=1):
    """Rows back to back, as a head's are."""
    return [
        Row(
            32 + 2 * head_dim * n,
            [(7 * n + k * 113) % 65536 - 32768 for k in range(head_dim)],
            last_of_job=(n + 1) % (count // jobs) == 0,
        )
        for n in range(count)
    ]


@pytest.mark.parametrize("head_dim", [16, 32])
@pytest.mark.parametrize("preset", PRESETS)
def test_no_gap_between_rows(preset, head_dim):
    params = PRESETS[preset]
    rows = adjacent(params, head_dim, 12)
    _, memories, _, result = run(params, rows)
    assert linear(params, memories) == wanted(rows)
    beats = head_dim // params.output_lanes
    assert result.last("i") - result.first("i") <= 12 * max(2, beats) - 1


def test_latency():
    params = PRESETS["dense"]
    dut, memories, _, result = run(params, adjacent(params, 64, 1))
    assert memories[1].burst_cycles == [result.first("i") + dut.latency]
    dut, memories, _, result = run(PRESETS["tiny"], adjacent(PRESETS["tiny"], 16, 1))
    assert memories[0].burst_cycles == [result.first("i") + dut.latency]


@pytest.mark.parametrize("preset", ["dense", "longest beats"])
def test_a_row_is_one_burst_per_channel(preset):
    params = PRESETS[preset]
    _, memories, _, _ = run(params, [Row(0, list(range(params.max_head_dim)))])
    assert [len(m.bursts) for m in memories] == [1] * params.channels


def test_bursts_of_the_compact_writer():
    _, memories, _, _ = run(PRESETS["tiny"], [Row(4064, list(range(32)))])
    assert memories[0].bursts == [(4064, 8), (4096, 8)]


@pytest.mark.parametrize("stall", mostly_full([0.0, 0.5], 0.5))
@pytest.mark.parametrize("rows_per_job", mostly_full([1, 3], 3))
@pytest.mark.parametrize("preset", PRESETS)
def test_done_follows_the_last_response(preset, rows_per_job, stall):
    """Also where a job's last row touches other channels than those before it."""
    params = PRESETS[preset]
    rows = adjacent(params, 16, 9, jobs=9 // rows_per_job)
    memory = {"latency": 25}
    _, memories, seen, _ = run(params, rows, stall=stall, memory=memory, settle=600)
    assert len(seen["done"]) == seen["job_end"] == 9 // rows_per_job
    assert linear(params, memories) == wanted(rows)
    # the job's bursts on each channel have been answered when it is done
    for number, cycle in enumerate(seen["done"]):
        for memory, answered in zip(memories, seen["answered"][number], strict=True):
            ends = [
                (address // params.unit_bytes * params.channels + memories.index(memory))
                * params.unit_bytes
                for address, _ in memory.bursts
            ]
            last = rows[(number + 1) * rows_per_job - 1]
            mine = [e for e in ends if e < last.address + 32]
            assert answered >= len(mine) - (params.unit_bytes > 32), cycle


@pytest.mark.parametrize("number", [0, 3])
@pytest.mark.parametrize("code", [2, 3])
def test_errors_of_any_channel(code, number):
    params = PRESETS["dense"]
    rows = adjacent(params, 64, 6)
    dut, _, seen, _ = run(params, rows, memory={"responses": {number: code}})
    assert seen["error"] == code


def test_rows_that_are_not_written():
    params = PRESETS["dense"]
    rows = adjacent(params, 32, 6, jobs=2)
    for row in rows:
        row.write = False
    _, memories, seen, _ = run(params, rows, stall=0.3)
    assert linear(params, memories) == {}
    assert len(seen["done"]) == 2
    assert seen["granules"] == 0


@pytest.mark.parametrize("preset", ["tiny", "dense"])
def test_stop(preset):
    """Nothing hangs, and nothing but the rows' own bytes is written."""
    params = PRESETS[preset]
    for cycle in range(0, 60, 4):
        dut = RowWriter(params=params)
        memories = [AXIWriteMemory(b, aw_stall=0.4, w_stall=0.4, seed=cycle) for b in dut.bus]
        rows = adjacent(params, 32, 12)

        async def stop(ctx, cycle=cycle, dut=dut):
            await ctx.tick().repeat(cycle + 1)
            ctx.set(dut.stop, 1)

        async def end(ctx, dut=dut, memories=memories):
            inputs = payloads(params, rows)  # noqa: B023 - rows are the same each time
            for name in inputs:
                ctx.set(getattr(dut, name).valid, 1)
                ctx.set(getattr(dut, name).payload, inputs[name][0])
            for _ in range(300):
                ports = [getattr(dut, name) for name in inputs]
                _, _, *gone = await ctx.tick().sample(*(p.valid & p.ready for p in ports))
                for (name, items), taken in zip(inputs.items(), gone, strict=True):
                    if taken:
                        items.pop(0)
                        ctx.set(getattr(dut, name).valid, bool(items))
                        if items:
                            ctx.set(getattr(dut, name).payload, items[0])
            assert ctx.get(dut.idle)
            assert [m.outstanding for m in memories] == [0] * params.channels

        simulate(dut, end, background=[stop, *(m.bench for m in memories)])
        want = wanted(rows)
        found = linear(params, memories)
        assert all(want.get(a) == value for a, value in found.items())


def test_bad_parameters():
    with pytest.raises(TypeError, match=r"^Params must be a CoreParams, not None$"):
        RowWriter(params=None)
