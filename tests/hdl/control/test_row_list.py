# amaranth: UnusedElaboratable=no
"""Lists of what a mask leaves: any mask, any length, one list after another."""

from __future__ import annotations

import random

import pytest

from attnsieve.hdl.axi.list_rows import row_lanes
from attnsieve.hdl.control.row_list import RowList
from attnsieve.hdl.params import CoreParams
from attnsieve.sim.unit import simulate

SMALL = {"max_keys": 100, "max_queries": 70, "buffer_elements": 100 * 128, "value_lanes": 32}
CORES = {
    "reference": CoreParams(**SMALL, token_lanes=16),
    "tiny": CoreParams(**SMALL, token_lanes=4, lanes=4, channels=1, data_width=32),
    "full": CoreParams(**SMALL, token_lanes=32, lanes=512, channels=16, output_lanes=16),
}


def run(params, masks, force=0, rows=100):
    """Build a list for each mask in turn; check it through every read port."""
    reads = (row_lanes(params), params.groups)
    dut = RowList(params=params, rows=rows, reads=reads)

    async def bench(ctx):
        ctx.set(dut.force, force)
        for mask in masks:
            kept = [n for n, bit in enumerate(mask) if bit]
            ctx.set(dut.rows, len(mask))
            ctx.set(dut.start, 1)
            await ctx.tick()
            ctx.set(dut.start, 0)
            cycles = 0
            while not ctx.get(dut.done):
                beat, en = ctx.get(dut.mask_beat), ctx.get(dut.mask_en)
                await ctx.tick()
                cycles += 1
                if en:  # what lies beyond the mask is anything
                    part = mask[dut.lanes * beat : dut.lanes * (beat + 1)]
                    part += [1] * (dut.lanes - len(part))
                    ctx.set(dut.mask, sum(b << n for n, b in enumerate(part)))
                assert cycles < 200
            assert cycles < dut.latency + -(-len(mask) // dut.lanes)
            forced = force and not kept
            want = [0] if forced else kept
            assert ctx.get(dut.count) == len(want)
            assert ctx.get(dut.forced) == bool(forced)
            if want:
                assert ctx.get(dut.final) == want[-1]
            for number, lanes in enumerate(reads):
                port, found = getattr(dut, f"read{number}"), []
                for line in range(-(-len(want) // lanes)):
                    ctx.set(port.line, line)
                    ctx.set(port.en, 1)
                    await ctx.tick()
                    ctx.set(port.en, 0)
                    ctx.set(port.line, line + 1)  # what is not asked for does not matter
                    await ctx.tick()
                    found += [ctx.get(entry) for entry in port.data]
                for row, entry in zip(want, found, strict=False):
                    assert entry.index == row
                    if not forced:
                        assert entry.before == (row - 1 in kept), row
                        assert entry.after == (row + 1 in kept), row

    simulate(dut, bench)


@pytest.mark.parametrize("core", CORES)
def test_any_mask(core):
    rng = random.Random(core)
    masks = []
    for _ in range(30):
        n = rng.choice([1, 15, 16, 17, 32, rng.randint(1, 100), 100])
        keep = rng.choice([0, 0.1, 0.5, 0.9, 1])
        masks.append([int(rng.random() < keep) for _ in range(n)])
    run(CORES[core], masks)


@pytest.mark.parametrize("core", CORES)
def test_an_empty_list_has_a_forced_entry(core):
    run(CORES[core], [[0] * 40, [1, 0, 1], [0], [0] * 16 + [1]], force=1)


@pytest.mark.parametrize("force", [0, 1])
def test_a_mask_of_one_bit(force):
    params = CoreParams(lanes=4, max_keys=1, max_queries=1, max_heads=1, buffer_elements=128,
                        output_lanes=1, channels=1, value_lanes=1, token_lanes=1)
    run(params, [[1], [0], [1], [1], [0]], force=force, rows=1)


def test_an_empty_list_is_empty():
    run(CORES["reference"], [[0] * 40, [1], [0] * 100])
