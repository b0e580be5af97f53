# amaranth: UnusedElaboratable=no
"""Turns of parts of rows: a turn per cycle, every key of a part once (proof); with the parts as the
golden model has them."""

from __future__ import annotations

import random

import pytest
from amaranth.asserts import AnyConst
from amaranth.hdl import Assert, Assume, Cover, Module, Mux, Signal
from amaranth.lib import data, wiring

from attnsieve.hdl.lib.connect import connect
from attnsieve.hdl.lib.queue import Queue
from attnsieve.hdl.slices.key_turns import KeyTurns
from attnsieve.hdl.slices.row_parts import RowParts
from attnsieve.sim.formal import HoldRule, ProofError, free_inputs, prove
from attnsieve.sim.golden.row_relative import parts
from attnsieve.sim.unit import run_streams, simulate

from .front_cores import CORES, core, keys_at_once

#: What is handed through with every turn.
PASSED_ON = (
    "row", "number", "key_mask", "bank", "write", "pin_first", "pin_from", "own", "base", "start",
    "opens",
)  # fmt: skip


def turns_of(p, keys):
    return -(-keys // keys_at_once(p))


def random_part(p, rng, keys=None):
    """A part of a row, with anything in what is handed through."""
    keys = rng.choice([0, 1, p.max_keys, rng.randint(0, p.max_keys)]) if keys is None else keys
    turns = turns_of(p, keys)
    first = rng.choice([0, rng.randrange(max(1, turns))])
    end = rng.choice([turns, rng.randint(min(first + 1, turns), turns)])
    flags = ("key_mask", "write", "opens", "down", "last")
    return {
        "row": rng.randrange(p.slice_rows), "number": rng.randrange(p.operand_bits // p.slice_bits),
        "bank": rng.randrange(p.banks), "base": rng.randrange(p.max_keys),
        "start": rng.randint(-p.max_keys, p.max_keys),
        **{name: rng.randint(0, p.max_keys) for name in ("pin_first", "pin_from", "own")},
        **{name: rng.randrange(2) for name in flags},
        "keys": keys, "turns": turns, "first": first, "end": end,
    }  # fmt: skip


def random_parts(p, seed, count=40):
    rng = random.Random(f"parts {seed}")
    return [random_part(p, rng) for _ in range(count)]


def turns(p, part):
    """How its keys are dealt: a turn has those of a block; downwards the last block comes next to
    the first one. A part without a key has a turn too."""
    found, lanes, end = [], keys_at_once(p), max(part["end"], 1)
    for turn in range(part["first"], end):
        block = part["turns"] - turn if part["down"] and turn else turn
        there = range(part["keys"])[block * lanes : (block + 1) * lanes]
        last = turn == end - 1
        found.append(
            {"key": block * lanes, "count": len(there), "end_of_part": last,
             "end_of_row": last and part["last"], **{name: part[name] for name in PASSED_ON}}
        )  # fmt: skip
    return found


def run(p, given, **options):
    """Compare. Returns the cycles of all ports."""
    want = [turn for part in given for turn in turns(p, part)]
    result = run_streams(KeyTurns(params=p), {"part": given}, {"o": len(want)}, **options)
    assert [{name: turn[name] for name in want[0]} for turn in result.outputs["o"]] == want
    return result.times


@pytest.mark.parametrize("stall", [0.0, 0.5, {"o": 0.9}, {"part": 0.8}])
@pytest.mark.parametrize("name", CORES)
def test_random_parts(name, stall):
    run(CORES[name], random_parts(CORES[name], f"{name} {stall}"), stall=stall)


@pytest.mark.parametrize("down", [0, 1])
@pytest.mark.parametrize("name", CORES)
def test_rows_of_every_length(name, down):
    """Whole, and in two parts."""
    p, given, rng = CORES[name], [], random.Random(name)
    for keys in range(p.max_keys + 1):
        whole = random_part(p, rng, keys) | {"down": down, "first": 0, "end": turns_of(p, keys)}
        given.append(whole)
        if whole["turns"] > 1:
            given += [whole | {"end": 1, "last": 0}, whole | {"first": 1, "last": 1}]
    run(p, given)


@pytest.mark.parametrize("name", CORES)
def test_a_turn_in_every_cycle(name):
    """From part to part too; the first one a cycle after its part, which leaves with its last."""
    p, given = CORES[name], random_parts(CORES[name], name)
    times, place = run(p, given), -1
    assert times["o"] == list(range(1, len(times["o"]) + 1))
    for part, leaves in zip(given, times["part"], strict=True):
        place += len(turns(p, part))
        assert leaves == place


class Joined(wiring.Component):
    """Parts, and their turns."""

    def __init__(self, params):
        self.parts, self.turns = RowParts(params=params), KeyTurns(params=params)
        names = ("row", "renewed", "renewed_row", "append")
        members = {name: self.parts.signature.members[name] for name in names}
        super().__init__(members | {"o": self.turns.signature.members["o"]})

    def elaborate(self, platform):
        m = Module()
        m.submodules.parts, m.submodules.turns = self.parts, self.turns
        connect(m, self.row, self.parts.row)
        connect(m, self.parts.o, self.turns.part)
        connect(m, self.turns.o, self.o)
        m.d.comb += [
            self.parts.renewed.eq(self.renewed),
            self.parts.renewed_row.eq(self.renewed_row),
            self.parts.append.eq(self.append),
        ]
        return m


LONG = {"four lanes": core(lanes=64, slice_units=4, max_keys=50),
        "two lanes": core(lanes=32, slice_units=3, max_keys=27)}  # fmt: skip


@pytest.mark.parametrize("name", [*CORES, *LONG])
def test_parts_are_those_of_the_golden_model(name):
    """Rows of every length, one after the other: which keys come in which part."""
    p = {**CORES, **LONG}[name]
    dut, found = Joined(p), {}

    async def bench(ctx):
        ctx.set(dut.append, 1)
        await ctx.tick().repeat(p.max_keys)
        ctx.set(dut.append, 0)
        ctx.set(dut.o.ready, 1)
        for keys in range(p.max_keys + 1):
            ctx.set(dut.row.p, {"row": 1, "keys": keys, "write": 1, "relative": 1})
            ctx.set(dut.row.valid, 1)
            part, end = {}, False
            while not end:
                _, _, taken, valid, turn = await ctx.tick().sample(
                    dut.row.ready, dut.o.valid, dut.o.p
                )
                if taken:
                    ctx.set(dut.row.valid, 0)
                ctx.set(dut.renewed, 0)
                if valid:
                    assert turn.opens == (not found.get(keys))
                    part |= {turn.key + n: len(found.get(keys, [])) for n in range(turn.count)}
                    end = turn.end_of_row
                if valid and turn.end_of_part:
                    found.setdefault(keys, []).append(part)
                    part = {}
                    ctx.set(dut.renewed_row, 1)
                    ctx.set(dut.renewed, not end)

    simulate(dut, bench)
    for keys, each in found.items():
        want = parts([keys], p.max_keys, keys_at_once(p))[0, :keys]
        assert {key: n for part in each for key, n in part.items()} == dict(enumerate(want))


class Contract(wiring.Component):
    """Any parts, one after the other: of each the key that is watched comes once if it is in its
    turns, and else not at all; the last turn, and no other, ends the part.

    Parameters
    ----------
    wrong : int
        Keys by which the claim is wrong; 0 to prove it.
    """

    def __init__(self, params, *, wrong=0):
        self.params, self.wrong = params, wrong
        super().__init__({})

    def elaborate(self, platform):
        m, p = Module(), self.params
        m.submodules.dut = dut = KeyTurns(params=p)
        free_inputs(m, dut)
        m.submodules += HoldRule(dut.o)
        part, turn, size = dut.part.p, dut.o.p, keys_at_once(p)
        watched = AnyConst(range(p.max_keys))
        m.d.comb += [
            Assume(part.keys <= p.max_keys),
            Assume(part.turns == (part.keys + size - 1) // size),
            Assume(part.end <= part.turns),
            Assume((part.first < part.end) | ((part.turns == 0) & (part.first == 0))),
        ]
        block = (watched + self.wrong) // size
        at = Signal.like(part.turns)
        m.d.comb += at.eq(Mux(part.down & (block != 0), part.turns - block, block))
        mine = (watched + self.wrong < part.keys) & (at >= part.first) & (at < part.end)
        # of each turn what its part, which may be gone, wants: in a queue beside that of the turns
        wants = {"part": part.shape(), "last": 1, "mine": 1, "least": part.shape()["end"].shape}
        m.submodules.known = known = Queue(shape=data.StructLayout(wants), depth=2)
        m.d.comb += [
            known.i.valid.eq(dut.part.valid),
            known.i.p.part.eq(part),
            known.i.p.last.eq(dut.part.ready),
            known.i.p.mine.eq(mine),
            known.i.p.least.eq(Mux(part.end == part.first, 1, part.end - part.first)),
            known.o.ready.eq(dut.o.ready),
            Assert(dut.o.valid == known.o.valid),
        ]
        before, last = known.o.p.part, known.o.p.last
        seen, count = Signal(), Signal.like(part.end)  # in the turns of the part before this one
        hit = (turn.key <= watched) & (watched - turn.key < turn.count)
        with m.If(dut.o.valid & dut.o.ready):
            m.d.sync += [seen.eq(~last & (seen | hit)), count.eq(Mux(last, 0, count + 1))]
            m.d.comb += [
                Assert(~(hit & seen)),
                Assert(turn.end_of_part == last), Assert(turn.end_of_row == (last & before.last)),
                Assert(turn.key + turn.count <= before.keys), Assert(turn.count <= size),
                *(Assert(turn[name] == before[name]) for name in PASSED_ON),
                Cover(hit & before.down & (count == 2)), Cover(turn.count == 0),
            ]  # fmt: skip
            with m.If(last):
                m.d.comb += [
                    Assert((seen | hit) == known.o.p.mine), Assert(count + 1 == known.o.p.least)
                ]
        return m


def small(units, groups, keys):
    return core(lanes=16 * groups, max_head_dim=16, max_keys=keys, slice_units=units, slice_rows=2)


@pytest.mark.parametrize(("units", "groups", "keys"), [(1, 1, 1), (1, 1, 5), (2, 2, 7), (5, 4, 14)])
def test_proof(units, groups, keys):
    prove(Contract(small(units, groups, keys)), depth=12, name="key turns")


def test_everything_is_reached():
    prove(Contract(small(2, 2, 7)), depth=12, mode="cover", name="key turns")


def test_a_wrong_claim_is_refuted():
    with pytest.raises(ProofError):
        prove(Contract(small(2, 2, 7), wrong=1), depth=10, name="key turns")
