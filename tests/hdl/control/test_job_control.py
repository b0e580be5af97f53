# amaranth: UnusedElaboratable=no
"""Jobs from start to report, with a stand-in for the datapath that fails on request."""

from __future__ import annotations

import random
from collections import deque

import pytest

from attnsieve.hdl.control.status import StatusCode
from attnsieve.sim.unit import simulate

from .jobs import SMALL, TINY, good_request, sizes
from .stored import Stored


class Datapath:
    """Takes rows and regions; a job is done ``tail`` cycles after its last row."""

    def __init__(self, dut, *, tail=20, seed=0):
        self.dut, self.tail, self.rng = dut, tail, random.Random(seed)
        self.errors = {}  # region address -> read error raised when it is taken
        self.silent = False  # never done: for the watchdog
        self.rows, self.cleared = 0, 0
        self.clears, self.ended = 0, 0  # times that it was cleared; jobs that were done
        self.queries = []  # addresses of regions of Q

    async def run(self, ctx):
        dut = self.dut
        due, now, error, outstanding, clearing = deque(), 0, 0, 0, 0
        while True:
            take = self.rng.random() < 0.8
            for port in (dut.query, dut.key, dut.value, dut.row, dut.output):
                ctx.set(port.ready, take)
            ctx.set(dut.scale.ready, 1)
            done = bool(due) and due[0] <= now
            if done:
                due.popleft()
            ctx.set(dut.done, done)
            ctx.set(dut.read_error, error)
            ctx.set(dut.idle, outstanding == 0)
            _, _, clear, row, last, *regions = await ctx.tick().sample(
                dut.clear, dut.row.valid & dut.row.ready, dut.row.p.last_of_job,
                *(v for s in (dut.query, dut.key, dut.value)
                  for v in (s.valid & s.ready, s.p.address)))
            now += 1
            outstanding = max(0, outstanding - 1)
            self.ended += done
            self.clears += clear and not clearing
            clearing = clear
            if clear:
                due.clear()
                error, self.cleared = 0, self.cleared + 1
                continue
            if row:
                self.rows += 1
                if last and not self.silent:
                    due.append(now + self.tail)
            if regions[0]:
                self.queries.append(regions[1])
            for valid, address in zip(regions[::2], regions[1::2], strict=True):
                if valid:
                    outstanding = 5
                    error = error or self.errors.get(address, 0)


def run(params, script, *, watchdog=0, datapath=None, mantissas=None):
    """Run a script of ("start", request) / ("abort",) / ("wait", cycles); returns the results."""
    dut = Stored(params=params)
    path = datapath(dut) if datapath else Datapath(dut)
    results, started, rng = [], 0, random.Random(9)

    async def watch(ctx):
        head = 0
        while True:
            ctx.set(dut.table_data.mantissa, (mantissas or {}).get(head, 0x8000))
            ctx.set(dut.result.ready, rng.random() < 0.3)
            _, _, finish, result, en, head_now = await ctx.tick().sample(
                dut.result.valid & dut.result.ready, dut.result.p, dut.table_en, dut.table_head)
            head = head_now if en else head
            if finish:
                results.append(result)

    async def bench(ctx):
        nonlocal started
        ctx.set(dut.watchdog, watchdog)
        for action, *argument in script:
            if action == "start":
                ctx.set(dut.job.p, {k: v for k, v in argument[0].items() if k != "bank"})
                ctx.set(dut.job.valid, 1)
                taken, waited = False, 0
                while not taken:
                    *_, taken = await ctx.tick().sample(dut.job.ready)
                    waited += 1
                    assert waited < 6000, f"job {started} is not taken"
                ctx.set(dut.job.valid, 0)
                started += 1
            elif action == "abort":
                ctx.set(dut.abort, 1)  # until all jobs have ended, as the registers do
                await ctx.tick()
                while ctx.get(dut.jobs):
                    await ctx.tick()
                ctx.set(dut.abort, 0)
            elif argument[0]:
                await ctx.tick().repeat(argument[0])
        for _ in range(6000):
            if len(results) == started:
                break
            await ctx.tick()
        await ctx.tick().repeat(30)
        assert not ctx.get(dut.jobs)

    simulate(dut, bench, background=(watch, path.run))
    assert len(results) == started, f"{len(results)} of {started} jobs were reported"
    return results, path


def small(seed, **changes):
    return good_request(SMALL, random.Random(seed)) | {
        "heads": 2, "kv_heads": 1, "queries": 3, "keys": 9, "query_mask": 0} | changes


def test_jobs_in_order_good_and_refused():
    rng, script, want, rows = random.Random(7), [], [], 0
    for _ in range(14):
        request = good_request(SMALL, rng) | {"query_mask": 0, "queries": rng.randint(1, 3)}
        request["keys"] = max(request["keys"], request["queries"])
        good = rng.random() < 0.6
        if good:
            rows += request["heads"] * request["queries"]
        else:
            request["keys"] = 0
        script += [("start", request), ("wait", rng.randrange(40))]
        want.append(StatusCode.OK if good else StatusCode.ZERO_LENGTH)
    results, path = run(SMALL, script)
    assert results == want
    assert path.rows == rows


@pytest.mark.parametrize("params", [SMALL, TINY], ids=["small", "tiny"])
def test_every_job_follows_when_the_queue_is_full(params):
    rng = random.Random(8)
    requests = [good_request(params, rng) | {"queries": 1, "query_mask": 0} for _ in range(6)]
    results, path = run(params, [("start", r) for r in requests])
    assert results == [StatusCode.OK] * 6
    assert path.queries == [
        r["q_base"] + head * r["q_stride"] for r in requests for head in range(r["heads"])]


@pytest.mark.parametrize("error", [2, 3])
@pytest.mark.parametrize("bad", range(3))
@pytest.mark.parametrize("tensor", "qkv")
def test_error_is_reported_for_its_own_job(error, bad, tensor):
    requests = [small(20 + i) for i in range(3)]

    def failing(dut):
        path = Datapath(dut, tail=150)  # the next job is loading then
        path.errors = {requests[bad][f"{tensor}_base"]: error}
        return path

    results, path = run(SMALL, [("start", r) for r in requests], datapath=failing)
    want = [StatusCode.OK] * 3
    want[bad] = StatusCode.READ_SLVERR if error == 2 else StatusCode.READ_DECERR
    assert results == want
    assert path.ended >= 2  # no job is good that was not done


@pytest.mark.parametrize("bad", range(3))
@pytest.mark.parametrize("refused", range(3))
def test_errors_among_refused_jobs(bad, refused):
    """Jobs that run again keep their own verdicts."""
    requests = [small(40 + i) for i in range(6)]
    want = [StatusCode.OK] * 6
    address = requests[bad]["q_base"]
    if bad != refused:
        want[bad] = StatusCode.READ_SLVERR
    requests[refused] |= {"keys": 0}
    want[refused] = StatusCode.ZERO_LENGTH

    def failing(dut):
        path = Datapath(dut)
        path.errors = {address: 2}
        return path

    results, _ = run(SMALL, [("start", r) for r in requests], datapath=failing)
    assert results == want


@pytest.mark.parametrize("wait", range(0, 60, 3))
def test_abort_ends_every_job_and_the_next_one_runs(wait):
    script = [("start", small(1)), ("start", small(2)), ("wait", wait), ("abort",),
              ("wait", 60), ("start", small(3))]
    results, path = run(SMALL, script)
    assert results[-1] == StatusCode.OK
    assert len(results) == 3
    assert path.clears <= 1  # all of them end at once
    assert set(results[:2]) <= {StatusCode.ABORTED, StatusCode.OK}
    if wait < 40:
        assert results[:2] == [StatusCode.ABORTED] * 2


def test_abort_without_a_job_does_nothing():
    results, path = run(SMALL, [("abort",), ("wait", 5), ("start", small(1))])
    assert results == [StatusCode.OK]
    assert path.cleared == 0


def test_watchdog_ends_a_job_that_stands_still():
    def silent(dut):
        path = Datapath(dut)
        path.silent = True
        return path

    results, _ = run(SMALL, [("start", small(1))], watchdog=100, datapath=silent)
    assert results == [StatusCode.WATCHDOG]


def test_watchdog_rests_between_jobs():
    script = [("start", small(1)), ("wait", 500), ("start", small(2)), ("wait", 500)]
    results, path = run(SMALL, script, watchdog=200)
    assert results == [StatusCode.OK] * 2
    assert path.cleared == 0


def test_bad_table_entry():
    assert run(SMALL, [("start", small(1))], mantissas={1: 0x7000})[0] == [
        StatusCode.BAD_THRESHOLD]


def test_sizes_helper_matches_the_memory_contract():
    request = small(1, head_dim=48, wide=1, keys=5)
    assert sizes(request)["k"] == (1, 5 * 72)
