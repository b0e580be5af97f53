# amaranth: UnusedElaboratable=no
"""Registers of cores that prune tokens: scores, candidates, the next keys, the second page."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from attnsieve.gen import config
from attnsieve.hdl.control.counters import Counters
from attnsieve.hdl.control.register_map import Access, register_map
from attnsieve.hdl.control.registers import Registers
from attnsieve.hdl.control.words import word_count
from attnsieve.hdl.params import CoreParams
from attnsieve.sim.unit import simulate

from .test_registers import Software

TINY = config.load("spatten-tiny").core
WIDE = CoreParams(addr_width=40, max_keys=100, max_queries=70, queue_depth=2, value_lanes=32,
                  token_lanes=16)
CORES = {"tiny": TINY, "wide": WIDE}
PAGE = ("KEEP_VALUES", "KEEP_TOKENS", "SCORING")


class Scores:
    """The scores of tokens: an access waits at random, and what is not ready is anything."""

    def __init__(self, dut, *, wait=0.0, seed=0):
        self.dut, self.wait, self.rng = dut, wait, random.Random(f"scores {seed}")
        self.score = [self.rng.getrandbits(32) for _ in range(1 << len(dut.score_token))]

    async def run(self, ctx):
        dut = self.dut
        while True:
            ready = self.rng.random() >= self.wait
            token = ctx.get(dut.score_token)
            ctx.set(dut.score_ready, ready)
            ctx.set(dut.score, self.score[token] if ready else self.rng.getrandbits(32))
            _, _, access, write, data, token = await ctx.tick().sample(
                dut.score_access, dut.score_write, dut.score_data, dut.score_token)
            assert access or not write
            if write and ready:
                self.score[token] = data


def cleared(params):
    """Cycles after reset in which the job registers are cleared."""
    return word_count(params) * (params.banks + 1) + 1


def run(params, bench, *, stall=0.0, wait=0.0, background=()):
    dut = Registers(params=params)
    software, scores = Software(dut, stall=stall), Scores(dut, wait=wait)

    async def body(ctx):
        await ctx.tick().repeat(cleared(params))
        await bench(ctx, dut, software, scores)

    simulate(dut, body, background=[scores.run, *(b(dut) for b in background)])


def test_they_are_there_with_lists_only():
    plain = replace(TINY, token_lanes=0, progressive=False, value_demand=False)
    for params in (plain, replace(plain, value_lanes=0)):
        found = register_map(params)
        names = [block.name for block in (*found.registers, *found.windows)]
        assert not {"SCORE", "SCORE_TOKEN", "SCORING", "CANDIDATES", "NEXT_KEYS"} & set(names)
        assert ("KEEP_VALUES" in names) == (params.value_lanes > 0)
        assert "score_access" not in Registers(params=params).signature.members


@pytest.mark.parametrize("core", CORES)
def test_reset_values(core):
    async def bench(ctx, dut, software, scores):
        for register in dut.map.registers:
            want = scores.score[0] if register.name == "SCORE" else register.reset
            assert await software.read(ctx, register.name) == want, register.name

    run(CORES[core], bench)


@pytest.mark.parametrize("core", CORES)
@pytest.mark.parametrize("stall, wait", [(0.0, 0.0), (0.3, 0.7)])
def test_scores_are_saved_and_restored(core, stall, wait):
    """One token after another from the one that SCORE_TOKEN names, read or written."""
    rng = random.Random(f"scores {core}")

    async def bench(ctx, dut, software, scores):
        expected, most = list(scores.score), len(scores.score)
        for _ in range(12):
            token = rng.randrange(most)
            await software.write(ctx, "SCORE_TOKEN", token)
            for _ in range(rng.randint(0, 6)):
                assert await software.read(ctx, "SCORE_TOKEN") == token
                if rng.random() < 0.5:
                    expected[token % most] = rng.getrandbits(32)
                    await software.write(ctx, "SCORE", expected[token % most])
                else:
                    assert await software.read(ctx, "SCORE") == expected[token % most]
                token += 1
        assert scores.score == expected

    run(CORES[core], bench, stall=stall, wait=wait)


@pytest.mark.parametrize("wait", [0.0, 0.7])
def test_a_score_is_written_whole_or_not_at_all(wait):
    async def bench(ctx, dut, software, scores):
        before = list(scores.score)
        await software.write(ctx, "SCORE_TOKEN", 5)
        for strobe in range(15):
            await software.write(ctx, "SCORE", 0x12345678, strobe)
            assert await software.read(ctx, "SCORE_TOKEN") == 5
        assert scores.score == before
        await software.write(ctx, "SCORE", 0x12345678)
        assert await software.read(ctx, "SCORE_TOKEN") == 6
        assert scores.score == [*before[:5], 0x12345678, *before[6:]]

    run(TINY, bench, wait=wait)


def test_other_registers_leave_scores_alone():
    """No access but to SCORE, whatever is written and read, and whatever words follow."""

    async def bench(ctx, dut, software, scores):
        before, rng = list(scores.score), random.Random(4)
        names = [r.name for r in dut.map.registers if r.name not in ("SCORE", "CTRL")]
        names += [f"{w.name}[{n}]" for w in dut.map.windows for n in (0, 1)]
        await software.write(ctx, "SCORE_TOKEN", 9)
        for name in rng.sample(names, len(names)):
            await software.read(ctx, name)
            if name != "SCORE_TOKEN":
                await software.write(ctx, name, rng.getrandbits(32), rng.getrandbits(4))
        assert await software.read(ctx, "SCORE_TOKEN") == 9
        assert await software.read(ctx, "SCORE") == before[9]
        assert scores.score == before

    run(TINY, bench, stall=0.2)


@pytest.mark.parametrize("wait", ["job is copied", "words are fetched", "job ends"])
def test_a_read_that_waits_is_one_access(wait):
    """A read of a score has the next token's turn once, however long the registers are busy."""

    async def bench(ctx, dut, software, scores):
        bus, before = dut.bus, list(scores.score)
        for delay in range(12):
            await software.write(ctx, "SCORE_TOKEN", 3)
            if wait == "job is copied":
                await software.start(ctx)
                await ctx.tick()
            if wait == "job ends":
                await software.start(ctx)
                await software.job(ctx)
                await ctx.tick().repeat(60)
                ctx.set(dut.result.valid, 1)
                await ctx.tick().repeat(Counters(params=TINY).latency - delay)
            ctx.set(dut.fetch.en, wait == "words are fetched")
            ctx.set(bus.araddr, dut.map["SCORE"].offset)
            ctx.set(bus.arvalid, 1)
            ctx.set(bus.rready, 1)
            answer = None
            for cycle in range(60):
                if cycle == delay:
                    ctx.set(dut.fetch.en, 0)
                _, _, asked, there, found, ended = await ctx.tick().sample(
                    bus.arready, bus.rvalid, bus.rdata, dut.result.ready)
                if ended:
                    ctx.set(dut.result.valid, 0)
                    software.ended += 1
                ctx.set(bus.arvalid, ctx.get(bus.arvalid) and not asked)
                answer = found if there else answer
            assert answer == before[3], delay
            assert await software.read(ctx, "SCORE_TOKEN") == 4
            if wait == "job is copied":
                await software.finish(ctx)

    run(TINY, bench)


def test_token_is_written_by_bytes():
    params, rng = replace(WIDE, max_keys=600, buffer_elements=600 * 128), random.Random(9)

    async def bench(ctx, dut, software, scores):
        token = 0
        for _ in range(20):
            value, strobe = rng.getrandbits(9), rng.getrandbits(4)
            bits = sum(0xFF << 8 * i for i in range(4) if strobe >> i & 1)
            token = token & ~bits | value & bits
            await software.write(ctx, "SCORE_TOKEN", value, strobe)
            assert await software.read(ctx, "SCORE_TOKEN") == token

    run(params, bench)


@pytest.mark.parametrize("delay", range(-4, 5))
def test_a_read_and_a_write_of_scores_at_once(delay):
    """One goes after the other: each has a token of its own."""
    order = []

    async def bench(ctx, dut, software, scores):
        bus, before = dut.bus, list(scores.score)
        await software.write(ctx, "SCORE_TOKEN", 20)
        ctx.set(bus.araddr, dut.map["SCORE"].offset)
        ctx.set(bus.awaddr, dut.map["SCORE"].offset)
        ctx.set(bus.wdata, 0xABCDEF01)
        ctx.set(bus.wstrb, 15)
        reads = writes = True
        answer = None
        for cycle in range(40):
            write = writes and cycle >= 6 + delay
            ctx.set(bus.arvalid, reads and cycle >= 6)
            ctx.set(bus.awvalid, write)
            ctx.set(bus.wvalid, write)
            ctx.set(bus.rready, 1)
            ctx.set(bus.bready, 1)
            _, _, asked, written, there, found = await ctx.tick().sample(
                bus.arready, bus.awready, bus.rvalid, bus.rdata)
            reads = reads and not asked
            writes = writes and not (write and written)
            answer = found if there else answer
        token = before.index(answer)
        assert token in (20, 21)
        order.append(token)
        before[41 - token] = 0xABCDEF01
        assert scores.score == before
        assert await software.read(ctx, "SCORE_TOKEN") == 22

    run(TINY, bench)
    assert order == [21 if delay <= 0 else 20]  # the write goes first in the same cycle


def test_latency_of_a_score():
    async def bench(ctx, dut, software, scores):
        ctx.set(dut.bus.araddr, dut.map["SCORE"].offset)
        ctx.set(dut.bus.arvalid, 1)
        waited = 0
        while not ctx.get(dut.bus.rvalid):
            _, _, taken = await ctx.tick().sample(dut.bus.arready)
            ctx.set(dut.bus.arvalid, not taken)
            waited += 1
        assert waited == 4
        assert ctx.get(dut.bus.rdata) == scores.score[0]

    run(TINY, bench)


# -- windows -------------------------------------------------------------------------------------


async def candidates(ctx, dut, bank, beat):
    ctx.set(dut.candidate_bank, bank)
    ctx.set(dut.candidate_beat, beat)
    ctx.set(dut.candidate_en, 1)
    await ctx.tick()
    ctx.set(dut.candidate_en, 0)
    ctx.set(dut.candidate_beat, 0)
    await ctx.tick()  # it stays
    return ctx.get(dut.candidate)


@pytest.mark.parametrize("core", CORES)
def test_candidates_are_kept_for_each_job(core):
    """Those of running jobs stay while software writes the next ones, byte by byte."""
    params, rng = CORES[core], random.Random(f"candidates {core}")
    words, lanes = -(-params.max_keys // 32), params.token_lanes

    async def bench(ctx, dut, software, scores):
        running = []
        for number in range(params.banks + 1):
            table = [0] * words
            for index in range(words):
                for strobe in (15, rng.getrandbits(4)):
                    value = rng.getrandbits(32)
                    bits = sum(0xFF << 8 * i for i in range(4) if strobe >> i & 1)
                    await software.write(ctx, f"CANDIDATES[{index}]", value, strobe)
                    table[index] = table[index] & ~bits | value & bits
            await software.start(ctx)
            assert (await software.job(ctx)).bank == number % params.banks
            running.append((number % params.banks, table))
            if len(running) == params.queue_depth + 1:
                for bank, kept in running:
                    for beat in range(-(-params.max_keys // lanes)):
                        got = await candidates(ctx, dut, bank, beat)
                        for lane in range(min(lanes, params.max_keys - lanes * beat)):
                            key = lanes * beat + lane
                            assert got >> lane & 1 == kept[key // 32] >> key % 32 & 1
                running.pop(0)
                await software.finish(ctx)

    run(params, bench, stall=0.1)


@pytest.mark.parametrize("core", CORES)
def test_masks_and_candidates_are_apart(core):
    """Words of each table, and beyond it, change no other; beats have ``token_lanes`` bits."""
    params = CORES[core]
    beats = params.max_queries // params.token_lanes

    async def bench(ctx, dut, software, scores):
        value = {"KEY_MASK": 0x01234567, "CANDIDATES": 0x89ABCDEF, "QUERY_MASK": 0x55AA33CC}
        for name, word in value.items():
            for index in range(dut.map.window(name).words):
                await software.write(ctx, f"{name}[{index}]", word)
        for name in ("CANDIDATES", "NEXT_KEYS"):
            for index in (dut.map.window(name).words, 64, 127):
                if name != "CANDIDATES" or index >= dut.map.window(name).words:
                    await software.bus.write(
                        ctx, dut.map.window(name).offset + 4 * index, 0xFFFFFFFF)
        for index in range(2):
            await software.write(ctx, f"NEXT_KEYS[{index}]", 0xFFFFFFFF)
        for port in ("key", "query"):
            ctx.set(getattr(dut, f"{port}_en"), 1)
            ctx.set(getattr(dut, f"{port}_masked"), 1)
        every = (1 << params.token_lanes) - 1
        for beat in range(beats):
            ctx.set(dut.key_beat, beat)
            ctx.set(dut.query, beat)
            first = beat * params.token_lanes % 32
            assert await candidates(ctx, dut, 0, beat) == value["CANDIDATES"] >> first & every
            assert ctx.get(dut.key_valid) == value["KEY_MASK"] >> first & every
            assert ctx.get(dut.query_valid) == value["QUERY_MASK"] >> first & every

    run(params, bench)


@pytest.mark.parametrize("core", CORES)
@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_next_keys(core, stall):
    """Software reads the words of the next list; writing them does nothing."""
    params, rng = CORES[core], random.Random(f"next {core}")
    words = [rng.getrandbits(32) for _ in range(-(-params.max_keys // 32))]

    def memory(dut):
        async def serve(ctx):
            while True:
                _, _, word = await ctx.tick().sample(dut.next_word)
                ctx.set(dut.next_data, words[word % len(words)])
        return serve

    async def bench(ctx, dut, software, scores):
        for _ in range(40):
            index = rng.randrange(len(words))
            if rng.random() < 0.3:
                await software.write(ctx, f"NEXT_KEYS[{index}]", rng.getrandbits(32))
            assert await software.read(ctx, f"NEXT_KEYS[{index}]") == words[index]
            assert await software.read(ctx, "ID") == dut.map["ID"].reset

    run(params, bench, stall=stall, background=[memory])


def test_words_of_windows_that_are_written_read_as_zero():
    async def bench(ctx, dut, software, scores):
        ctx.set(dut.next_data, 0x12345678)
        for window in dut.map.windows:
            if window.name != "NEXT_KEYS":
                await software.write(ctx, f"{window.name}[0]", 0xFFFFFFFF)
                assert await software.read(ctx, f"{window.name}[0]") == 0
        assert await software.read(ctx, "NEXT_KEYS[0]") == 0x12345678

    run(TINY, bench)


def test_words_beyond_the_next_keys_are_none():
    async def bench(ctx, dut, software, scores):
        ctx.set(dut.next_data, 0x12345678)
        for index in (2, 3, 64, 127):
            offset = dut.map.window("NEXT_KEYS").offset + 4 * index
            assert await software.bus.read(ctx, offset) == 0

    run(TINY, bench)


# -- second page ---------------------------------------------------------------------------------


@pytest.mark.parametrize("core", CORES)
def test_second_page_goes_with_the_job(core):
    """Random writes with strobes; every job has the values that it was started with."""
    params, rng = CORES[core], random.Random(f"page {core}")

    async def bench(ctx, dut, software, scores):
        names = (*PAGE, "KEYS", "JOB_TAG")
        value = {name: await software.read(ctx, name) for name in names}
        assert set(value.values()) == {0}
        for _ in range(2 * params.banks):
            for _ in range(8):
                name, word, strobe = rng.choice(names), rng.getrandbits(32), rng.getrandbits(4)
                bits = sum(0xFF << 8 * i for i in range(4) if strobe >> i & 1)
                bits &= dut.map[name].mask(Access.RW)
                await software.write(ctx, name, word, strobe)
                value[name] = value[name] & ~bits | word & bits
                other = rng.choice(names)
                assert await software.read(ctx, other) == value[other]
            await software.start(ctx)
            job = await software.job(ctx)
            for name in names:
                assert getattr(job, name.lower()) == value[name], name
            await software.finish(ctx)

    run(params, bench, stall=0.2)


def test_words_beside_the_second_page_are_none():
    async def bench(ctx, dut, software, scores):
        known = {register.offset for register in dut.map.registers}
        beside = [offset for offset in range(0x180, 0x200, 4) if offset not in known]
        for offset in (*beside, 0x200, 0x280, 0x300, 0x380):
            await software.bus.write(ctx, offset, 0xFFFFFFFF)
            assert await software.bus.read(ctx, offset) == 0, hex(offset)
        for name in (*PAGE, "HEADS", "KEYS", "HEAD_DIM"):
            assert await software.read(ctx, name) == 0

    run(TINY, bench)
