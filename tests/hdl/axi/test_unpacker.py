# amaranth: UnusedElaboratable=no
"""Unpacker: every width, every ratio of word to line, ragged ends, throughput."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from amaranth.asserts import AnyConst
from amaranth.hdl import Array, Assert, Assume, Module, Mux, Signal
from amaranth.lib import wiring

from attnsieve.hdl.axi.unpacker import Unpacker
from attnsieve.sim.formal import free_inputs, prove
from attnsieve.sim.unit import run_streams

from .packing import cut, pack

MAX_LINES = 64
FIVE = (4, 6, 8, 10, 12)
#: Lanes and bytes of a word for five widths: words of one to four 8-bit lines, and of more.
PICKED = [(2, 4), (2, 32), *((lanes, lanes * n) for lanes in (4, 16, 64) for n in (1, 2, 4))]


def chunk_of(rng, dut, bits, lines, ragged):
    """Values of a chunk, its words, and what must come out."""
    count = lines * dut.lanes
    if ragged:
        count -= rng.randrange(dut.lanes)
    low, high = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
    values = [rng.choice((low, high, -1, rng.randint(low, high))) for _ in range(count)]
    text = pack(values, bits)
    text += bytes(rng.randrange(256) for _ in range(-len(text) % dut.wide_bytes))
    left, tag = rng.randrange(2), rng.randrange(4)
    chunk = {"lines": lines - 1, "width": dut.widths.index(bits), "left": left}
    words = [
        {
            "data": int.from_bytes(text[i : i + dut.wide_bytes], "little"),
            "last": i + dut.wide_bytes == len(text),
            "chunk": chunk,
            "tag": tag,
        }
        for i in range(0, len(text), dut.wide_bytes)
    ]
    shift = dut.operand_bits - bits if left else 0
    return words, [([v << shift for v in line], tag) for line in cut(values, dut.lanes)]


def check(dut, seed, *, stall=0.0, count=6):
    rng = random.Random(seed)
    words, want = [], []
    most = max(1, min(MAX_LINES, 400 // dut.lanes))
    for _ in range(count):
        bits = rng.choice(dut.widths)
        more_words, more = chunk_of(rng, dut, bits, rng.randint(1, most), rng.random() < 0.6)
        words += more_words
        want += more
    result = run_streams(dut, {"i": words}, {"o": len(want)}, stall={"i": stall}, seed=seed)
    for got, (line, tag) in zip(result.outputs["o"], want, strict=True):
        assert got.tag == tag
        assert [got.line[k] for k in range(len(line))] == line
    return result


@pytest.mark.parametrize("lanes", [2, 4, 16, 64, 256])
@pytest.mark.parametrize("wide_bytes", [4, 8, 32, 64, 128, 512])
def test_lines(lanes, wide_bytes):
    dut = Unpacker(lanes=lanes, wide_bytes=wide_bytes, max_lines=MAX_LINES, tag_bits=2)
    check(dut, seed=lanes + wide_bytes, stall=0.3, count=4 if wide_bytes * lanes > 4096 else 8)


@pytest.mark.full
@pytest.mark.parametrize("lanes", [2, 4, 8, 16, 32, 64, 128, 512, 1024])
@pytest.mark.parametrize("wide_bytes", [4, 16, 64, 256, 512, 1024, 2048])
def test_lines_of_all_sizes(lanes, wide_bytes):
    for seed in range(6):
        dut = Unpacker(lanes=lanes, wide_bytes=wide_bytes, max_lines=MAX_LINES, tag_bits=2)
        check(dut, seed=seed, stall=0.3 * (seed % 3), count=10)


@pytest.mark.parametrize(("lanes", "wide_bytes"), [(4, 4), (4, 64), (64, 8), (16, 32)])
def test_operands_of_8_bits_only(lanes, wide_bytes):
    dut = Unpacker(
        lanes=lanes, wide_bytes=wide_bytes, widths=(8,), max_lines=MAX_LINES, tag_bits=2
    )
    assert dut.i.payload.chunk.width.shape().width == 0
    check(dut, seed=5, stall=0.3)


def five(lanes, wide_bytes):
    return Unpacker(
        lanes=lanes, wide_bytes=wide_bytes, widths=FIVE, max_lines=MAX_LINES, tag_bits=2
    )


@pytest.mark.parametrize("stall", [0.0, 0.3])
@pytest.mark.parametrize(("lanes", "wide_bytes"), PICKED)
def test_five_widths(lanes, wide_bytes, stall):
    dut = five(lanes, wide_bytes)
    check(dut, seed=lanes + wide_bytes, stall=stall, count=24)


@pytest.mark.full
@pytest.mark.parametrize(("lanes", "wide_bytes"), [*PICKED, (256, 256), (512, 1024), (1024, 1024)])
def test_five_widths_of_all_sizes(lanes, wide_bytes):
    for seed in range(6):
        check(five(lanes, wide_bytes), seed=seed, stall=0.3 * (seed % 3), count=10)


@pytest.mark.parametrize(("lanes", "wide_bytes"), PICKED)
def test_widths_change_without_a_gap(lanes, wide_bytes):
    """A word stays for as many cycles as lines end in it, and for one if none does."""
    rng, dut = random.Random(7), five(lanes, wide_bytes)
    words, lines, cycles = [], 0, 0
    most = min(MAX_LINES, 400 // lanes)
    for bits in rng.sample(FIVE * 3, 15):
        more, out = chunk_of(rng, dut, bits, rng.randint(1, most), False)
        ends = [(n + 1) * lanes * bits - 1 for n in range(len(out))]
        ended = Counter(end // (8 * wide_bytes) for end in ends)
        cycles += sum(max(1, ended[word]) for word in range(len(more)))
        words += more
        lines += len(out)
    result = run_streams(dut, {"i": words}, {"o": lines})
    assert result.last("i") + 1 == cycles
    assert result.last("o") == cycles - 1 + dut.latency


@pytest.mark.parametrize("bits", [8, 12])
@pytest.mark.parametrize(("lanes", "wide_bytes"), [(64, 64), (4, 4), (16, 64), (64, 16)])
def test_throughput(lanes, wide_bytes, bits):
    """Long chunks back to back: the narrower side is busy in every cycle."""
    rng = random.Random(3)
    dut = Unpacker(lanes=lanes, wide_bytes=wide_bytes, max_lines=MAX_LINES, tag_bits=2)
    words, lines = [], 0
    for _ in range(4):
        more, out = chunk_of(rng, dut, bits, 64, False)
        words += more
        lines += len(out)
    result = run_streams(dut, {"i": words}, {"o": lines})
    busiest = max(lines, len(words))
    assert result.last("o") + 1 - dut.latency <= busiest + (busiest == lines) * 2
    assert result.last("o") + 1 - dut.latency >= busiest


def test_reference_rates():
    """64 lanes on 64 bytes: a line per cycle at 8 bits, two in three cycles at 12 bits."""
    for bits, cycles in ((8, 60), (12, 90)):
        rng = random.Random(1)
        dut = Unpacker(lanes=64, wide_bytes=64, max_lines=MAX_LINES)
        words, out = chunk_of(rng, dut, bits, 60, False)
        for word in words:
            word["tag"] = 0
        result = run_streams(dut, {"i": words}, {"o": len(out)})
        assert result.last("i") + 1 == cycles
        assert result.last("o") == cycles - 1 + dut.latency


@pytest.mark.parametrize(
    ("kwargs", "error", "message"),
    [
        ({"lanes": 1}, ValueError, r"^Lanes must be in 2\.\.1024, not 1$"),
        ({"lanes": 12}, ValueError, r"^Lanes must be a power of two, not 12$"),
        ({"lanes": 4.0}, TypeError, r"^Lanes must be an integer, not 4\.0$"),
        (
            {"wide_bytes": 2},
            ValueError,
            r"^Wide bytes must be in 4\.\.2048, not 2$",
        ),
        (
            {"widths": (4, 8)},
            ValueError,
            r"^Widths must be one of \(8,\), \(8, 12\), \(4, 6, 8, 10, 12\), not \(4, 8\)$",
        ),
        ({"widths": 12}, ValueError, r"^Widths must be one of .*, not 12$"),
        (
            {"widths": FIVE, "lanes": 8},
            ValueError,
            r"^Wide bytes must be at least lanes \(8\) with 5 widths, not 4$",
        ),
        ({"max_lines": 0}, ValueError, r"^Max lines must be at least 1, not 0$"),
        ({"max_lines": "8"}, TypeError, r"^Max lines must be an integer, not '8'$"),
    ],
)
def test_bad_parameters(kwargs, error, message):
    with pytest.raises(error, match=message):
        Unpacker(**({"lanes": 4, "wide_bytes": 4, "max_lines": 8} | kwargs))


class Contract(wiring.Component):
    """For any lane of any line of a chunk: the operand is the bits of the bytes that went in."""

    def __init__(self, dut):
        self.dut = dut
        super().__init__({})

    def elaborate(self, platform):
        m = Module()
        dut = m.submodules.dut = self.dut
        i, o = dut.i, dut.o
        free_inputs(m, dut, but=("o.ready",))
        chunk = i.payload.chunk
        bits = 8 * dut.wide_bytes
        width, left, lines = Signal.like(chunk.width), Signal(), Signal.like(chunk.lines)
        lane, line = AnyConst(range(dut.lanes)), AnyConst(1)
        # one chunk, its width and length constant; the operand of one lane of one line is followed
        words, out = Signal(2), Signal(2)
        stored = Signal(bits * 3)
        done = Signal()
        size = Array(dut.widths)[chunk.width]
        begin = (line * dut.lanes + lane) * Array(dut.widths)[width]
        length = (chunk.lines + 1) * size * dut.lanes
        m.d.comb += [
            Assume(chunk.width < len(dut.widths)),
            Assume(words != 3),
            Assume(~i.valid | ~done),
            Assume(i.payload.last == ((words + 1) * bits >= length)),
        ]
        with m.If(words != 0):
            m.d.comb += Assume(
                (chunk.width == width) & (chunk.left == left) & (chunk.lines == lines)
            )
        with m.If(i.valid & i.ready):
            m.d.sync += [
                stored.eq(stored | (i.payload.data << (words * bits))),
                words.eq(words + 1),
                done.eq(i.payload.last),
            ]
        with m.If(i.valid):
            m.d.sync += [width.eq(chunk.width), left.eq(chunk.left), lines.eq(chunk.lines)]
        with m.If(o.valid):
            m.d.sync += out.eq(out + 1)
        value = Signal(12)
        raw = Signal(12)
        data = stored | Mux(done, 0, i.payload.data << (words * bits))
        m.d.comb += raw.eq(data >> begin)
        for index, bits in enumerate(dut.widths):
            with m.If(width == index):
                operand = raw[:bits].as_signed()
                m.d.comb += value.eq(Mux(left, operand << (12 - bits), operand))
        m.d.comb += Assert(~o.valid | (out <= lines))
        with m.If(o.valid & (out == line)):
            m.d.comb += Assert(o.payload.line[lane].as_unsigned() == value)
        return m


@pytest.mark.parametrize(
    ("lanes", "wide_bytes", "widths"),
    [(4, 4, (8, 12)), (2, 4, (8, 12)), (8, 4, (8, 12)), (4, 4, FIVE), (2, 4, FIVE)],
)
def test_proof(lanes, wide_bytes, widths):
    dut = Unpacker(lanes=lanes, wide_bytes=wide_bytes, widths=widths, max_lines=2)
    prove(Contract(dut), depth=7)
