# amaranth: UnusedElaboratable=no
"""Rows of a job with lists: order, visible keys, scales."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from amaranth.asserts import AnyConst
from amaranth.hdl import Assert, Assume, Cover, Module, Signal, Value
from amaranth.lib import wiring

from attnsieve.gen import config
from attnsieve.hdl.axi.list_rows import row_lanes
from attnsieve.hdl.control.listed_rows import ListedRowSequencer
from attnsieve.hdl.control.words import job_words
from attnsieve.hdl.params import CoreParams
from attnsieve.sim.formal import HoldRule, ProofError, free_inputs, prove
from attnsieve.sim.unit import run_streams, simulate

from .jobs import JobMemoryModel, derived_words, good_request, words_of
from .queued import Queued

CORES = {
    "tiny": replace(config.load("spatten-tiny").core, queue_depth=2),
    "small": CoreParams(lanes=64, max_keys=70, max_queries=50, max_heads=12, buffer_elements=8192,
                        value_lanes=8, token_lanes=8),
}
LEAST = CoreParams(lanes=4, max_keys=1, max_queries=1, max_heads=1, buffer_elements=128,
                   output_lanes=1, channels=1, value_lanes=1, token_lanes=1)
FIELDS = ("parts", "keys", "key_mask", "bank", "write", "last_of_head", "last_of_kv",
          "last_of_job", "values", "query")


class Lists:
    """The lists of each job, as `JobLists` has them: there a while after the job was taken."""

    def __init__(self, dut, jobs, *, stall=0.0):
        self.dut, self.jobs, self.stall = dut, jobs, stall
        self.rng = random.Random(f"lists {stall}")

    def line(self, rows, number):
        """A line of a list; what lies beyond the list is anything."""
        lanes, rng = row_lanes(self.dut.inner.params), self.rng
        beyond = [rng.randrange(self.dut.inner.params.max_keys) for _ in range(lanes)]
        found = [*rows[lanes * number : lanes * (number + 1)], *beyond][:lanes]
        return [{"index": row, "before": rng.getrandbits(1), "after": rng.getrandbits(1)}
                for row in found]

    async def run(self, ctx):
        dut = self.dut
        ports = [("queries", dut.query_entry), ("keys", dut.key_entry)]
        wires = [signal for _, port in ports for signal in (port.en, port.line)]
        for job in self.jobs:
            await ctx.tick().until(dut.job.valid & dut.job.ready)
            while self.rng.random() < self.stall:
                await ctx.tick()
            ctx.set(dut.queries, len(job["queries"]))
            ctx.set(dut.keys, len(job["keys"]))
            ctx.set(dut.forced, job["forced"])
            ctx.set(dut.listed, 1)
            while ctx.get(dut.busy):
                _, _, *found = await ctx.tick().sample(*wires)
                for (name, port), en, number in zip(ports, found[::2], found[1::2], strict=True):
                    if en:
                        ctx.set(port.data, self.line(job[name], number))
            ctx.set(dut.listed, 0)


def scale_of(bank, head):
    return {"mantissa": 0x8000 + 100 * bank + head, "shift": (bank + head) % 64}


def job_of(params, rng, *, queries=None, keys=None, size=None, **changes):
    """A job with random lists, or with those given; a causal one lists no key that none sees.
    ``size`` is the number of queries and of keys, listed or not."""
    changes |= {} if size is None else {"queries": size[0], "keys": size[1]}
    request = good_request(params, rng) | {
        "keep_values": rng.randint(0, min(9, params.max_keys))} | changes
    share = [rng.choice([0.1, 0.5, 0.9, 1.0]) for _ in range(2)]
    if queries is None:
        queries = [n for n in range(request["queries"]) if rng.random() < share[0]]
    if keys is None:
        keys = [n for n in range(request["keys"]) if rng.random() < share[1]]
    if request["causal"] and queries:
        keys = [key for key in keys if key <= queries[-1] + request["keys"] - request["queries"]]
    lists = {"queries": queries, "keys": keys, "forced": 0}
    if not queries:
        lists = {"queries": [0], "keys": [], "forced": 1}
    alive = [rng.random() < share[1] for _ in range(request["heads"])]
    alive[rng.randrange(request["heads"])] = True
    return {"request": request, "alive": alive, **lists}


def living_of(job):
    """Heads that are not pruned."""
    return [head for head, lives in enumerate(job["alive"]) if lives]


def rows_of(params, job):
    r = job["request"]
    group = r["heads"] // r["kv_heads"]
    living = living_of(job)
    for place, head in enumerate(living):
        following = living[place + 1] if place + 1 < len(living) else None
        for query in job["queries"]:
            limit = query + r["keys"] - r["queries"]
            last = query == job["queries"][-1]
            yield {
                "parts": r["head_dim"] // params.segment, "key_mask": 0, "bank": r["bank"],
                "keys": sum(key <= limit or not r["causal"] for key in job["keys"]),
                "write": 1 - job["forced"], "last_of_head": int(last),
                "last_of_kv": int(
                    last and (following is None or following // group != head // group)),
                "last_of_job": int(last and following is None),
                "values": r["keep_values"], "query": query,
            }


def set_up(params, jobs, *, grant=1.0):
    """The sequencer, and the memory of jobs; each job has the bank it names."""
    dut = Queued(ListedRowSequencer(params=params))
    memory = JobMemoryModel(dut, grant=grant)
    for job in jobs:
        r = job["request"]
        memory.words[r["bank"]] = words_of(params, r) | derived_words(params, r) | {
            job_words(params)["KEEP_VALUES"]: r["keep_values"],
            job_words(params)["PRUNED_HEADS"]: sum(
                1 << head for head, lives in enumerate(job["alive"]) if not lives)}
        memory.tables[r["bank"]] = [
            s["mantissa"] | s["shift"] << 16
            for s in (scale_of(r["bank"], head) for head in range(params.max_heads))]
    return dut, memory


def run(params, jobs, *, stall=0.0, grant=1.0):
    """Rows of jobs, one after another."""
    dut, memory = set_up(params, jobs, grant=grant)
    want = [row for job in jobs for row in rows_of(params, job)]
    requests = [job["request"] for job in jobs]
    scales = [(head, scale_of(job["request"]["bank"], head))
              for job in jobs for head in living_of(job)]
    result = run_streams(dut, {"job": [r["bank"] for r in requests]},
                         {"o": len(want), "scale": len(scales)}, stall=stall, max_cycles=30000,
                         testbenches=[Lists(dut, jobs, stall=stall).run, memory.run])
    for got, row in zip(result.outputs["o"], want, strict=True):
        assert {f: got[f] for f in FIELDS} == row
    for got, (head, scale) in zip(result.outputs["scale"], scales, strict=True):
        assert (got.head, got.mantissa, got.shift) == (head, scale["mantissa"], scale["shift"])
    return result


@pytest.mark.parametrize("core", CORES)
@pytest.mark.parametrize("causal", [0, 1])
@pytest.mark.parametrize("stall, grant", [(0.0, 1.0), (0.5, 0.6)])
def test_rows(core, causal, stall, grant):
    params, rng = CORES[core], random.Random(f"rows {core} {causal}")
    jobs = [job_of(params, rng, causal=causal, heads=6, kv_heads=3, bank=bank,
                   size=(rng.randint(1, 30), rng.randint(30, 60))) for bank in range(params.banks)]
    run(params, jobs, stall=stall, grant=grant)


@pytest.mark.parametrize("core", CORES)
@pytest.mark.parametrize("causal", [0, 1])
def test_degenerate_lists(core, causal):
    """A single row, no valid query, no valid key, all that fits; a job of one head between."""
    params, rng = CORES[core], random.Random(f"few {core}")
    every = list(range(50))
    lists = [{"queries": [7], "keys": [0]}, {"queries": [], "keys": every},
             {"queries": [0, 49], "keys": []}, {"queries": every, "keys": every}]
    for heads in ({"heads": 1, "kv_heads": 1}, {"heads": 2, "kv_heads": 1}):
        for some in (lists[:3], lists[1:]):
            run(params, [job_of(params, rng, causal=causal, bank=bank, **heads, **what,
                                size=(50, 50)) for bank, what in enumerate(some)])


@pytest.mark.parametrize("queries, keys", [([0], [0]), ([0], []), ([], [0])])
@pytest.mark.parametrize("causal", [0, 1])
def test_a_core_of_one_key_and_one_query(causal, queries, keys):
    rng = random.Random(4)
    run(LEAST, [job_of(LEAST, rng, causal=causal, bank=bank, queries=queries, keys=keys)
                for bank in range(LEAST.banks)])


@pytest.mark.parametrize("core", CORES)
@pytest.mark.parametrize("causal", [0, 1])
def test_cycles_of_rows(core, causal):
    """Two for each row, three if causal; two more for each line of keys that it looks at first."""
    params = CORES[core]
    lanes, keys = row_lanes(params), list(range(0, 50, 2))
    job = job_of(params, random.Random(3), causal=causal, heads=1, kv_heads=1, bank=0,
                 queries=[0, 1, 9, 10, 30, 49], keys=keys, size=(50, 50))
    result = run(params, [job])
    last = (len(keys) - 1) // lanes
    lines = [min(row["keys"] // lanes, last) if causal else 0 for row in rows_of(params, job)]
    times = result.times["o"]
    assert [b - a for a, b in zip(times, times[1:], strict=False)] == [
        2 + causal + 2 * (b - a) for a, b in zip(lines, lines[1:], strict=False)]


def test_no_scale_is_lost_for_want_of_room():
    """Rows leave at once, scales only later."""
    params = CORES["small"]
    job = job_of(params, random.Random(7), heads=6, kv_heads=6, bank=0, queries=[0], keys=[0])
    job["alive"] = [True] * 6
    dut, memory = set_up(params, [job])
    found = []

    async def bench(ctx):
        ctx.set(dut.job.valid, 1)
        ctx.set(dut.o.ready, 1)
        await ctx.tick().until(dut.job.ready)
        ctx.set(dut.job.valid, 0)
        await ctx.tick().repeat(100)
        ctx.set(dut.scale.ready, 1)
        for _ in range(100):
            _, _, valid, scale = await ctx.tick().sample(dut.scale.valid, dut.scale.p.mantissa)
            found.extend([scale] * valid)

    simulate(dut, bench, background=[memory.run, Lists(dut, [job]).run])
    assert found == [scale_of(0, head)["mantissa"] for head in range(6)]


class Proof(wiring.Component):
    """Any jobs, any lists that stay while a job is walked.

    Parameters
    ----------
    stays : bool
        Whether a line that was read stays until the next one is.
    """

    def __init__(self, *, stays=True):
        self.stays = stays
        self.params = CoreParams(
            lanes=4, max_head_dim=16, max_keys=4, max_queries=4, max_heads=2, operand_bits=8,
            buffer_elements=64, output_lanes=1, channels=1, data_width=32, addr_width=20,
            queue_depth=1, value_lanes=1, token_lanes=1,
        )  # fmt: skip
        super().__init__({})

    def elaborate(self, platform):
        m = Module()
        dut = m.submodules.dut = ListedRowSequencer(params=self.params)
        counts = ("queries", "keys", "forced")
        free_inputs(m, dut, but=counts)
        for name in counts:
            m.d.comb += getattr(dut, name).eq(AnyConst(len(getattr(dut, name))))
        for port in (dut.query_entry, dut.key_entry) if self.stays else ():
            line, before, asked = Value.cast(port.data), Signal(8), Signal(init=1)
            m.d.sync += [before.eq(line), asked.eq(port.en)]
            m.d.comb += Assume(asked | (line == before))
        room = Signal()  # for a scale
        m.d.sync += room.eq(dut.scale.ready & ~dut.scale.valid)
        m.d.comb += [
            Assume(~room | dut.scale.ready),
            Assert(~dut.scale.valid | dut.scale.ready),
            Assert(~dut.o.valid | dut.busy),
            Cover(dut.o.valid & dut.o.ready & (dut.o.p.query == 3) & (dut.o.p.keys == 2)),
        ]
        m.submodules += HoldRule(dut.o)
        return m


def test_proof():
    prove(Proof(), depth=40, name="listed rows")


def test_rows_are_reached():
    prove(Proof(), depth=24, mode="cover", name="listed rows")


def test_a_wrong_claim_is_refuted():
    with pytest.raises(ProofError):
        prove(Proof(stays=False), depth=20, name="listed rows")
