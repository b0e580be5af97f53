# amaranth: UnusedElaboratable=no
"""Which rows come again: verdicts, order, what is told of rows, with stalls; cycles; proof."""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass

import pytest
from amaranth.asserts import AnyConst
from amaranth.hdl import Assert, Assume, Cover, Module, Signal
from amaranth.lib import wiring

from attnsieve.hdl.params import CoreParams
from attnsieve.hdl.stages.precision_gate import PrecisionGate
from attnsieve.sim.formal import HoldRule, ProofError, free_inputs, prove
from attnsieve.sim.unit import simulate

from .plane_rows import CORES, Room, core

#: Rows of which the statistics may still be on their way.
PASSES = 32


@dataclass
class Row:
    """A row: beats and statistics of its first time and, if it comes again, of the second."""

    progressive: bool
    segments: int
    times: list  # (beats, statistics), one or two
    place: int = 0
    segment: int = 0


def needs_all_bits(statistics, threshold):
    """Whether the largest probability, UQ0.16, is less than the threshold."""
    return not statistics["empty"] and (
        statistics["mantissa"] >> statistics["exponent"] < threshold
    )


def random_beats(p, rng, count):
    def term():
        return {"mantissa": rng.randrange(1 << p.mantissa_bits),
                "exponent_class": rng.randrange(p.max_class + 1)}  # fmt: skip

    return [{"term": [term() for _ in range(p.groups)], "last": n == count - 1}
            for n in range(count)]


def random_statistics(p, rng, threshold, flat):
    """Of a row that is (not) flat, often by a hair; now and then of one without a key."""
    if not flat and rng.random() < 0.15:
        return {"mantissa": 0, "exponent": 0, "empty": 1}
    if not 1 <= threshold <= 1 << 16:
        flat = False
    least = {e: max(1 << 15, threshold << e) for e in range(p.max_keys.bit_length())}
    while True:
        e = rng.choice(list(least))
        if flat:
            most = min((threshold << e) - 1, 1 << 16)
            m = rng.choice([most, rng.randint(1 << 15, max(1 << 15, most))])
        else:
            m = rng.choice([least[e], rng.randint(min(least[e], 1 << 16), 1 << 16)])
        if 1 << 15 <= m <= 1 << 16 and (m >> e < threshold) == flat:
            return {"mantissa": m, "exponent": e, "empty": 0}
        if flat and not any((1 << 15) >> e < threshold for e in least):
            flat = False  # no row of this core can be


def row_of(p, rng, threshold, *, beats=None, again=False, progressive=True):
    few = rng.randint(1, min(5, p.max_beats))
    beats = beats or rng.choice([1, few, rng.randint(1, p.max_beats)])
    first = random_statistics(p, rng, threshold, again)
    times = [(random_beats(p, rng, beats), first)]
    if progressive and needs_all_bits(first, threshold):
        # never a third time, however flat it still is
        times.append((random_beats(p, rng, beats),
                      random_statistics(p, rng, threshold, rng.random() < 0.5)))
    return Row(progressive, rng.choice([1, p.max_parts]), times)


def job_of(p, rng, count, threshold, share):
    """Rows of which a share comes again; none does without a threshold."""
    return threshold, [
        row_of(p, rng, threshold, again=rng.random() < share, progressive=threshold != 0)
        for _ in range(count)
    ]


class Driver:
    """The stages around the gate: they send each row, its statistics later, those that come again
    once more, in any order that the room allows."""

    def __init__(self, p, jobs, *, seed=0, pause=0.0, stall=0.0, lag=(3, 9), eager=0.5):
        self.p, self.jobs, self.rng = p, jobs, random.Random(f"gate {seed}")
        self.pause, self.stall, self.lag, self.eager = pause, stall, lag, eager
        self.dut = PrecisionGate(params=p)
        self.cycle, self.statistics_cycles, self.verdict_cycles = 0, [], []
        self.out_cycles, self.in_cycles, self.released = [], [], 0
        self.got_beats, self.got_statistics, self.verdicts, self.repeats = [], [], [], 0
        self.beats_room, self.segments_room = Room(p.held_beats), Room(p.held_segments)
        self.begun = 0  # rows of which a beat has left
        self.held, self.judged = 0, deque()  # rows that hold room; rows that wait for verdicts
        self.again, self.passes = deque(), deque()  # to come again; (due cycle, statistics)

    def next_row(self, waiting):
        """(row, whether it comes again) to send now, or None."""
        row = waiting[0] if waiting else None
        fits = row is not None and (not row.progressive or (
            len(row.times[0][0]) <= self.beats_room.free
            and row.segments <= self.segments_room.free))
        if self.again and (not fits or self.rng.random() < self.eager):
            number = self.rng.randrange(len(self.again)) if self.eager < 1 else 0
            self.again.rotate(-number)
            return self.again.popleft(), True
        if not fits:
            return None
        if row.progressive:
            row.place = self.beats_room.take(len(row.times[0][0]))
            row.segment = self.segments_room.take(row.segments)
            self.held += 1
        return waiting.popleft(), False

    async def bench(self, ctx):
        for threshold, rows in self.jobs:
            ctx.set(self.dut.threshold, threshold)
            await self.job(ctx, deque(rows), len(rows))

    async def job(self, ctx, waiting, count):
        """Until all that belongs to the job has left."""
        dut, rng = self.dut, self.rng
        end_beats = len(self.got_beats) + sum(len(r.times[-1][0]) for r in waiting)
        end_rows = len(self.got_statistics) + count
        current, number, offered, statistics_offered = None, 0, False, False
        held_o = held_s = None
        idle = 0
        while len(self.got_beats) < end_beats or len(self.got_statistics) < end_rows or self.held:
            if current is None:
                current, number = self.next_row(waiting), 0
            if current is not None and not offered:
                offered = rng.random() >= self.pause
            ctx.set(dut.i.valid, offered)
            ctx.set(dut.row.valid, current is not None)
            if current is not None:
                row, again = current
                ctx.set(dut.row.p, {"progressive": row.progressive, "again": again,
                                    "place": row.place, "segment": row.segment})
                if offered:
                    ctx.set(dut.i.p, row.times[again][0][number])
            due = self.passes and self.passes[0][0] <= self.cycle
            statistics_offered = statistics_offered or bool(due and rng.random() >= self.pause)
            ctx.set(dut.statistics.valid, statistics_offered)
            if statistics_offered:
                ctx.set(dut.statistics.p, self.passes[0][1])
            ctx.set(dut.o.ready, rng.random() >= self.stall)
            ctx.set(dut.o_statistics.ready, rng.random() >= self.stall)
            o, s = dut.o, dut.o_statistics
            (_, _, moved, row_moved, told, o_valid, o_ready, o_p, s_valid, s_ready, s_p,
             verdict, again_now, verdict_bit, release, level) = await ctx.tick().sample(
                dut.i.valid & dut.i.ready, dut.row.ready & dut.row.valid,
                dut.statistics.valid & dut.statistics.ready, o.valid, o.ready, o.p, s.valid,
                s.ready, s.p, dut.verdict.valid, dut.again, dut.verdict.payload, dut.release,
                dut.leaving.level)
            assert held_o is None or (o_valid and o_p == held_o)
            assert held_s is None or (s_valid and s_p == held_s)
            held_o, held_s = o_p if o_valid and not o_ready else None, (
                s_p if s_valid and not s_ready else None)
            if offered and current[0].progressive and len(self.passes) < PASSES - 1:
                assert moved, "a progressive row waits"
            if o_valid and o_ready:
                self.begun += not self.got_beats or self.got_beats[-1].last
                self.got_beats.append(o_p)
                self.out_cycles.append(self.cycle)
            if s_valid and s_ready:
                self.got_statistics.append(s_p)
            shown = len(self.got_statistics) + (s_valid and not s_ready)
            waiting_rows = level - (o_valid and o_ready) + 1  # one more may have been read
            assert shown <= self.begun + waiting_rows
            self.judge(verdict, verdict_bit, again_now)
            if told:
                self.statistics_cycles.append(self.cycle)
                _, _, row, was_again = self.passes.popleft()
                statistics_offered = False
                if row.progressive and not was_again:
                    self.judged.append(row)
            assert row_moved == (moved and number == len(current[0].times[0][0]) - 1)
            if moved:
                self.in_cycles.append(self.cycle)
                offered, number = False, number + 1
                row, again = current
                if number == len(row.times[again][0]):
                    self.passes.append((self.cycle + rng.randint(*self.lag),
                                        row.times[again][1], row, again))
                    current = None
            if release:
                self.released += 1
                self.held -= 1
                self.beats_room.give()
                self.segments_room.give()
            idle = 0 if moved or told or o_valid else idle + 1
            assert idle < 200, "the gate hangs"
            self.cycle += 1

    def judge(self, verdict, bit, again):
        """A verdict is on the oldest row without one."""
        if not verdict:
            assert not again
            return
        row = self.judged.popleft()
        assert bit == again == (len(row.times) == 2)
        self.verdicts.append(bit)
        self.verdict_cycles.append(self.cycle)
        if bit:
            self.again.append(row)
            self.repeats += 1


def run(p, jobs, **options):
    """Rows of jobs, each (threshold, rows), through the gate; what leaves is compared."""
    driver = Driver(p, jobs, **options)
    simulate(driver.dut, driver.bench)
    want = [row.times[-1] for _, rows in jobs for row in rows]
    got = [{"term": [{"mantissa": t.mantissa, "exponent_class": t.exponent_class}
                     for t in b.term], "last": bool(b.last)} for b in driver.got_beats]
    assert got == [beat for beats, _ in want for beat in beats]
    told = [{"mantissa": s.mantissa, "exponent": s.exponent, "empty": s.empty}
            for s in driver.got_statistics]
    assert told == [statistics for _, statistics in want]
    assert not driver.again
    assert not driver.passes
    assert driver.released == sum(row.progressive for _, rows in jobs for row in rows)
    return driver


@pytest.mark.parametrize("pause, stall", [(0.0, 0.0), (0.4, 0.0), (0.0, 0.7), (0.4, 0.4)])
@pytest.mark.parametrize("size", CORES)
def test_random_jobs(size, pause, stall):
    """Jobs with and without a threshold, one after the other."""
    p, rng = CORES[size], random.Random(f"{size} {pause} {stall}")
    jobs = []
    for _ in range(4):
        threshold = rng.choice([0, 1, 3277, 6554, 1 << 15, 65535, rng.randrange(1 << 16)])
        jobs.append(job_of(p, rng, rng.choice([1, 3, 8]), threshold, rng.choice([0, 0.5, 1])))
    run(p, jobs, seed=size, pause=pause, stall=stall)


@pytest.mark.parametrize("stall", [0.0, 0.6])
@pytest.mark.parametrize("share", [0, 1])
@pytest.mark.parametrize("size", CORES)
def test_all_or_none_come_again(size, share, stall):
    p, rng = CORES[size], random.Random(f"{size} {share}")
    threshold = 65535  # every row but one with a single large term is less
    driver = run(p, [job_of(p, rng, 12, threshold, share)], stall=stall, eager=1)
    if share == 0:
        assert driver.repeats == 0
    elif p.max_keys > 1:
        assert driver.repeats == 12


@pytest.mark.parametrize("exponent", [0, 1, 3])
def test_threshold_to_the_last_bit(exponent):
    """Just below, equal, just above; the bits that the shift drops do not count."""
    p, rng, rows = CORES["one group"], random.Random(1), []
    threshold = 40000 >> exponent
    for mantissa in (40000, 40000 + (1 << exponent), 40000 + (1 << exponent) - 1,
                     40000 - 1, 40000 - (1 << exponent), 1 << 15, 1 << 16):
        statistics = {"mantissa": mantissa, "exponent": exponent, "empty": 0}
        again = mantissa >> exponent < threshold
        first, second = random_beats(p, rng, 2), random_beats(p, rng, 2)
        more = [(second, {"mantissa": 1 << 15, "exponent": 4, "empty": 0})] * again
        rows.append(Row(True, 1, [(first, statistics), *more]))
    driver = run(p, [(threshold, rows)])
    assert driver.verdicts == [0, 0, 0, 1, 1, 1, 0]


def test_a_row_without_a_key_is_final():
    p, rng = CORES["one group"], random.Random(2)
    rows = [row_of(p, rng, 65535, beats=1) for _ in range(6)]
    for row in rows[::2]:
        row.times = [(row.times[0][0], {"mantissa": 0, "exponent": 0, "empty": 1})]
    assert run(p, [(65535, rows)]).verdicts[::2] == [0, 0, 0]


@pytest.mark.parametrize("size", CORES)
def test_room_is_just_enough(size):
    """Rows as long as can be fill the memory to its last beat; the oldest comes again last."""
    p, rng = CORES[size], random.Random(size)
    rows = [row_of(p, rng, 65535, beats=p.max_beats, again=n % 4 == 0) for n in range(8)]
    for row in rows:
        row.segments = p.held_segments // 4
    driver = run(p, [(65535, rows)], eager=0)
    assert driver.beats_room.size == 4 * p.max_beats


def test_many_statistics_are_late():
    """More rows than the gate knows of: they wait in front of it, and none is lost."""
    p, rng = core(max_head_dim=128), random.Random(4)  # room for 64 segments
    rows = [row_of(p, rng, 0, beats=1, progressive=False) for _ in range(90)]
    run(p, [(0, rows)], lag=(120, 130))


@pytest.mark.parametrize("size", CORES)
def test_latencies(size):
    p, rng = CORES[size], random.Random(size)
    driver = run(p, [(1, [row_of(p, rng, 1, beats=p.max_beats)])])
    said, = driver.statistics_cycles
    assert driver.verdict_cycles == [said + PrecisionGate.verdict_latency]
    assert driver.out_cycles[0] == said + PrecisionGate.latency
    assert driver.out_cycles[-1] == driver.out_cycles[0] + p.max_beats - 1


@pytest.mark.parametrize("size", CORES)
def test_rows_leave_back_to_back(size):
    """The first comes again, the others wait for it: then all of them leave without a gap."""
    p, rng = CORES[size], random.Random(9)
    rows = [row_of(p, rng, 60000, beats=p.max_beats) for _ in range(4)]
    flat = {"mantissa": 59999, "exponent": 0, "empty": 0}
    rows[0].times = [(rows[0].times[0][0], flat), (random_beats(p, rng, p.max_beats), flat)]
    driver = run(p, [(60000, rows)], eager=0, lag=(1, 1))
    assert driver.out_cycles[-1] - driver.out_cycles[0] == 4 * p.max_beats - 1


@pytest.mark.parametrize("size", CORES)
def test_other_rows_pass_at_once(size):
    p, rng = CORES[size], random.Random(8)
    driver = run(p, [(0, [row_of(p, rng, 0, progressive=False) for _ in range(9)])])
    assert driver.out_cycles == [cycle + 1 for cycle in driver.in_cycles]


def test_parameters_are_checked():
    with pytest.raises(ValueError, match=r"^Params must be of a core with progressive$"):
        PrecisionGate(params=CoreParams())
    with pytest.raises(TypeError, match=r"^Params must be a CoreParams, not None$"):
        PrecisionGate(params=None)


class Proof(wiring.Component):
    """Rows leave in the order in which they came, each once, with its last terms; streams hold.

    Rows have one beat; two are held, each in the place of its number. The environment
    sends each row again that must come again, in any order.

    Parameters
    ----------
    more : int
        By which the claim is wrong; 0 to prove it.
    progressive : bool
        Whether rows wait.
    """

    def __init__(self, *, more=0, progressive=True):
        self.more, self.progressive = more, progressive
        super().__init__({})

    def elaborate(self, platform):
        m = Module()
        p = core(max_head_dim=16, max_keys=1, max_heads=1)
        dut = m.submodules.dut = PrecisionGate(params=p)
        free_inputs(m, dut, but=("threshold",))
        m.d.comb += dut.threshold.eq(AnyConst(16))
        m.submodules += [HoldRule(dut.o), HoldRule(dut.o_statistics)]
        row, take, come = dut.row.p, dut.i.valid & dut.i.ready, dut.statistics
        term = dut.i.p.term[0]
        last, exponents = dut.i.p.last, come.p.exponent
        m.d.comb += [
            Assume(last),
            Assume(row.progressive == self.progressive),
            Assume((term.mantissa < 8) & (term.exponent_class == 0)),  # as these, so it ends soon
            Assume((exponents == 0) & (come.p.mantissa[:14] == 0)),
        ]
        # rows that came first, were judged (for the first time), must come again, and left
        came, left, told = Signal(4), Signal(4), Signal(4)
        state = [Signal(2, name=f"state{n}") for n in range(4)]  # 0: not known, 1: again, 2: sent
        level = Signal(3)  # rows whose statistics are to come
        number = Signal(2)
        m.d.comb += number.eq(row.segment)
        target = AnyConst(2)
        value, known = Signal.like(term.mantissa), Signal()
        m.d.comb += [
            Assume(row.segment == row.place),
            Assume(level < 4 if not self.progressive else 1),
            Assume(~come.valid | (level != 0)),
        ]
        if not self.progressive:
            m.d.comb += Assume(~row.again)
        else:
            first = ~row.again
            m.d.comb += Assume(~dut.row.valid | ~first | ((row.segment == came) & (came < 2)))
            with m.If(dut.row.valid & row.again):
                must = Signal()
                for n in range(4):
                    with m.If(number == n):
                        m.d.comb += must.eq(state[n] == 1)
                m.d.comb += Assume(must)
        with m.If(take & ~row.again):
            m.d.sync += came.eq(came + 1)
            with m.If(came == target):
                m.d.sync += [value.eq(term.mantissa + self.more), known.eq(1)]
        with m.If(take & row.again):
            for n in range(4):
                with m.If(number == n):
                    m.d.sync += state[n].eq(2)
            with m.If(number == target):
                m.d.sync += value.eq(term.mantissa + self.more)
        moved = come.valid & come.ready
        m.d.sync += level.eq(level + take - moved)
        judged = Signal(3)
        with m.If(dut.verdict.valid):
            m.d.sync += judged.eq(judged + 1)
            m.d.comb += Assert(judged < came)
            for n in range(4):
                with m.If((judged == n) & dut.verdict.payload):
                    m.d.sync += state[n].eq(1)
        with m.If(dut.o.valid):
            m.d.comb += Assert(left < came + (0 if self.progressive else dut.i.valid))
            with m.If((left == target) & known):
                m.d.comb += Assert(dut.o.p.term[0].mantissa == value)
                if self.progressive:
                    m.d.comb += Cover((target == 1) & (state[0] == 2) & (state[1] == 0))
                    m.d.comb += Cover((target == 1) & (state[0] == 0) & (state[1] == 2))
            if self.progressive:
                waits = Signal()
                for n in range(4):
                    with m.If(left == n):
                        m.d.comb += waits.eq(state[n] == 1)
                m.d.comb += Assert(~waits)  # it is to come again first
            with m.If(dut.o.ready):
                m.d.sync += left.eq(left + 1)
        with m.If(dut.o_statistics.valid & dut.o_statistics.ready):
            m.d.sync += told.eq(told + 1)
        m.d.comb += Assert(told <= came)
        if self.progressive:
            begun = left + dut.leaving.level
            m.d.comb += [Assert(told <= begun), Assert(dut.i.ready | ~dut.row.valid)]
        return m


def test_proof_of_order():
    prove(Proof(), depth=12, name="precision gate")


def test_proof_of_hold_of_rows_that_pass():
    prove(Proof(progressive=False), depth=10, name="precision gate")


def test_everything_is_reached():
    prove(Proof(), depth=18, mode="cover", name="precision gate")


def test_a_wrong_claim_is_refuted():
    with pytest.raises(ProofError):
        prove(Proof(more=1), depth=12, name="precision gate")
