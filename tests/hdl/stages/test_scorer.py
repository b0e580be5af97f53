# amaranth: UnusedElaboratable=no
"""The scorer with K ring and query store against plain sums, and its cycles."""

import random
from dataclasses import dataclass, field

import pytest
from amaranth.hdl import Assert, Assume, Module, Mux, Signal
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out

from attnsieve.gen import config
from attnsieve.hdl.layouts import line_layout, product_beat_layout, row_layout
from attnsieve.hdl.lib.connect import connect
from attnsieve.hdl.lib.ring import Ring
from attnsieve.hdl.params import CoreParams
from attnsieve.hdl.stages.query_store import QueryStore, query_head_layout
from attnsieve.hdl.stages.scorer import ParallelScorer
from attnsieve.hdl.stages.scorer_issue import LineIssuer
from attnsieve.sim.formal import HoldRule, free_inputs, prove
from attnsieve.sim.unit import run_streams
from tests.variants import mostly_full

from .plane_rows import CORES

TINY = config.load("dense-tiny").core
STALLS = ("busy", "wait_row", "wait_output", "wait_query", "wait_key")


def small(groups, **changes):
    """A core with segments of 16 lanes and small buffers."""
    values = {"lanes": 16 * groups, "max_head_dim": 128, "max_keys": 64, "max_queries": 64,
              "buffer_elements": 16 * groups * 96, "output_lanes": 1}  # fmt: skip
    return CoreParams(**(values | changes))


class ScorerBench(wiring.Component):
    """The three blocks, and a mask that is a constant list of bits."""

    def __init__(self, params, mask=(), start=0):
        self.params = p = params
        self.mask = mask
        self.start = start  # cycle from which on rows may enter
        super().__init__(
            {
                "row": In(stream.Signature(row_layout(p))),
                "k": In(stream.Signature(line_layout(p))),
                "q": In(stream.Signature(line_layout(p))),
                "head": In(stream.Signature(query_head_layout(p))),
                "o": Out(stream.Signature(product_beat_layout(p))),
                "o_row": Out(stream.Signature(row_layout(p))),
                "level": Out(range(p.kv_lines + 1)),
                **{name: Out(1) for name in STALLS},
                **({"release": In(p.part_bits)} if p.progressive else {}),
            }
        )

    def elaborate(self, platform):
        m = Module()
        p = self.params
        m.submodules.ring = ring = Ring(
            shape=line_layout(p), depth=p.kv_lines, split=p.groups
        )
        m.submodules.store = store = QueryStore(params=p)
        m.submodules.scorer = scorer = ParallelScorer(params=p)
        words = [
            sum(
                bool(self.mask[beat * p.groups + lane]) << lane
                for lane in range(p.groups)
                if beat * p.groups + lane < len(self.mask)
            )
            for beat in range(p.max_beats)
        ]
        m.submodules.mask = mask = memory.Memory(shape=p.groups, depth=p.max_beats, init=words)
        port = mask.read_port()
        used = Signal()
        with m.If(scorer.mask.en):
            m.d.sync += used.eq(scorer.mask.used)
        cycle, go = Signal(range(self.start + 1)), Signal()
        m.d.comb += go.eq(cycle == self.start)
        with m.If(~go):
            m.d.sync += cycle.eq(cycle + 1)
        m.d.comb += [
            scorer.row.payload.eq(self.row.payload),
            scorer.row.valid.eq(self.row.valid & go),
            self.row.ready.eq(scorer.row.ready & go),
        ]
        connect(m, self.k, ring.i)
        connect(m, self.q, store.i)
        connect(m, self.head, store.head)
        connect(m, scorer.o, self.o)
        connect(m, scorer.o_row, self.o_row)
        wiring.connect(m, scorer.key, ring.read[0])
        wiring.connect(m, scorer.query, store.read)
        if p.progressive:
            m.d.comb += store.release.eq(self.release)
        m.d.comb += [
            scorer.key_end.eq(ring.end),
            scorer.key_append.eq(ring.append),
            ring.release.eq(scorer.key_release),
            port.addr.eq(scorer.mask.beat),
            port.en.eq(scorer.mask.en),
            scorer.mask.data.eq(port.data | (~used).replicate(p.groups)),
            self.level.eq(ring.level),
            *(getattr(self, name).eq(getattr(scorer, name)) for name in STALLS),
        ]
        return m


@dataclass
class Work:
    """Rows, lines and heads for the bench, and the beats that must come."""

    row: list = field(default_factory=list)
    k: list = field(default_factory=list)
    q: list = field(default_factory=list)
    head: list = field(default_factory=list)
    beats: list = field(default_factory=list)
    cycles: int = 0  # that rows take


def lines(p, rows):
    """Rows back to back in lines; what is left of the last line is not zero."""
    flat = [x for row in rows for x in row]
    flat += [-1] * (-len(flat) % p.lanes)
    return [flat[n : n + p.lanes] for n in range(0, len(flat), p.lanes)]


def add_head(work, p, rng, *, keys, queries, head_dim, group=1, causal=False, mask=None, hide=()):
    """One KV head with ``group`` query heads. ``hide``: queries that see no key but in the end."""
    top = 1 << (p.operand_bits - 1)

    def draw():
        return [rng.choice((-top, top - 1, 0, rng.randrange(-top, top))) for _ in range(head_dim)]

    k = [draw() for _ in range(keys)]
    work.k += lines(p, k)
    parts = p.parts(head_dim)
    for member in range(group):
        q = [draw() for _ in range(queries)]
        work.q += lines(p, q)
        work.head.append({"parts": parts, "queries": queries})
        for number, query in enumerate(q):
            last = member == group - 1 and number == queries - 1
            visible = number + keys - queries + 1 if causal else keys
            if number in hide and not last:
                visible = 0
            work.row.append(
                {"parts": parts, "keys": visible, "last_of_kv": last, "last_of_job": last,
                 "key_mask": mask is not None, "write": len(work.row) % 3 != 1}
            )  # fmt: skip
            work.cycles += max(1, p.row_lines(visible, head_dim))
            for start in range(0, max(visible, 1), p.groups):
                beat = {}
                for lane in range(p.groups):
                    key = start + lane
                    if key < visible and (mask is None or mask[key]):
                        beat[lane] = sum(a * b for a, b in zip(query, k[key], strict=True))
                work.beats.append((beat, start + p.groups >= visible))
    return work


def decode(beat, groups):
    """Valid scores by lane, and the last flag."""
    return (
        {lane: beat.score[lane] for lane in range(groups) if beat.valid >> lane & 1},
        bool(beat.last),
    )


def random_work(p, seed, heads=4, mask=None):
    rng = random.Random(seed)
    work = Work()
    for _ in range(heads):
        head_dim = rng.choice(p.head_dims)
        most = min(p.max_keys, p.kv_lines * p.groups // p.parts(head_dim) - 1)
        keys = rng.choice((1, 2, rng.randint(1, most), rng.randint(1, min(9, most))))
        causal = rng.random() < 0.4
        queries = rng.randint(1, min(6, keys) if causal else 6)
        add_head(
            work, p, rng, keys=keys, queries=queries, head_dim=head_dim,
            group=rng.choice((1, 1, 3)), causal=causal,
            mask=mask if rng.random() < 0.5 else None, hide=rng.sample(range(6), 2),
        )  # fmt: skip
    return work


CONFIGS = {
    "tiny": TINY,
    "one group": small(1),
    "two groups": small(2),
    "four groups": small(4, max_head_dim=96),
    "two groups, no lut ram": small(2, max_head_dim=32, lut_ram=False),
    "eight groups": small(8, max_head_dim=64),
    "8 bit": small(4, operand_bits=8, max_head_dim=48),
    "one lane": CoreParams(
        lanes=1, max_head_dim=16, max_keys=5, buffer_elements=40, output_lanes=1, lut_ram=False
    ),
}


def run(p, work, mask=(), start=0, **options):
    """Run and compare; return the result of the streams, and what the scorer did in every cycle."""
    bench = ScorerBench(p, mask, start)
    doing = []

    async def watch(ctx):
        ports = [getattr(bench, name) for name in STALLS]
        async for _, _, *bits in ctx.tick("sync").sample(*ports):
            assert sum(bits) == 1
            doing.append(STALLS[bits.index(1)])

    result = run_streams(
        bench,
        {name: getattr(work, name) for name in ("row", "k", "q", "head")},
        {"o": len(work.beats), "o_row": len(work.row)},
        testbenches=[watch],
        **options,
    )
    for number, (beat, want) in enumerate(zip(result.outputs["o"], work.beats, strict=True)):
        assert decode(beat, p.groups) == want, f"beat {number}"
    assert [(r.keys, r.write) for r in result.outputs["o_row"]] == [
        (row["keys"], row["write"]) for row in work.row
    ]
    assert doing.count("busy") == work.cycles
    return result, doing


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("stall", mostly_full([0, 0.3], 0.3))
def test_random_heads(name, stall):
    p = CONFIGS[name]
    for seed in range(1 if p.lanes > 16 and not p.lut_ram else 2):  # those are slow to simulate
        mask = [random.Random(k * 7 + seed).random() < 0.7 for k in range(p.max_keys)]
        run(p, random_work(p, seed, mask=mask), mask, stall=stall, seed=seed)


@pytest.mark.parametrize("name", ["tiny", "one group", "two groups"])
def test_keys_that_come_slowly(name):
    """Sums over several lines are kept while the next line is not there."""
    p = CONFIGS[name]
    for seed in range(3):
        work = random_work(p, seed, heads=2)
        run(p, work, stall={"k": 0.9, "o": 0.3, "q": 0.3}, seed=seed)


@pytest.mark.full
@pytest.mark.parametrize("name", CONFIGS)
def test_many_random_heads(name):
    p = CONFIGS[name]
    for seed in range(100, 130):
        mask = [random.Random(k * 7 + seed).random() < 0.7 for k in range(p.max_keys)]
        stall = random.Random(seed).choice((0, 0.2, 0.7, {"k": 0.9}, {"q": 0.9}, {"row": 0.9}))
        run(p, random_work(p, seed, heads=8, mask=mask), mask, stall=stall, seed=seed)


def busy_span(doing):
    """Cycles from the first to the last issue."""
    first = doing.index("busy")
    return len(doing) - doing[::-1].index("busy") - first


SHAPES = {
    "tiny": [(5, 4, 16), (7, 3, 32), (1, 6, 32)],
    "one group": [(3, 5, 48), (1, 4, 80)],
    "two groups": [(9, 3, 80), (7, 7, 16)],
    "four groups": [(9, 6, 96), (8, 4, 48), (13, 5, 80), (11, 7, 16)],
    "eight groups": [(24, 4, 48), (17, 5, 64)],
}


@pytest.mark.parametrize("name", SHAPES)
def test_rows_follow_without_a_gap(name):
    """Heads of different shapes: a line in every cycle, once everything is there."""
    p = CONFIGS[name]
    work, rng = Work(), random.Random(name)
    for keys, queries, head_dim in SHAPES[name]:
        add_head(work, p, rng, keys=keys, queries=queries, head_dim=head_dim)
    _, doing = run(p, work, start=150)
    assert busy_span(doing) == work.cycles


@pytest.mark.parametrize("name", CONFIGS)
def test_latency(name):
    """From the issue of a line that completes a beat to the beat."""
    p = CONFIGS[name]
    head_dim = p.head_dims[-1]
    work = add_head(Work(), p, random.Random(1), keys=2, queries=1, head_dim=head_dim)
    result, doing = run(p, work, start=100)
    lines_of_beat = p.row_lines(min(2, p.groups), head_dim)
    issued = doing.index("busy") + lines_of_beat - 1
    assert result.first("o") - issued == ParallelScorer(params=p).latency


def test_a_row_waits_for_its_keys_only():
    """Work begins while the head's last lines are still to come."""
    p = CONFIGS["four groups"]
    work = add_head(Work(), p, random.Random(1), keys=40, queries=2, head_dim=32)
    _, doing = run(p, work, stall={"k": 0.5}, seed=3)
    first_row = doing[doing.index("busy") :][: p.row_lines(40, 32)]
    assert "wait_key" in first_row


def test_a_row_without_a_key_waits_for_none():
    p = CONFIGS["tiny"]
    work = add_head(Work(), p, random.Random(1), keys=1, queries=2, head_dim=16, hide={0})
    _, doing = run(p, work, stall={"k": 0.9})
    assert "wait_key" in doing[doing.index("busy") :]
    assert "wait_key" not in doing[: doing.index("busy")]


def test_lines_that_arrive_as_others_are_read():
    p = CONFIGS["tiny"]
    for seed in range(8):
        work = add_head(Work(), p, random.Random(seed), keys=1, queries=1, head_dim=16)
        run(p, work, stall={"k": 0.5}, seed=seed)


@pytest.mark.parametrize(
    "stall, cause", [({"q": 0.99}, "wait_query"), ({"o": 0.9}, "wait_output"),
                     ({"row": 0.95}, "wait_row"), ({"k": 0.95}, "wait_key")]
)  # fmt: skip
def test_causes_of_stalls(stall, cause):
    p = CONFIGS["two groups"]
    work = add_head(Work(), p, random.Random(1), keys=10, queries=9, head_dim=32)
    _, doing = run(p, work, stall=stall)
    counts = {name: doing.count(name) for name in STALLS if name != "busy"}
    assert max(counts, key=lambda name: counts[name]) == cause


@dataclass
class HeldWork(Work):
    """Rows of which the query stays, to be read again with other keys."""

    segment: int = 0  # where the next query lies
    uses: list = field(default_factory=list)  # of each held row: its parts, beats until it is done

    def keys(self, p, rng, count, head_dim):
        top = 1 << (p.operand_bits - 1)
        found = [[rng.randrange(-top, top) for _ in range(head_dim)] for _ in range(count)]
        self.k += lines(p, found)
        return found

    def rows(self, p, queries, k, last=True, **fields):
        """Rows of a KV head: (query, its segment, its place in ``uses`` or None)."""
        for number, (query, segment, place) in enumerate(queries):
            self.row.append({"parts": p.parts(len(query)), "keys": len(k), "segment": segment,
                             "last_of_kv": number == len(queries) - 1, **fields})
            for start in range(0, max(len(k), 1), p.groups):
                beat = {lane: sum(a * b for a, b in zip(query, key, strict=True))
                        for lane, key in enumerate(k[start : start + p.groups])}
                self.beats.append((beat, start + p.groups >= len(k)))
            self.cycles += max(1, p.row_lines(len(k), len(query)))
            if place is not None:
                self.uses[place][1] = len(self.beats)

    def first(self, p, rng, head_dim, keys, count, *, held=True):
        """A KV head for the first time; returns its rows."""
        queries, parts, top = [], p.parts(head_dim), 1 << (p.operand_bits - 1)
        for _ in range(count):
            query = [rng.randrange(-top, top) for _ in range(head_dim)]
            self.q += lines(p, [query])
            self.head.append({"parts": parts, "queries": 1})
            queries.append((query, self.segment, len(self.uses) if held else None))
            if held:
                self.uses.append([parts, 0])
            self.segment = (self.segment + parts) % p.held_segments
        self.rows(p, queries, self.keys(p, rng, keys, head_dim), progressive=held)
        return queries

    def again(self, p, rng, queries, keys):
        """Some of those rows with other keys."""
        k = self.keys(p, rng, keys, len(queries[0][0]))
        self.rows(p, queries, k, progressive=1, again=1)


def run_held(p, work, **options):
    """Each query is released when its row is done, in order."""
    bench, done = ScorerBench(p), []

    async def count(ctx):
        async for _, _, moved in ctx.tick().sample(bench.o.valid & bench.o.ready):
            done.extend([1] * moved)

    async def release(ctx):
        for parts, beats in work.uses:
            while len(done) < beats:
                await ctx.tick()
            ctx.set(bench.release, parts)
            await ctx.tick()
            ctx.set(bench.release, 0)

    inputs = {name: getattr(work, name) for name in ("row", "k", "q", "head")}
    result = run_streams(bench, inputs, {"o": len(work.beats), "o_row": len(work.row)},
                         testbenches=[count, release], **options)
    for number, (beat, want) in enumerate(zip(result.outputs["o"], work.beats, strict=True)):
        assert decode(beat, p.groups) == want, f"beat {number}"
    return result


HELD = {name: CORES[name] for name in ("tiny", "one group", "four groups")}


@pytest.mark.parametrize("stall", [0, 0.4, {"q": 0.9}, {"k": 0.8}])
@pytest.mark.parametrize("name", HELD)
def test_queries_that_are_held(name, stall):
    """Rows come again behind those of the next KV head; jobs without such rows are between."""
    p, rng, work = HELD[name], random.Random(f"{name} {stall}"), HeldWork()
    for _ in range(4):
        head_dim, held = rng.choice(p.head_dims), rng.random() < 0.7
        waiting = []
        for _ in range(rng.randint(2, 4)):
            keys, count = rng.choice([1, rng.randint(1, 9)]), rng.randint(1, 3)
            rows = work.first(p, rng, head_dim, keys, count, held=held)
            if waiting:
                work.again(p, rng, *waiting.pop())
            some = rng.sample(rows, rng.randint(0, count))
            if held and some:
                waiting.append((sorted(some, key=rows.index), keys))
        for rows, keys in waiting:
            work.again(p, rng, rows, keys)
    run_held(p, work, stall=stall)


@pytest.mark.parametrize("name", HELD)
def test_held_queries_fill_the_store(name):
    """All segments are held, and read again, from the first to the last; twice."""
    p, rng, work = HELD[name], random.Random(name), HeldWork()
    for head_dim in (p.max_head_dim, 16, p.max_head_dim):
        count = p.held_segments // p.parts(head_dim)
        rows = work.first(p, rng, head_dim, 1, count)
        work.again(p, rng, rows, 2)
    run_held(p, work)


def test_short_heads_fill_the_ring_with_many_heads():
    """One-key heads back to back, and heads as large as the ring."""
    p = small(2, buffer_elements=16 * 2 * 8, max_head_dim=32)  # 16 lines
    work, rng = Work(), random.Random(5)
    for keys, head_dim in ((1, 16), (1, 32), (1, 16), (16, 32), (32, 16), (1, 16), (15, 32)):
        add_head(work, p, rng, keys=keys, queries=2, head_dim=head_dim)
    run(p, work)
    run(p, work, stall=0.4, seed=4)


def test_bad_params():
    with pytest.raises(TypeError, match=r"^Params must be a CoreParams, not None$"):
        ParallelScorer(params=None)


class Thin(CoreParams):
    """Segments of one lane, to keep the proofs small."""

    segment = 1
    max_parts = 4
    head_dims = (1, 2, 3, 4)


class HoldContract(wiring.Component):
    """Beats and rows are held until they are taken, whatever the blocks around do."""

    def __init__(self, dut):
        self.dut = dut
        super().__init__({})

    def elaborate(self, platform):
        m = Module()
        dut = m.submodules.dut = self.dut
        free_inputs(m, dut)
        m.d.comb += Assume(dut.row.p.parts != 0)
        m.submodules += [HoldRule(dut.o), HoldRule(dut.o_row)]
        return m


@pytest.mark.parametrize("lanes", [1, 2])
def test_hold_proof(lanes):
    p = Thin(lanes=lanes, max_head_dim=16, max_keys=3, max_queries=1, operand_bits=8,
             buffer_elements=16, addr_width=32, output_lanes=1)  # fmt: skip
    prove(HoldContract(ParallelScorer(params=p)), depth=11)


class IssueContract(wiring.Component):
    """No line is read that the ring does not hold; releases are those of the lines read; a row
    takes the lines of its keys.
    """

    def __init__(self, params):
        self.params = params
        super().__init__({})

    def elaborate(self, platform):
        m = Module()
        p = self.params
        m.submodules.dut = dut = LineIssuer(params=p)
        m.submodules.ring = ring = Ring(shape=1, depth=p.kv_lines)
        free_inputs(m, dut, but=("ring_end", "append"))
        free_inputs(m, ring, but=("release", "read"))
        m.d.comb += [
            dut.ring_end.eq(ring.end),
            dut.append.eq(ring.append),
            ring.release.eq(dut.release),
            Assume((dut.row.p.parts >= 1) & (dut.row.p.parts <= 4)),
            Assume(dut.row.p.keys <= p.max_keys),
            Assert(dut.issue + dut.wait_row + dut.wait_output + dut.wait_query + dut.wait_key == 1),
        ]
        m.d.comb += [Assert(other == dut.index[0]) for other in dut.index]
        place = dut.index[0]
        offset = Mux(place >= ring.oldest, place - ring.oldest, place + p.kv_lines - ring.oldest)
        with m.If(dut.read):
            m.d.comb += Assert(offset < ring.level)
        read, index = Signal(), Signal.like(place)  # in the cycle before
        m.d.sync += [read.eq(dut.read), index.eq(place)]
        with m.If(dut.release):
            m.d.comb += Assert(read & (index == ring.oldest))
        # lines of the row at hand
        keys, parts, lines = Signal(4), Signal(4), Signal(6)
        rows = dut.row.valid & dut.row.ready
        with m.If(rows & (keys == 0) & (parts == 0)):  # the first row alone
            m.d.sync += [keys.eq(dut.row.p.keys), parts.eq(dut.row.p.parts)]
        done = Signal()
        with m.If(dut.issue & ~done):
            m.d.sync += [lines.eq(lines + 1), done.eq(dut.row_end)]
            segments = Mux(keys == 0, 1, keys * parts)
            m.d.comb += Assert(dut.row_end == ((lines + 1) * p.groups >= segments))
        return m


@pytest.mark.parametrize("lanes", [1, 2, 4])
def test_issue_proof(lanes):
    p = Thin(lanes=lanes, max_head_dim=16, max_keys=3, max_queries=1, operand_bits=8,
             buffer_elements=16 if lanes < 4 else 24, addr_width=32, output_lanes=1)  # fmt: skip
    prove(IssueContract(p), depth=10)


@pytest.mark.parametrize("name", CONFIGS)
def test_latency_formula(name):
    """As docs/reference/blocks/scorer.md has it."""
    p = CONFIGS[name]
    levels = (p.segment - 1).bit_length()
    multiply = 5 + -(-levels // 2) if p.lut_ram else 2 + levels
    join = (min(p.groups, p.max_parts) - 1).bit_length() + (1 if p.groups == 1 else 2)
    assert ParallelScorer(params=p).latency == multiply + join
