# amaranth: UnusedElaboratable=no
"""Order of KV heads whose rows come again: a model of who waits where, with stalls; proof."""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass, field

import pytest
from amaranth.hdl import Assert, Assume, Cover, Module, Mux, Signal
from amaranth.lib import wiring

from attnsieve.hdl.control.planes import PlaneSequencer
from attnsieve.hdl.params import CoreParams
from attnsieve.sim.formal import HoldRule, ProofError, free_inputs, prove
from attnsieve.sim.unit import run_streams
from tests.hdl.stages.plane_rows import CORES, Room, core

#: Least cycles from a row that is sent to its verdict: the stages between need many more.
SOON = 4


@dataclass
class Job:
    """KV heads of a job, each with its region, and a row and a scale for each query head."""

    progressive: bool
    plane: int
    keys: int
    parts: int
    heads: list = field(default_factory=list)  # (region, rows, scales, verdicts)

    @property
    def scales(self):
        return [scale for head in self.heads for scale in head[2]]


def job_of(p, rng, *, progressive=True, groups=None, share=0.5, keys=None, parts=None):
    """A job whose KV heads have so many rows each."""
    keys = rng.choice([0, 1, p.max_keys, rng.randint(1, p.max_keys)]) if keys is None else keys
    parts = parts or p.parts(rng.choice(p.head_dims))
    beats = max(1, -(-keys // p.groups))
    most = min(p.held_beats // beats, p.held_segments // parts, p.max_heads)
    groups = groups or [rng.randint(1, most) for _ in range(rng.randint(1, 4))]
    job = Job(progressive, 32 * rng.randrange(1 << 8), keys, parts)
    for number, count in enumerate(groups):
        region = {"address": 32 * rng.randrange(1 << 12), "lines": rng.randrange(3),
                  "rows": keys, "parts": parts, "wide": rng.randrange(2),
                  "width": rng.randrange(5), "bytes": 8 * rng.randrange(9), "second": 0}
        rows = [{"parts": parts, "keys": keys, "write": rng.getrandbits(1), "last_of_head": 1,
                 "last_of_kv": n == count - 1, "values": rng.randint(0, p.max_keys),
                 "last_of_job": (n, number) == (count - 1, len(groups) - 1), "query": 0}
                for n in range(count)]
        scales = [{"mantissa": rng.randrange(1 << 15, 1 << 16), "shift": rng.randrange(64),
                   "weight": rng.randrange(1 << 10), "head": rng.randrange(p.max_heads)}
                  for _ in range(count)]
        if not progressive:  # more than one row has the last scale
            rows += [dict(row, query=1) for row in rows]
            for row in rows[:-1]:
                row["last_of_kv"] = row["last_of_job"] = 0
        verdicts = [progressive and keys > 0 and rng.random() < share for _ in range(count)]
        job.heads.append((region, rows, scales, verdicts))
    return job


def fields(payload):
    return {name: getattr(payload, name) for name, _ in payload.shape()}


class Stages:
    """What is behind the sequencer: verdicts in the order of rows; rows are held until they are
    final and none before them is held."""

    def __init__(self, p, jobs, *, delay=(SOON, 30), seed=0, patient=False):
        self.p, self.jobs, self.delay = p, jobs, delay
        self.patient = patient  # no verdict before nothing more comes
        self.rng = random.Random(f"stages {seed}")
        self.dut = PlaneSequencer(params=p)
        self.places, self.segments = Room(p.held_beats), Room(p.held_segments)
        self.cycle = 0
        self.held, self.undecided = deque(), deque()
        self.starts, self.scales = [], []  # of groups of rows: cycle, whether they come again
        self.done, self.moved_at = 0, 0
        self.queues = {name: deque() for name in ("region", "scale", "row")}

    async def bench(self, ctx):
        for job in self.jobs:
            ctx.set(self.dut.progressive, job.progressive)
            ctx.set(self.dut.plane, job.plane)
            for region, rows, scales, _ in job.heads:
                self.queues["region"].append(region)
                self.queues["scale"].extend(scales)
                self.queues["row"].extend(rows)
            await self.job(ctx, job)
            self.done += 1

    def feed(self, name, stall):
        """A testbench that offers what is queued."""
        port, queue = getattr(self.dut, name), self.queues[name]
        rate = stall.get(name, 0) if isinstance(stall, dict) else stall
        rng = random.Random(f"{name} {rate}")

        async def bench(ctx):
            offered = False
            while True:
                offered = offered or bool(queue and rng.random() >= rate)
                ctx.set(port.valid, offered)
                if offered:
                    ctx.set(port.payload, queue[0])
                _, _, moved = await ctx.tick().sample(port.valid & port.ready)
                if moved:
                    queue.popleft()
                    offered = False

        return bench

    async def job(self, ctx, job):
        """Model of one job; ends when nothing of it is held."""
        first = deque(job.heads)
        repeats = deque()  # (region, records) of KV heads of which all verdicts are known
        group, again = None, False
        left = sum(len(rows) for _, rows, *_ in job.heads)
        scales = len(self.scales) + len(job.scales)
        dut = self.dut
        signals = (dut.o_row.valid & dut.o_row.ready, dut.o_row.p, dut.again, dut.segments,
                   dut.o_scale.valid & dut.o_scale.ready, dut.o_scale.p)
        quiet = 0
        while left or self.held or group or repeats or len(self.scales) < scales:
            verdict = self.verdict()
            ctx.set(dut.verdict.valid, verdict is not None)
            ctx.set(dut.verdict.payload, bool(verdict and verdict["verdict"]))
            final = bool(self.held) and self.held[0]["final"] <= self.cycle
            ctx.set(dut.release, final and self.rng.random() < 0.8)
            released = ctx.get(dut.release)
            _, _, moved, row, dut_again, segments, scale_moved, scale = await ctx.tick().sample(
                *signals)
            assert segments == (job.parts if released else 0)
            if released:
                self.held.popleft()
                self.places.give()
                self.segments.give()
            if scale_moved:
                self.scales.append(fields(scale))
            if moved:
                row = fields(row)
                if group is None:  # who is next
                    again = bool(row["again"])
                    assert not again or repeats
                    group = deque(repeats.popleft()) if again else deque(self.begin(first))
                    self.starts.append((self.cycle, again))
                record = group.popleft()
                self.check(job, row, record, again, not group)
                if job.progressive:
                    assert scale_moved
                    assert fields(scale) == record["scale"]
                    assert dut_again == again
                left -= not again
                if not group:
                    group = None
            if verdict is not None and self.settle(verdict):
                repeats.append([r for r in verdict["group"] if r["verdict"]])
                if not repeats[-1]:
                    repeats.pop()
            quiet = 0 if moved or verdict or released else quiet + 1
            assert quiet < 400, "the sequencer hangs"
            self.cycle += 1
        for _ in range(3):
            ctx.set(dut.release, 0)
            ctx.set(dut.verdict.valid, 0)
            await ctx.tick()
            self.cycle += 1

    def begin(self, heads):
        """Records of the rows of the next KV head."""
        region, rows, scales, verdicts = heads.popleft()
        scales, verdicts = [[x[n % len(x)] for n in range(len(rows))] for x in (scales, verdicts)]
        records = [{"row": r, "scale": s, "verdict": v, "region": region}
                   for r, s, v in zip(rows, scales, verdicts, strict=True)]
        for number, record in enumerate(records):
            record["group"], record["last"] = records, number == len(records) - 1
        return records

    def check(self, job, row, record, again, last):
        """A row that leaves, against its record."""
        assert bool(row["last_of_kv"]) == last
        assert row["again"] == again
        if not job.progressive:
            segment = self.segments.take(job.parts)
            self.segments.give()  # a store that is read to the end is free
            assert row == dict.fromkeys(row, 0) | record["row"] | {"segment": segment}
            return
        assert row["progressive"]
        assert (row["keys"], row["parts"], row["last_of_head"]) == (job.keys, job.parts, 1)
        if again:
            assert (row["place"], row["segment"]) == (record["place"], record["segment"])
            record["final"] = self.cycle + self.rng.randint(*self.delay)
            return
        # takes room; `Room` sees to it that there is enough
        record["place"] = self.places.take(max(1, -(-job.keys // self.p.groups)))
        record["segment"] = self.segments.take(job.parts)
        for name, value in record["row"].items():
            assert row[name] == value, name
        assert (row["place"], row["segment"]) == (record["place"], record["segment"])
        record["final"] = float("inf")
        record["due"] = self.cycle + self.rng.randint(*self.delay)
        self.held.append(record)
        self.undecided.append(record)
        self.moved_at = self.cycle

    def verdict(self):
        """On the oldest row without one, or none yet."""
        if not self.undecided or self.undecided[0]["due"] > self.cycle:
            return None
        if self.patient and self.cycle < self.moved_at + 60:
            return None
        return self.undecided.popleft()

    def settle(self, record):
        """Whether all verdicts on the rows of a KV head are now known."""
        if not record["verdict"]:
            record["final"] = self.cycle + 2
        return record["last"]


def wanted_regions(jobs, starts):
    """Regions in the order in which groups of rows began."""
    found = []
    order = iter(starts)
    for job in jobs:
        first = deque(job.heads)
        repeats = deque(region for region, _, _, verdicts in job.heads if any(verdicts))
        for _ in range(len(first) + len(repeats)):
            _, again = next(order)
            if again:
                region = repeats.popleft()
                address = region["address"] + job.plane
                found.append({"address": address, "width": 0, "second": 1,
                              "rows": job.keys, "parts": job.parts})
            else:
                found.append(first.popleft()[0])
    assert next(order, None) is None
    return found


def run(p, jobs, *, stall=0.0, seed=0, **options):
    """Jobs through the sequencer, one after the other, each when all of the last one is done."""
    stages = Stages(p, jobs, seed=seed, **options)
    heads = [head for job in jobs for head in job.heads]
    rows, scales = (sum(len(h[n]) for h in heads) for n in (1, 2))
    again = sum(sum(h[3]) for h in heads)
    groups = len(heads) + sum(any(h[3]) for h in heads)
    feeds = [stages.feed(name, stall) for name in stages.queues]
    result = run_streams(
        stages.dut, {}, {"o_region": groups, "o_scale": scales + again, "o_row": rows + again},
        stall=stall, seed=seed, testbenches=[stages.bench, *feeds], max_cycles=20000, settle=80)
    got = [fields(r) for r in result.outputs["o_region"]]
    for one, other in zip(got, wanted_regions(jobs, stages.starts), strict=True):
        assert {n: one[n] for n in other} == other
    assert stages.done == len(jobs)
    for job in jobs:
        if not job.progressive:
            assert any(stages.scales[n:][: len(job.scales)] == job.scales
                       for n in range(len(stages.scales)))
    return stages, result


@pytest.mark.parametrize("stall", [0.0, 0.5, {"o_row": 0.8}, {"o_region": 0.9}, {"o_scale": 0.8},
                                   {"row": 0.8}, {"scale": 0.8}, {"region": 0.9}])
@pytest.mark.parametrize("size", CORES)
def test_random_jobs(size, stall):
    """Jobs that are progressive, and others between them."""
    p, rng = CORES[size], random.Random(f"{size} {stall}")
    jobs = [job_of(p, rng, progressive=rng.random() < 0.7, share=rng.choice([0, 0.3, 0.7, 1]))
            for _ in range(5)]
    run(p, jobs, stall=stall, seed=size, delay=rng.choice([(SOON, SOON), (SOON, 40)]))


@pytest.mark.parametrize("stall", [0.0, 0.5])
@pytest.mark.parametrize("share", [0, 1])
@pytest.mark.parametrize("size", CORES)
def test_all_or_none_come_again(size, share, stall):
    p, rng = CORES[size], random.Random(f"{size} {share}")
    job = job_of(p, rng, groups=[1] * 6 if p.max_heads > 1 else [1], share=share, keys=p.max_keys)
    stages, _ = run(p, [job], stall=stall)
    assert [again for _, again in stages.starts].count(True) == share * len(job.heads)


@pytest.mark.parametrize("size", CORES)
def test_rows_without_a_key_need_a_beat(size):
    p, rng = CORES[size], random.Random(2)
    run(p, [job_of(p, rng, keys=0) for _ in range(3)])


@pytest.mark.parametrize("parts", [1, None])
@pytest.mark.parametrize("size", ["tiny", "one group", "four groups"])
def test_room_is_just_enough(size, parts):
    """Every KV head takes all beats that there are; or all segments, with a key that is short.

    A head starts only once all rows before it are gone; the random models above have more room.
    """
    p, rng = CORES[size], random.Random(3)
    if parts:
        count, keys, of = 4, p.max_keys, p.parts(16)
    else:
        of = p.max_parts
        count, keys = min(p.held_segments // of, p.max_heads), 1
        if count * of < p.held_segments and p.max_heads < 8:
            count = p.max_heads
    jobs = [job_of(p, rng, groups=[count] * 3, keys=keys, parts=of, share=0.5)]
    run(p, jobs, patient=True)
    run(p, jobs, delay=(SOON, 20), stall=0.3)


def test_repeats_go_first():
    """While room is short, KV heads that are known to come again go before the next ones."""
    p, rng = CORES["one group"], random.Random(4)
    job = job_of(p, rng, groups=[2] * 8, keys=p.max_keys, share=1)
    stages, _ = run(p, [job], patient=True)
    # two heads fill the room; both come again before a third one comes
    assert [again for _, again in stages.starts] == [False, False, True, True] * 4


def test_one_row_or_many():
    p, rng = CORES["tiny"], random.Random(5)
    run(p, [job_of(p, rng, groups=groups, keys=5, parts=4, share=0.6)
            for groups in ([1, 1, 1, 1], [8, 1, 7], [p.max_heads // 2] * 2, [1])])


def test_latency_and_pace():
    """From a KV head's last row to its region; its rows come one per cycle, the next head's two
    cycles later."""
    p, rng = CORES["four groups"], random.Random(6)
    job = job_of(p, rng, groups=[3, 3], keys=1, parts=1, share=0)
    inputs = {"region": [head[0] for head in job.heads], "scale": job.scales,
              "row": [row for head in job.heads for row in head[1]]}
    result = run_streams(PlaneSequencer(params=p), inputs,
                         {"o_region": 2, "o_row": 6, "o_scale": 6}, constants={"progressive": 1})
    assert result.first("o_region") - result.times["row"][2] == PlaneSequencer.latency
    assert result.first("o_row") == result.first("o_region")
    times = result.times["o_row"]
    assert [b - a for a, b in zip(times, times[1:], strict=False)] == [1, 1, 3, 1, 1]


def test_parameters_are_checked():
    with pytest.raises(ValueError, match=r"^Params must be of a core with progressive$"):
        PlaneSequencer(params=CoreParams())
    with pytest.raises(TypeError, match=r"^Params must be a CoreParams, not 'x'$"):
        PlaneSequencer(params="x")


class Proof(wiring.Component):
    """Rows are in the order of regions; rows that wait have room; each comes again at most once,
    and only after its verdict.

    KV heads have one row or two, of one key. Verdicts come in order, `SOON` cycles after their
    rows or later; rows are released after them, in order.

    Parameters
    ----------
    less : int
        Beats by which the claim about room is wrong; 0 to prove it.
    """

    def __init__(self, *, less=0):
        self.less = less
        super().__init__({})

    def elaborate(self, platform):
        m = Module()
        p = core(max_head_dim=16, max_keys=1, max_heads=2)
        dut = m.submodules.dut = PlaneSequencer(params=p)
        free_inputs(m, dut, but=("progressive", "plane", "region.payload", "scale.payload"))
        m.submodules += [HoldRule(s) for s in (dut.o_region, dut.o_scale)]
        row, out, verdict = dut.row.p, dut.o_row.p, dut.verdict
        m.d.comb += [dut.progressive.eq(1), dut.plane.eq(64)]
        m.d.comb += [Assume(row.keys == 1), Assume(row.parts == 1)]
        rows = Signal(2)  # of the KV head at hand
        with m.If(dut.row.valid & dut.row.ready):
            m.d.sync += rows.eq(Mux(row.last_of_kv, 0, rows + 1))
        m.d.comb += Assume(row.last_of_kv | (rows == 0))
        moved = dut.o_row.valid & dut.o_row.ready
        first, again = moved & ~out.again, moved & out.again
        sent, old = Signal(4), first  # rows that came first `SOON` cycles ago
        for n in range(SOON):
            later = Signal(name=f"old{n}")
            m.d.sync += later.eq(old)
            old = later
        started, judged, true, repeated, released = (
            Signal(4, name=name) for name in ("started", "judged", "true", "repeated", "released"))
        waits = Signal(4)  # rows that must come again and have not
        m.d.comb += [
            Assume(~verdict.valid | (judged != sent)),
            Assume(~dut.release | ((released != judged) & (waits == 0))),
            waits.eq(true - repeated),
        ]
        m.d.sync += [
            sent.eq(sent + old),
            started.eq(started + first),
            judged.eq(judged + verdict.valid),
            true.eq(true + (verdict.valid & verdict.payload)),
            repeated.eq(repeated + again),
            released.eq(released + dut.release),
        ]
        regions, groups = Signal(4), Signal(4)
        m.d.sync += [
            regions.eq(regions + (dut.o_region.valid & dut.o_region.ready)),
            groups.eq(groups + (moved & out.last_of_kv)),
        ]
        held = Signal(4)
        m.d.comb += [
            held.eq(started - released),
            Assert(held + self.less <= p.held_beats),
            Assert(dut.o_row.valid == dut.o_scale.valid),
            Assert(~again | (waits != 0)),
            Assert(~moved | out.progressive),
            Cover(again & out.last_of_kv & (repeated == 1) & (held == 4)),
        ]
        kind, inside = Signal(), Signal()  # rows of a KV head are all of one kind
        with m.If(moved):
            m.d.comb += Assert(~inside | (out.again == kind))
            m.d.sync += [kind.eq(out.again), inside.eq(~out.last_of_kv)]
        with m.If(dut.o_region.valid & (regions == groups) & inside):
            m.d.comb += Assert(dut.o_region.p.second == kind)
        return m


def test_proof():
    prove(Proof(), depth=14, name="plane sequencer")


def test_everything_is_reached():
    prove(Proof(), depth=26, mode="cover", name="plane sequencer")


def test_a_wrong_claim_is_refuted():
    with pytest.raises(ProofError):
        prove(Proof(less=3), depth=14, name="plane sequencer")
