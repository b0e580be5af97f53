# amaranth: UnusedElaboratable=no
"""Units from anywhere: right data in order under stalls, and as many as the channels can give."""

from __future__ import annotations

import random

import pytest

from attnsieve.hdl.axi.gather_reader import GatherReader
from attnsieve.sim.bench.gather import gather, share, skewed
from attnsieve.sim.unit import run_streams
from attnsieve.sim.unit.axi_memory import AXIReadMemory

CORES = {
    "one": {"channels": 1, "data_width": 32, "unit_bytes": 4},
    "two": {"channels": 2, "data_width": 256, "unit_bytes": 32},
    "narrow": {"channels": 2, "data_width": 64, "unit_bytes": 32},
    "four": {"channels": 4, "data_width": 256, "unit_bytes": 32},
    "sixteen": {"channels": 16, "data_width": 256, "unit_bytes": 32},
}


def beats_of(rng, channels, count, draw, full=False):
    return [
        [draw() for _ in range(channels if full else rng.randint(0, channels))]
        for _ in range(count)
    ]


#: Sixteen channels take their time: they are left to the full suite, like runs without a stall.
STALLS = [
    pytest.param(core, stall, marks=[pytest.mark.full] * (core == "sixteen" or stall == 0.0))
    for core in CORES for stall in (0.0, 0.4, {"o": 0.85})
]  # fmt: skip


@pytest.mark.parametrize(("core", "stall"), STALLS)
def test_any_units_come_in_order(core, stall):
    rng = random.Random(core)
    channels = CORES[core]["channels"]
    count = 60 if channels == 16 else 150
    beats = beats_of(rng, channels, count, lambda: rng.randrange(1 << 12))
    gather(CORES[core], beats, stall=stall, memory_stall=0.3, latency=rng.choice([1, 20]))


@pytest.mark.parametrize("core", ["two", "four"])
def test_units_of_one_channel_only(core):
    channels = CORES[core]["channels"]
    rng = random.Random(3)
    beats = beats_of(rng, channels, 100, lambda: channels * rng.randrange(1 << 10), full=True)
    result, _ = gather(CORES[core], beats)
    assert result.cycles < channels * len(beats) + 40  # that channel is never idle


def test_units_that_follow_one_another_take_a_beat_per_cycle():
    for core in ("two", "four"):
        channels = CORES[core]["channels"]
        beats = [[n * channels + lane for lane in range(channels)] for n in range(300)]
        result, _ = gather(CORES[core], beats, latency=50)
        assert result.last("o") - result.first("o") == len(beats) - 1


def test_random_rows_on_two_channels():
    rng = random.Random(5)
    bus, got, limit = share(CORES["two"], [rng.randrange(1 << 14) for _ in range(3000)])
    assert 0.95 <= got <= bus <= limit


@pytest.mark.full
def test_a_skewed_list_on_sixteen_channels():
    bus, got, limit = share(CORES["sixteen"], skewed(random.Random(6), 16 * 160))
    assert 0.85 * limit <= got <= bus <= limit


@pytest.mark.full
def test_a_long_skewed_list_on_sixteen_channels():
    bus, got, limit = share(CORES["sixteen"], skewed(random.Random(6), 16 * 1500))
    assert 0.85 <= got <= bus <= limit


def test_the_stated_latency():
    for core in ("one", "two", "narrow"):
        dut = GatherReader(addr_width=24, **CORES[core])
        result, memories = gather(CORES[core], [[5]], latency=7)
        beats = max(1, 8 * CORES[core]["unit_bytes"] // CORES[core]["data_width"])
        assert result.first("o") - result.first("i") == dut.latency + 7 + beats - 1


def test_stop_ends_reading():
    dut = GatherReader(addr_width=24, **CORES["two"])
    memories = [AXIReadMemory(b, lambda a, n: bytes(n), latency=30) for b in dut.bus]
    seen = {}

    async def stop(ctx):
        await ctx.tick().repeat(60)
        ctx.set(dut.stop, 1)
        await ctx.tick().repeat(60)
        seen["idle"] = ctx.get(dut.idle)
        seen["asked"] = sum(len(m.bursts) for m in memories)
        await ctx.tick().repeat(40)
        seen["later"] = sum(len(m.bursts) for m in memories)

    beats = [{"unit": [2 * n, 2 * n + 1], "count": 2, "tag": 0} for n in range(40)]
    run_streams(
        dut, {"i": beats}, {"o": None}, testbenches=[stop, *(m.bench for m in memories)],
        settle=200,
    )  # fmt: skip
    assert seen["idle"] == 1
    assert seen["asked"] == seen["later"]


def test_errors_are_told():
    dut = GatherReader(addr_width=24, **CORES["two"])
    memories = [
        AXIReadMemory(b, lambda a, n: bytes(n), responses={3: 2} if c else {})
        for c, b in enumerate(dut.bus)
    ]
    seen = []

    async def watch(ctx):
        async for _, _, error in ctx.tick().sample(dut.error):
            seen.append(error)

    beats = [{"unit": [2 * n, 2 * n + 1], "count": 2, "tag": 0} for n in range(10)]
    run_streams(
        dut, {"i": beats}, {"o": 10}, testbenches=[watch, *(m.bench for m in memories)]
    )
    assert seen[-1] == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"channels": 3}, r"^Channels must be a power of two"),
        ({"channels": 2, "slots": 12}, r"^Slots must be a power of two"),
        ({"channels": 2, "slots": 4}, r"^Slots must be .*8"),
        ({"channels": 2, "spread": 3}, r"^Spread must be a power of two"),
        ({"channels": 2, "waiting": 0}, r"^Waiting must be at least 1, not 0$"),
    ],
)
def test_parameters_are_checked(options, message):
    with pytest.raises(ValueError, match=message):
        GatherReader(addr_width=24, data_width=256, unit_bytes=32, **options)
