# amaranth: UnusedElaboratable=no
"""Keys out of lines: pieces of one key each, in their places; a piece per cycle; proof."""

from __future__ import annotations

import random

import pytest
from amaranth.asserts import AnyConst
from amaranth.hdl import Assert, Assume, Cover, Module, Mux, Signal, Value
from amaranth.lib import wiring

from attnsieve.hdl.params import CoreParams
from attnsieve.hdl.slices.key_cutter import KeyCutter
from attnsieve.sim.formal import HoldRule, ProofError, free_inputs, prove
from attnsieve.sim.unit import run_streams

from .front_cores import CORES, core, segments_of

STALLS = [0.0, 0.4, {"i": 0.7}, {"o": 0.7}, {"head": 0.9}]


def random_keys(p, rng, count, head_dim):
    top = 1 << p.operand_bits - 1
    return [[rng.randrange(-top, top) for _ in range(head_dim)] for _ in range(count)]


def lines_of(p, keys, rng):
    """Keys back to back; what is left of the last line is anything."""
    flat = [x for key in keys for x in key]
    flat += [rng.randrange(-9, 9) for _ in range(-len(flat) % p.lanes)]
    return [flat[n : n + p.lanes] for n in range(0, len(flat), p.lanes)]


def pieces_of(p, keys):
    """What each line has of each key: segments by place, and whether the key ends."""
    places = [
        (number, place, segment)
        for number, key in enumerate(keys)
        for place, segment in enumerate(segments_of(p, key))
    ]
    pieces = []
    for start in range(0, len(places), p.groups):
        line = places[start : start + p.groups]
        for key in dict.fromkeys(number for number, _, _ in line):
            piece = {place: segment for number, place, segment in line if number == key}
            pieces.append((piece, len(keys[key]) // p.segment - 1 in piece))
    return pieces


def run(p, heads, stall=0.0, seed=0):
    """Cut heads, each (keys, wide)."""
    rng = random.Random(seed)
    lines, head, want = [], [], []
    for keys, wide in heads:
        lines += lines_of(p, keys, rng)
        head.append({"parts": len(keys[0]) // p.segment, "keys": len(keys), "wide": wide})
        want += [(*piece, wide) for piece in pieces_of(p, keys)]
    result = run_streams(
        KeyCutter(params=p), {"head": head, "i": lines}, {"o": len(want)}, stall=stall, seed=seed
    )
    got = [
        ({n: o.segments[n] for n in range(p.max_parts) if o.write >> n & 1}, o.end, o.wide)
        for o in result.outputs["o"]
    ]
    assert got == want
    return result


@pytest.mark.parametrize("stall", STALLS)
@pytest.mark.parametrize("name", CORES)
def test_random_heads(name, stall):
    p = CORES[name]
    rng = random.Random(f"{name} {stall}")
    sizes = [1, min(2, p.max_keys), p.max_keys, *(rng.randint(1, p.max_keys) for _ in range(4))]
    rng.shuffle(sizes)
    heads = [
        (random_keys(p, rng, keys, rng.choice(p.head_dims)), rng.randrange(2)) for keys in sizes
    ]
    run(p, heads, stall)


@pytest.mark.parametrize("name", CORES)
def test_a_piece_per_cycle_a_cycle_later(name):
    """From head to head too."""
    p, rng = CORES[name], random.Random(1)
    heads = [(random_keys(p, rng, p.max_keys, head_dim), 1) for head_dim in p.head_dims]
    result = run(p, heads)
    pieces = sum(len(pieces_of(p, keys)) for keys, _ in heads)
    assert result.times["o"] == list(range(1, pieces + 1))


@pytest.mark.parametrize("lines", [1, 2, 3])
@pytest.mark.parametrize("groups", [1, 2])
def test_keys_of_whole_lines_come_at_a_line_per_cycle(groups, lines):
    p, rng = core(lanes=16 * groups, max_head_dim=96), random.Random(2)
    keys = random_keys(p, rng, 9, p.lanes * lines)
    result = run(p, [(keys, 1), (keys, 0)])
    assert result.times["i"] == list(range(18 * lines))
    assert result.times["o"] == [time + 1 for time in result.times["i"]]


@pytest.mark.parametrize(("parts", "cycles"), [(1, 8), (2, 4), (4, 2), (8, 1)])
def test_shorter_keys_come_at_a_key_per_cycle(parts, cycles):
    p, rng = core(lanes=128, max_head_dim=128, max_keys=40), random.Random(3)
    keys = random_keys(p, rng, 40, 16 * parts)
    result = run(p, [(keys, 1)])
    assert result.times["o"] == list(range(1, 41))
    assert result.times["i"] == list(range(cycles - 1, 40, cycles))


@pytest.mark.parametrize("name", CORES)
def test_no_line_is_taken_without_its_head(name):
    p, rng = CORES[name], random.Random(4)
    lines = lines_of(p, random_keys(p, rng, 1, 16), rng)
    taken = []
    dut = KeyCutter(params=p)

    async def watch(ctx):
        async for _, _, ready, valid in ctx.tick().sample(dut.i.ready, dut.o.valid):
            taken.append(ready | valid)

    async def offer(ctx):
        ctx.set(dut.i.valid, 1)
        ctx.set(dut.i.payload, lines[0])

    run_streams(dut, {}, {"o": 0}, testbenches=[offer, watch], settle=9)
    assert taken
    assert not any(taken)


class Proof(wiring.Component):
    """Of heads of any size, all alike, watch any segment of the lines: it is in its place, or
    dropped behind the last key; the pieces of a key follow each other without a gap.

    Parameters
    ----------
    shift : int
        Places by which the claim is wrong; 0 to prove it.
    """

    def __init__(self, params, *, shift=0):
        self.params, self.shift = params, shift
        super().__init__({})

    def elaborate(self, platform):
        m = Module()
        p = self.params
        dut = m.submodules.dut = KeyCutter(params=p)
        free_inputs(m, dut, but=("head.payload",))
        m.submodules += HoldRule(dut.o)
        parts, keys, wide = AnyConst(p.part_bits), AnyConst(p.key_bits), AnyConst(1)
        m.d.comb += [
            Assume((parts >= 1) & (parts <= p.max_parts) & (keys >= 1) & (keys <= p.max_keys)),
            dut.head.p.parts.eq(parts),
            dut.head.p.keys.eq(keys),
            dut.head.p.wide.eq(wide),
        ]
        line, group, lines = AnyConst(3), AnyConst(range(p.groups)), Signal(4)
        value, width = Signal(4), p.segment * p.operand_bits
        with m.If(dut.i.valid & (lines == line)):
            m.d.sync += value.eq(Value.cast(dut.i.payload).word_select(group, width)[:4])
        with m.If(dut.i.valid & dut.i.ready):
            m.d.sync += lines.eq(lines + 1)
        m.d.comb += Assume(lines != 15)
        # where the next piece begins: of all lines, of its key, and in which key of the head
        place, part, key = Signal(8), Signal(p.part_bits), Signal(p.key_bits)
        count, mask = Signal(p.part_bits), Signal(p.max_parts)
        in_line = p.groups - place % p.groups
        in_key = parts - part
        m.d.comb += [
            count.eq(Mux(in_line < in_key, in_line, in_key)),
            mask.eq(((1 << count) - 1) << part),
        ]
        out = dut.o.p
        with m.If(dut.o.valid):
            m.d.comb += [
                Assert(out.write == mask),
                Assert(out.end == (part + count == parts)),
                Assert(out.wide == wide),
                Cover(out.end & (key == keys - 1) & (place % p.groups + count != p.groups)),
            ]
            watched = line * p.groups + group
            for n in range(p.max_parts):
                hit = mask[n] & (place + n == watched + part + self.shift)
                with m.If(hit):
                    m.d.comb += [Assert(out.segments[n][:4] == value), Cover(line == 2)]
        with m.If(dut.o.valid & dut.o.ready):
            m.d.sync += [place.eq(place + count), part.eq(part + count)]
            with m.If(out.end):
                m.d.sync += [part.eq(0), key.eq(key + 1)]
                with m.If(key == keys - 1):  # the next head starts in a new line
                    m.d.sync += key.eq(0)
                    m.d.sync += place.eq((place + count + p.groups - 1) // p.groups * p.groups)
        return m


def small(groups):
    return CoreParams(
        lanes=16 * groups, max_head_dim=48, max_keys=3, operand_bits=8, output_lanes=1,
        buffer_elements=64, slice_units=1,
    )  # fmt: skip


@pytest.mark.parametrize(("groups", "depth"), [(1, 10), (2, 9), (4, 8)])
def test_proof(groups, depth):
    prove(Proof(small(groups)), depth=depth, name="key cutter")


def test_everything_is_reached():
    prove(Proof(small(2)), depth=12, mode="cover", name="key cutter")


def test_a_wrong_claim_is_refuted():
    with pytest.raises(ProofError):
        prove(Proof(small(2), shift=1), depth=10, name="key cutter")
