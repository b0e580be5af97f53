# amaranth: UnusedElaboratable=no
"""Loader: lines of three streams against memory, credits, order, throughput, errors, stop."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from amaranth.hdl import Mux

from attnsieve.hdl.axi.loader import Loader
from attnsieve.hdl.params import CoreParams
from attnsieve.sim.unit import run_streams, simulate
from tests.variants import mostly_full

from .loading import LINES, NAMES, TINY, Memory, SinkModel, make, memories


def check(p, regions, memory, *, capacity=None, rate=1.0, stall=0.0, seed=0, **kwargs):
    """Load everything; compare each line, and the bytes that were read."""
    dut = Loader(params=p)
    channels = memories(dut, memory, **kwargs)
    capacity = capacity or p.kv_lines // 2
    sinks = [SinkModel(dut, n, capacity, rate, seed) for n in "qkv"]
    counted = {"units": 0, "waste": 0}

    async def count(ctx):
        while True:
            _, _, units, waste = await ctx.tick().sample(dut.read_units, dut.waste)
            counted["units"] += units
            counted["waste"] += waste

    want = {
        line: [x for r in regions[name] for x in r.lines(p, name)]
        for name, line in zip(NAMES, LINES, strict=True)
    }
    result = run_streams(
        dut,
        {n: [r.payload(p) for r in regions[n]] for n in NAMES},
        {line: len(want[line]) for line in LINES},
        stall=dict.fromkeys(NAMES, stall),
        seed=seed,
        testbenches=[*(c.bench for c in channels), *(s.bench for s in sinks), count],
        max_cycles=60000,
    )
    for line in LINES:
        for index, (got, expected) in enumerate(zip(result.outputs[line], want[line], strict=True)):
            have = [got[k] for k in range(len(expected))]
            assert have == expected, f"{line} {index}"
    check_reads(p, regions, memory, channels, counted)
    return result


def check_reads(p, regions, memory, channels, counted):
    """Every wanted unit was read once, and no other."""
    unit, wanted, size = p.unit_bytes, [], 0
    for r in (r for n in NAMES for r in regions[n]):
        length = len(r.values) * r.bits // 8
        size += length
        wanted += range(r.address // unit, -(-(r.address + length) // unit))
    read = [
        memory.linear(c, address) // unit
        for c, channel in enumerate(channels)
        for address in channel.addresses
    ]
    beats = unit // p.beat_bytes
    assert sorted(read) == sorted(wanted * beats)
    assert counted == {"units": len(wanted), "waste": len(wanted) * unit - size}


def random_regions(p, memory, rng, heads, bits=None, most=24):
    return {
        name: [
            memory.region(
                rng.randint(1, most),
                rng.choice(p.head_dims),
                bits or rng.choice([b for b in (8, 12) if b <= p.operand_bits]),
            )
            for _ in range(heads)
        ]
        for name in NAMES
    }


@pytest.mark.parametrize("data_width", mostly_full([32, 64, 256, 512], 32, 256))
@pytest.mark.parametrize("channels", [1, 2, 4])
@pytest.mark.parametrize("lanes", mostly_full([4, 16, 64], 4, 64))
def test_lines(lanes, channels, data_width):
    p = make(lanes=lanes, channels=channels, data_width=data_width, lut_ram=lanes != 16)
    rng = random.Random(lanes * channels + data_width)
    memory = Memory(p, rng.random())
    most = {4: 4, 16: 10, 64: 24}[lanes]
    regions = random_regions(p, memory, rng, heads=2, most=most)
    check(
        p,
        regions,
        memory,
        stall=0.2,
        seed=data_width,
        latency=11,
        ar_stall=0.3,
        r_stall=0.2,
    )


@pytest.mark.full
@pytest.mark.parametrize("seed", range(60))
def test_random_configurations(seed):
    rng = random.Random(seed)
    p = make(
        lanes=rng.choice([2, 4, 8, 16, 32, 64, 128]),
        channels=rng.choice([1, 2, 4, 8, 16]),
        data_width=rng.choice([32, 64, 128, 256, 512]),
        operand_bits=rng.choice([8, 12, 12]),
        burst_beats=rng.choice([1, 4, 15, 16, 64, 256]),
        outstanding_beats=rng.choice([2, 8, 17, 64, 100]),
        lut_ram=rng.random() < 0.5,
    )
    memory = Memory(p, rng.random())
    regions = random_regions(p, memory, rng, heads=3, most=max(3, p.lanes // 4))
    check(
        p,
        regions,
        memory,
        stall=rng.choice([0, 0.5]),
        rate=rng.choice([0.2, 1.0]),
        seed=seed,
        latency=rng.randint(1, 60),
        ar_stall=rng.choice([0, 0.5]),
        r_stall=rng.choice([0, 0.5]),
    )


@pytest.mark.parametrize("bits", [8, 12])
def test_tiny(bits):
    memory = Memory(TINY, 4)
    regions = random_regions(TINY, memory, random.Random(4), heads=3, bits=bits, most=6)
    check(TINY, regions, memory, latency=5, r_stall=0.2)


def test_small_sinks_are_never_overrun():
    p = make()
    memory = Memory(p, 9)
    regions = random_regions(p, memory, random.Random(9), heads=3)
    check(p, regions, memory, capacity=Loader(params=p).granule_lines, rate=0.5, seed=3)
    check(p, regions, memory, capacity=11, rate=0.3, stall=0.5, seed=4)
    check(p, regions, memory, capacity=64, rate=0.3, seed=5)


@pytest.mark.parametrize("capacity", [16, 20, 31, 64])
def test_small_sinks_of_the_compact_loader(capacity):
    memory = Memory(TINY, 9)
    assert Loader(params=TINY).granule_lines == 16
    regions = random_regions(TINY, memory, random.Random(capacity), heads=3, most=9)
    check(TINY, regions, memory, capacity=capacity, rate=0.4, stall=0.3, latency=9, seed=3)
    check(TINY, regions, memory, capacity=capacity, rate=1.0, latency=1, seed=4)


@pytest.mark.parametrize(
    "kwargs", [{"lanes": 8, "data_width": 64}, {"operand_bits": 8}, {"outstanding_beats": 17}]
)
def test_compact_loaders(kwargs):
    p = replace(TINY, **kwargs)
    assert Loader(params=p).compact
    memory = Memory(p, 5)
    regions = random_regions(p, memory, random.Random(5), heads=3, most=12)
    check(p, regions, memory, latency=7, rate=0.5, stall=0.2, ar_stall=0.3, r_stall=0.2)


@pytest.mark.parametrize("bits", [8, 12])
def test_compact_throughput(bits):
    """A beat per cycle, while places of bursts cover the memory's latency."""
    latency = TINY.outstanding_beats - 8 - 2
    memory = Memory(TINY, bits)
    regions = {
        "query": [memory.region(1, 32, bits)],
        "key": [memory.region(60, 32, bits) for _ in range(2)],
        "value": [memory.region(60, 32, bits) for _ in range(2)],
    }
    result = check(TINY, regions, memory, latency=latency)
    start = 1 + 1 + latency + (bits == 12)  # search, AR
    assert result.times["q_line"][0] == start
    beats = sum(-(-len(r.values) * bits // 32) for n in NAMES for r in regions[n])
    end = max(result.last(line) for line in LINES)
    assert end - start + 1 <= beats + 2  # short bursts of Q


@pytest.mark.parametrize("stream", [0, 1, 2])
def test_compact_latency(stream):
    """Q is looked at first, then K, then V."""
    memory = Memory(TINY, 2)
    regions = {n: [memory.region(1, 16, 8)] if k == stream else [] for k, n in enumerate(NAMES)}
    result = check(TINY, regions, memory, latency=10)
    assert result.times[LINES[stream]][0] == 10 + 2 + stream
    assert Loader(params=TINY).latency == 4


REFERENCE = CoreParams()


@pytest.mark.parametrize("bits", [8, 12])
def test_reference_throughput(bits):
    """64 B per cycle in the steady state: no gap between chunks, regions or streams."""
    p, latency = REFERENCE, 50
    memory = Memory(p, bits)
    regions = {
        "query": [memory.region(16, 64, bits) for _ in range(2)],
        "key": [memory.region(96, 64, bits) for _ in range(3)],
        "value": [memory.region(96, 64, bits) for _ in range(3)],
    }
    result = check(p, regions, memory, latency=latency)
    start = Loader(params=p).latency + latency
    assert result.times["q_line"][0] == start + (bits == 12)
    words = sum(-(-len(r.values) * bits // 8 // p.wide_bytes) for n in NAMES for r in regions[n])
    end = max(result.last(line) for line in LINES)
    assert end - start + 1 <= words + 2


def test_decode_throughput():
    """One query row, then long K and V: short chunks between long ones cost nothing."""
    p = REFERENCE
    memory = Memory(p, 5)
    regions = {
        "query": [memory.region(1, 64, 8) for _ in range(3)],
        "key": [memory.region(100, 64, 8) for _ in range(3)],
        "value": [memory.region(100, 64, 8) for _ in range(3)],
    }
    result = check(p, regions, memory, latency=50)
    times = sorted(t for line in LINES for t in result.times[line])
    assert len(times) == 603
    assert times[-1] - times[0] <= 602 + 5


@pytest.mark.parametrize(
    ("kwargs", "latency"),
    [
        ({"channels": 1}, 9),
        ({"channels": 2}, 13),
        ({"channels": 2, "lut_ram": False}, 13),
        ({"channels": 2, "data_width": 64}, 14),
    ],
)
def test_latency(kwargs, latency):
    """The numbers of docs/reference/blocks/loader.md."""
    p = make(**({"lanes": 32, "data_width": 256} | kwargs))
    memory = Memory(p, 2)
    region = memory.region(1, 32, 8)
    result = check(p, {"query": [], "key": [region], "value": []}, memory, latency=10)
    assert Loader(params=p).latency == latency
    beats = p.unit_bytes // p.beat_bytes
    assert result.times["k_line"][0] == latency + 10 + beats - 1


def test_order_of_heads():
    """Q first, then in turns; K of a head before V of the head; V before the next K."""
    p = make(lanes=64)
    memory = Memory(p, 5)
    regions = {n: [memory.region(20, 64, 8) for _ in range(3)] for n in NAMES}
    result = check(p, regions, memory, latency=20)
    q, k, v = (result.times[line] for line in LINES)
    assert q[3] < k[0] < q[4]
    for head in range(3):
        assert k[20 * head + 19] < v[20 * head]
        if head:
            assert v[20 * head - 1] < k[20 * head]


def test_full_sink_blocks_no_other():
    """K has no room: Q and V come all the same."""
    p = make(lanes=64)
    memory = Memory(p, 6)
    regions = {n: [memory.region(20, 64, 8)] for n in NAMES}
    dut = Loader(params=p)
    channels = memories(dut, memory, latency=20)

    async def bench(ctx):
        ctx.set(dut.q_space, 20)
        ctx.set(dut.v_space, 20)

    result = run_streams(
        dut,
        {n: [regions[n][0].payload(p)] for n in NAMES},
        {"q_line": 20, "k_line": 0, "v_line": 20},
        testbenches=[bench, *(c.bench for c in channels)],
        settle=100,
    )
    assert result.last("v_line") < 200


@pytest.mark.parametrize("response", [2, 3])
@pytest.mark.parametrize("channel", [0, 1])
@pytest.mark.parametrize("beat", [0, 5, 30])
def test_error_on_any_channel(channel, beat, response):
    p = make()
    memory = Memory(p, 3)
    region = memory.region(20, 64, 8)
    dut = Loader(params=p)
    channels = memories(dut, memory)
    channels[channel].responses = {beat: response, beat + 2: 5 - response}
    seen = []

    async def bench(ctx):
        ctx.set(dut.k_space, 200)
        ctx.set(dut.k_line.ready, 1)
        ctx.set(dut.key.payload, region.payload(p))
        ctx.set(dut.key.valid, 1)
        await ctx.tick().until(dut.key.ready)
        ctx.set(dut.key.valid, 0)
        for _ in range(250):
            _, _, error = await ctx.tick().sample(dut.error)
            seen.append(error)

    simulate(dut, bench, background=[c.bench for c in channels])
    assert set(seen) == {0, response}
    assert seen == sorted(seen)


@pytest.mark.parametrize("params", [make(), make(channels=4, lut_ram=False), TINY])
@pytest.mark.parametrize("seed", range(5))
def test_stop_in_any_state(seed, params):
    rng = random.Random(seed)
    p = params
    memory = Memory(p, 3)
    region = memory.region(20, 32, 8)
    dut = Loader(params=p)
    channels = memories(dut, memory, latency=rng.randint(1, 30), ar_stall=0.5, r_stall=0.5)
    stop_at = rng.randint(1, 120)
    idle, after, waits = [], [], []
    outstanding = [0] * p.channels  # beats

    async def bench(ctx):
        for name in "qkv":
            ctx.set(getattr(dut, f"{name}_space"), 100)
        for name in NAMES:
            ctx.set(getattr(dut, name).payload, region.payload(p))
            ctx.set(getattr(dut, name).valid, 1)
        for cycle in range(stop_at + 600):
            ctx.set(dut.stop, cycle >= stop_at)
            for line in LINES:
                ctx.set(getattr(dut, line).ready, rng.random() < 0.5)
            valid = [bus.arvalid for bus in dut.bus]
            moved = [
                Mux(bus.arvalid & bus.arready, bus.arlen + 1, 0) - (bus.rvalid & bus.rready)
                for bus in dut.bus
            ]
            _, _, now, waiting, *sampled = await ctx.tick().sample(
                dut.idle, dut.waiting, *valid, *moved
            )
            valid, moved = sampled[: p.channels], sampled[p.channels :]
            assert now == (not any(outstanding) and not any(valid))
            outstanding[:] = map(sum, zip(outstanding, moved, strict=True))
            waits.append(waiting)
            if cycle >= stop_at:
                idle.append(now)
                after.append(valid)

    simulate(dut, bench, background=[c.bench for c in channels])
    assert idle[-1]
    assert idle == sorted(idle)
    assert not any(c.outstanding for c in channels)
    for c in range(p.channels):
        assert [a[c] for a in after] == sorted((a[c] for a in after), reverse=True)
    assert stop_at < 20 or any(waits)


def test_bad_lanes():
    with pytest.raises(ValueError, match=r"^Lanes must be at least 2 to load lines, not 1$"):
        Loader(params=make(lanes=1))
