# amaranth: UnusedElaboratable=no
"""Gatherer: units of skewed channels to words, at any rotation."""

from __future__ import annotations

import random

import pytest
from amaranth.asserts import AnyConst, AnySeq
from amaranth.hdl import Array, Assert, Assume, Cat, Cover, Module, Mux, Signal
from amaranth.lib import wiring

from attnsieve.hdl.axi.chunker import Sink, chunk_entry_layout
from attnsieve.hdl.axi.gatherer import UnitGatherer
from attnsieve.hdl.params import CoreParams
from attnsieve.sim.formal import ProofError, free_inputs, prove
from attnsieve.sim.unit import run_streams


def make(channels):
    return CoreParams(channels=channels, data_width=64, lut_ram=False)


#: Bits of a unit that the proof looks at: the others go the same way.
SEEN = 3


def traffic(p, rng, sizes):
    """Chunks of so many units; the units of each channel; the words as lists of units."""
    layout = chunk_entry_layout(p)
    chunks, channels, words = [], [[] for _ in range(p.channels)], []
    for size in sizes:
        rotation, sink = rng.randrange(p.channels), rng.choice(list(Sink))
        lines = rng.randrange(1 << layout["lines"].width)
        units = [rng.getrandbits(8 * p.unit_bytes) for _ in range(size)]
        for j, unit in enumerate(units):
            channels[(rotation + j) % p.channels].append(unit)
        cut = [units[j : j + p.channels] for j in range(0, size, p.channels)]
        chunks.append(
            {
                "words": len(cut) - 1,
                "tail": len(cut[-1]) - 1,
                "rotation": rotation,
                "lines": lines,
                "wide": rng.randrange(2),
                "sink": sink,
            }
        )
        words += [(word, word is cut[-1], chunks[-1]) for word in cut]
    return chunks, channels, words


@pytest.mark.parametrize("stall", [0.0, 0.5])
@pytest.mark.parametrize("channels", [1, 2, 4, 16])
def test_words(channels, stall):
    p, rng = make(channels), random.Random(channels)
    dut = UnitGatherer(params=p)
    most = p.channels << chunk_entry_layout(p)["words"].width
    sizes = [*range(1, min(most, 2 * channels) + 1), most, rng.randint(1, most)]
    chunks, units, words = traffic(p, rng, sizes)
    result = run_streams(
        dut,
        {"chunk": chunks} | {f"i.{c}": units[c] for c in range(channels)},
        {"o": len(words)},
        stall=stall,
    )
    size = 8 * p.unit_bytes
    for got, (word, last, chunk) in zip(result.outputs["o"], words, strict=True):
        for j, unit in enumerate(word):
            assert (got.data >> size * j) & ((1 << size) - 1) == unit
        assert got.last == last
        assert (got.tag, got.chunk.lines) == (chunk["sink"], chunk["lines"])
        assert (got.chunk.width, got.chunk.left) == (chunk["wide"], chunk["sink"] == Sink.VALUE)
    if stall == 0:
        assert dut.latency == 2 * (channels > 1)
        assert result.first("o") == dut.latency + 1
        assert result.last("o") - result.first("o") == len(words) - 1


class Proof(wiring.Component):
    """Any chunks and units: any unit of any channel is in the word and the place it belongs to.

    Parameters
    ----------
    early : int
        Units by which the claim is wrong; 0 to prove it.
    """

    def __init__(self, *, channels, early=0):
        self.params, self.early = make(channels), early
        super().__init__({})

    def elaborate(self, platform):
        m = Module()
        channels, size = self.params.channels, 8 * self.params.unit_bytes
        dut = m.submodules.dut = UnitGatherer(params=self.params)
        free_inputs(m, dut, but=("i",))
        for unit in dut.i:
            waited, was = Signal(), Signal(SEEN)
            m.d.comb += [unit.valid.eq(AnySeq(1)), unit.payload.eq(AnySeq(SEEN))]
            m.d.sync += [waited.eq(unit.valid & ~unit.ready), was.eq(unit.payload)]
            m.d.comb += Assume(~waited | (unit.valid & (unit.payload == was)))
        chunks = [Signal.like(dut.chunk.payload, name=f"chunk{n}") for n in range(3)]
        came, ended, words = Signal(3), Signal(3), Signal(4)
        with m.If(dut.chunk.valid & dut.chunk.ready):
            m.d.sync += came.eq(came + 1)
            for n, chunk in enumerate(chunks):
                with m.If(came == n):
                    m.d.sync += chunk.eq(dut.chunk.payload)
        out, transfer = dut.o.payload, dut.o.valid & dut.o.ready
        m.d.comb += [Assume(came < 4), Assert(~dut.o.valid | (came > ended))]
        now = Signal.like(chunks[0])
        m.d.comb += now.eq(Mux(ended == 0, chunks[0], Mux(ended == 1, chunks[1], chunks[2])))
        with m.If(dut.o.valid & (ended < 3)):
            m.d.comb += [
                Assert(out.last == (words == now.words)),
                Assert(out.tag == now.sink),
                Assert(out.chunk.lines == now.lines),
                Assert(out.chunk.width == now.wide),
                Cover(out.last & (ended == 2) & (words == 1)),
            ]
        with m.If(transfer):
            m.d.sync += [words.eq(Mux(out.last, 0, words + 1)), ended.eq(ended + out.last)]
        seen = [out.data[size * j :][:SEEN] for j in range(channels)]
        place, held = Array(seen), Signal()
        word = Cat(out.last, out.tag, out.chunk, *seen)
        before = Signal.like(word)
        m.d.sync += [held.eq(dut.o.valid & ~dut.o.ready), before.eq(word)]
        m.d.comb += Assert(~held | (dut.o.valid & (word == before)))
        index = AnyConst(4)
        for c, unit in enumerate(dut.i):
            inside, used, watched = Signal(4), Signal(4), Signal(SEEN)
            position = (c - now.rotation)[: len(now.rotation)] if channels > 1 else 0
            wanted = ~out.last | (position <= now.tail)
            arrives = unit.valid & unit.ready
            m.d.sync += inside.eq(inside + arrives)
            with m.If(arrives & (inside == index)):
                m.d.sync += watched.eq(unit.payload)
            through = unit.valid & (inside == index) & (channels == 1)  # in the cycle it comes
            value = Mux(through, unit.payload, watched)
            with m.If(dut.o.valid & (ended < 3) & wanted):
                m.d.comb += [
                    Assert(used < inside + (unit.valid if channels == 1 else 0)),
                    Assert((used != index + self.early) | (place[position] == value[:SEEN])),
                ]
                with m.If(dut.o.ready):
                    m.d.sync += used.eq(used + 1)
        return m


@pytest.mark.parametrize(("channels", "depth"), [(1, 12), (2, 8), (4, 7)])
def test_proof(channels, depth):
    prove(Proof(channels=channels), depth=depth, name="gatherer")


def test_everything_is_reached():
    prove(Proof(channels=2), depth=14, mode="cover", name="gatherer")


def test_a_wrong_claim_is_refuted():
    with pytest.raises(ProofError):
        prove(Proof(channels=2, early=1), depth=8, name="gatherer")
