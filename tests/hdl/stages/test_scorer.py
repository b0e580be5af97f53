# amaranth: UnusedElaboratable=no
"""The scorer with K ring and query store against plain sums, and its cycles."""

import random
from dataclasses import dataclass, field

import pytest
from amaranth.hdl import Module, Signal
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out

from attnsieve.hdl.layouts import line_layout, row_layout, score_beat_layout
from attnsieve.hdl.lib.connect import connect
from attnsieve.hdl.lib.ring import Ring
from attnsieve.hdl.params import CoreParams
from attnsieve.hdl.stages.query_store import QueryStore, query_head_layout
from attnsieve.hdl.stages.scorer import ParallelScorer
from attnsieve.sim.unit import run_streams

TINY = CoreParams(
    lanes=4, max_head_dim=32, max_keys=64, max_queries=64, max_heads=16, buffer_elements=1536,
    output_lanes=1, channels=1, data_width=32, lut_ram=False,
)  # fmt: skip
STALLS = ("busy", "wait_row", "wait_output", "wait_query", "wait_key")


def small(groups, **changes):
    """A core with segments of 16 lanes and small buffers."""
    values = {"lanes": 16 * groups, "max_head_dim": 128, "max_keys": 64, "max_queries": 64,
              "buffer_elements": 16 * groups * 96, "output_lanes": 1}  # fmt: skip
    return CoreParams(**(values | changes))


class ScorerBench(wiring.Component):
    """The three blocks, and a mask that is a constant list of bits."""

    def __init__(self, params, mask=()):
        self.params = p = params
        self.mask = mask
        super().__init__(
            {
                "row": In(stream.Signature(row_layout(p))),
                "k": In(stream.Signature(line_layout(p))),
                "q": In(stream.Signature(line_layout(p))),
                "head": In(stream.Signature(query_head_layout(p))),
                "o": Out(stream.Signature(score_beat_layout(p))),
                "o_row": Out(stream.Signature(row_layout(p))),
                "level": Out(range(p.kv_lines + 1)),
                **{name: Out(1) for name in STALLS},
            }
        )

    def elaborate(self, platform):
        m = Module()
        p = self.params
        m.submodules.ring = ring = Ring(shape=line_layout(p), depth=p.kv_lines)
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
        with m.If(scorer.mask_en):
            m.d.sync += used.eq(scorer.mask_used)
        connect(m, self.row, scorer.row)
        connect(m, self.k, ring.i)
        connect(m, self.q, store.i)
        connect(m, self.head, store.head)
        connect(m, scorer.o, self.o)
        connect(m, scorer.o_row, self.o_row)
        wiring.connect(m, scorer.key, ring.read[0])
        wiring.connect(m, scorer.query, store.read)
        m.d.comb += [
            scorer.key_level.eq(ring.level),
            scorer.key_oldest.eq(ring.oldest),
            scorer.key_append.eq(ring.append),
            ring.release.eq(scorer.key_release),
            port.addr.eq(scorer.mask_beat),
            port.en.eq(scorer.mask_en),
            scorer.mask_data.eq(port.data | (~used).replicate(p.groups)),
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
                 "key_mask": mask is not None, "o_address": len(work.row), "write": 1}
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
            work, p, rng, keys=keys, queries=queries, head_dim=head_dim, group=rng.choice((1, 1, 3)),
            causal=causal, mask=mask if rng.random() < 0.5 else None, hide=rng.sample(range(6), 2),
        )  # fmt: skip
    return work


CONFIGS = {
    "tiny": TINY,
    "one group": small(1),
    "two groups": small(2),
    "four groups": small(4, max_head_dim=96),
    "eight groups, no lut ram": small(8, max_head_dim=64, lut_ram=False),
    "8 bit": small(4, operand_bits=8, max_head_dim=48),
    "one lane": CoreParams(
        lanes=1, max_head_dim=16, max_keys=5, buffer_elements=40, output_lanes=1, lut_ram=False
    ),
}


def run(p, work, mask=(), **options):
    """Run and compare; the result has the cycles."""
    sums = dict.fromkeys(STALLS, 0)
    bench = ScorerBench(p, mask)

    async def count(ctx):
        ports = [getattr(bench, name) for name in STALLS]
        async for _, _, *bits in ctx.tick("sync").sample(*ports):
            assert sum(bits) == 1
            for name, bit in zip(STALLS, bits, strict=True):
                sums[name] += bit

    result = run_streams(
        bench,
        {name: getattr(work, name) for name in ("row", "k", "q", "head")},
        {"o": len(work.beats), "o_row": len(work.row)},
        testbenches=[count],
        **options,
    )
    for number, (beat, want) in enumerate(zip(result.outputs["o"], work.beats, strict=True)):
        assert decode(beat, p.groups) == want, f"beat {number}"
    assert [r.o_address for r in result.outputs["o_row"]] == list(range(len(work.row)))
    assert sums["busy"] == work.cycles
    return result


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("stall", [0, 0.3])
def test_random_heads(name, stall):
    p = CONFIGS[name]
    for seed in range(3):
        mask = [random.Random(k * 7 + seed).random() < 0.7 for k in range(p.max_keys)]
        run(p, random_work(p, seed, mask=mask), mask, stall=stall, seed=seed)
