# amaranth: UnusedElaboratable=no
"""Queues: order, latency, throughput, level; nothing lost or duplicated (proof)."""

import random

import pytest
from amaranth.asserts import AnyConst
from amaranth.hdl import Assert, Assume, Module, Signal, signed
from amaranth.lib import data, wiring

from attnsieve.hdl.lib import queue
from attnsieve.hdl.lib.queue import Queue
from attnsieve.sim.formal import HoldRule, free_inputs, prove
from attnsieve.sim.unit import run_streams

DEPTHS = [1, 2, 3, 4, 5, 8, 17]
ITEMS = random.Random(1).choices(range(256), k=120)
KINDS = ["registers", "lut_ram", "block_ram"]


@pytest.fixture(autouse=True)
def _small_block_rams(request, monkeypatch):
    """Block RAM whatever the number of bits, so that small ones are tested."""
    if "kind" in request.fixturenames and request.getfixturevalue("kind") == "block_ram":
        monkeypatch.setattr(queue, "MEMORY_BITS", 0)


def make(kind, depth, shape=8):
    return Queue(shape=shape, depth=depth, lut_ram=kind == "lut_ram")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize("stall", [0, 0.4, {"i": 0.8}, {"o": 0.8}])
def test_order(depth, kind, stall):
    dut = make(kind, depth)
    assert run_streams(dut, {"i": ITEMS}, {"o": 120}, stall=stall).outputs["o"] == ITEMS


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("depth", DEPTHS)
def test_latency_and_throughput(depth, kind):
    dut = make(kind, depth)
    r = run_streams(dut, {"i": ITEMS}, {"o": 120})
    assert r.first("o") == dut.latency == (2 if depth > 2 and kind == "block_ram" else 1)
    step = 2 if depth == 1 else 1
    assert r.last("o") - r.first("o") == 119 * step


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("depth", DEPTHS)
def test_capacity_and_full_throughput_at_the_brim(depth, kind):
    dut = make(kind, depth)
    levels = []

    async def watch(ctx):
        async for _, _, level in ctx.tick("sync").sample(dut.level):
            levels.append(level)

    # the output is taken from cycle 40 on only
    class Late(wiring.Component):
        def __init__(self):
            super().__init__({"i": dut.signature.members["i"], "o": dut.signature.members["o"]})

        def elaborate(self, platform):
            m = Module()
            m.submodules.dut = dut
            time = Signal(8)
            with m.If(time < 40):
                m.d.sync += time.eq(time + 1)
            m.d.comb += [
                dut.i.valid.eq(self.i.valid),
                dut.i.payload.eq(self.i.payload),
                self.i.ready.eq(dut.i.ready),
                self.o.payload.eq(dut.o.payload),
                self.o.valid.eq(dut.o.valid & (time == 40)),
                dut.o.ready.eq(self.o.ready & (time == 40)),
            ]
            return m

    r = run_streams(Late(), {"i": ITEMS}, {"o": 120}, testbenches=[watch])
    assert levels[40] == depth == max(levels)
    assert sum(t < 40 for t in r.times["i"]) == depth
    if depth > 1:  # once full, a push follows every pop
        assert r.last("o") == 40 + 119


def test_many_bits_are_in_memory():
    """From the limit on, and only where there is no LUT RAM."""
    for width, depth, memory in [(63, 8, False), (64, 8, True), (128, 4, True), (1000, 2, False)]:
        assert Queue(shape=width, depth=depth, lut_ram=False).in_registers == (not memory)
    assert not Queue(shape=8, depth=3).in_registers


def test_layouts_pass():
    shape = data.StructLayout({"a": signed(3), "b": 2})
    items = [{"a": -4, "b": 3}, {"a": 3, "b": 0}]
    r = run_streams(Queue(shape=shape, depth=3), {"i": items}, {"o": 2})
    assert [(p.a, p.b) for p in r.outputs["o"]] == [(-4, 3), (3, 0)]


@pytest.mark.parametrize("kind", KINDS)
def test_reset_empties(kind):
    dut = make(kind, 5)
    r = run_streams(dut, {"i": ITEMS[:20]}, {"o": None}, stall={"o": 0.7}, reset=[9], settle=40)
    got = r.outputs["o"]
    before = sum(t < 9 for t in r.times["o"])
    sent = sum(t < 9 for t in r.times["i"])
    assert sent > before
    assert got == ITEMS[:before] + ITEMS[sent:20]


@pytest.mark.parametrize(
    "depth, error, message",
    [
        (0, ValueError, r"^Depth must be at least 1, not 0$"),
        ("2", TypeError, r"^Depth must be an integer, not '2'$"),
        (True, TypeError, r"^Depth must be an integer, not True$"),
    ],
)
def test_bad_depth(depth, error, message):
    with pytest.raises(error, match=message):
        Queue(shape=8, depth=depth)


class Contract(wiring.Component):
    """The n-th payload taken is the n-th that entered, for any n; the level is right."""

    def __init__(self, dut):
        self.dut = dut
        super().__init__({})

    def elaborate(self, platform):
        m = Module()
        dut = m.submodules.dut = self.dut
        free_inputs(m, dut)
        m.submodules.hold = HoldRule(dut.o)
        chosen, value = AnyConst(5), Signal(8)
        pushed, popped = Signal(5), Signal(5)
        m.d.comb += Assume((pushed != 31) & (popped != 31))
        with m.If(dut.i.valid & dut.i.ready):
            m.d.sync += pushed.eq(pushed + 1)
            with m.If(pushed == chosen):
                m.d.sync += value.eq(dut.i.payload)
        with m.If(dut.o.valid & dut.o.ready):
            m.d.sync += popped.eq(popped + 1)
        m.d.comb += Assert(dut.level == (pushed - popped)[:5])
        m.d.comb += Assert(dut.i.ready == (dut.level != dut.depth))
        with m.If(dut.o.valid):
            m.d.comb += Assert(popped < pushed)
            with m.If(popped == chosen):
                m.d.comb += Assert(dut.o.payload == value)
        # a payload that has been inside for the latency is at the output
        waited = Signal(4)
        m.d.sync += waited.eq(0)
        with m.If((dut.level != 0) & ~dut.o.valid):
            m.d.sync += waited.eq(waited + 1)
        m.d.comb += Assert(waited < dut.latency)
        return m


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("depth", [1, 2, 3, pytest.param(4, marks=pytest.mark.full)])
def test_proof(depth, kind):
    prove(Contract(make(kind, depth)), depth=2 * depth + 6)
