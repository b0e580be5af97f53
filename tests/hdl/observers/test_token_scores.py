# amaranth: UnusedElaboratable=no
"""Scores of tokens: every share counts once, whatever banks meet and whoever looks; proof."""

from __future__ import annotations

import random
from collections import deque

import pytest
from amaranth.asserts import AnyConst
from amaranth.hdl import Assert, Assume, Cat, Cover, Module, Mux, ResetInserter, Signal
from amaranth.lib import wiring

from attnsieve.hdl.observers.token_scores import TokenScores, token_rows
from attnsieve.hdl.params import CoreParams
from attnsieve.sim.formal import ProofError, free_inputs, prove
from attnsieve.sim.golden.importance import decayed
from attnsieve.sim.unit import simulate

SMALL = {"max_keys": 130, "max_queries": 16, "buffer_elements": 1 << 14}
SIZES = {
    "reference": CoreParams(lanes=64, value_lanes=16, token_lanes=16, **SMALL),
    "conflicts": CoreParams(lanes=64, value_lanes=16, token_lanes=4, **SMALL),
    "one group": CoreParams(lanes=16, value_lanes=4, token_lanes=1, **SMALL),
    "one token": CoreParams(lanes=16, value_lanes=4, token_lanes=4, **{**SMALL, "max_keys": 1}),
    "few banks": CoreParams(lanes=128, value_lanes=16, token_lanes=2, channels=1, **SMALL),
}


def feeder(port, items: deque, stall: float = 0.0, seed: int = 0, times: list | None = None):
    """A testbench that sends what is in a queue, whenever something is in there."""
    rng = random.Random(f"{seed} feeder")

    async def bench(ctx):
        offering, cycle = False, 0
        while True:
            if not offering and items and rng.random() >= stall:
                offering = True
                ctx.set(port.payload, items[0])
            ctx.set(port.valid, offering)
            _, _, ready = await ctx.tick().sample(port.ready)
            if offering and ready:
                items.popleft()
                offering = False
                if times is not None:
                    times.append(cycle)
            cycle += 1

    return bench


def random_beats(p, rng, count, tokens=None):
    """Beats whose tokens differ where they count; among them some that nothing is added to."""
    tokens = range(p.max_keys) if tokens is None else tokens
    beats = []
    for _ in range(count):
        some = rng.sample(tokens, min(len(tokens), p.groups))
        if rng.random() < 0.3:  # one bank
            bank = [t for t in tokens if t % p.token_lanes == some[0] % p.token_lanes]
            some = rng.sample(bank, min(len(bank), p.groups))
        share = [rng.choice([0, 1, (1 << p.p_bits) - 1, rng.randrange(1 << p.p_bits)])
                 for _ in some]
        pad = p.groups - len(some)
        some += [rng.choice(tokens) for _ in range(pad)]
        beats.append({"token": some, "share": share + [0] * pad})
    return beats


def sums(p, beats):
    scores = [0] * p.max_keys
    for beat in beats:
        for token, share in zip(beat["token"], beat["share"], strict=True):
            scores[token] += share
    return scores


async def drained(ctx, dut, items):
    """Wait until all has been added."""
    waited = 0
    while items or not ctx.get(dut.idle):
        await ctx.tick()
        waited += 1
        assert waited < 5000


async def scanned(ctx, dut, decay=0, decays=0, stall=None):
    """All scores, row by row; they decay as they are seen. With ``stall`` rows stay a while."""
    p = dut.params
    found = []
    ctx.set(dut.scan, 1)
    await ctx.tick()
    for row in range(token_rows(p)):
        ctx.set(dut.en, 1)
        ctx.set(dut.row, row)
        ctx.set(dut.decay, 0)
        if row:
            ctx.set(dut.decay, decay)
            ctx.set(dut.decays, decays)
        await ctx.tick()
        ctx.set(dut.en, 0)
        ctx.set(dut.decay, 0)
        while stall and stall.random() < 0.5:
            await ctx.tick()
        found += [ctx.get(value) for value in dut.value]
    ctx.set(dut.decay, decay)
    ctx.set(dut.decays, decays)
    await ctx.tick()
    ctx.set(dut.scan, 0)
    ctx.set(dut.decay, 0)
    await ctx.tick().repeat(dut.loss_latency - 1)
    return found[: p.max_keys]


async def cleared(ctx, dut):
    """All rows become zero."""
    ctx.set(dut.clear, 1)
    for row in range(token_rows(dut.params)):
        ctx.set(dut.row, row)
        await ctx.tick()
    ctx.set(dut.clear, 0)


async def accessed(ctx, dut, token, value=None):
    """A score as software sees it, or writes it."""
    ctx.set(dut.access, 1)
    ctx.set(dut.token, token)
    ctx.set(dut.write, value is not None)
    ctx.set(dut.data, value or 0)
    waited = 0
    while not ctx.get(dut.ready):
        await ctx.tick()
        waited += 1
        assert waited <= dut.access_latency
    found = ctx.get(dut.score)
    await ctx.tick()
    ctx.set(dut.access, 0)
    ctx.set(dut.write, 0)
    return found


@pytest.mark.parametrize("stall", [0.0, 0.5])
@pytest.mark.parametrize("size", SIZES)
def test_sums(size, stall):
    p = SIZES[size]
    beats = random_beats(p, random.Random(f"{size} {stall}"), 150)
    dut, items = TokenScores(params=p), deque(beats)

    async def bench(ctx):
        await ctx.tick()
        await drained(ctx, dut, items)
        want = sums(p, beats)
        assert await scanned(ctx, dut) == want
        for token in range(0, p.max_keys, 7):
            assert await accessed(ctx, dut, token) == want[token]

    simulate(dut, bench, background=[feeder(dut.i, items, stall)])


@pytest.mark.parametrize("size", SIZES)
def test_pace(size):
    """A cycle per beat if its banks differ, as many as share a bank if not."""
    p = SIZES[size]
    apart = min(p.groups, p.token_lanes, p.max_keys)
    for step in (1, p.token_lanes):
        count = apart if step == 1 else min(p.groups, -(-p.max_keys // p.token_lanes))
        tokens = [n * step for n in range(count)]
        pad = [0] * (p.groups - count)
        beats = [{"token": tokens + pad, "share": [1] * count + pad}] * 20
        dut, items, times = TokenScores(params=p), deque(beats), []

        async def bench(ctx, dut=dut, items=items, beats=beats):
            await ctx.tick()
            await drained(ctx, dut, items)
            assert await scanned(ctx, dut) == sums(p, beats)

        simulate(dut, bench, background=[feeder(dut.i, items, times=times)])
        turns = 1 if step == 1 and p.token_lanes > 1 else count
        assert [b - a for a, b in zip(times, times[1:], strict=False)] == [turns] * 19


def test_the_stated_latency():
    p = SIZES["reference"]
    dut = TokenScores(params=p)

    async def bench(ctx):
        ctx.set(dut.i.payload, {"token": [3, 4, 5, 6], "share": [9, 8, 7, 0]})
        ctx.set(dut.i.valid, 1)
        assert ctx.get(dut.idle)
        await ctx.tick()
        ctx.set(dut.i.valid, 0)
        for cycle in range(1, dut.latency + 1):
            assert not ctx.get(dut.idle), cycle
            await ctx.tick()
        assert ctx.get(dut.idle)
        assert await scanned(ctx, dut) == [0, 0, 0, 9, 8, 7] + [0] * (p.max_keys - 6)

    simulate(dut, bench)
    assert dut.latency == 3


@pytest.mark.parametrize("size", SIZES)
def test_clear_and_decay(size):
    p = SIZES[size]
    rng = random.Random(size)
    dut = TokenScores(params=p)
    top = (1 << 32) - 1

    async def bench(ctx):
        want = [rng.choice([0, 1, top, rng.getrandbits(32)]) for _ in range(p.max_keys)]
        for token, value in enumerate(want):
            await accessed(ctx, dut, token, value)
        for decay in (0, 1, 3, 31, 7):
            decays = rng.getrandbits(p.token_lanes)
            assert await scanned(ctx, dut, decay, decays, rng) == want
            for token, value in enumerate(want):
                if decays >> token % p.token_lanes & 1:
                    want[token] = int(decayed(value, decay))
        assert await scanned(ctx, dut, decay=4) == want
        await cleared(ctx, dut)
        assert await scanned(ctx, dut) == [0] * p.max_keys

    simulate(dut, bench)


@pytest.mark.parametrize("size", SIZES)
def test_what_follows_at_once(size):
    """Rows one per cycle that decay, and what software does as soon as it may; then shares."""
    p = SIZES[size]
    rng = random.Random(size)
    beats = random_beats(p, rng, 30)
    dut, items = TokenScores(params=p), deque()

    async def bench(ctx):
        want = [rng.getrandbits(31) for _ in range(p.max_keys)]
        for token, value in enumerate(want):
            await accessed(ctx, dut, token, value)
        assert await scanned(ctx, dut, 2, (1 << p.token_lanes) - 1) == want
        want = [int(decayed(value, 2)) for value in want]
        for token in reversed(range(p.max_keys)):
            assert await accessed(ctx, dut, token) == want[token]
            await accessed(ctx, dut, token, want[token] // 3)
            assert await accessed(ctx, dut, token) == want[token] // 3
        await cleared(ctx, dut)
        items.extend(beats)
        await ctx.tick()
        await drained(ctx, dut, items)
        assert await scanned(ctx, dut) == sums(p, beats)

    simulate(dut, bench, background=[feeder(dut.i, items)])


@pytest.mark.parametrize("size", [s for s in SIZES if s != "one token"])
def test_software_while_adding(size):
    """Software writes tokens that nothing is added to, in all banks, and reads the others."""
    p = SIZES[size]
    rng = random.Random(size)
    split = 64
    beats = random_beats(p, rng, 200, range(split))
    dut, items = TokenScores(params=p), deque(beats)

    async def bench(ctx):
        want = sums(p, beats)
        least = [0] * split
        for _ in range(80):
            token = rng.randrange(split, p.max_keys)
            want[token] = rng.getrandbits(32)
            await accessed(ctx, dut, token, want[token])
            token = rng.randrange(p.max_keys)
            found = await accessed(ctx, dut, token)
            if token < split:
                assert least[token] <= found <= want[token]
                least[token] = found
            else:
                assert found == want[token]
            for _ in range(rng.randrange(4)):
                await ctx.tick()
        await drained(ctx, dut, items)
        assert await scanned(ctx, dut) == want

    simulate(dut, bench, background=[feeder(dut.i, items, 0.2)])


def test_nothing_is_added_while_rows_are_looked_at():
    p = SIZES["conflicts"]
    beats = random_beats(p, random.Random(2), 60)
    dut, items = TokenScores(params=p), deque(beats)

    async def bench(ctx):
        for _ in range(20):
            await ctx.tick()
        ctx.set(dut.scan, 1)
        await ctx.tick()
        ctx.set(dut.en, 1)
        await ctx.tick()
        ctx.set(dut.en, 0)
        left = len(items)
        first = [ctx.get(value) for value in dut.value]
        for _ in range(30):
            assert not ctx.get(dut.idle)
            await ctx.tick()
        assert left - len(items) <= 1
        assert [ctx.get(value) for value in dut.value] == first
        ctx.set(dut.scan, 0)
        await drained(ctx, dut, items)
        assert await scanned(ctx, dut) == sums(p, beats)

    simulate(dut, bench, background=[feeder(dut.i, items)])


async def offered(ctx, dut, beat):
    """A beat, in this cycle."""
    ctx.set(dut.i.payload, beat)
    ctx.set(dut.i.valid, 1)
    assert ctx.get(dut.i.ready)
    await ctx.tick()
    ctx.set(dut.i.valid, 0)


@pytest.mark.parametrize("wait", range(6))
def test_a_share_behind_a_loss(wait):
    """It comes in one of the cycles around the last row's loss, to another row of its bank."""
    p = SIZES["one group"]
    dut = TokenScores(params=p)

    async def bench(ctx):
        for token in (0, 1):
            await accessed(ctx, dut, token, 1000)
        ctx.set(dut.scan, 1)
        await ctx.tick()
        ctx.set(dut.en, 1)
        await ctx.tick()
        ctx.set(dut.en, 0)
        for cycle in range(6):
            ctx.set(dut.scan, cycle == 0)
            ctx.set(dut.decay, cycle == 0)
            ctx.set(dut.decays, 1)
            if cycle == wait:
                await offered(ctx, dut, {"token": [1], "share": [7]})
            else:
                await ctx.tick()
        await ctx.tick().repeat(3)
        assert await scanned(ctx, dut) == [500, 1007] + [0] * (p.max_keys - 2)

    simulate(dut, bench)


@pytest.mark.parametrize("wait", range(8))
@pytest.mark.parametrize("pause", range(1, 4))
def test_a_share_beside_a_write_that_pauses(pause, wait):
    """Software asks, does not for a while, and asks again: a share goes to the bank meanwhile."""
    p = SIZES["one group"]
    dut, items = TokenScores(params=p), deque()

    async def bench(ctx):
        ctx.set(dut.token, 0)
        ctx.set(dut.write, 1)
        ctx.set(dut.data, 1000)
        await ctx.tick().repeat(4)
        done, cycle = False, 0
        while not done:
            if cycle == wait:
                items.append({"token": [1], "share": [7]})
            ctx.set(dut.access, cycle >= 3 and not 4 <= cycle < 4 + pause)
            _, _, done = await ctx.tick().sample(dut.ready)
            cycle += 1
            assert cycle < 20
        ctx.set(dut.access, 0)
        ctx.set(dut.write, 0)
        await ctx.tick().repeat(10)
        seven = 7 if wait < cycle else 0
        assert (await scanned(ctx, dut))[:3] == [1000, seven, 0]

    simulate(dut, bench, background=[feeder(dut.i, items)])


@pytest.mark.parametrize("cycle", range(-2, 6))
def test_a_write_stays_through_a_reset(cycle):
    """What was done in a cycle with ``ready`` is done, also if it is the first one of a reset."""
    p = SIZES["one group"]
    dut, reset = TokenScores(params=p), Signal()

    async def bench(ctx):
        ctx.set(dut.token, 3)
        ctx.set(dut.write, 1)
        ctx.set(dut.data, 77)
        told = False
        for now in range(-2, 10):
            ctx.set(dut.access, now >= 0 and not told)
            ctx.set(reset, cycle <= now < cycle + 3)
            _, _, done = await ctx.tick().sample(dut.ready)
            told |= bool(done)
        assert told
        ctx.set(dut.access, 0)
        assert (await scanned(ctx, dut))[3] == 77

    simulate(ResetInserter(reset)(dut), bench)


@pytest.mark.parametrize("wait", range(4))
def test_shares_wait_while_rows_clear(wait):
    p = SIZES["one group"]
    dut = TokenScores(params=p)

    async def bench(ctx):
        for token in range(8):
            await accessed(ctx, dut, token, 1000)
        ctx.set(dut.clear, 1)
        for row in range(6):
            ctx.set(dut.row, row)
            if row == wait:
                await offered(ctx, dut, {"token": [7], "share": [7]})
            else:
                await ctx.tick()
        ctx.set(dut.clear, 0)
        await ctx.tick().repeat(3)
        assert (await scanned(ctx, dut))[:8] == [0] * 6 + [1000, 1007]

    simulate(dut, bench)


def test_parameters_are_checked():
    with pytest.raises(TypeError, match=r"^Params must be a CoreParams, not 3$"):
        TokenScores(params=3)


PROVED = CoreParams(
    lanes=32, value_lanes=2, token_lanes=2, max_keys=4, max_queries=4, buffer_elements=1 << 10
)


def in_order(m, dut):
    """Assume that rows are looked at behind ``scan``."""
    scanned = Signal()
    m.d.sync += scanned.eq(dut.scan)
    m.d.comb += Assume(~dut.en | (dut.scan & scanned))


class Proof(wiring.Component):
    """Of any shares of 0 or 1, watch those of any token: once idle, its score is their sum.

    Parameters
    ----------
    early : bool
        Claim it before the scores are idle; False to prove it.
    """

    def __init__(self, *, early=False):
        self.early = early
        super().__init__({})

    def elaborate(self, platform):
        m = Module()
        dut = m.submodules.dut = TokenScores(params=PROVED)
        free_inputs(m, dut, but=("write", "clear", "decay"))
        in_order(m, dut)
        token, total, beat = AnyConst(2), Signal(32), dut.i.p
        idle = Signal(2, init=-1)  # in the cycles before
        m.d.sync += idle.eq(Cat(dut.idle, idle))
        first, second = beat.token
        m.d.comb += Assume((beat.share[0] < 2) & (beat.share[1] < 2))
        m.d.comb += Assume((first != second) | (beat.share[0] == 0) | (beat.share[1] == 0))
        with m.If(dut.i.valid & dut.i.ready):
            mine = [Mux(t == token, s, 0) for t, s in zip(beat.token, beat.share, strict=True)]
            m.d.sync += total.eq(total + mine[0] + mine[1])
        known = dut.ready & (dut.token == token) & ((dut.idle & idle.all()) | self.early)
        with m.If(known):
            m.d.comb += [Assert(dut.score == total), Cover(total == 3)]
        return m


class LossProof(wiring.Component):
    """Whatever is looked at, cleared, decayed and written while nothing is added: a score is what
    was written to it last, less what it lost.

    Parameters
    ----------
    early : bool
        A row may be looked at again, or cleared, while it loses; False to prove it.
    """

    def __init__(self, *, early=False):
        self.early = early
        super().__init__({})

    def elaborate(self, platform):
        m = Module()
        dut = m.submodules.dut = TokenScores(params=PROVED)
        free_inputs(m, dut)
        in_order(m, dut)
        token, score, known = AnyConst(2), Signal(32), Signal()
        bank, row = token[:1], token[1:]
        shown, fresh = Signal(1), Signal()  # which row; it has not lost yet
        lost, late = Signal(2), Signal(3)  # rows one and two cycles ago; whether they lost
        loses = (dut.decay != 0) & (dut.decays != 0)
        m.d.comb += [
            Assume(~dut.i.valid),
            Assume(~loses | (dut.scan & fresh)),
            Assume(~dut.clear | ~dut.scan),
            Assume((dut.decay < 2) & (dut.data < 8)),
        ]
        if not self.early:
            m.d.comb += [
                Assume(~late.any() | ~dut.clear),
                Assume(~(dut.en & loses & (dut.row == shown))),
                *(Assume(~(dut.en & late[n] & (dut.row == lost[n]))) for n in range(2)),
            ]
        m.d.sync += [late.eq(Cat(loses, late)), lost.eq(Cat(shown, lost))]
        with m.If(dut.en):
            m.d.sync += [shown.eq(dut.row), fresh.eq(1)]
        with m.Elif(loses | ~dut.scan):
            m.d.sync += fresh.eq(0)
        with m.If(dut.clear & (dut.row == row)):
            m.d.sync += [score.eq(0), known.eq(1)]
        with m.Elif(dut.ready & dut.write & (dut.token == token)):
            m.d.sync += [score.eq(dut.data), known.eq(1)]
        with m.Elif(loses & (shown == row) & dut.decays.bit_select(bank, 1)):
            m.d.sync += score.eq(score - (score >> dut.decay))
        with m.If(dut.ready & (dut.token == token) & known):
            m.d.comb += [Assert(dut.score == score), Cover(score == 3)]
        return m


def test_proof_of_losses():
    prove(LossProof(), depth=12, name="token scores losing")


def test_a_score_is_reached_that_lost_something():
    prove(LossProof(), depth=7, mode="cover", name="token scores losing")


def test_a_wrong_claim_of_losses_is_refuted():
    with pytest.raises(ProofError):
        prove(LossProof(early=True), depth=12, name="token scores losing")


def test_proof():
    prove(Proof(), depth=8, name="token scores")


def test_everything_is_reached():
    prove(Proof(), depth=12, mode="cover", name="token scores")


def test_a_wrong_claim_is_refuted():
    with pytest.raises(ProofError):
        prove(Proof(early=True), depth=8, name="token scores")
