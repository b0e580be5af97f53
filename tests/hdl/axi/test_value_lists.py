# amaranth: UnusedElaboratable=no
"""Lists of the rows of V that are kept: what the flags say, with their neighbours; proofs."""

from __future__ import annotations

import random

import pytest
from amaranth.asserts import AnyConst
from amaranth.hdl import Assert, Assume, Cover, Module, Mux, Signal
from amaranth.lib import wiring

from attnsieve.hdl.axi.list_ram import ListRam
from attnsieve.hdl.axi.list_rows import index_bits, row_lanes
from attnsieve.hdl.axi.neighbours import Neighbours
from attnsieve.hdl.axi.value_lists import ValueLists
from attnsieve.hdl.params import CoreParams
from attnsieve.sim.formal import HoldRule, ProofError, free_inputs, prove
from attnsieve.sim.unit import StreamError, run_streams, simulate

SMALL = {
    "max_keys": 70, "max_queries": 16, "buffer_elements": 1 << 14, "output_lanes": 1,
    "value_demand": True,
}  # fmt: skip
SIZES = {
    "one": CoreParams(lanes=16, value_lanes=4, token_lanes=4, **SMALL),
    "two": CoreParams(lanes=32, value_lanes=4, token_lanes=4, channels=1, **SMALL),
    "four": CoreParams(lanes=64, value_lanes=4, token_lanes=4, channels=1, **SMALL),
    "wide": CoreParams(lanes=512, value_lanes=32, token_lanes=32, channels=16, **SMALL),
    "no tokens": CoreParams(lanes=64, slice_units=2, **SMALL),
    "one beat": CoreParams(lanes=64, value_lanes=4, token_lanes=4, **SMALL | {"max_keys": 3}),
}


def key_list(p, rng, count):
    """A list of keys: the tokens that live, each with whether its neighbours do."""
    density = rng.choice([0.2, 0.8, 1])
    live, token = [], 0
    while len(live) < count:
        if rng.random() < density:
            live.append(token)
        token += 1
    most = 1 << index_bits(p)
    return [
        {"index": t % most, "before": int(t - 1 in live), "after": int(t + 1 in live)}
        for t in live
    ]


def flags_of(p, kept):
    """Beats of flags, one at least."""
    kept = kept + [0] * (-len(kept) % p.groups if kept else p.groups)
    beats = [kept[n : n + p.groups] for n in range(0, len(kept), p.groups)]
    return [
        {"keep": sum(bit << lane for lane, bit in enumerate(beat)), "last": n == len(beats) - 1}
        for n, beat in enumerate(beats)
    ]


def kept_entries(keys, kept):
    """What a list must hold: index, and which neighbours in memory are next to it."""
    wanted = []
    for place, (key, stays) in enumerate(zip(keys, kept, strict=False)):
        if stays:
            before = place > 0 and key["before"] and kept[place - 1]
            after = place + 1 < len(kept) and key["after"] and kept[place + 1]
            wanted.append((key["index"], int(before), int(after)))
    return wanted


def key_memory(p, port, keys, rng):
    """Answers as the memory of the list of keys does; beyond its end is anything."""

    async def bench(ctx):
        while True:
            _, _, en, line = await ctx.tick().sample(port.en, port.line)
            if en:
                part = keys[line * p.groups : (line + 1) * p.groups]
                part += [{"index": rng.randrange(64), "before": 1, "after": 1}] * (
                    p.groups - len(part)
                )
                ctx.set(port.data, part)

    return bench


def flag_source(dut, beats, rng, stall):
    """Offers the beats of flags, with pauses."""

    async def bench(ctx):
        for beat in beats:
            while rng.random() < stall:
                await ctx.tick()
            ctx.set(dut.flags.payload, beat)
            ctx.set(dut.flags.valid, 1)
            taken = 0
            while not taken:
                _, _, taken = await ctx.tick().sample(dut.flags.ready)
            ctx.set(dut.flags.valid, 0)

    return bench


async def count_of(ctx, dut):
    """Takes a count; it comes in time."""
    ctx.set(dut.o.ready, 1)
    for _ in range(1000):
        _, _, valid, count = await ctx.tick().sample(dut.o.valid, dut.o.p.count)
        if valid:
            ctx.set(dut.o.ready, 0)
            return count
    raise AssertionError("no list")


async def entries_of(ctx, dut, half, count):
    """Reads a list."""
    entries, port = [], dut.list
    ctx.set(port.half, half)
    for line in range(-(-count // row_lanes(dut.params))):
        ctx.set(port.line, line)
        ctx.set(port.en, 1)
        await ctx.tick()
        ctx.set(port.en, 0)
        ctx.set(port.line, line + 1)  # what is not asked for does not matter
        await ctx.tick()
        entries += [ctx.get(entry) for entry in port.data]
    return [(e.index, e.before, e.after) for e in entries[:count]]


def run(p, keys, lists, stall=0.0, pause=0.0):
    """A list for each of ``lists``: for every key whether it stays."""
    dut, rng = ValueLists(params=p), random.Random(1)
    beats = [beat for kept in lists for beat in flags_of(p, kept)]

    async def bench(ctx):
        for number, kept in enumerate(lists):
            while rng.random() < pause:
                await ctx.tick()
            want = kept_entries(keys, kept)
            count = await count_of(ctx, dut)
            assert count == len(want)
            assert await entries_of(ctx, dut, number & 1, count) == want
            ctx.set(dut.free, 1)
            await ctx.tick()
            ctx.set(dut.free, 0)

    source = flag_source(dut, beats, random.Random(2), stall)
    simulate(dut, bench, background=[key_memory(p, dut.entry, keys, random.Random(3)), source])


@pytest.mark.parametrize("pause", [0.0, 0.9])
@pytest.mark.parametrize("stall", [0.0, 0.5])
@pytest.mark.parametrize("size", SIZES)
def test_any_list(size, stall, pause):
    p = SIZES[size]
    rng = random.Random(f"{size} {stall} {pause}")
    keys = key_list(p, rng, rng.randrange(1, p.max_keys + 1) if stall else p.max_keys)
    shares = [0, 0.05, 0.5, 0.9, 1, 1, 0, 0.3]
    run(p, keys, [[int(rng.random() < s) for _ in keys] for s in shares], stall, pause)


@pytest.mark.parametrize("size", SIZES)
def test_one_key_is_kept(size):
    p = SIZES[size]
    keys = key_list(p, random.Random(1), min(p.max_keys, 2 * p.groups + 1))
    run(p, keys, [[int(n == k) for n in range(len(keys))] for k in range(len(keys))][:9])


@pytest.mark.parametrize("pause", [0.0, 0.8])
def test_short_lists_after_long_ones(pause):
    p = SIZES["four"]
    keys = key_list(p, random.Random(2), p.max_keys)
    run(p, keys, [[1] * n for n in (8, 2, 7, 4, 0, 8, 1, 0, 70, 3, 3)], pause=pause)


def test_no_key_is_listed():
    run(SIZES["four"], [], [[], [], []])


@pytest.mark.parametrize("size", SIZES)
def test_latency_and_throughput(size):
    p, rng = SIZES[size], random.Random(size)
    keys = key_list(p, rng, p.max_keys)
    for kept in (p.max_keys, 1, 0):
        dut = ValueLists(params=p)
        flags = flags_of(p, [int(n < kept) for n in range(p.max_keys)])
        result = run_streams(
            dut, {"flags": flags * 2}, {"o": 2},
            testbenches=[key_memory(p, dut.entry, keys, rng)],
        )  # fmt: skip
        assert [o.count for o in result.outputs["o"]] == [kept] * 2
        taken = result.times["flags"]
        assert taken[-1] - taken[0] == len(taken) - 1
        more = int(kept > p.groups)  # full beats go out behind the one that drives them
        for number, end in enumerate(result.times["o"]):
            last = taken[(number + 1) * len(flags) - 1]
            assert end - last in (dut.latency, dut.latency + more)


def test_the_stated_latency():
    """As docs/reference/blocks/lists.md has it."""
    assert {ValueLists(params=SIZES[size]).latency for size in ("two", "four")} == {7}


def test_a_third_list_waits_until_the_first_is_free():
    p = SIZES["four"]
    beats = flags_of(p, [1] * 9) * 3
    with pytest.raises(StreamError, match="flags: 6 of 9 taken"):
        run_streams(ValueLists(params=p), {"flags": beats}, {"o": 2}, max_cycles=200)

    async def free(ctx):
        await ctx.tick().repeat(100)
        ctx.set(dut.free, 1)
        await ctx.tick()
        ctx.set(dut.free, 0)

    dut = ValueLists(params=p)
    result = run_streams(dut, {"flags": beats}, {"o": 3}, testbenches=[free])
    assert result.times["flags"][6] > 100


def test_parameters_are_checked():
    with pytest.raises(TypeError, match=r"^Params must be a CoreParams, not None$"):
        ValueLists(params=None)
    with pytest.raises(ValueError, match="^value_demand must be true to list values, not false$"):
        ValueLists(params=CoreParams())
    with pytest.raises(ValueError, match=r"^Line must divide 6 into a power of two, not 2$"):
        ListRam(index_bits=4, lanes=6, line=2, depth=4)
    with pytest.raises(ValueError, match=r"^Line must be in 1..4, not 8$"):
        ListRam(index_bits=4, lanes=4, line=8, depth=4)
    with pytest.raises(ValueError, match=r"^Index bits must be at least 1, not 0$"):
        Neighbours(index_bits=0, lanes=4)
    with pytest.raises(ValueError, match=r"^Lanes must be at least 1, not 0$"):
        Neighbours(index_bits=4, lanes=0)


@pytest.mark.parametrize("stall", [0.0, 0.4, {"o": 0.8}])
@pytest.mark.parametrize("lanes", [1, 3, 4])
def test_neighbours(lanes, stall):
    rng = random.Random(f"{lanes} {stall}")
    beats, want = [], []
    for _ in range(40):
        rows = lanes * rng.randint(1, 4)
        share = rng.choice([0, 0.5, 1])
        items = [
            {"index": rng.randrange(16), "before": rng.randrange(2), "after": rng.randrange(2)}
            for _ in range(rows)
        ]
        kept = [int(rng.random() < share) for _ in range(rows)]
        around = [0, *kept, 0]
        for n, item in enumerate(items):
            want.append((item["index"], item["before"] & around[n], item["after"] & around[n + 2]))
        beats += [
            {
                "item": items[n : n + lanes],
                "keep": sum(bit << lane for lane, bit in enumerate(kept[n : n + lanes])),
                "last": n + lanes == rows,
            }
            for n in range(0, rows, lanes)
        ]
    result = run_streams(
        Neighbours(index_bits=4, lanes=lanes), {"i": beats}, {"o": len(beats)}, stall=stall
    )
    got = [(row.index, row.before, row.after) for o in result.outputs["o"] for row in o.item]
    assert got == want
    for o, beat in zip(result.outputs["o"], beats, strict=True):
        assert (o.keep, bool(o.last)) == (beat["keep"], beat["last"])
    if stall == 0:
        assert result.last("o") - result.last("i") == Neighbours.latency
        assert result.cycles == len(beats) + 1


class Held(wiring.Component):
    """Beats of `Neighbours` stay until they are taken."""

    def __init__(self):
        super().__init__({})

    def elaborate(self, platform):
        m = Module()
        dut = m.submodules.dut = Neighbours(index_bits=1, lanes=2)
        free_inputs(m, dut)
        m.submodules += HoldRule(dut.o)
        return m


def test_neighbours_hold():
    prove(Held(), depth=3, mode="induction", name="neighbours")


class Proof(wiring.Component):
    """Of any two lists, whichever entry is looked at: it is the one that the flags say, with
    its neighbours, and the count is theirs; counts stay until they are taken.

    Parameters
    ----------
    claim : str
        A claim that is made wrong: "count", "index" or "after"; none to prove them.
    """

    def __init__(self, *, claim=""):
        self.claim = claim
        super().__init__({})

    def elaborate(self, platform):
        m = Module()
        p = CoreParams(
            lanes=32, value_lanes=2, token_lanes=2, max_keys=4, max_queries=4, channels=1,
            buffer_elements=1 << 10, output_lanes=1, value_demand=True,
        )  # fmt: skip
        dut = m.submodules.dut = ValueLists(params=p)
        free_inputs(m, dut, but=("entry", "list"))
        m.submodules += HoldRule(dut.o)
        self._keys(m, dut)
        kept, complete = self._flags(m, dut)
        number, key = Signal(), Signal(2)
        m.d.comb += [number.eq(AnyConst(1)), key.eq(AnyConst(2))]
        flags = kept.word_select(number, 4)
        taken, rank, count = Signal(2), Signal(3), Signal(3)
        m.d.comb += [count.eq(sum(flags)), rank.eq(sum(flags[n] & (key > n) for n in range(3)))]
        with m.If(dut.o.valid & dut.o.ready):
            m.d.sync += taken.eq(taken + 1)
        m.d.comb += Assume(~dut.free)  # the first two lists
        with m.If(dut.o.valid & (taken == number)):
            m.d.comb += [
                Assert(complete.bit_select(number, 1)),
                Assert(dut.o.p.count == count + (self.claim == "count")),
            ]
        m.d.comb += [
            dut.list.half.eq(number),
            dut.list.line.eq(rank >> 1),  # a line is two entries
            dut.list.en.eq(dut.o.valid & (taken == number)),
        ]
        read, entry = Signal(), dut.list.data[rank[0]]
        m.d.sync += read.eq(dut.list.en)
        neighbour = Signal()
        m.d.comb += neighbour.eq((flags >> key >> 1)[0] & ((key == 0) | (key == 2)))
        with m.If(read & flags.bit_select(key, 1)):
            m.d.comb += [
                Assert(entry.index == key + (self.claim == "index")),
                Assert(entry.after == (neighbour ^ (self.claim == "after"))),
                Assert(entry.before == (flags << 1 >> key)[0] & key[0]),
                Cover((number == 1) & (rank == 1) & neighbour),
            ]
        return m

    def _keys(self, m, dut):
        """Keys 0 and 1 are neighbours in memory, and 2 and 3."""
        line = Signal(1)
        with m.If(dut.entry.en):
            m.d.sync += line.eq(dut.entry.line)
        for lane, entry in enumerate(dut.entry.data):
            m.d.comb += [
                entry.index.eq(2 * line + lane),
                entry.before.eq(lane == 1),
                entry.after.eq(lane == 0),
            ]

    def _flags(self, m, dut):
        """What two lists keep, and whether all of their flags are there."""
        kept, complete, lists, place = Signal(8), Signal(2), Signal(2), Signal(1)
        m.d.comb += Assume((place == 0) | dut.flags.p.last)
        with m.If(dut.flags.valid & dut.flags.ready & (lists != 2)):
            m.d.sync += [
                kept.word_select(2 * lists[0] + place, 2).eq(dut.flags.p.keep),
                place.eq(~dut.flags.p.last),
            ]
            with m.If(dut.flags.p.last):
                m.d.sync += [lists.eq(lists + 1), complete.bit_select(lists[0], 1).eq(1)]
        m.d.comb += Assert((lists != 2) | ~dut.flags.ready)
        return kept, complete


class Flow(wiring.Component):
    """Whatever lists come, and as soon as they are free, no entry waits on its way.

    Parameters
    ----------
    early : int
        Whether lists may also be free before they are complete: then one does.
    """

    def __init__(self, *, early=0):
        self.early = early
        super().__init__({})

    def elaborate(self, platform):
        m = Module()
        p = CoreParams(
            lanes=32, value_lanes=2, token_lanes=2, max_keys=4, max_queries=4, channels=1,
            buffer_elements=1 << 10, output_lanes=1, value_demand=True,
        )  # fmt: skip
        dut = m.submodules.dut = ValueLists(params=p)
        free_inputs(m, dut)
        begun, known, place = Signal(2), Signal(2), Signal()  # lists that are not free
        flags = dut.flags
        m.d.comb += [
            Assume(~dut.free | Mux(self.early, begun != 0, known != 0)),
            Assume(~place | flags.p.last),
            Assert(dut.neighbours.i.ready),
            Cover((begun == 2) & dut.free & ~place & flags.valid & flags.p.last),
        ]
        take = flags.valid & flags.ready
        m.d.sync += [
            begun.eq(begun + (take & flags.p.last) - dut.free),
            known.eq(known + (dut.o.valid & dut.o.ready) - dut.free),
            place.eq(Mux(take, ~flags.p.last, place)),
        ]
        return m


def test_no_entry_waits():
    prove(Flow(), depth=20, name="value lists")


def test_lists_follow_each_other():
    prove(Flow(), depth=14, mode="cover", name="value lists")


def test_entries_of_lists_that_are_free_too_early_wait():
    with pytest.raises(ProofError):
        prove(Flow(early=1), depth=14, name="value lists")


def test_proof():
    prove(Proof(), depth=14, name="value lists")


def test_everything_is_reached():
    prove(Proof(), depth=14, mode="cover", name="value lists")


@pytest.mark.parametrize("claim", ["count", "index", "after"])
def test_a_wrong_claim_is_refuted(claim):
    with pytest.raises(ProofError):
        prove(Proof(claim=claim), depth=14, name="value lists")
