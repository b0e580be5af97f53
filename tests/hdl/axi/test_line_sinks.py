# amaranth: UnusedElaboratable=no
"""Lines to their stores: each once, at its time, and told as it arrives; proof."""

from __future__ import annotations

import random

import pytest
from amaranth.hdl import Assert, Cover, Module, Signal, Value
from amaranth.lib import wiring

from attnsieve.hdl.axi.chunker import Sink
from attnsieve.hdl.axi.line_sinks import LineSinks
from attnsieve.sim.formal import ProofError, free_inputs, prove
from attnsieve.sim.unit import run_streams

from .loading import LINES, make

#: Cycles to each store.
TIMES = {Sink.QUERY: 1, Sink.KEY: 1, Sink.VALUE: 2}


def run(lanes, tags, stall=0.0):
    """Send lines. Returns the result, and for each cycle what was told to be delivered."""
    p = make(lanes=lanes, operand_bits=8)
    rng = random.Random(lanes)
    lines = [[rng.randrange(-128, 128) for _ in range(lanes)] for _ in tags]
    items = [{"line": line, "tag": tag} for line, tag in zip(lines, tags, strict=True)]
    dut, told = LineSinks(params=p), []

    async def watch(ctx):
        async for _, _, delivered in ctx.tick().sample(dut.delivered):
            told.append(delivered)

    result = run_streams(
        dut, {"i": items}, dict.fromkeys(LINES), stall={"i": stall}, testbenches=[watch]
    )
    for name, sink in zip(LINES, Sink, strict=True):
        want = [line for line, tag in zip(lines, tags, strict=True) if tag == sink]
        assert [[got[n] for n in range(lanes)] for got in result.outputs[name]] == want
        sent = [t for t, tag in zip(result.times["i"], tags, strict=True) if tag == sink]
        assert result.times[name] == [t + TIMES[sink] for t in sent]
        assert [t for t, bits in enumerate(told) if bits >> sink & 1] == result.times[name]
    return result


@pytest.mark.parametrize("stall", [0.0, 0.5])
@pytest.mark.parametrize("lanes", [1, 16, 64])
def test_lines(lanes, stall):
    rng = random.Random(f"{lanes} {stall}")
    run(lanes, [rng.choice(list(Sink)) for _ in range(100)], stall)


@pytest.mark.parametrize("sink", list(Sink))
def test_a_line_per_cycle(sink):
    result = run(16, [sink] * 40)
    assert result.times["i"] == list(range(40))
    assert LineSinks.latency == TIMES[Sink.QUERY] == TIMES[Sink.KEY] == TIMES[Sink.VALUE] - 1


class Proof(wiring.Component):
    """A line is at its store after its time, nothing else ever is, and so it is told.

    Parameters
    ----------
    late : int
        Cycles by which the claim about values is wrong; 0 to prove it.
    """

    def __init__(self, *, late=0):
        self.late = late
        super().__init__({})

    def elaborate(self, platform):
        m = Module()
        dut = m.submodules.dut = LineSinks(params=make(lanes=1, operand_bits=8))
        free_inputs(m, dut)
        past = [(dut.i.valid, dut.i.p.tag, Value.cast(dut.i.p.line))]
        for _ in range(3):
            earlier = tuple(Signal(len(value)) for value in past[-1])
            m.d.sync += [e.eq(value) for e, value in zip(earlier, past[-1], strict=True)]
            past.append(earlier)
        for name, sink in zip(LINES, Sink, strict=True):
            out = getattr(dut, name)
            valid, tag, line = past[TIMES[sink] + (self.late if sink == Sink.VALUE else 0)]
            m.d.comb += [
                Assert(out.valid == (valid & (tag == sink))),
                Assert(~out.valid | (Value.cast(out.payload) == line)),
                Assert(dut.delivered[sink] == out.valid),
            ]
        m.d.comb += Cover(dut.delivered == 0b101)
        return m


def test_proof():
    prove(Proof(), depth=8, name="line sinks")


def test_everything_is_reached():
    prove(Proof(), depth=8, mode="cover", name="line sinks")


def test_a_wrong_claim_is_refuted():
    with pytest.raises(ProofError):
        prove(Proof(late=1), depth=8, name="line sinks")
