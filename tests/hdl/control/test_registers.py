# amaranth: UnusedElaboratable=no
"""Register block: access kinds, strobes, starts, results, tables, counters, interrupt."""

from __future__ import annotations

import random
from dataclasses import replace
from types import SimpleNamespace

import pytest
from amaranth.hdl import unsigned

from attnsieve.gen import config
from attnsieve.hdl.control.counters import KINDS, Activity, Counters, counts, result_layout
from attnsieve.hdl.control.job_memory import JobMemory
from attnsieve.hdl.control.register_map import STALLS, Access, register_map
from attnsieve.hdl.control.registers import Registers
from attnsieve.hdl.control.status import StatusCode
from attnsieve.hdl.control.words import job_words, word_count
from attnsieve.hdl.lib import ram
from attnsieve.hdl.params import CoreParams
from attnsieve.sim.unit import simulate
from attnsieve.sim.unit.axi_lite import AXILiteMaster

TINY = replace(config.load("dense-tiny").core, queue_depth=2)
WIDE = CoreParams(addr_width=40, max_keys=100, max_queries=70, queue_depth=1)
PRUNES = config.load("spatten-tiny").core
CORES = {"tiny": TINY, "wide": WIDE}
SLICED = config.load("leopard-tiny").core
DEMAND = replace(SLICED, value_demand=True)
PLANAR = replace(DEMAND, slice_demand=True, data_width=64)


class Software:
    """Registers by name, over the bus."""

    def __init__(self, dut, *, stall=0.0, seed=0):
        self.dut, self.map = dut, dut.map
        self.taken = self.ended = 0  # jobs
        self.bus = AXILiteMaster(dut.bus, stall=stall, seed=seed, max_cycles=1000000)

    def address(self, name):
        base, _, index = name.partition("[")
        if index:
            return self.map.window(base).offset + 4 * int(index[:-1])
        return self.map[base].offset

    async def write(self, ctx, name, value, strobe=15):
        assert await self.bus.write(ctx, self.address(name), value, strobe) == 0

    async def read(self, ctx, name):
        return await self.bus.read(ctx, self.address(name))

    async def start(self, ctx):
        await self.write(ctx, "CTRL", 1)

    async def finish(self, ctx, code=StatusCode.OK, **counts):
        """End the oldest job from the hardware's side."""
        result = self.dut.result
        ctx.set(result.payload, {"code": code, **counts})
        ctx.set(result.valid, 1)
        await ctx.tick().until(result.ready)
        ctx.set(result.valid, 0)
        self.ended += 1

    async def fetch(self, ctx, bank, index, *, table=0):
        """Read a word of a job, or an entry of its head table, from the hardware's side."""
        port = self.dut.fetch
        for name, value in (("bank", bank), ("index", index), ("table", table), ("en", 1)):
            ctx.set(getattr(port, name), value)
        await ctx.tick()
        ctx.set(port.en, 0)
        return ctx.get(port.data)

    async def job(self, ctx):
        """The next job that was started, when it can be read: its bank, and words by name."""
        while ctx.get(self.dut.jobs) <= self.taken - self.ended:
            await ctx.tick()
        bank = self.taken % self.dut.params.banks
        self.taken += 1
        words = job_words(self.dut.params)
        found = {name: await self.fetch(ctx, bank, word) for name, word in words.items()}
        return SimpleNamespace(bank=bank, **{name.lower(): v for name, v in found.items()})


def run(params, bench, *, stall=0.0, seed=0):
    dut = Registers(params=params)
    software = Software(dut, stall=stall, seed=seed)

    async def body(ctx):
        await bench(ctx, dut, software)

    simulate(dut, body)


@pytest.mark.parametrize("core", CORES)
def test_reset_values(core):
    params = CORES[core]

    async def bench(ctx, dut, software):
        for register in dut.map.registers:
            assert await software.read(ctx, register.name) == register.reset, register.name

    run(params, bench)


def test_capabilities_tell_the_core():
    found = register_map(WIDE)
    for name, value in {"LANES": 64, "MAX_KEYS": 100, "QUEUE_DEPTH": 1, "ADDR_WIDTH": 40}.items():
        assert found[name].reset == value


@pytest.mark.parametrize("stall", [0.0, 0.5])
@pytest.mark.parametrize("core", CORES)
def test_random_traffic(core, stall):
    """All registers and unmapped words, random strobes, against a model of the access kinds."""
    params, rng = CORES[core], random.Random(f"{core} {stall}")
    found = register_map(params)
    expected = {r.word: r.reset for r in found.registers}
    writable = {r.word: r.mask(Access.RW) for r in found.registers}
    unmapped = [w for w in range(0x400 // 4) if w not in expected]

    async def bench(ctx, dut, software):
        for _ in range(250):
            word = rng.choice([*writable, *writable, rng.choice(unmapped)])
            if rng.random() < 0.5:
                value, strobe = rng.getrandbits(32), rng.getrandbits(4)
                if word == found["CTRL"].word:
                    value &= ~3
                await software.bus.write(ctx, 4 * word, value, strobe)
                bits = sum(0xFF << 8 * i for i in range(4) if strobe >> i & 1)
                bits &= writable.get(word, 0)
                if word in expected:
                    expected[word] = expected[word] & ~bits | value & bits
            else:
                got = await software.bus.read(ctx, 4 * word)
                assert got == expected.get(word, 0), hex(4 * word)

    run(params, bench, stall=stall, seed=5)


def test_windows_read_as_zero():
    async def bench(ctx, dut, software):
        for window in dut.map.windows:
            await software.write(ctx, f"{window.name}[1]", 0xFFFFFFFF)
            assert await software.read(ctx, f"{window.name}[1]") == 0

    run(TINY, bench)


@pytest.mark.parametrize("core", [*CORES, "demand", "planar"])
def test_start_makes_the_job(core):
    params = {**CORES, "demand": DEMAND, "planar": PLANAR}[core]
    rng = random.Random(core)
    values = {
        r.name: rng.getrandbits(32) & r.mask(Access.RW)
        for r in register_map(params).registers
        if 0x080 <= r.offset < 0x100 or 0x180 <= r.offset < 0x200
    }
    assert ("FETCH" in values) == params.value_demand
    assert ("K_PLANE" in values) == params.slice_demand

    async def bench(ctx, dut, software):
        for name, value in values.items():
            await software.write(ctx, name, value)
        for bank in range(3):
            values["KEYS"] = bank + 7
            await software.write(ctx, "KEYS", bank + 7)
            await software.start(ctx)
            job = await software.job(ctx)
            for name, value in values.items():
                assert getattr(job, name.lower()) == value
            for name, value in values.items():  # kept
                assert await software.read(ctx, name) == value
            await software.finish(ctx)

    run(params, bench)


@pytest.mark.parametrize("params", [TINY, WIDE, PRUNES, DEMAND, PLANAR],
                         ids=["tiny", "wide", "prunes", "demand", "planar"])
def test_job_latency(params):
    """Software waits while its registers are copied, and no longer."""

    async def bench(ctx, dut, software):
        await ctx.tick().repeat(word_count(params) * (params.banks + 1))
        ctx.set(dut.bus.awvalid, 1)
        ctx.set(dut.bus.awaddr, dut.map["CTRL"].offset)
        ctx.set(dut.bus.wvalid, 1)
        ctx.set(dut.bus.wdata, 1)
        ctx.set(dut.bus.wstrb, 1)
        await ctx.tick().repeat(2)  # it is carried out
        assert ctx.get(dut.jobs) == 1
        ctx.set(dut.bus.wvalid, 0)
        ctx.set(dut.bus.awaddr, dut.map["KEYS"].offset)
        ctx.set(dut.bus.bready, 1)
        await ctx.tick()
        ctx.set(dut.bus.wvalid, 1)
        waited = 1
        while not ctx.get(dut.bus.wready):
            await ctx.tick()
            waited += 1
        assert waited == JobMemory(params=params).latency + 1  # a write takes a cycle

    run(params, bench)


@pytest.mark.parametrize("core", CORES)
def test_jobs_are_read_while_they_are_copied(core):
    """From the cycle after the start on, in any order, while software already writes the next."""
    params, rng = CORES[core], random.Random(f"early {core}")
    dut = Registers(params=params)
    software, started = Software(dut), []
    words = {r: w for r, w in job_words(params).items() if r in {x.name for x in dut.map.registers}}

    async def hardware(ctx):
        number = 0
        while True:
            if ctx.get(dut.jobs) <= number - software.ended:
                await ctx.tick()
                continue
            bank, expected = number % params.banks, started[number]
            for _ in range(rng.choice([10, 100, 300])):
                name = rng.choice(list(expected))
                if rng.random() < 0.3:
                    await ctx.tick()
                assert await software.fetch(ctx, bank, words[name]) == expected[name], name
            number += 1
            software.taken = number

    async def bench(ctx):
        values = dict.fromkeys(("KEYS", "HEADS", "Q_BASE", "V_STRIDE", "JOB_TAG"), 0)
        for number in range(3 * params.banks):
            for name in rng.sample(list(values), 3):
                values[name] = 32 * rng.randrange(1, 8)
                await software.write(ctx, name, values[name])
            started.append(dict(values))
            await software.start(ctx)
            while software.taken <= number:
                values["PIN_FIRST"] = rng.randrange(8)
                await software.write(ctx, "PIN_FIRST", values["PIN_FIRST"])
            await software.finish(ctx)

    simulate(dut, bench, background=[hardware])


@pytest.mark.parametrize("core", CORES)
def test_start_while_full(core):
    params = CORES[core]
    limit = params.queue_depth + 1
    full, refused, done = 1 << 1, 1 << 9, 1 << 8

    async def bench(ctx, dut, software):
        await software.write(ctx, "IRQ_ENABLE", 2)
        for number in range(limit):
            await software.write(ctx, "JOB_TAG", 100 + number)
            assert not await software.read(ctx, "STATUS") & full
            await software.start(ctx)
            await software.job(ctx)
        assert await software.read(ctx, "STATUS") == limit << 16 | full | 1
        await software.write(ctx, "JOB_TAG", 999)
        await software.start(ctx)
        await ctx.tick().repeat(50)
        assert ctx.get(dut.jobs) == limit
        assert ctx.get(dut.irq)
        assert await software.read(ctx, "STATUS") == limit << 16 | refused | full | 1
        await software.write(ctx, "STATUS", refused)
        await software.write(ctx, "IRQ_STATUS", 2)
        assert await software.read(ctx, "STATUS") == limit << 16 | full | 1
        await ctx.tick()
        assert not ctx.get(dut.irq)
        for number in range(limit):
            await software.finish(ctx, StatusCode(number))
            assert await software.read(ctx, "RESULT") == number | (100 + number) << 16
        assert await software.read(ctx, "STATUS") == done
        assert await software.read(ctx, "FINISHED") == limit
        await software.start(ctx)  # the refused start has not moved the bank
        assert (await software.job(ctx)).job_tag == 999

    run(params, bench, stall=0.2)


@pytest.mark.parametrize("stall", [0.0, 0.4])
@pytest.mark.parametrize("core", CORES)
def test_queue(core, stall):
    """Jobs can be read in the order of their starts, whatever the pace."""
    params, rng = CORES[core], random.Random(f"queue {core} {stall}")

    async def bench(ctx, dut, software):
        waiting, taken, number = [], [], 0  # KEYS of jobs
        for _ in range(60):
            action = rng.choice(["start", "start", "take", "take", "finish"])
            if action == "start" and len(waiting + taken) <= params.queue_depth:
                number += 1
                await software.write(ctx, "KEYS", number)
                await software.write(ctx, "K_BASE", number << 8)
                await software.start(ctx)
                waiting.append(number)
            elif action == "take" and waiting:
                job = await software.job(ctx)
                assert (job.keys, job.k_base) == (waiting[0], waiting[0] << 8)
                taken.append(waiting.pop(0))
            elif action == "finish" and taken:
                await software.finish(ctx)
                taken.pop(0)
            assert (await software.read(ctx, "STATUS")) >> 16 == len(waiting + taken)
            assert ctx.get(dut.jobs) == len(waiting + taken)

    run(params, bench, stall=stall, seed=8)


@pytest.mark.parametrize("core", CORES)
def test_derived_words(core):
    """Words are added to a job while others are copied and software writes; none is lost."""
    params, rng = CORES[core], random.Random(f"derived {core}")
    dut = Registers(params=params)
    software, wanted = Software(dut, stall=0.2), []
    names = {r.name for r in dut.map.registers}
    registers = {word for name, word in job_words(params).items() if name in names}
    derived = [w for w in range(word_count(params)) if w not in registers]

    async def hardware(ctx):
        while True:
            if not wanted:
                await ctx.tick()
                continue
            bank, index, value = wanted[0]
            await ctx.tick().repeat(rng.choice([1, 1, 30, 31, 32]))
            for name, wire in (("bank", bank), ("index", index), ("data", value), ("en", 1)):
                ctx.set(getattr(dut.store, name), wire)
            await ctx.tick().until(dut.store.grant)
            ctx.set(dut.store.en, 0)
            wanted.pop(0)

    async def bench(ctx):
        expected = {}
        for number in range(4 * params.banks):
            tag = rng.getrandbits(16)
            await software.write(ctx, "JOB_TAG", tag)
            await software.start(ctx)
            bank = number % params.banks
            for index in rng.sample(derived, 4):
                expected[index] = rng.getrandbits(32)
                wanted.append((bank, index, expected[index]))
            await software.write(ctx, "PIN_FIRST", number)
            assert await software.read(ctx, "PIN_FIRST") == number
            while wanted:
                await software.write(ctx, "PIN_FIRST", number)
            job = await software.job(ctx)
            assert job.job_tag == tag
            for index, value in expected.items():
                assert await software.fetch(ctx, bank, index) == value
            await software.finish(ctx)
            expected.clear()

    simulate(dut, bench, background=[hardware])


@pytest.mark.parametrize("code", list(StatusCode))
def test_interrupt(code):
    failed = code is not StatusCode.OK

    async def bench(ctx, dut, software):
        for enable in (0, 1, 2):
            await software.write(ctx, "IRQ_ENABLE", enable)
            await software.start(ctx)
            await software.job(ctx)
            assert not ctx.get(dut.irq)
            await software.finish(ctx, code)
            await ctx.tick()
            assert ctx.get(dut.irq) == bool(enable & (1 | 2 * failed))
            assert await software.read(ctx, "IRQ_STATUS") == 1 | 2 * failed
            assert (await software.read(ctx, "RESULT")) & 15 == code.value
            await software.write(ctx, "IRQ_STATUS", 2)  # clears no other bit
            assert await software.read(ctx, "IRQ_STATUS") == 1
            await software.write(ctx, "IRQ_STATUS", 1, strobe=14)
            assert await software.read(ctx, "IRQ_STATUS") == 1
            await software.write(ctx, "IRQ_STATUS", 1)
            assert await software.read(ctx, "IRQ_STATUS") == 0
            await ctx.tick()
            assert not ctx.get(dut.irq)
            assert (await software.read(ctx, "STATUS")) == 1 << 8
            await software.write(ctx, "STATUS", 1 << 8)
            assert (await software.read(ctx, "STATUS")) == 0

    run(TINY, bench)


def test_abort():
    async def bench(ctx, dut, software):
        await software.write(ctx, "CTRL", 2)
        await ctx.tick().repeat(3)
        assert not ctx.get(dut.abort)  # no job
        for _ in range(2):
            await software.start(ctx)
            await software.job(ctx)
        await software.write(ctx, "CTRL", 3)  # abort wins over start
        assert ctx.get(dut.abort)
        assert await software.read(ctx, "STATUS") == 2 << 16 | 0b111
        await software.start(ctx)
        assert await software.read(ctx, "STATUS") == 2 << 16 | 1 << 9 | 0b111
        for _ in range(2):
            assert ctx.get(dut.abort)
            await software.finish(ctx, StatusCode.ABORTED)
        await ctx.tick().repeat(2)
        assert not ctx.get(dut.abort)
        assert await software.read(ctx, "STATUS") == 1 << 9 | 1 << 8
        assert await software.read(ctx, "FINISHED") == 2
        await software.start(ctx)
        assert (await software.job(ctx)).bank == 2

    run(TINY, bench)


# -- tables --------------------------------------------------------------------------------------


def _rebuilt(words, strobes, width):
    """Value of a table word after writes with strobes."""
    value = 0
    for word, strobe in zip(words, strobes, strict=True):
        bits = sum(0xFF << 8 * i for i in range(4) if strobe >> i & 1)
        value = value & ~bits | word & bits
    return value & (1 << width) - 1


@pytest.mark.parametrize("core", [*CORES, "thresholds"])
def test_tables_keep_a_set_per_job(core):
    """Every job's tables are read while software writes the next ones."""
    params, rng = (CORES | {"thresholds": SLICED})[core], random.Random(core)

    async def fill(ctx, software):
        tables = {}
        for window in software.map.windows:
            width = 22 if window.name == "HEAD_TABLE" else 32
            for index in range(window.words):
                words = [rng.getrandbits(32) for _ in range(2)]
                strobes = [15, rng.getrandbits(4)]
                for word, strobe in zip(words, strobes, strict=True):
                    await software.write(ctx, f"{window.name}[{index}]", word, strobe)
                tables[window.name, index] = _rebuilt(words, strobes, width)
        return tables

    async def check(ctx, dut, software, bank, tables):
        for head in range(params.max_heads):
            entry = await software.fetch(ctx, bank, head, table=1)
            assert entry & (1 << 22) - 1 == tables["HEAD_TABLE", head]
            if params.threshold_bits:
                entry = await software.fetch(ctx, bank, 128 + head, table=1)
                assert entry == tables["HEAD_THRESHOLD", head]
        for name, most, lanes in (
            ("key", params.max_keys, params.groups),
            ("query", params.max_queries, 1),
        ):
            window = f"{name.upper()}_MASK"
            index = dut.key_beat if name == "key" else dut.query
            for beat in rng.sample(range(-(-most // lanes)), 12):
                masked = rng.random() < 0.7
                ctx.set(getattr(dut, f"{name}_bank"), bank)
                ctx.set(getattr(dut, f"{name}_masked"), masked)
                ctx.set(index, beat)
                ctx.set(getattr(dut, f"{name}_en"), 1)
                await ctx.tick()
                ctx.set(getattr(dut, f"{name}_en"), 0)
                ctx.set(getattr(dut, f"{name}_masked"), not masked)
                await ctx.tick()
                got = ctx.get(getattr(dut, f"{name}_valid"))
                for lane in range(lanes):
                    bit = beat * lanes + lane
                    if bit < most:
                        want = tables[window, bit // 32] >> bit % 32 & 1 if masked else 1
                        assert got >> lane & 1 == want, (name, bit)

    async def bench(ctx, dut, software):
        running = []
        for number in range(params.banks + 1):
            tables = await fill(ctx, software)
            await software.start(ctx)
            job = await software.job(ctx)
            assert job.bank == number % params.banks
            running.append((job.bank, tables))
            if len(running) == params.queue_depth + 1:
                for bank, kept in running:
                    await check(ctx, dut, software, bank, kept)
                running.pop(0)
                await software.finish(ctx)

    run(params, bench)


@pytest.mark.parametrize("core", CORES)
def test_head_table_is_read_at_any_time(core):
    """Also while jobs are copied and registers are read; neither suffers."""
    params, rng = CORES[core], random.Random(f"at any time {core}")
    dut = Registers(params=params)
    software = Software(dut, stall=0.2)
    table = [rng.getrandbits(22) for _ in range(params.max_heads)]
    filled, reads = [], []

    async def hardware(ctx):
        head, asked = 0, False
        while True:
            if asked:
                assert ctx.get(dut.fetch.data) == table[head]
                reads.append(head)
            asked = len(filled) == 1 and rng.random() < 0.5
            if asked:
                head = rng.randrange(params.max_heads)
                for name, wire in (("bank", 0), ("index", head), ("table", 1)):
                    ctx.set(getattr(dut.fetch, name), wire)
            if len(filled) < 2:
                ctx.set(dut.fetch.en, asked)
            await ctx.tick()

    async def bench(ctx):
        for head, entry in enumerate(table):
            await software.write(ctx, f"HEAD_TABLE[{head}]", entry)
        filled.append(True)
        for number in range(params.queue_depth + 1):
            await software.write(ctx, "V_STRIDE", 32 * number)
            await software.write(ctx, "JOB_TAG", number)
            await software.start(ctx)
            assert await software.read(ctx, "V_STRIDE") == 32 * number
        while ctx.get(dut.jobs) != params.queue_depth + 1:
            await ctx.tick()
        filled.append(False)  # the port is the bench's now
        await ctx.tick().repeat(2)
        for number in range(params.queue_depth + 1):
            job = await software.job(ctx)
            assert (job.job_tag, job.v_stride) == (number, 32 * number)
        assert len(reads) > 50

    simulate(dut, bench, background=[hardware])


@pytest.mark.parametrize("lanes, groups", [(16, 1), (128, 8), (512, 32), (1024, 64)])
def test_key_mask_of_any_width(lanes, groups):
    params = CoreParams(lanes=lanes, max_keys=200)
    assert params.groups == groups
    rng = random.Random(lanes)
    words = [rng.getrandbits(32) for _ in range(7)]

    async def bench(ctx, dut, software):
        for index, word in enumerate(words):
            await software.write(ctx, f"KEY_MASK[{index}]", word)
        ctx.set(dut.key_masked, 1)
        ctx.set(dut.key_en, 1)
        for beat in range(params.max_beats):
            ctx.set(dut.key_beat, beat)
            await ctx.tick()
            got = ctx.get(dut.key_valid)
            for lane in range(min(groups, params.max_keys - beat * groups)):
                key = beat * groups + lane
                assert got >> lane & 1 == words[key // 32] >> key % 32 & 1

    run(params, bench)


@pytest.mark.parametrize("delay", range(-3, 2))
def test_an_event_as_its_flag_is_cleared_is_kept(delay):
    """Software clears "done" before, in and after the cycle in which a job ends."""
    published, cleared = [], []

    async def bench(ctx, dut, software):
        await software.start(ctx)
        await software.job(ctx)
        await ctx.tick().repeat(60)
        result, end = dut.result, None
        ctx.set(result.valid, 1)
        write = Counters(params=dut.params).latency + delay
        ctx.set(dut.bus.awaddr, dut.map["IRQ_STATUS"].offset)
        ctx.set(dut.bus.wdata, 1)
        ctx.set(dut.bus.wstrb, 15)
        ctx.set(dut.bus.bready, 1)
        for cycle in range(80):
            ctx.set(dut.bus.awvalid, write <= cycle <= write + 2)
            ctx.set(dut.bus.wvalid, write <= cycle <= write + 2)
            _, _, taken, response = await ctx.tick().sample(
                result.valid & result.ready, dut.bus.bvalid)
            if taken:
                end = cycle
                ctx.set(result.valid, 0)
            if response:
                cleared.append(cycle - 2)  # the write went before its response
        published.append(end)
        seen = await software.read(ctx, "IRQ_STATUS")
        assert seen == (end >= cleared[0])

    run(TINY, bench)
    assert published[0] - cleared[0] == -1 - delay


def test_writes_beyond_a_table_change_nothing():
    async def bench(ctx, dut, software):
        most = {"HEAD_TABLE": TINY.max_heads, "KEY_MASK": 2, "QUERY_MASK": 2}
        for window in dut.map.windows:
            await software.bus.write(ctx, window.offset, 0x22345678)
            for word in (most[window.name], 128):
                await software.bus.write(ctx, window.offset + 4 * word, 0xFFFFFFFF)
        for port in ("key", "query"):
            ctx.set(getattr(dut, f"{port}_en"), 1)
        ctx.set(dut.key_masked, 1)
        ctx.set(dut.query_masked, 1)
        assert await software.fetch(ctx, 0, 0, table=1) == 0x22345678
        assert await software.fetch(ctx, 1, 0, table=1) == 0  # behind the table in memory
        for index in range(32):
            ctx.set(dut.key_beat, index)
            ctx.set(dut.query, index)
            await ctx.tick()
            assert ctx.get(dut.key_valid) == 0x22345678 >> index & 1
            assert ctx.get(dut.query_valid) == 0x22345678 >> index & 1

    run(TINY, bench)


# -- counters ------------------------------------------------------------------------------------


def test_kinds_of_cycles_are_those_of_the_map():
    names = [kind.name.lower() for kind in Activity if kind is not Activity.NONE]
    assert names == ["busy", *(name for name, _ in STALLS)] == list(KINDS)


@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_counters(stall):
    """Every cycle is counted once, for the right job, while software reads."""
    rng, layout = random.Random(f"counters {stall}"), result_layout(TINY)

    async def bench(ctx, dut, software):
        tally, previous = dict.fromkeys(KINDS, 0), None

        async def spend(cycles):
            for _ in range(cycles):
                kind = rng.choice(list(Activity))
                ctx.set(dut.activity, kind)
                await ctx.tick()
                if kind is not Activity.NONE:
                    tally[kind.name.lower()] += 1
            ctx.set(dut.activity, Activity.NONE)

        for number in range(6):
            await software.start(ctx)
            await software.job(ctx)
            for name in KINDS:
                tally[name] = 0
            await spend(rng.choice([0, 1, 5, 40, 300]))
            if previous:  # still the job before
                assert await software.read(ctx, "BUSY") == previous["busy"]
            others = {name: rng.getrandbits(layout[name].width) for name in counts(dut.params)}
            await software.finish(ctx, **others)
            want = {**tally, **others, "cycles": sum(tally.values()), "cycles_hi": 0}
            for name in rng.sample(list(want), len(want)):
                assert await software.read(ctx, name.upper()) == want[name], (number, name)
            previous = want

    run(TINY, bench, stall=stall)


def test_activity_of_the_next_job_is_kept_apart():
    """Cycles that come while a job is being closed count for the next one."""

    async def bench(ctx, dut, software):
        result = dut.result
        await ctx.tick().repeat(100)
        ctx.set(dut.activity, Activity.BUSY)
        await ctx.tick().repeat(50)
        ctx.set(result.valid, 1)
        await ctx.tick()  # the last cycle of the first job
        ctx.set(dut.activity, Activity.STALL_KEY)
        waited = 1
        while not ctx.get(result.ready):
            await ctx.tick()
            waited += 1
        assert waited == Counters(params=dut.params).latency
        await ctx.tick()
        ctx.set(result.valid, 0)
        await ctx.tick().repeat(1000 - waited)
        ctx.set(dut.activity, Activity.NONE)
        assert await software.read(ctx, "BUSY") == 51
        assert await software.read(ctx, "STALL_KEY") == 0
        await software.finish(ctx)
        assert await software.read(ctx, "BUSY") == 0
        assert await software.read(ctx, "STALL_KEY") == 1000
        assert await software.read(ctx, "CYCLES") == 1000

    run(TINY, bench)


def test_cycles_beyond_32_bits_are_held(monkeypatch):
    """CYCLES_HI belongs to the CYCLES that was read, though another job finishes in between."""
    made = []

    class Remembered(ram.memory.Memory):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            made.append(self)

    monkeypatch.setattr(ram, "memory", SimpleNamespace(Memory=Remembered))

    async def bench(ctx, dut, software):
        (sets,) = (m for m in made if m.depth == 32 and m.shape == unsigned(32))
        await ctx.tick().repeat(100)
        ctx.set(sets.data[22], 0xFFFFFFFC)  # as if so many cycles had passed
        ctx.set(dut.activity, Activity.BUSY)
        await ctx.tick().repeat(60)
        ctx.set(dut.activity, Activity.NONE)
        await software.finish(ctx)
        assert await software.read(ctx, "CYCLES") == 56
        await software.finish(ctx)
        assert await software.read(ctx, "CYCLES_HI") == 1
        assert await software.read(ctx, "CYCLES") == 0
        assert await software.read(ctx, "CYCLES_HI") == 0

    run(TINY, bench)


@pytest.mark.parametrize("name, cycles", [("ID", 4), ("STATUS", 4), ("KEYS", 4), ("BUSY", 4),
                                          ("RESULT", 4), ("CYCLES", 5), ("CYCLES_HI", 4)])
def test_read_latency(name, cycles):
    async def bench(ctx, dut, software):
        await ctx.tick().repeat(32 * (TINY.banks + 1))
        ctx.set(dut.bus.araddr, dut.map[name].offset)
        ctx.set(dut.bus.arvalid, 1)
        waited = 0
        while not ctx.get(dut.bus.rvalid):
            _, _, taken = await ctx.tick().sample(dut.bus.arready)
            ctx.set(dut.bus.arvalid, not taken)
            waited += 1
        assert waited == cycles

    run(TINY, bench)


def test_write_latency():
    async def bench(ctx, dut, software):
        await ctx.tick().repeat(32 * (TINY.banks + 1))
        ctx.set(dut.bus.awvalid, 1)
        await ctx.tick().repeat(5)
        ctx.set(dut.bus.wvalid, 1)
        await ctx.tick().repeat(2)
        assert ctx.get(dut.bus.awready) == ctx.get(dut.bus.wready) == 1
        assert not ctx.get(dut.bus.bvalid)
        await ctx.tick()
        ctx.set(dut.bus.awvalid, 0)
        ctx.set(dut.bus.wvalid, 0)
        assert ctx.get(dut.bus.bvalid)

    run(TINY, bench)


def test_bad_parameters():
    with pytest.raises(TypeError, match=r"^Params must be a CoreParams, not 5$"):
        Registers(params=5)
