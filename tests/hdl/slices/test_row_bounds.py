# amaranth: UnusedElaboratable=no
"""Rows for the units: query, bounds and the row, in this order; who waits for what; proof."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import pytest
from amaranth.hdl import Assert, Assume, Cover, Module, Signal
from amaranth.lib import wiring

from attnsieve.hdl.params import CoreParams
from attnsieve.hdl.slices.row_bounds import RowBounds
from attnsieve.sim.formal import HoldRule, ProofError, free_inputs, prove
from attnsieve.sim.unit import run_streams

from .front_cores import CORES, core

WAITS = ("wait_row", "wait_query", "wait_free")
#: Cycles from a part's address to its data.
READ = 2
PASSED_ON = (
    "keys", "key_mask", "bank", "write", "relative", "pin_first", "pin_newest", "own", "last_of_kv",
    "last_of_job",
)  # fmt: skip


def slices(p):
    return -(-p.operand_bits // p.slice_bits)


def reads(p):
    """Cycles that the longest query is read."""
    return -(-p.max_head_dim // p.lanes)


def bound_count(p):
    """Of a row; where keys have signs of their own only its threshold."""
    return 1 if p.slice_words == "sign_magnitude" else slices(p)


def interval(p):
    return max(reads(p) + READ, bound_count(p) + 1)


def latency(p):
    """Query; positive elements, their sum by four, bounds; all bounds; the row. Or the threshold in
    their place."""
    if bound_count(p) == 1:
        return reads(p) + READ + 1 + 1 + 1
    levels = 0
    while 4**levels < p.max_head_dim:
        levels += 1
    return reads(p) + READ + 2 + levels + slices(p) + 1


def bounds_of(p, query, threshold):
    """What the sum up to each slice must reach: the bits behind add ones to positive elements."""
    if bound_count(p) == 1:
        return [threshold]
    most, found = sum(x for x in query if x > 0), []
    for n in range(slices(p)):
        unit = 1 << p.operand_bits - (n + 1) * p.slice_bits
        # least s with s * unit + (unit - 1) * most >= threshold
        least = -((most * (unit - 1) - threshold) // unit)
        found.append(least)
    return found


@dataclass
class Work:
    """Rows with their queries, and what comes out of them."""

    p: CoreParams
    row: list = field(default_factory=list)
    threshold: list = field(default_factory=list)
    queries: list = field(default_factory=list)
    query: list = field(default_factory=list)
    bound: list = field(default_factory=list)
    margin: list = field(default_factory=list)
    o: list = field(default_factory=list)
    job: int = 0

    def head(
        self, rng, queries, *, query=None, threshold=None, wide=True, end=False, relative=False
    ):
        """A query head, the last of its job or not; all queries are the one given, if one is."""
        p, given = self.p, query
        head_dim = len(given) if given else rng.choice(p.head_dims)
        bits = p.operand_bits if wide else 8
        top, score = 1 << bits - 1, 1 << p.score_bits - 1
        if threshold is None:
            threshold = rng.choice([rng.randrange(-score, score), rng.randrange(-999, 999)])
        self.threshold.append(threshold)
        for n in range(queries):
            query = given or [
                rng.choice([rng.randrange(-top, top), 0, 5]) for _ in range(head_dim)
            ]
            last = n == queries - 1
            number = len(self.row) % p.slice_rows
            row = {
                "parts": head_dim // p.segment, "keys": rng.randrange(p.max_keys + 1),
                "key_mask": rng.randrange(2), "bank": rng.randrange(p.banks), "wide": wide,
                "write": rng.randrange(2), "last_of_head": last, "relative": relative,
                "pin_first": rng.randrange(2), "pin_newest": rng.randrange(2),
                "own": rng.randrange(2),
                "last_of_kv": last and rng.random() < 0.5, "last_of_job": last and end,
            }  # fmt: skip
            self.row.append(row)
            self.queries.append(query)
            whole = query + [0] * (p.max_head_dim - head_dim)
            self.query.append({"row": number, "query": whole})
            margin = 2 * score - 1  # any distance
            least = threshold
            if relative:
                margin, least = max(0, threshold), -score
            most = sum(x for x in query if x > 0) if bound_count(p) > 1 else 0
            self.margin.append({"row": number, "margin": margin, "most": most})
            for place, bound in enumerate(bounds_of(p, query, least)):
                self.bound.append({"row": number, "number": place, "bound": bound})
            first = 0 if wide else (p.operand_bits - 8) // p.slice_bits
            passed = {name: row[name] for name in PASSED_ON}
            self.o.append(
                {"row": number, "number": first, "job": self.job, "margin": margin, **passed}
            )
        self.job ^= end
        return self


class Around:
    """The query store, and what frees rows behind their scores.

    Parameters
    ----------
    late : float
        How often a query is not there.
    slow : float
        How often a row that may be freed is not.
    stuck : int
        Cycles in which none is freed.
    hold : float
        How often a row is held.
    """

    def __init__(self, dut, work, *, seed=0, late=0.0, slow=0.0, stuck=0, hold=0.0):
        self.dut, self.work = dut, work
        self.rng = random.Random(seed)
        self.late, self.slow, self.stuck, self.hold = late, slow, stuck, hold
        self.begins, self.waits, self.ends = [], [], []

    async def bench(self, ctx):
        dut, p, rng, work = self.dut, self.work.p, self.rng, self.work
        read, cycle, current, valid, gone, free, jobs = dut.read, 0, 0, False, 0, 0, 0
        way = []
        while True:
            count = len(work.queries)
            valid = valid or (current < count and rng.random() >= self.late)
            ctx.set(read.valid, valid)
            held = rng.random() < self.hold
            ctx.set(dut.hold, held)
            give = free < gone and cycle >= self.stuck and rng.random() >= self.slow
            ctx.set(dut.free, give)
            end = give and work.row[free]["last_of_job"]
            ctx.set(dut.end, end)
            _, _, enable, part, parts, following, leaves, begins, *waits = (
                await ctx.tick().sample(
                    read.enable, read.part, read.parts, read.next, dut.o.valid & dut.o.ready,
                    dut.begins, *(getattr(dut, name) for name in WAITS),
                )
            )
            assert enable
            assert begins + sum(waits) == 1
            self.waits.append(WAITS[waits.index(1)] if any(waits) else None)
            if begins and not held:
                assert valid
                assert len(self.begins) - free < p.slice_rows
                self.begins.append(cycle)
                row = len(self.begins) - 1
                jobs += row == 0 or work.row[row - 1]["last_of_job"]
                assert jobs - len(self.ends) <= 2
            way.append(self.answer(part, current) if current < count else None)
            if len(way) == READ:
                line = way.pop(0) or [rng.randrange(-9, 9) for _ in range(p.lanes)]
                ctx.set(read.data, line)
            if following:
                assert parts == work.row[current]["parts"]
                assert len(self.begins) == current + 1
                current, valid = current + 1, False
            gone += leaves
            free += give
            if end:
                self.ends.append(cycle)
            cycle += 1

    def answer(self, part, current):
        """What is addressed: of the parts that a query does not have, anything."""
        query, size = self.work.queries[current], self.work.p.segment
        line = []
        for number in part:
            there = query[number * size : (number + 1) * size]
            line += there or [self.rng.randrange(-9, 9) for _ in range(size)]
        return line


def plain(payload, shape):
    """As a dict of numbers."""
    return {n: list(payload[n]) if n == "query" else payload[n] for n in shape}


def run(work, *, stall=0.0, seed=0, **options):
    p = work.p
    dut = RowBounds(params=p)
    around = Around(dut, work, seed=seed, **options)
    names = ("query", "bound", "margin", "o")
    result = run_streams(
        dut, {"row": work.row, "threshold": work.threshold},
        {name: len(getattr(work, name)) for name in names},
        testbenches=[around.bench], stall=stall, seed=seed,
    )  # fmt: skip
    for name in names:
        want = getattr(work, name)
        assert [plain(o, want[0]) for o in result.outputs[name]] == want
    times, ends = result.times, [row["last_of_head"] for row in work.row]
    assert times["threshold"] == [t for t, end in zip(times["row"], ends, strict=True) if end]
    assert times["row"] == [t + reads(p) - 1 for t in around.begins]
    assert times["query"] == [t + reads(p) + READ for t in around.begins]
    last = times["bound"][bound_count(p) - 1 :: bound_count(p)]
    assert last == [t + latency(p) - 1 for t in around.begins]
    for n, leaves in enumerate(times["o"]):
        assert times["query"][n] < times["bound"][bound_count(p) * n]
        assert last[n] < leaves
    return around, result


def random_work(p, seed, heads=8):
    rng, work = random.Random(f"work {seed}"), Work(p)
    for n in range(heads):
        wide = p.operand_bits == 8 or rng.random() < 0.6
        end = n == heads - 1 or rng.random() < 0.5
        relative = rng.random() < 0.4
        work.head(rng, rng.choice([1, 1, 2, 5]), wide=wide, end=end, relative=relative)
    return work


@pytest.mark.parametrize("stall", [0.0, 0.5, {"o": 0.9}, {"threshold": 0.95}, {"row": 0.9}])
@pytest.mark.parametrize("name", CORES)
def test_random_rows(name, stall):
    work = random_work(CORES[name], f"{name} {stall}")
    run(work, stall=stall)


@pytest.mark.parametrize(
    "options",
    [{"late": 0.9}, {"slow": 0.9}, {"hold": 0.7}, {"late": 0.5, "slow": 0.8, "hold": 0.3}],
    ids=["late", "slow", "held", "all"],
)
@pytest.mark.parametrize("name", CORES)
def test_rows_wait(name, options):
    """For their query, for free rows, for who takes them."""
    work = random_work(CORES[name], f"{name} {options}")
    around, _ = run(work, stall={"o": 0.3}, **options)
    if options == {"late": 0.9}:
        assert "wait_query" in around.waits


@pytest.mark.parametrize("threshold", ["least", "most"])
@pytest.mark.parametrize("name", CORES)
def test_largest_operands(name, threshold):
    p, rng = CORES[name], random.Random(1)
    most = (1 << p.score_bits - 1) - 1
    work = Work(p)
    for value in (-(1 << p.operand_bits - 1), (1 << p.operand_bits - 1) - 1, -1):
        query = [value] * p.max_head_dim
        work.head(rng, 1, query=query, threshold=most if threshold == "most" else -most - 1)
    run(work)


@pytest.mark.parametrize("margin", ["least", "negative", "nothing", "most"])
@pytest.mark.parametrize("name", CORES)
def test_margins_at_the_ends(name, margin):
    """First bounds of a relative row keep all keys; a margin below nothing counts as nothing."""
    p, rng = CORES[name], random.Random(margin)
    end = 1 << p.score_bits - 1
    threshold = {"least": -end, "negative": -1, "nothing": 0, "most": end - 1}[margin]
    work = Work(p).head(rng, 3, threshold=threshold, relative=True)
    work.head(rng, 1, threshold=threshold, end=True)
    run(work)


@pytest.mark.parametrize("name", CORES)
def test_the_stated_latency(name):
    p = CORES[name]
    work = Work(p).head(random.Random(2), 1, end=True)
    around, result = run(work)
    assert around.begins == [0]
    assert RowBounds(params=p).latency == latency(p) == result.first("o")


@pytest.mark.parametrize("name", [n for n, p in CORES.items() if p.slice_rows == 8])
def test_the_stated_throughput(name):
    """With more rows free than are inside."""
    p = CORES[name]
    work = Work(p).head(random.Random(3), 12, query=[7] * p.max_head_dim, end=True)
    dut = RowBounds(params=p)
    assert (dut.reads, dut.interval) == (reads(p), interval(p))
    around, result = run(work)
    assert around.begins == [interval(p) * n for n in range(12)]
    assert result.times["o"] == [begin + latency(p) for begin in around.begins]


@pytest.mark.parametrize("name", CORES)
def test_as_many_rows_as_there_are(name):
    """The next one waits until one is free; then it begins in the next cycle."""
    p = CORES[name]
    work = Work(p).head(random.Random(4), p.slice_rows + 2, end=True)
    around, _ = run(work, stuck=300)
    assert around.begins[: p.slice_rows] == [interval(p) * n for n in range(p.slice_rows)]
    assert around.begins[p.slice_rows] == 301
    assert around.waits[200] == "wait_free"


@pytest.mark.parametrize("name", CORES)
def test_no_more_than_two_jobs(name):
    """The third one waits until the first has ended; rows of the second do not."""
    p, rng = CORES[name], random.Random(5)
    second = min(2, p.slice_rows - 1)
    work = Work(p).head(rng, 1, end=True).head(rng, second, end=True).head(rng, 1, end=True)
    around, _ = run(work, stuck=300)
    assert around.begins == [*(interval(p) * n for n in range(second + 1)), 301]


class Contract(wiring.Component):
    """Rows leave in order with their numbers, each behind its query and its last bound; no more
    are inside than there are numbers, and no more than two jobs; what is held stays.

    Parameters
    ----------
    more : int
        By which the claim about rows is wrong; 0 to prove it.
    """

    def __init__(self, params, *, more=0):
        self.params, self.more = params, more
        super().__init__({})

    def elaborate(self, platform):
        m = Module()
        p, count = self.params, bound_count(self.params)
        dut = m.submodules.dut = RowBounds(params=p)
        free_inputs(m, dut)
        m.submodules.hold = HoldRule(dut.o)
        begin = dut.begins & ~dut.hold
        names = ("begun", "asked", "bounds", "left", "freed", "jobs", "ended")
        begun, asked, bounds, left, freed, jobs, ended = (Signal(4, name=n) for n in names)
        place, first, waits, there = Signal(range(count)), Signal(init=1), Signal(), Signal()
        leaves, last = dut.o.valid & dut.o.ready, place == count - 1
        m.d.sync += there.eq(dut.read.valid & ~dut.read.next)
        m.d.comb += [  # a row is freed behind its transfer, and a job with its last row
            Assume(dut.read.valid | ~there),
            Assume(~dut.free | (freed != left)),
            Assume(~dut.end | ((ended != jobs) & dut.free)),
            Assume(begun < 15),
        ]
        m.d.sync += [
            begun.eq(begun + begin), asked.eq(asked + dut.query.valid),
            left.eq(left + leaves), freed.eq(freed + dut.free), ended.eq(ended + dut.end),
            jobs.eq(jobs + (begin & first)), waits.eq(dut.begins & dut.hold),
        ]  # fmt: skip
        with m.If(begin):
            m.d.sync += first.eq(dut.row.p.last_of_job)
        with m.If(dut.bound.valid):
            m.d.sync += [place.eq(place + 1), bounds.eq(bounds + last)]
            with m.If(last):
                m.d.sync += place.eq(0)
            m.d.comb += [
                Assert(bounds < asked),
                Assert(dut.bound.p.row == bounds[: len(dut.bound.p.row)]),
                Assert(dut.bound.p.number == place),
            ]
        rows = Signal(4)
        m.d.comb += [
            rows.eq(begun - freed),
            Assert(rows + self.more <= p.slice_rows),
            Assert((jobs - ended)[:4] <= 2),
            Assert(asked <= begun),
            Assert(~dut.query.valid | (dut.query.p.row == asked[: len(dut.query.p.row)])),
            Assert(dut.o.valid == (left != bounds)),
            Assert(~dut.o.valid | (dut.o.p.row == left[: len(dut.o.p.row)])),
            Assert(~waits | dut.begins),
            Assert(dut.begins + dut.wait_row + dut.wait_query + dut.wait_free == 1),
            Cover((left == 3) & (freed == 2)),
        ]
        return m


def small(words="twos_complement"):
    """Two rows, queries of one line, three slices."""
    return core(max_head_dim=16, max_keys=2, slice_rows=2, slice_bits=4, slice_words=words)


@pytest.mark.parametrize("words", ["twos_complement", "sign_magnitude"])
def test_proof(words):
    prove(Contract(small(words)), depth=30, name="row bounds")


def test_everything_is_reached():
    prove(Contract(small()), depth=40, mode="cover", name="row bounds")


def test_a_wrong_claim_is_refuted():
    with pytest.raises(ProofError):
        prove(Contract(small(), more=1), depth=10, name="row bounds")
