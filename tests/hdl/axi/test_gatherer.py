# amaranth: UnusedElaboratable=no
"""Gatherer: units of skewed channels to words, at any rotation."""

from __future__ import annotations

import random

import pytest

from attnsieve.hdl.axi.chunker import Sink, chunk_entry_layout
from attnsieve.hdl.axi.gatherer import UnitGatherer
from attnsieve.hdl.params import CoreParams
from attnsieve.sim.unit import run_streams


def make(channels):
    return CoreParams(channels=channels, data_width=64, lut_ram=False)


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
        assert (got.chunk.wide, got.chunk.left) == (chunk["wide"], chunk["sink"] == Sink.VALUE)
    if stall == 0:
        assert dut.latency == 2 * (channels > 1)
        assert result.first("o") == dut.latency + 1
        assert result.last("o") - result.first("o") == len(words) - 1
