# amaranth: UnusedElaboratable=no
"""The bit-serial scorer with its query store: every row's scores, in order, and busy units."""

import random
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import pytest
from amaranth.hdl import Module, Signal, signed
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out

from attnsieve.hdl.layouts import line_layout, row_beat_layout, row_layout
from attnsieve.hdl.lib.connect import connect
from attnsieve.hdl.params import CoreParams
from attnsieve.hdl.slices.bit_serial_scorer import BitSerialScorer
from attnsieve.hdl.slices.exit_tally import exit_tally_layout
from attnsieve.hdl.slices.key_cutter import key_head_layout
from attnsieve.hdl.stages.query_store import QueryStore, query_head_layout
from attnsieve.sim.golden.bit_serial import BitSerial, bit_serial
from attnsieve.sim.golden.row_relative import keys_at_once, parts, row_relative
from attnsieve.sim.unit import run_streams
from tests.variants import mostly_full

#: Ports of keys that lie in planes.
PLANAR = ("plane_head", "ask", "word")
STALLS = ("busy", "wait_row", "wait_output", "wait_query", "wait_key")


def core(groups=1, **changes):
    """A core with segments of 16 lanes, two units and small buffers."""
    values = {"lanes": 16 * groups, "max_head_dim": 32, "max_keys": 64, "max_queries": 64,
              "buffer_elements": 16 * groups * 160, "output_lanes": 1, "channels": 1,
              "data_width": 128, "outstanding_beats": 16, "slice_units": 2}  # fmt: skip
    return CoreParams(**(values | changes))


CORES = {
    "one-unit": core(slice_units=1),
    "two-units": core(slice_rows=4),
    "four-groups": core(4, slice_units=6, max_head_dim=64),
    "three-units": core(2, slice_units=3, slice_bits=1, max_head_dim=48),
    "eight-units": core(4, slice_units=8, slice_bits=4, slice_rows=2),
    "static": core(2, slice_units=3, slice_dealing="static"),
    "8-bit": core(2, slice_units=5, operand_bits=8),
    "long-keys": core(1, max_head_dim=128, max_keys=20),
    "signs": core(4, slice_units=6, max_head_dim=64, slice_words="sign_magnitude"),
    "sign-bits": core(2, slice_units=3, slice_bits=1, slice_words="sign_magnitude"),
    "8-bit-signs": core(1, operand_bits=8, slice_bits=4, slice_words="sign_magnitude"),
}


#: Of these the cores whose random rows are in every run.
OFTEN = ("one-unit", "two-units", "four-groups", "three-units", "static", "sign-bits")


class ScorerBench(wiring.Component):
    """Scorer and query store, and a mask that is a constant list of bits."""

    def __init__(self, params, mask=()):
        self.params, self.mask = p, _ = params, mask
        self.dut = BitSerialScorer(params=p)
        super().__init__(
            {
                "row": In(stream.Signature(row_layout(p))),
                "threshold": In(stream.Signature(signed(p.score_bits))),
                "k": In(stream.Signature(line_layout(p))),
                "q": In(stream.Signature(line_layout(p))),
                "q_head": In(stream.Signature(query_head_layout(p))),
                "k_head": In(stream.Signature(key_head_layout(p))),
                "o": Out(stream.Signature(row_beat_layout(p))),
                "o_row": Out(stream.Signature(row_layout(p))),
                "tally": Out(stream.Signature(exit_tally_layout(p))),
                **{name: Out(1) for name in STALLS},
                **{name: member for name, member in self.dut.signature.members.items()
                   if name in PLANAR},
            }
        )  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        p = self.params
        m.submodules.store = store = QueryStore(params=p)
        m.submodules.dut = dut = self.dut
        words = [
            sum(
                bool(self.mask[beat * p.groups + lane]) << lane
                for lane in range(p.groups)
                if beat * p.groups + lane < len(self.mask)
            )
            for beat in range(p.max_beats)
        ]
        m.submodules.mask = mask = memory.Memory(shape=p.groups, depth=p.max_beats, init=words)
        port, used = mask.read_port(), Signal()
        with m.If(dut.mask.en):
            m.d.sync += used.eq(dut.mask.used)
        for source, sink in (
            (self.q, store.i), (self.q_head, store.head), (self.k_head, dut.head),
            (self.row, dut.row), (self.threshold, dut.threshold), (dut.o, self.o),
            (dut.o_row, self.o_row), (dut.tally, self.tally),
        ):  # fmt: skip
            connect(m, source, sink)
        if p.slice_demand:
            connect(m, self.plane_head, dut.plane_head)
            connect(m, dut.ask, self.ask)
            connect(m, self.word, dut.word)
        wiring.connect(m, dut.query, store.read)
        m.d.comb += [
            self.k.ready.eq(dut.key_space != 0),
            dut.key.valid.eq(self.k.valid & self.k.ready),
            dut.key.p.eq(self.k.p),
            port.addr.eq(dut.mask.beat),
            port.en.eq(dut.mask.en),
            dut.mask.data.eq(port.data | (~used).replicate(p.groups)),
            *(getattr(self, name).eq(getattr(dut, name)) for name in STALLS),
        ]
        return m


@dataclass
class Work:
    """What goes in, and the beats that must come out: scores by lane, maximum, last flag."""

    row: list = field(default_factory=list)
    threshold: list = field(default_factory=list)
    k: list = field(default_factory=list)
    q: list = field(default_factory=list)
    k_head: list = field(default_factory=list)
    q_head: list = field(default_factory=list)
    beats: list = field(default_factory=list)
    jobs: list = field(default_factory=list)  # keys by the slices that were read, of each
    slices: int = 0
    plane_head: list = field(default_factory=list)
    planes: object = None  # memory that has planes, for those heads
    open: object = None  # of the job that is not over


def lines(p, rows):
    """Rows back to back in lines; what is left of the last line is not zero."""
    flat = [int(x) for x in rows.ravel()]
    flat += [-1] * (-len(flat) % p.lanes)
    return [flat[n : n + p.lanes] for n in range(0, len(flat), p.lanes)]


def judge(p, query, k, threshold, bits, *, seen, relative, pins):
    """What becomes of a row's keys: which are kept, scores, slices read."""
    first, newest, own = pins
    place = np.arange(len(k))
    pinned = (place < first) | (place >= len(k) - newest) | (place == own)
    judge = partial(bit_serial, query[None], k, pinned=pinned, word_bits=bits,
                    slice_bits=p.slice_bits,
                    sign_magnitude=p.slice_words == "sign_magnitude")  # fmt: skip
    if relative and len(k):
        part = parts(np.array([len(k)]), len(k), keys_at_once(p))
        found = row_relative(judge, max(threshold, 0), seen=seen[None], part=part).found
    else:
        found = judge(threshold)
    return BitSerial(*(x[0] for x in found))


def add_head(work, p, rng, *, keys, queries, head_dim, group=1, causal=False, mask=None, hide=(),
             keep=0.3, bits=None, end=True, relative=False, pins=(0, 0, -1)):  # fmt: skip
    """A KV head with ``group`` query heads, whose thresholds keep a share of the scores; with
    ``keep`` a number, all at or above it. With ``end`` its job is over."""
    planar = work.planes is not None
    bits = bits or p.operand_bits
    top = 1 << bits - 1

    def draw(rows):
        some = rng.integers(-top, top, (rows, head_dim))
        return np.where(rng.random(some.shape) < 0.3, some, some >> 3)

    if work.open is None:
        work.open = np.zeros(-(-p.operand_bits // p.slice_bits) + 1, int)
    exits = work.open
    k = draw(keys)
    wide = bits == 12
    parts, needed = p.parts(head_dim), np.zeros(keys, int)  # slices of each key
    if planar:
        work.plane_head.append(work.planes.place(k, bits))
    else:
        work.k += lines(p, k)
        work.k_head.append({"parts": parts, "keys": keys, "wide": wide})
    for member in range(group):
        q = draw(queries)
        scores = q @ k.T
        if relative:
            scores = scores - scores.max(axis=1, keepdims=True)
        threshold = int(np.quantile(scores, 1 - keep)) if 0 <= keep <= 1 else keep
        threshold = -threshold if relative else threshold
        work.threshold.append(threshold)
        work.q += lines(p, q)
        work.q_head.append({"parts": parts, "queries": queries})
        for number, query in enumerate(q):
            last = member == group - 1 and number == queries - 1
            visible = number + keys - queries + 1 if causal else keys
            if number in hide and not last:
                visible = 0
            work.row.append(
                {"parts": parts, "keys": visible, "last_of_kv": last, "last_of_job": last and end,
                 "last_of_head": number == queries - 1, "wide": wide,
                 "key_mask": mask is not None, "write": number not in hide, "relative": relative,
                 "pin_first": pins[0], "pin_newest": pins[1], "own": pins[2] % (1 << p.key_bits),
                 **({"planar": planar} if p.slice_demand else {})}
            )  # fmt: skip
            seen = np.array([mask is None or mask[key] for key in range(visible)], bool)
            seen &= number not in hide
            found = judge(p, query, k[:visible], threshold, bits, seen=seen, relative=relative,
                          pins=pins)  # fmt: skip
            work.slices += int(found.slices[seen].sum())
            needed[:visible] = np.maximum(needed[:visible], np.where(seen, found.slices, 0))
            exits += np.bincount(found.slices[seen], minlength=len(exits))[: len(exits)]
            if last and end:
                work.jobs.append(exits[1:].tolist())
                work.open = np.zeros_like(exits)
            kept = found.kept & seen
            for start in range(0, max(visible, 1), p.groups):
                here = range(start, min(start + p.groups, visible))
                beat = {key - start: int(found.score[key]) for key in here if kept[key]}
                most = int(found.score[kept].max()) if kept.any() else None
                work.beats.append((beat, most, start + p.groups >= visible))
    if planar:
        work.planes.needs(needed)


def random_work(p, seed, heads=4, mask=None, **options):
    rng = np.random.default_rng(seed)
    work = Work()
    for number in range(heads):
        if number % 2 == heads % 2:  # a job has heads of one width
            bits = 12 if p.operand_bits == 12 and rng.random() < 0.7 else 8
        head_dim = int(rng.choice(p.head_dims))
        most = min(p.max_keys, 2 * p.buffer_elements // p.max_head_dim)
        keys = int(rng.choice((1, 2, rng.integers(1, most), rng.integers(1, 10))))
        causal = rng.random() < 0.4
        queries = int(rng.integers(1, min(6, keys) + 1 if causal else 7))
        add_head(
            work, p, rng, keys=keys, queries=queries, head_dim=head_dim,
            group=int(rng.choice((1, 1, 3))), causal=causal,
            mask=mask if rng.random() < 0.5 else None,
            hide=rng.choice(6, 2, replace=False), end=number % 2 != heads % 2, bits=bits,
            relative=rng.random() < 0.5,
            pins=(int(rng.choice((0, 0, 1, 4))), int(rng.choice((0, 0, 1, 4))),
                  int(rng.choice((-1, keys // 2)))),
            **({"keep": rng.choice((0.0, 0.1, 0.5, 1.0))} | options),
        )  # fmt: skip
    return work


def decode(beat, groups):
    lanes = {n: beat.score[n] for n in range(groups) if beat.valid >> n & 1}
    return lanes, beat.maximum, bool(beat.last)


def run(p, work, mask=(), testbenches=(), **options):
    """Run and compare. Returns the result of the streams, and what is done in every cycle."""
    bench = ScorerBench(p, mask)
    reads = []

    async def watch(ctx):
        ports = [getattr(bench, name) for name in STALLS]
        async for _, _, *bits in ctx.tick("sync").sample(*ports):
            assert sum(bits) == 1
            reads.append(STALLS[bits.index(1)])

    names = ("row", "threshold", "k", "q", "k_head", "q_head")
    names += ("plane_head",) if p.slice_demand else ()
    result = run_streams(
        bench,
        {name: getattr(work, name) for name in names},
        {"o": len(work.beats), "o_row": len(work.row), "tally": len(work.jobs)},
        testbenches=[watch, *(partial(more, bench) for more in testbenches)],
        **options,
    )
    for number, (got, want) in enumerate(zip(result.outputs["o"], work.beats, strict=True)):
        lanes, most, last = decode(got, p.groups)
        assert (lanes, last) == (want[0], want[2]), number
        assert want[1] is None or most == want[1], number
    for got, want in zip(result.outputs["o_row"], work.row, strict=True):
        assert all(got[name] == value for name, value in want.items())
    for got, want in zip(result.outputs["tally"], work.jobs, strict=True):
        assert [got[f"exits_{n}"] for n in range(1, len(want) + 1)] == want
    return result, reads


@pytest.mark.parametrize("stall, seed", [(0.0, 1), (0.4, 5)])  # jobs of 12 bits; and of 8
@pytest.mark.parametrize("name", mostly_full(CORES, *OFTEN))
def test_random_rows(name, stall, seed):
    p = CORES[name]
    mask = [random.Random(key).random() < 0.6 for key in range(p.max_keys)]
    run(p, random_work(p, seed, mask=mask), mask, stall=stall)


@pytest.mark.parametrize("keep", [-(1 << 40), 0.0, 1 << 40], ids=["all", "one", "none"])
def test_thresholds_at_the_ends(keep):
    p = CORES["four-groups"]
    work, end = Work(), 1 << p.score_bits - 1
    add_head(work, p, np.random.default_rng(2), keys=40, queries=5, head_dim=64,
             keep=min(max(keep, -end), end - 1) if keep else 0.001)  # fmt: skip
    run(p, work)


@pytest.mark.parametrize("relative", [False, True], ids=["absolute", "relative"])
@pytest.mark.parametrize("words", ["twos_complement", "sign_magnitude"])
def test_units_are_busy(words, relative):
    """Nearly all units read in nearly all cycles, from row to row and from head to head. The last
    rows of parts take longer to end, whatever the number of rows."""
    p = core(4, slice_units=6, max_head_dim=16, max_keys=128, buffer_elements=64 * 160,
             slice_words=words)  # fmt: skip
    rng, work = np.random.default_rng(3), Work()
    for number in range(3):
        add_head(work, p, rng, keys=100, queries=24 if relative else 12,
                 head_dim=16, end=number == 2,
                 relative=relative)  # fmt: skip
    result, doing = run(p, work)
    first = doing.index("busy")
    last = len(doing) - doing[::-1].index("busy")
    assert work.slices / p.slice_units / (last - first) > 0.93
    assert result.cycles - last < 150
