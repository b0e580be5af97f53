# amaranth: UnusedElaboratable=no
"""The supervisor alone: watchdog, stop and clear, jobs that end at any time."""

from __future__ import annotations

import random

import pytest

from attnsieve.hdl.control.status import StatusCode
from attnsieve.hdl.control.supervisor import Supervisor
from attnsieve.sim.unit import simulate

from .jobs import TINY


def run(bench):
    dut = Supervisor(params=TINY)

    async def body(ctx):
        await bench(ctx, dut)

    simulate(dut, body)


async def rewind(ctx, dut):
    """A cycle with ``clear``, still under ``stop``: the job waits again, as the store has it."""
    for _ in range(2):
        assert not ctx.get(dut.clear)
        await ctx.tick()
    assert ctx.get(dut.clear)
    assert ctx.get(dut.stop)
    await ctx.tick()
    ctx.set(dut.underway, 0)
    ctx.set(dut.waiting, 1)


@pytest.mark.parametrize("watchdog", [5, 40])
def test_watchdog_fires_after_so_many_cycles_without_progress(watchdog):
    """Not while something moves often enough, and the job ends when the bus is idle."""

    async def bench(ctx, dut):
        ctx.set(dut.underway, 1)
        ctx.set(dut.watchdog, watchdog)
        for cycle in range(6 * watchdog):
            ctx.set(dut.progress, cycle % (watchdog - 1) == 0)
            await ctx.tick()
            assert not ctx.get(dut.stop)
        ctx.set(dut.progress, 1)
        await ctx.tick()
        ctx.set(dut.progress, 0)
        waited = 0
        while not ctx.get(dut.stop):
            await ctx.tick()
            waited += 1
            assert waited < watchdog + 4
        assert waited >= watchdog
        await ctx.tick().repeat(20)
        assert ctx.get(dut.stuck)
        assert not ctx.get(dut.result.valid)
        ctx.set(dut.idle, 1)
        await rewind(ctx, dut)
        for _ in range(3):
            await ctx.tick()
        assert ctx.get(dut.result.valid)
        assert ctx.get(dut.result.p) == StatusCode.WATCHDOG
        assert not ctx.get(dut.stuck)

    run(bench)


def test_watchdog_of_zero_never_fires():
    async def bench(ctx, dut):
        ctx.set(dut.underway, 1)
        for _ in range(300):
            await ctx.tick()
            assert not ctx.get(dut.stop)

    run(bench)


@pytest.mark.parametrize("late", [1, 2, 3, 77])
def test_watchdog_of_zero_can_be_changed_at_any_time(late):
    """A core that already hangs is ended by a watchdog that is set then."""

    async def bench(ctx, dut):
        ctx.set(dut.underway, 1)
        await ctx.tick().repeat(late)
        ctx.set(dut.watchdog, 20)
        waited = 0
        while not ctx.get(dut.stop):
            await ctx.tick()
            waited += 1
            assert waited <= 24
        assert waited >= 20

    run(bench)


@pytest.mark.parametrize("wait", [0, 1, 17])
def test_the_datapath_is_cleared_when_the_bus_is_idle_and_not_before(wait):
    async def bench(ctx, dut):
        ctx.set(dut.underway, 1)
        ctx.set(dut.read_error, 3)
        await ctx.tick()
        for _ in range(wait):
            assert ctx.get(dut.stop)
            assert not ctx.get(dut.clear)
            await ctx.tick()
        ctx.set(dut.idle, 1)
        await rewind(ctx, dut)
        assert not ctx.get(dut.stop)
        ctx.set(dut.read_error, 0)
        ctx.set(dut.result.ready, 1)
        codes = []
        for _ in range(20):
            _, _, ended, code = await ctx.tick().sample(dut.result.valid, dut.result.p)
            codes += [code] * ended
            if ended:
                ctx.set(dut.waiting, 0)
        assert codes == [StatusCode.READ_DECERR]
        assert not ctx.get(dut.clear)

    run(bench)


@pytest.mark.parametrize("seed", range(4))
def test_each_job_that_is_done_is_reported_once(seed):
    """Also one that is done in the cycle in which another's report begins or is taken."""
    rng = random.Random(seed)

    async def bench(ctx, dut):
        ended = reported = 0
        ctx.set(dut.underway, 3)
        for cycle in range(400):
            done = cycle < 360 and ended - reported < 3 and rng.random() < 0.4
            ctx.set(dut.done, done)
            ctx.set(dut.result.ready, rng.random() < 0.6)
            _, _, taken, code = await ctx.tick().sample(
                dut.result.valid & dut.result.ready, dut.result.p)
            ended, reported = ended + done, reported + taken
            assert not taken or code == StatusCode.OK
            assert reported <= ended
        assert reported == ended
        assert ended > 60

    run(bench)
