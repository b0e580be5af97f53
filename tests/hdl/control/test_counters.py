# amaranth: UnusedElaboratable=no
"""Counters alone: no cycle is lost or counted twice, however often software reads."""

from __future__ import annotations

import random
from types import SimpleNamespace

import pytest
from amaranth.hdl import unsigned

from attnsieve.hdl.control.counters import (
    KINDS,
    Activity,
    Counters,
    counts,
    result_layout,
    set_words,
)
from attnsieve.hdl.control.status import StatusCode
from attnsieve.hdl.lib import ram
from attnsieve.sim.unit import simulate

from .jobs import TINY

NAMES = set_words(TINY)
WORDS = len(NAMES)
COUNTS = counts(TINY)
LAYOUT = result_layout(TINY)


class Watch:
    """Gives the block cycles and results; knows what each job must have counted."""

    def __init__(self, dut, reads):
        self.dut, self.reads = dut, reads  # whether to read in the n-th cycle
        self.time, self.count, self.asked = 0, 0, None
        self.open = dict.fromkeys(KINDS, 0)  # of the job that is counted for
        self.set = {}  # what was read since the last result

    async def tick(self, ctx, kind):
        dut = self.dut
        read = self.reads(self.time)
        word = self.count % WORDS
        self.count += read
        ctx.set(dut.en, read)
        ctx.set(dut.word, word)
        ctx.set(dut.activity, kind)
        _, _, taken = await ctx.tick().sample(dut.result.valid & dut.result.ready)
        if self.asked is not None:
            self.set[NAMES[self.asked]] = self.data
        self.asked = word if read else None
        self.data = ctx.get(dut.data)
        if kind is not Activity.NONE:
            self.open[kind.name.lower()] += 1
        self.time += 1
        if taken:
            self.set, self.asked = {}, None
        return taken

    async def finish(self, ctx, kinds, counts):
        """End the job; ``kinds`` gives the next cycles. Returns what is to be read then."""
        ctx.set(self.dut.result.payload, counts)
        ctx.set(self.dut.result.valid, 1)
        taken = await self.tick(ctx, next(kinds))  # the last cycle of this job
        want, self.open = self.open, dict.fromkeys(KINDS, 0)
        while not taken:
            taken = await self.tick(ctx, next(kinds))
        ctx.set(self.dut.result.valid, 0)
        return {**want, "cycles": sum(want.values()), "cycles_hi": 0}


READS = {
    "few": lambda time: time % 7 == 0,
    "every second": lambda time: time % 2 == 0,
    "pairs": lambda time: time % 4 < 2,
}


@pytest.mark.parametrize("reads", READS)
@pytest.mark.parametrize("same", [True, False])
def test_no_cycle_is_lost(reads, same):
    """The bound of the sums: one kind only, reads in half of the cycles, in any phase."""
    dut = Counters(params=TINY)
    rng = random.Random(f"{reads} {same}")
    watch = Watch(dut, READS[reads])

    def kinds():
        kind = Activity.BUSY
        while True:
            for _ in range(rng.choice([1, 3, 500])):
                yield kind if same else rng.choice(list(Activity))
            kind = rng.choice([k for k in Activity if k is not Activity.NONE])

    async def bench(ctx):
        stream = kinds()
        for _ in range(60):
            await watch.tick(ctx, Activity.NONE)
        for number in range(16):
            for _ in range(rng.choice([36, 37, 38, 39, 70, 200])):
                await watch.tick(ctx, next(stream))
            counts = {name: rng.getrandbits(LAYOUT[name].width) for name in COUNTS}
            counts["code"] = rng.choice([StatusCode.OK, StatusCode.OK, *StatusCode])
            want = await watch.finish(ctx, stream, counts)
            if counts["code"] is not StatusCode.OK:
                counts |= dict.fromkeys(("rows", "empty_rows", "scores"), 0)
            want |= {name: counts[name] for name in COUNTS}
            while len(watch.set) < WORDS:
                await watch.tick(ctx, next(stream))
            assert watch.set == want, number

    simulate(dut, bench)


@pytest.mark.parametrize("delay", range(18))
def test_the_carry_of_cycles_is_never_lost(delay, monkeypatch):
    """Whatever the round does when it comes, and though the job ends just then."""
    made = []

    class Remembered(ram.memory.Memory):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            made.append(self)

    monkeypatch.setattr(ram, "memory", SimpleNamespace(Memory=Remembered))
    dut = Counters(params=TINY)
    watch = Watch(dut, lambda time: False)

    async def bench(ctx):
        (sets,) = (m for m in made if m.depth == 32 and m.shape == unsigned(32))
        for _ in range(60):
            await watch.tick(ctx, Activity.NONE)
        ctx.set(sets.data[16 + 6], 0xFFFFFFFC)  # cycles of the first job
        for _ in range(16 + delay):
            await watch.tick(ctx, Activity.BUSY)
        want = await watch.finish(ctx, iter(lambda: Activity.NONE, None),
                                  {"code": StatusCode.OK})
        watch.reads = lambda time: True
        while len(watch.set) < WORDS:
            await watch.tick(ctx, Activity.NONE)
        assert watch.set["busy"] == want["busy"]
        assert watch.set["cycles"] == want["cycles"] - 4
        assert watch.set["cycles_hi"] == 1

    simulate(dut, bench)


@pytest.mark.parametrize("phase", range(8))
def test_a_sum_that_is_added_as_a_job_ends(phase):
    """Of the place that the closing round begins with, whatever the round before does."""
    dut = Counters(params=TINY)
    watch = Watch(dut, lambda time: False)
    kind = Activity[NAMES[6].upper()]

    async def bench(ctx):
        for _ in range(60 + phase):
            await watch.tick(ctx, Activity.NONE)
        for count in range(16, 32):
            for _ in range(count):
                await watch.tick(ctx, kind)
            want = await watch.finish(ctx, iter(lambda: kind, None), {"code": StatusCode.OK})
            watch.reads = lambda time: True
            while len(watch.set) < WORDS:
                await watch.tick(ctx, Activity.NONE)
            watch.reads = lambda time: False
            assert watch.set["cycles"] == want["cycles"]
            assert watch.set[NAMES[6]] == want[NAMES[6]]

    simulate(dut, bench)
