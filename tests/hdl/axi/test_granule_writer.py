# amaranth: UnusedElaboratable=no
"""Granule writer: bytes, outstanding bursts, latency, throughput, errors, jobs."""

from __future__ import annotations

import random

import pytest

from attnsieve.hdl.axi.granule_writer import GranuleWriter
from attnsieve.sim.unit import run_streams
from attnsieve.sim.unit.axi_write_memory import AXIWriteMemory


def make(**kwargs):
    return GranuleWriter(**({"addr_width": 24, "data_width": 32, "max_units": 32} | kwargs))


def requests_for(dut, count, seed, most=4):
    """Pieces that do not overlap, some over a 4 KB boundary, and their beats."""
    rng = random.Random(seed)
    requests, units = [], []
    size = 32 // dut.beats
    for slot in rng.sample(range(1, 60), count):
        granules = rng.randint(1, most)
        requests.append(
            {
                "address": 4096 * slot - 32 * rng.randrange(4),
                "units": granules * dut.beats,
                "job": 0,
            }
        )
        units += [
            {"data": rng.getrandbits(8 * size), "strobe": (1 << size) - 1}
            for _ in range(granules * dut.beats)
        ]
    return requests, units


def run(dut, requests, units, *, stall=0.0, benches=(), settle=150, **memory):
    slave = AXIWriteMemory(
        dut.bus, aw_stall=stall, w_stall=stall, b_stall=stall, **memory
    )
    result = run_streams(
        dut,
        {"request": requests, "i": units},
        {},
        stall=stall,
        testbenches=[slave.bench, *benches],
        settle=settle,
    )
    return slave, result


@pytest.mark.parametrize("stall", [0.0, 0.5])
@pytest.mark.parametrize("w_first", [False, True])
@pytest.mark.parametrize("data_width", [32, 64, 128])
def test_bytes(data_width, w_first, stall):
    dut = make(data_width=data_width, max_units=4 * 256 // data_width)
    requests, units = requests_for(dut, 12, seed=data_width)
    slave, _ = run(dut, requests, units, stall=stall, w_first=w_first)
    want, left = {}, iter(units)
    for request in requests:
        for start in range(0, request["units"] * data_width // 8, data_width // 8):
            for lane in range(data_width // 8):
                if lane == 0:
                    word = next(left)["data"]
                want[request["address"] + start + lane] = word >> 8 * lane & 255
    assert slave.memory == want
    assert slave.outstanding == 0
    assert {length for _, length in slave.bursts} == {dut.beats}


def test_latency_and_throughput():
    dut = make(max_outstanding=7)
    requests = [{"address": 64 * n, "units": 16, "job": 0} for n in range(10)]
    slave, result = run(dut, requests, [{"data": 1, "strobe": 15}] * 160, latency=12)
    begin = 0  # a request is taken with its last burst
    assert slave.burst_cycles[0] == begin + dut.latency
    assert slave.beat_cycles == [begin + dut.data_latency + k for k in range(160)]
    assert result.first("request") == dut.latency


def test_limit_of_outstanding_bursts():
    dut = make(max_outstanding=3)
    most = []
    slave = AXIWriteMemory(dut.bus, latency=200)

    async def watch(ctx):
        while True:
            await ctx.tick()
            most.append(slave.outstanding)

    requests = [{"address": 64 * n, "units": 8, "job": n & 1} for n in range(12)]
    units = [{"data": n, "strobe": 15} for n in range(96)]
    run_streams(
        dut, {"request": requests, "i": units}, {}, testbenches=[slave.bench, watch], settle=900,
        max_cycles=5000,
    )  # fmt: skip
    assert max(most) == 6  # 3 of each job
    assert slave.outstanding == 0


@pytest.mark.parametrize("code", [2, 3])
@pytest.mark.parametrize("bad", [0, 4, 11])
def test_first_error_is_kept(code, bad):
    dut = make()
    requests, units = requests_for(dut, 12, seed=3, most=1)
    seen = []

    async def watch(ctx):
        while True:
            await ctx.tick()
            seen.append(ctx.get(dut.error))

    run(dut, requests, units, benches=[watch], responses={bad: code, bad + 1: 5 - code})
    assert set(seen) == {0, code}
    assert seen == sorted(seen)


def test_pending_of_two_jobs():
    """A response counts for the oldest job, if it waits for one."""
    dut = make()
    slave = AXIWriteMemory(dut.bus, latency=30)
    seen = []

    async def oldest(ctx):
        while True:
            await ctx.tick()
            ctx.set(dut.oldest, slave.answered >= 2)
            seen.append((slave.answered, ctx.get(dut.pending)))

    requests = [{"address": 64 * n, "units": 8, "job": n >= 2} for n in range(4)]
    run_streams(
        dut,
        {"request": requests, "i": [{"data": n, "strobe": 15} for n in range(32)]},
        {},
        testbenches=[slave.bench, oldest],
        settle=100,
    )
    assert {p for n, p in seen if n == 1} == {3}
    assert [p for n, p in seen if n == 2][-1] == 2
    assert seen[-1] == (4, 0)


def test_bad_width():
    with pytest.raises(ValueError, match=r"^Data width must be less than 256, not 256$"):
        make(data_width=256)
