# amaranth: UnusedElaboratable=no
"""Rings: what is appended is read, nothing held is overwritten (proof)."""

import random

import pytest
from amaranth.asserts import AnyConst
from amaranth.hdl import Assert, Assume, Module, Signal
from amaranth.lib import data, wiring

from attnsieve.hdl.lib.ring import Ring, ring_sum
from attnsieve.sim.formal import free_inputs, prove
from attnsieve.sim.unit import run_streams, simulate


@pytest.mark.parametrize("depth", [1, 2, 3, 6, 8])
@pytest.mark.parametrize("split", [1, 2, 4])
def test_random_reads_and_releases(depth, split):
    rng = random.Random(f"{depth} {split}")
    dut = Ring(shape=data.ArrayLayout(8, 4), depth=depth, split=split, reads=2)
    lines = [[rng.randrange(256) for _ in range(4)] for _ in range(100)]
    seen = []

    async def consumer(ctx):
        first = 0  # number of the oldest line
        want = [None, None]
        while True:
            level = ctx.get(dut.level)
            assert ctx.get(dut.oldest) == first % depth
            assert ctx.get(dut.end) == (first + level) % depth
            assert ctx.get(dut.space) == depth - level
            for port in range(2):
                if want[port] is not None:
                    got = [int(x) for x in ctx.get(dut.read[port].data)]
                    assert got == want[port]
                    seen.append(got)
                en = level > 0 and rng.random() < 0.8
                ctx.set(dut.read[port].en, en)
                if en:
                    numbers = [first + rng.randrange(level) for _ in range(split)]
                    ctx.set(dut.read[port].address, [n % depth for n in numbers])
                    size = 4 // split
                    want[port] = [
                        x
                        for bank, n in enumerate(numbers)
                        for x in lines[n][bank * size : (bank + 1) * size]
                    ]
                else:  # data stays, whatever the address does
                    ctx.set(dut.read[port].address, [rng.randrange(depth) for _ in range(split)])
            release = level > 0 and rng.random() < 0.3
            ctx.set(dut.release, release)
            await ctx.tick("sync")
            first += release

    run_streams(dut, {"i": lines}, {}, stall=0.2, testbenches=[consumer])
    assert len(seen) > 200


def test_a_line_can_be_read_in_the_cycle_after_it_is_appended():
    dut = Ring(shape=8, depth=4)

    async def bench(ctx):
        ctx.set(dut.i.valid, 1)
        ctx.set(dut.i.payload, 77)
        assert ctx.get(dut.append) == 1
        await ctx.tick("sync")
        ctx.set(dut.i.valid, 0)
        assert ctx.get(dut.level) == 1
        ctx.set(dut.read[0].en, 1)
        ctx.set(dut.release, 1)  # last chance to read it, too
        await ctx.tick("sync")
        assert ctx.get(dut.read[0].data) == 77
        assert ctx.get(dut.level) == 0

    simulate(dut, bench)


def test_a_full_ring_streams_behind_its_releases():
    dut = Ring(shape=8, depth=3)

    async def release(ctx):
        await ctx.tick("sync").repeat(20)
        while True:
            ctx.set(dut.release, ctx.get(dut.level) != 0)
            await ctx.tick("sync")

    r = run_streams(dut, {"i": range(50)}, {}, testbenches=[release])
    assert r.times["i"] == [0, 1, 2, *range(21, 68)]


@pytest.mark.parametrize("depth", [1, 2, 3, 6, 8, 13])
def test_ring_sum(depth):
    a, b, total = Signal(range(depth)), Signal(range(depth + 1)), Signal(range(depth + 1))
    m = Module()
    m.d.comb += total.eq(ring_sum(a, b, depth))

    async def bench(ctx):
        for x in range(depth):
            for y in range(depth + 1):
                ctx.set(a, x)
                ctx.set(b, y)
                await ctx.delay(1e-9)
                assert ctx.get(total) == (x + y) % depth

    from amaranth.sim import Simulator

    sim = Simulator(m)
    sim.add_testbench(bench)
    sim.run()


@pytest.mark.parametrize(
    "parameters, error, message",
    [
        ({"depth": 0}, ValueError, r"^Depth must be at least 1, not 0$"),
        ({"depth": 2.0}, TypeError, r"^Depth must be an integer, not 2.0$"),
        ({"depth": 4, "reads": 0}, ValueError, r"^Reads must be at least 1, not 0$"),
        (
            {"depth": 4, "split": 3},
            ValueError,
            r"^Split must divide the width of a line \(8\), not 3$",
        ),
    ],
)
def test_bad_parameters(parameters, error, message):
    with pytest.raises(error, match=message):
        Ring(shape=8, **parameters)


class Contract(wiring.Component):
    """Any one line, from its append to its release, reads back as it was written."""

    def __init__(self, dut):
        self.dut = dut
        super().__init__({})

    def elaborate(self, platform):
        m = Module()
        dut = m.submodules.dut = self.dut
        free_inputs(m, dut)
        m.d.comb += Assume(~(dut.release & (dut.level == 0)))
        chosen, count = AnyConst(4), Signal(4)
        m.d.comb += Assume(count != 15)
        value, index, held, age = Signal(4), Signal(range(dut.depth)), Signal(), Signal(4)
        with m.If(dut.append):
            m.d.sync += count.eq(count + 1)
            with m.If(count == chosen):
                m.d.sync += [held.eq(1), value.eq(dut.i.payload), index.eq(dut.end)]
                m.d.sync += age.eq(dut.level - dut.release)  # lines before it
        with m.If(held & dut.release):
            m.d.sync += age.eq(age - 1)
            with m.If(age == 0):
                m.d.sync += held.eq(0)
        with m.If(held):
            m.d.comb += Assert(age < dut.level)
            m.d.comb += Assert(index == ring_sum(dut.oldest, age, dut.depth))
        m.d.comb += Assert(dut.level + dut.space == dut.depth)
        if dut.always_ready:
            m.d.comb += Assume(~dut.i.valid | (dut.space != 0))
        else:
            m.d.comb += Assert(dut.i.ready == (dut.level != dut.depth))
        mine, data = Signal(), Signal(4)
        same = dut.read[0].address[0] == index
        with m.If(dut.read[0].en):
            m.d.sync += [mine.eq(held & same), data.eq(value)]
        with m.If(mine):
            m.d.comb += Assert(dut.read[0].data == data)
        return m


@pytest.mark.parametrize("depth", [2, 3, pytest.param(4, marks=pytest.mark.full)])
@pytest.mark.parametrize("always_ready", [False, True])
def test_proof(depth, always_ready):
    prove(Contract(Ring(shape=4, depth=depth, always_ready=always_ready)), depth=2 * depth + 5)
