# amaranth: UnusedElaboratable=no
"""Burst writer: bytes, 4 KB, outstanding bursts, throughput, errors, stop in any cycle."""

from __future__ import annotations

import random

import pytest

from attnsieve.hdl.axi.writer import BurstWriter
from attnsieve.sim.unit import run_streams, simulate
from attnsieve.sim.unit.axi_write_memory import AXIWriteMemory


def make(**kwargs):
    defaults = {"addr_width": 32, "data_width": 64, "unit_bytes": 32, "max_units": 9}
    return BurstWriter(**(defaults | kwargs))


def requests_for(dut, count, seed):
    """Pieces that do not overlap, some over a 4 KB boundary, with data and strobes."""
    rng = random.Random(seed)
    size = dut.max_units * dut.unit_bytes
    slots = -(-size // 4096) * 4096 if size > 512 else 4096
    requests, units = [], []
    for slot in rng.sample(range(1, 60), count):
        begin = slot * slots - rng.randrange(size // dut.unit_bytes) * dut.unit_bytes
        length = rng.randint(1, dut.max_units)
        requests.append({"address": begin, "units": length, "job": 0})
        units += [
            {
                "data": rng.getrandbits(8 * dut.unit_bytes),
                "strobe": rng.choice([-1, 0, rng.getrandbits(dut.unit_bytes)])
                & (1 << dut.unit_bytes) - 1,
            }
            for _ in range(length)
        ]
    return requests, units


def wanted(dut, requests, units):
    found, left = {}, iter(units)
    for request in requests:
        for index in range(request["units"]):
            unit = next(left)
            for lane in range(dut.unit_bytes):
                if unit["strobe"] >> lane & 1:
                    address = request["address"] + index * dut.unit_bytes + lane
                    found[address] = unit["data"] >> 8 * lane & 255
    return found


def run(dut, requests, units, *, stall=0.0, seed=0, settle=120, benches=(), **memory):
    slave = AXIWriteMemory(
        dut.bus, aw_stall=stall, w_stall=stall, b_stall=stall, seed=seed, **memory
    )
    result = run_streams(
        dut,
        {"request": requests, "i": units},
        {},
        stall=stall,
        seed=seed,
        testbenches=[slave.bench, *benches],
        settle=settle,
    )
    return slave, result


@pytest.mark.parametrize("stall", [0.0, 0.5])
@pytest.mark.parametrize("w_first", [False, True])
@pytest.mark.parametrize(
    "data_width, unit_bytes, max_units", [(32, 4, 64), (32, 32, 8), (128, 32, 4), (512, 64, 5)]
)
def test_bytes(data_width, unit_bytes, max_units, w_first, stall):
    dut = make(data_width=data_width, unit_bytes=unit_bytes, max_units=max_units)
    requests, units = requests_for(dut, 12, seed=data_width)
    slave, _ = run(dut, requests, units, stall=stall, w_first=w_first)
    assert slave.memory == wanted(dut, requests, units)
    assert slave.outstanding == 0
    assert len(slave.bursts) > len(requests)  # some are split at 4 KB
    assert len(slave.bursts) <= 2 * len(requests)


def test_latency():
    dut = make(unit_bytes=8)
    slave, result = run(
        dut, [{"address": 64, "units": 3, "job": 0}], [{"data": 1, "strobe": 255}] * 3
    )
    begin = result.first("request")
    assert slave.burst_cycles == [begin + dut.latency]
    assert slave.beat_cycles == [begin + dut.data_latency + k for k in range(3)]


@pytest.mark.parametrize("units", [2, 5])
def test_one_beat_per_cycle(units):
    """No gap between bursts when several of them are outstanding."""
    dut = make(unit_bytes=8)
    requests = [{"address": 64 * n, "units": units, "job": 0} for n in range(20)]
    slave, _ = run(dut, requests, [{"data": 1, "strobe": 255}] * (20 * units), latency=12)
    beats = slave.beat_cycles
    assert beats[-1] - beats[0] == 20 * units - 1


def test_limit_of_outstanding_bursts():
    dut = make(unit_bytes=8, max_outstanding=3)
    requests = [{"address": 64 * n, "units": 1, "job": n & 1} for n in range(12)]
    most = []
    slave = AXIWriteMemory(dut.bus, latency=60)

    async def watch(ctx):
        while True:
            await ctx.tick()
            most.append(slave.outstanding)

    run_streams(
        dut,
        {"request": requests, "i": [{"data": n, "strobe": 255} for n in range(12)]},
        {},
        testbenches=[slave.bench, watch],
        settle=400,
    )
    assert max(most) == 6  # 3 of each job
    assert len(slave.bursts) == 12
    assert slave.outstanding == 0


@pytest.mark.parametrize("code", [2, 3])
@pytest.mark.parametrize("bad", [0, 4, 11])
def test_first_error_is_kept(code, bad):
    dut = make()
    requests, units = requests_for(dut, 12, seed=3)
    seen = []

    async def watch(ctx):
        while True:
            await ctx.tick()
            seen.append(ctx.get(dut.error))

    responses = {bad: code, bad + 1: 5 - code}
    run(dut, requests, units, stall=0.3, benches=[watch], responses=responses)
    assert set(seen) == {0, code}
    assert seen == sorted(seen)


def test_pending_of_two_jobs():
    dut = make(unit_bytes=8)
    slave = AXIWriteMemory(dut.bus, latency=30)
    seen = []

    async def oldest(ctx):
        while True:
            await ctx.tick()
            ctx.set(dut.oldest, slave.answered >= 2)
            seen.append((slave.answered, ctx.get(dut.pending)))

    requests = [{"address": 64 * n, "units": 1, "job": n >= 2} for n in range(4)]
    run_streams(
        dut,
        {"request": requests, "i": [{"data": n, "strobe": 255} for n in range(4)]},
        {},
        testbenches=[slave.bench, oldest],
        settle=100,
    )
    assert [(n, p) for n, p in dict.fromkeys(seen) if n == 1] == [(1, 3)]
    assert {p for n, p in seen if n == 3} <= {2, 3} | {0}
    assert seen[-1] == (4, 0)
    first_gone = [p for n, p in seen if n == 2]
    assert first_gone[-1] == 2


def test_a_response_counts_for_the_job_that_waits():
    """The oldest job may have written nothing on this channel."""
    dut = make(unit_bytes=8)
    slave = AXIWriteMemory(dut.bus, latency=9)
    seen = []

    async def watch(ctx):
        while True:
            await ctx.tick()
            seen.append((ctx.get(dut.pending), ctx.get(dut.idle)))

    requests = [{"address": 64 * n, "units": 1, "job": 1} for n in range(3)]
    units = [{"data": n, "strobe": 255} for n in range(3)]
    run_streams(
        dut, {"request": requests, "i": units}, {}, testbenches=[slave.bench, watch], settle=60
    )
    assert {pending for pending, _ in seen} == {0, 2}
    assert seen[-1] == (0, 1)


@pytest.mark.parametrize("stall", [0.0, 0.6])
@pytest.mark.parametrize("seed", range(3))
def test_stop_in_any_cycle(stall, seed):
    """After a stop: no new AW, all bursts completed, only data from before are written, idle."""
    for cycle in range(0, 44, 1 if stall else 2):
        dut = make(data_width=128, unit_bytes=32, max_units=3)
        requests, units = requests_for(dut, 9, seed=seed)
        slave = AXIWriteMemory(
            dut.bus, aw_stall=stall, w_stall=stall, b_stall=stall, seed=100 * seed + cycle
        )
        rng = random.Random(f"{seed} {cycle}")

        async def bench(ctx, cycle=cycle, dut=dut, slave=slave, rng=rng, lists=(requests, units)):
            queues = {"request": list(lists[0]), "i": list(lists[1])}
            asserted = None
            for now in range(cycle + 200):
                ctx.set(dut.stop, now >= cycle)
                for name, queue in queues.items():
                    port = getattr(dut, name)
                    if queue and (ctx.get(port.valid) or rng.random() < 0.7):
                        ctx.set(port.payload, queue[0])
                        ctx.set(port.valid, 1)
                ports = [getattr(dut, name) for name in queues]
                _, _, *taken = await ctx.tick().sample(*(p.valid & p.ready for p in ports))
                for (name, queue), gone in zip(queues.items(), taken, strict=True):
                    if gone:
                        queue.pop(0)
                        ctx.set(getattr(dut, name).valid, 0)
                if now == cycle:
                    asserted = slave._asserted
            assert ctx.get(dut.idle)
            assert slave._asserted <= asserted + 1
            assert slave._asserted == len(slave.bursts) == slave.answered

        simulate(dut, bench, background=[slave.bench])
        want = wanted(dut, requests, units)
        assert all(want.get(a) == value for a, value in slave.memory.items()), cycle


@pytest.mark.parametrize(
    "change, message",
    [
        ({"unit_bytes": 24}, "Unit bytes must be a power of two, not 24"),
        ({"unit_bytes": 4}, "Unit bytes must be in 8..4096, not 4"),
        ({"max_units": 0}, "Max units must be in 1..4294967296, not 0"),
        ({"max_outstanding": 256}, "Max outstanding must be in 1..255, not 256"),
        ({"data_width": 48}, "Data width must be a power of two, not 48"),
    ],
)
def test_bad_parameters(change, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        make(**change)


def test_wrong_kind():
    with pytest.raises(TypeError, match=r"^Max units must be an integer, not 'x'$"):
        make(max_units="x")
