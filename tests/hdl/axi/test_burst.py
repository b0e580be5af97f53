# amaranth: UnusedElaboratable=no
"""Burst splitter: pieces of memory, 4 KB, whole bursts; proofs."""

from __future__ import annotations

import random

import pytest
from amaranth.hdl import Assert, Assume, Module, Signal
from amaranth.lib import wiring

from attnsieve.hdl.axi.burst import BurstSplitter
from attnsieve.sim.formal import HoldRule, free_inputs, prove
from attnsieve.sim.unit import run_streams


def bursts_of(address, beats, width, burst):
    """One piece beat by beat: a burst ends at every multiple of ``burst`` beats."""
    out, start, count = [], address, 0
    for k in range(beats):
        count += 1
        following = address + (k + 1) * width
        if following % (burst * width) == 0 or k == beats - 1:
            out.append((start, count, int(k == beats - 1)))
            start, count = following, 0
    return out


@pytest.mark.parametrize("stall", [0.0, 0.5])
@pytest.mark.parametrize(
    ("data_width", "burst_beats", "max_beats", "burst"),
    [(32, 16, 100, 16), (256, 5, 40, 4), (512, 256, 300, 64), (32, 1, 9, 1), (64, 8, 1, 8)],
)
def test_bursts(data_width, burst_beats, max_beats, burst, stall):
    dut = BurstSplitter(
        addr_width=32, data_width=data_width, burst_beats=burst_beats, max_beats=max_beats
    )
    assert dut.burst == burst
    rng, width = random.Random(data_width), data_width // 8
    pieces = [(rng.randrange(9000) * width, rng.randint(1, max_beats)) for _ in range(60)]
    want = [b for address, beats in pieces for b in bursts_of(address, beats, width, burst)]
    assert all(n <= burst_beats and a // 4096 == (a + n * width - 1) // 4096 for a, n, _ in want)
    result = run_streams(
        dut,
        {"i": [{"address": a, "beats": n} for a, n in pieces]},
        {"o": len(want)},
        stall=stall,
    )
    assert [(b.address, b.len + 1, b.last) for b in result.outputs["o"]] == want
    if stall == 0:
        assert result.first("o") == dut.latency
        between = len(pieces) - 1  # a cycle between two pieces
        assert result.last("o") - result.first("o") == len(want) - 1 + between


@pytest.mark.parametrize(
    ("kwargs", "error", "message"),
    [
        ({"addr_width": 8}, ValueError, r"^Address width must be in 12\.\.64, not 8$"),
        ({"data_width": 48}, ValueError, r"^Data width must be a power of two, not 48$"),
        ({"burst_beats": 0}, ValueError, r"^Burst beats must be in 1\.\.256, not 0$"),
        ({"burst_beats": 1.5}, TypeError, r"^Burst beats must be an integer, not 1\.5$"),
        ({"max_beats": 0}, ValueError, r"^Max beats must be in 1\.\.4294967296, not 0$"),
    ],
)
def test_bad_parameters(kwargs, error, message):
    defaults = {"addr_width": 32, "data_width": 32, "burst_beats": 16, "max_beats": 64}
    with pytest.raises(error, match=message):
        BurstSplitter(**(defaults | kwargs))


class Contract(wiring.Component):
    """Bursts of a piece are adjacent, fill it exactly, are short enough and stay within 4 KB."""

    def __init__(self, dut):
        self.dut = dut
        super().__init__({})

    def elaborate(self, platform):
        m = Module()
        dut = m.submodules.dut = self.dut
        free_inputs(m, dut)
        m.submodules.hold = HoldRule(dut.o)
        width = dut.data_width // 8
        m.d.comb += [
            Assume(dut.i.payload.beats > 0),
            Assume(dut.i.payload.beats <= dut.max_beats),
            Assume(dut.i.payload.address % width == 0),
        ]
        busy, left = Signal(), Signal(dut.max_beats.bit_length())
        following = Signal(dut.addr_width)
        count = dut.o.payload.len + 1
        with m.If(dut.o.valid):
            m.d.comb += [
                Assert(busy),
                Assert(dut.o.payload.address == following),
                Assert(count <= dut.burst_beats),
                Assert(count <= left),
                Assert(dut.o.payload.last == (count == left)),
                Assert(dut.o.payload.address[:12] + count * width <= 4096),
            ]
        with m.If(dut.o.valid & dut.o.ready):
            m.d.sync += [
                left.eq(left - count),
                following.eq(following + count * width),
                busy.eq(~dut.o.payload.last),
            ]
        with m.If(dut.i.valid & dut.i.ready):
            m.d.comb += Assert(~busy | (dut.o.valid & dut.o.ready & dut.o.payload.last))
            m.d.sync += [
                busy.eq(1),
                left.eq(dut.i.payload.beats),
                following.eq(dut.i.payload.address),
            ]
        return m


@pytest.mark.parametrize(("data_width", "burst_beats"), [(32, 3), (512, 256)])
def test_proof(data_width, burst_beats):
    dut = BurstSplitter(
        addr_width=16, data_width=data_width, burst_beats=burst_beats, max_beats=100
    )
    prove(Contract(dut), depth=10)
