# amaranth: UnusedElaboratable=no
"""The gather loader: every listed row in its place, no unit more than needed, at the full rate."""

from __future__ import annotations

import random
from dataclasses import dataclass

import pytest
from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import memory as amaranth_memory
from amaranth.lib import wiring

from attnsieve.hdl.axi.gather_loader import GatherLoader
from attnsieve.hdl.axi.list_rows import list_line_layout, row_lanes
from attnsieve.sim.unit import run_streams
from tests.variants import mostly_full

from .loading import LINES, NAMES, Memory, SinkModel, make, memories
from .packing import cut


@dataclass
class Head:
    """Rows of a head in memory, and the list of those that are wanted."""

    region: object
    head_dim: int
    listed: list[int]

    def payload(self, p):
        return {
            "address": self.region.address,
            "rows": len(self.listed),
            "parts": self.head_dim // p.segment,
            "wide": self.region.bits == 12,
        }

    def lines(self, p, stream):
        shift = p.operand_bits - self.region.bits if stream == "value" else 0
        rows = cut(self.region.values, self.head_dim)
        values = [v << shift for row in self.listed for v in rows[row]]
        return cut(values, p.lanes)

    def units(self, p):
        """Units that the rows touch, those that neighbours share twice."""
        size, pitch, found = p.unit_bytes, self.head_dim * self.region.bits // 8, []
        for row in self.listed:
            start = self.region.address + row * pitch
            found += range(start // size, (start + pitch - 1) // size + 1)
        return found


class Bench(wiring.Component):
    """The loader with its lists in a memory."""

    def __init__(self, params, keys, queries):
        self.dut, self.params = GatherLoader(params=params), params
        self.lists = [self._lines(keys), self._lines(queries)]
        members = {n: m for n, m in self.dut.signature.members.items() if n != "list"}
        super().__init__(members)

    def _lines(self, rows):
        lanes = row_lanes(self.params)
        entries = [
            {"index": r, "before": r - 1 in rows, "after": r + 1 in rows} for r in rows
        ]
        entries += [{"index": 0, "before": 1, "after": 1}] * (-len(entries) % lanes)
        return [entries[n : n + lanes] for n in range(0, len(entries), lanes)] or [[]]

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = dut = self.dut
        for name in self.signature.members:
            if name == "bus":
                for inner, outer in zip(dut.bus, self.bus, strict=True):
                    wiring.connect(m, inner, wiring.flipped(outer))
        connect_rest(m, self, dut)
        found = []
        for which, lines in enumerate(self.lists):
            store = amaranth_memory.Memory(
                shape=list_line_layout(self.params), depth=len(lines), init=lines
            )
            m.submodules[f"list{which}"] = store
            port = store.read_port()
            m.d.comb += [port.addr.eq(dut.list.line), port.en.eq(dut.list.en)]
            found.append(port.data)
        query = Signal()
        with m.If(dut.list.en):
            m.d.sync += query.eq(dut.list.query)
        m.d.comb += dut.list.data.eq(Mux(query, found[1].as_value(), found[0].as_value()))
        return m


def connect_rest(m, outer, dut):
    """Everything but the buses and the list, straight through."""
    for name, member in outer.signature.members.items():
        if name == "bus":
            continue
        mine, its = getattr(outer, name), getattr(dut, name)
        if member.is_signature:
            wiring.connect(m, its, wiring.flipped(mine))
        elif member.flow is wiring.In:
            m.d.comb += its.eq(mine)
        else:
            m.d.comb += mine.eq(its)


def check(
    p, heads, keys, queries, memory, *, asks=(), rate=1.0, stall=0.0, seed=0, word_stall=0.0,
    **kwargs,
):  # fmt: skip
    dut = Bench(p, keys, queries)
    channels = memories(dut, memory, **kwargs)
    sinks = [SinkModel(dut, n, p.kv_lines // 2, rate, seed) for n in "qkv"]
    want = {
        line: [x for h in heads[name] for x in h.lines(p, name)]
        for name, line in zip(NAMES, LINES, strict=True)
    }
    inputs = {n: [h.payload(p) for h in heads[n]] for n in NAMES}
    outputs = {line: len(want[line]) for line in LINES}
    if p.slice_demand:
        inputs["ask"] = [{"unit": units, "count": len(units)} for units in asks]
        outputs["word"] = len(asks)
    result = run_streams(
        dut,
        inputs,
        outputs,
        stall=dict.fromkeys(inputs, stall) | {"word": word_stall},
        seed=seed,
        testbenches=[*(c.bench for c in channels), *(s.bench for s in sinks)],
        max_cycles=60000,
    )
    for line in LINES:
        for index, (got, expected) in enumerate(zip(result.outputs[line], want[line], strict=True)):
            assert [got[k] for k in range(len(expected))] == expected, f"{line} {index}"
    for units, word in zip(asks, result.outputs.get("word", ()), strict=True):
        want = [memory.unit(unit) for unit in units]
        assert [x.to_bytes(p.unit_bytes, "little") for x in list(word.unit)[: len(units)]] == want
    check_reads(p, heads, memory, channels, asks)
    return result, channels


def check_reads(p, heads, memory, channels, asks=()):
    """No unit is read that no row needs, and none more often than once per row; or that nobody asks
    for."""
    wanted = sorted(
        [u for n in NAMES for h in heads[n] for u in h.units(p)]
        + [unit for units in asks for unit in units]
    )
    beats = p.unit_bytes // p.beat_bytes
    read = sorted(
        memory.linear(c, address) // p.unit_bytes
        for c, channel in enumerate(channels)
        for address in channel.addresses
    )[::beats]
    assert set(read) == set(wanted)
    assert len(read) <= len(wanted)


def listed(rng, rows):
    keep = rng.choice([0.1, 0.5, 0.9, 1])
    return [r for r in range(rows) if rng.random() < keep] or [rng.randrange(rows)]


def random_heads(p, memory, rng, rows, lists, heads=2):
    made = {}
    for name in NAMES:
        head_dim = rng.choice(p.head_dims)
        bits = rng.choice([8, 12])
        made[name] = [
            Head(memory.region(rows, head_dim, bits), head_dim, lists[name == "query"])
            for _ in range(heads)
        ]
    return made


@pytest.mark.parametrize("data_width", mostly_full([32, 64, 256], 32, 256))
@pytest.mark.parametrize("channels", mostly_full([1, 2, 4], 1, 4))
@pytest.mark.parametrize("lanes", mostly_full([4, 16, 64], 16, 64))
def test_lines(lanes, channels, data_width):
    p = make(lanes=lanes, channels=channels, data_width=data_width)
    rng = random.Random(f"{lanes} {channels} {data_width}")
    memory = Memory(p, rng.random())
    rows = {4: 8, 16: 20, 64: 40}[lanes]
    lists = [listed(rng, rows), listed(rng, rows)]
    heads = random_heads(p, memory, rng, rows, lists)
    check(
        p, heads, *lists, memory, stall=0.2, rate=rng.choice([0.2, 1]), seed=data_width,
        latency=11, ar_stall=0.3, r_stall=0.2,
    )  # fmt: skip


def full_rate(p, rows, listed_rows, head_dim):
    memory = Memory(p, 1)
    heads = {
        n: [Head(memory.region(rows, head_dim, 8), head_dim, listed_rows)] for n in NAMES
    }
    heads["query"] = heads["query"][:0]
    return check(p, heads, listed_rows, [], memory, latency=20)


def test_whole_heads_come_at_the_full_rate():
    """64 bytes per cycle: K, then V, of rows of 64 bytes."""
    p = make(lanes=64, channels=2, data_width=256)
    result, channels = full_rate(p, 128, list(range(128)), 64)
    times = sorted(result.times["k_line"] + result.times["v_line"])
    assert times[-1] - times[0] <= 2 * 128 * 1.03
    assert sum(c.beats for c in channels) == 2 * 128 * 2


def test_scattered_rows_come_at_nearly_the_full_rate():
    p = make(lanes=64, channels=2, data_width=256)
    rows = sorted(random.Random(3).sample(range(128), 60))
    result, channels = full_rate(p, 128, rows, 64)
    times = sorted(result.times["k_line"] + result.times["v_line"])
    assert times[-1] - times[0] <= 2 * 60 * 1.05
    assert sum(c.beats for c in channels) == 2 * 60 * 2


def test_an_empty_list_brings_nothing():
    p = make(lanes=64, channels=2, data_width=256)
    memory = Memory(p, 1)
    region = memory.region(8, 64, 8)
    heads = {n: [Head(region, 64, [])] for n in NAMES}
    heads["query"] = [Head(region, 64, [2])]
    result, channels = check(p, heads, [], [2], memory)
    assert len(result.times["key"]) == len(result.times["value"]) == 1
    assert sum(c.beats for c in channels) == 2


def random_asks(p, memory, rng, count):
    """Units of memory, some at a time: in order, and not more than from as many channels."""
    first = memory.base // p.unit_bytes
    most = first + len(memory.bytes) // p.unit_bytes - p.channels
    asks = []
    for _ in range(count):
        start = rng.randint(first, most)
        units = range(start, start + p.channels)
        asks.append(sorted(rng.sample(units, rng.randint(1, p.channels))))
    return asks


@pytest.mark.parametrize("word_stall", mostly_full([0.0, 0.7], 0.7))
@pytest.mark.parametrize("channels, data_width", [(1, 64), (2, 256), (4, 128)])
def test_slices_among_rows(channels, data_width, word_stall):
    """Units of slices, each as it was asked for, beside all that is read of rows; also where nobody
    takes them for a while."""
    p = make(channels=channels, data_width=data_width, slice_units=2, value_demand=True,
             slice_demand=True, max_head_dim=32)  # fmt: skip
    rng = random.Random(f"slices {channels} {data_width}")
    memory = Memory(p, rng.random())
    rows = list(range(20))
    heads = random_heads(p, memory, rng, 20, [rows, rows])
    asks = random_asks(p, memory, rng, 30)
    check(
        p, heads, rows, rows, memory, asks=asks, stall=0.3, word_stall=word_stall, rate=0.5,
        latency=11, ar_stall=0.2, r_stall=0.2,
    )  # fmt: skip


def test_slices_come_first():
    """Rows wait while there are any to ask for."""
    p = make(channels=2, data_width=256, slice_units=2, value_demand=True, slice_demand=True)
    memory = Memory(p, 1)
    heads = {n: [Head(memory.region(64, 64, 8), 64, list(range(64)))] for n in NAMES}
    asks = random_asks(p, memory, random.Random(2), 30)
    result, channels = check(p, heads, list(range(64)), list(range(64)), memory, asks=asks,
                             latency=20)  # fmt: skip
    assert result.times["ask"] == list(range(30))
    assert min(result.times[line][0] for line in LINES) > result.times["word"][-1]
