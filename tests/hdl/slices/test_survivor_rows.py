# amaranth: UnusedElaboratable=no
"""Scores in the order of rows and keys again: beats, maxima, every cycle; nothing old (proof)."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import pytest
from amaranth.asserts import AnyConst, AnySeq
from amaranth.hdl import Assert, Assume, Cover, Module, Mux, Signal
from amaranth.lib import wiring

from attnsieve.hdl.params import CoreParams
from attnsieve.hdl.slices.survivor_rows import SurvivorRows
from attnsieve.sim.formal import HoldRule, ProofError, free_inputs, prove
from attnsieve.sim.unit import run_streams


def core(groups=1, **changes):
    values = {"lanes": 16 * groups, "max_head_dim": 16, "max_keys": 64, "output_lanes": 1,
              "slice_units": 2, "slice_rows": 4}  # fmt: skip
    return CoreParams(**(values | changes))


CORES = {
    "key": core(max_keys=1, slice_rows=2),
    "key-eight": core(max_keys=1, slice_rows=8),
    "beat": core(4, max_keys=4),
    "pair": core(2, max_keys=21, slice_rows=2),
    "four": core(1, max_keys=32),
    "eight": core(4, max_keys=50, slice_rows=8),
    "eight-lane": core(1, max_keys=17, slice_rows=8, operand_bits=8),
}


def memory_beats(p):
    """Words of a memory: the beats of a row, as a power of two, of two rows if there are eight."""
    words = 1
    while words * p.groups < p.max_keys:
        words *= 2
    return words * (2 if p.slice_rows == 8 else 1)


@dataclass
class Row:
    """What is stored of a row, in which order, and what is found out about it."""

    keys: int
    scores: dict  # by key
    last_of_kv: int = 0
    last_of_job: int = 0
    margin: int | None = None  # how far below the largest a score is given back; None: any
    pinned: tuple = ()  # keys that always are
    left: list = field(default_factory=list)  # keys that are not stored yet
    stored: int = -1  # cycle of the latest one
    complete: int | None = None
    freed: int | None = None

    def item(self, p):
        margin = (1 << p.score_bits) - 1 if self.margin is None else self.margin
        return {"margin": margin} | {
            n: getattr(self, n) for n in ("keys", "last_of_kv", "last_of_job")
        }

    def given(self):
        """Scores that are given back."""
        if self.margin is None or not self.scores:
            return self.scores
        floor = max(self.scores.values()) - self.margin
        return {k: s for k, s in self.scores.items() if s >= floor or k in self.pinned}

    def beats(self, p):
        """Valid lanes with their scores, and whether it is the last one."""
        given = self.given()
        return [
            ({k - start: s for k, s in given.items() if start <= k < start + p.groups},
             start + p.groups >= self.keys)
            for start in range(0, max(self.keys, 1), p.groups)
        ]  # fmt: skip


def random_row(p, rng, keys=None, share=None):
    keys = rng.choice((0, 1, p.max_keys, rng.randint(1, p.max_keys))) if keys is None else keys
    share = rng.choice((0.0, 0.1, 0.5, 1.0)) if share is None else share
    top = 1 << p.score_bits - 1
    around = rng.choice((-top, top - 1, 0, rng.randrange(-top, top)))
    scores = {
        key: max(-top, min(top - 1, around + rng.randint(-5, 5)))
        for key in range(keys)
        if rng.random() < share
    }
    if scores and rng.random() < 0.3:
        scores = dict([rng.choice((min(scores.items()), max(scores.items())))])
    order = list(scores)
    rng.shuffle(order)
    margin = rng.choice([None, 0, 1, 3, 9, (1 << p.score_bits) - 1])
    pinned = tuple(key for key in range(keys) if rng.random() < 0.1)
    ends = int(rng.random() < 0.4), int(rng.random() < 0.3)
    return Row(keys, scores, *ends, margin, pinned, order)


@dataclass
class Offer:
    """What was seen at the input in a cycle."""

    cycle: int
    number: int  # of the row, counted on
    ready: int


class Feed:
    """Offers scores of rows that are inside, in any order, and says when rows are complete.

    Parameters
    ----------
    rows : list of Row
    pace : float
        Chance that a score is offered in a cycle.
    wait : int
        Cycles from the last score to the row's being complete.
    together : int
        Rows that are complete at the same time, at least.
    restart : (int, list of Row)
        Cycle of a reset, and the rows that follow it.
    """

    def __init__(self, dut, rows, *, pace=1.0, wait=1, together=1, seed=1, restart=(None, ())):
        self.dut, self.rows, self.pace, self.wait = dut, rows, pace, wait
        self.together, self.restart = together, restart
        self.random = random.Random(seed)
        self.offers, self.first = [], 0
        self.asked = None  # the maximum that was asked for in the cycle before

    def _choose(self):
        """A row inside with a score to store; older ones first, more or less."""
        inside = range(self.first, min(self.first + self.dut.params.slice_rows, len(self.rows)))
        able = [n for n in inside if self.rows[n].left]
        if not able or self.random.random() >= self.pace:
            return None
        return self.random.choice(able[:1] * 2 + able)

    def _complete(self, cycle):
        slots, flags = self.dut.params.slice_rows, 0
        inside = range(self.first, min(self.first + slots, len(self.rows)))
        done = [n for n in inside
                if not self.rows[n].left and cycle >= self.rows[n].stored + self.wait]  # fmt: skip
        begun = any(self.rows[n].complete is not None for n in inside)
        for n in done:
            row = self.rows[n]
            if row.complete is None and (begun or len(done) >= min(self.together, len(inside))):
                row.complete = cycle
            flags |= (row.complete is not None) << n % slots
        return flags

    def _maximum(self, ctx):
        """Compare the one that is read, of a score or none, and ask for another one."""
        dut, slots = self.dut, self.dut.params.slice_rows
        if self.asked is not None:
            known = ctx.get(dut.maximum.known)
            assert (ctx.get(dut.maximum.score) if known else None) == self.asked[0]
        row, here = self.random.randrange(slots), []
        for n in range(self.first, min(self.first + slots, len(self.rows))):
            if n % slots == row:
                it = self.rows[n]
                here = [score for key, score in it.scores.items() if key not in it.left]
        ctx.set(dut.maximum.row, row)
        self.asked = [max(here, default=None)]

    async def run(self, ctx):
        dut, cycle, offer = self.dut, 0, None
        slots = dut.params.slice_rows
        while True:
            if cycle == self.restart[0]:
                self.rows, self.first, offer, self.offers = self.restart[1], 0, None, []
                self.wait = self.together = 1
                for row in self.rows:
                    row.stored = cycle
            offer = self._choose() if offer is None else offer
            payload = {"row": self.random.randrange(slots), "key": 0, "score": -1, "pinned": 0}
            if offer is not None:
                row, key = self.rows[offer], self.rows[offer].left[0]
                payload = {"row": offer % slots, "key": key, "score": row.scores[key],
                           "pinned": key in row.pinned}  # fmt: skip
            self._maximum(ctx)
            way = payload["key"] % len(dut.i)
            for n, port in enumerate(dut.i):
                ctx.set(port.valid, offer is not None and n == way)
                ctx.set(port.p, payload)
            ctx.set(dut.complete, self._complete(cycle))
            _, _, ready, stored, free, freed, end, release = await ctx.tick().sample(
                dut.i[way].ready, dut.stored, dut.free, dut.freed, dut.end, dut.release
            )
            if cycle == self.restart[0]:  # the reset is active
                cycle, offer, self.asked = cycle + 1, None, None
                continue
            assert stored == (offer is not None and ready) << way, cycle
            if offer is not None:
                self.offers.append(Offer(cycle, offer, ready))
            if stored:
                self.rows[offer].left.pop(0)
                self.rows[offer].stored, offer = cycle, None
            oldest = self.rows[self.first] if self.first < len(self.rows) else None
            if free:
                assert freed == self.first % slots
                assert oldest is not None
                oldest.freed = cycle
                self.first += 1
            assert end == bool(free and oldest.last_of_job)
            assert release == (oldest.keys if free and oldest.last_of_kv else 0)
            cycle += 1


def check(p, rows, outputs):
    """Beats are those of the rows."""
    want = [(row, lanes, last) for row in rows for lanes, last in row.beats(p)]
    assert len(outputs) == len(want)
    for number, (got, (row, lanes, last)) in enumerate(zip(outputs, want, strict=True)):
        found = {n: got.score[n] for n in range(p.groups) if got.valid >> n & 1}
        assert (found, bool(got.last)) == (lanes, last), number
        if row.scores:
            assert got.maximum == max(row.scores.values()), number


def check_cycles(p, rows, offers, times):
    """Of every row and every score, if outputs and rows never wait."""
    swept, dut = memory_beats(p), SurvivorRows(params=p)
    read, place, reads = 0, 0, {}
    for number, row in enumerate(rows):
        begin = max(row.complete, read, swept)
        read = begin + max(1, -(-row.keys // p.groups))
        for cycle in range(begin, read):
            assert times[place] == cycle + dut.latency, number
            place, reads[cycle] = place + 1, number
        assert row.freed == read - 1
    banks = min(4, p.slice_rows)
    for offer in offers:
        other = reads.get(offer.cycle - 1)
        waits = other is not None and (other - offer.number) % banks == 0
        assert offer.ready == (offer.cycle >= swept and not waits), offer


def run(p, rows, *, stall=0.0, **options):
    dut = SurvivorRows(params=p)
    feed = Feed(dut, rows, **options)
    beats = sum(len(row.beats(p)) for row in rows)
    result = run_streams(
        dut, {"row": [row.item(p) for row in rows]}, {"o": beats}, stall=stall,
        max_cycles=3000 + 40 * (beats + sum(len(row.scores) for row in rows)),
        testbenches=[feed.run],
    )  # fmt: skip
    check(p, rows, result.outputs["o"])
    if not stall:
        check_cycles(p, rows, feed.offers, result.times["o"])
    return result, feed


@pytest.mark.parametrize(
    "wait, together", [(1, 1), pytest.param(3, 1, marks=pytest.mark.full), (3, 8)]
)
@pytest.mark.parametrize("pace, stall", [(1.0, 0.0), (0.4, 0.0), (0.6, 0.4), (1.0, {"o": 0.9}),
                                         (1.0, {"row": 0.8})])  # fmt: skip
@pytest.mark.parametrize("name", CORES)
def test_random_rows(name, pace, stall, wait, together):
    p, rng = CORES[name], random.Random(f"{name} {pace} {stall}")
    rows = [random_row(p, rng) for _ in range(24)]
    run(p, rows, pace=pace, stall=stall, wait=wait, together=together)


@pytest.mark.parametrize("share", [0.0, 1.0])
@pytest.mark.parametrize("name", CORES)
def test_all_or_none_are_kept(name, share):
    p, rng = CORES[name], random.Random(name)
    run(p, [random_row(p, rng, p.max_keys, share) for _ in range(2 * p.slice_rows + 1)])


@pytest.mark.parametrize("name", CORES)
def test_what_a_row_leaves_is_cleared(name):
    """Rows that keep all, then as many of the same numbers that keep one key or none."""
    p, rng = CORES[name], random.Random(name)
    rows = []
    for _ in range(3):
        rows += [random_row(p, rng, p.max_keys, 1.0) for _ in range(p.slice_rows)]
        rows += [random_row(p, rng, p.max_keys, share) for share in [0.1, 0.0] * p.slice_rows]
    run(p, rows[: 7 * p.slice_rows])


@pytest.mark.parametrize("name", CORES)
def test_a_beat_per_cycle_from_row_to_row(name):
    """And a score per cycle, once the memory has been cleared."""
    p, rng = CORES[name], random.Random(name)
    for keys in (p.max_keys, 1, 0):
        rows = [random_row(p, rng, keys, 1.0) for _ in range(p.slice_rows)]
        for row in rows:
            row.scores, row.margin = {key: key for key in range(keys)}, None
            row.left = list(row.scores)
        result, feed = run(p, rows, together=p.slice_rows, wait=3)
        times = result.times["o"]
        assert times == list(range(times[0], times[0] + len(times)))
        if keys:
            scores = keys * p.slice_rows
            stored = [offer.cycle for offer in feed.offers if offer.ready]
            assert stored == list(range(memory_beats(p), memory_beats(p) + scores))
            assert times[0] == stored[-1] + 3 + SurvivorRows.latency == stored[-1] + 7


@pytest.mark.parametrize("number", [1, 4])
def test_a_score_waits_only_where_its_memory_is_read(number):
    """Of eight rows, number 0 and number 4 share one."""
    p = CORES["eight"]
    rows = [Row(p.max_keys, {}) for _ in range(8)]
    rows[number] = Row(p.max_keys, dict.fromkeys(range(40), 7), left=list(range(40)))
    _, feed = run(p, rows)
    waits = [offer.cycle for offer in feed.offers if not offer.ready]
    beats, swept = -(-p.max_keys // p.groups), memory_beats(p)
    read = range(swept + 1, swept + 1 + beats)  # row 0, and the row 4 of its memory waits
    assert waits == [*range(swept), *(read if number == 4 else ())]


LONG = [name for name, p in CORES.items() if p.max_beats > 8]


@pytest.mark.parametrize("rows", ["some", "empty", "keyless"])
@pytest.mark.parametrize("name, reads", [*((name, False) for name in CORES),
                                         *((name, True) for name in LONG)])  # fmt: skip
def test_reset_in_the_middle_of_a_job(name, reads, rows):
    """All scores are there, and the first row is read or is not; nothing is left of them, not even
    where the next rows are complete at once."""
    p, rng = CORES[name], random.Random(f"{name} {reads}")
    before = [Row(p.max_keys, dict.fromkeys(range(p.max_keys), 5)) for _ in range(p.slice_rows)]
    for row in before:
        row.left = list(row.scores)
    share, keys = {"some": (0.3, None), "empty": (0.0, None), "keyless": (0.0, 0)}[rows]
    after = [random_row(p, rng, keys, share) for _ in range(2 * p.slice_rows)]
    if reads:  # the row that is there when the reset comes is there behind it too
        after[0] = random_row(p, rng, p.max_keys, share)
    stored = memory_beats(p) + p.max_keys * p.slice_rows
    end = stored + (2 + SurvivorRows.latency + 2 if reads else 0)
    dut = SurvivorRows(params=p)
    feed = Feed(dut, before, wait=3 if reads else 99, together=99, restart=(end, after))
    result = run_streams(
        dut, {"row": [row.item(p) for row in after]}, {"o": None}, testbenches=[feed.run],
        reset=[end], max_cycles=5000,
    )  # fmt: skip
    times = result.times["o"]
    assert sum(t < end for t in times) == 2 * reads
    check(p, after, result.outputs["o"][2 * reads :])
    for row in after:  # as after the first reset
        row.complete -= end + 1
        row.freed -= end + 1
    offers = [Offer(o.cycle - end - 1, o.number, o.ready) for o in feed.offers]
    check_cycles(p, after, offers, [t - end - 1 for t in times[2 * reads :]])


class Proof(wiring.Component):
    """Any rows, any scores in any order: in the row that is watched, the lane of the key that is
    watched is valid if its score was stored, and is pinned or within the row's margin of the
    maximum, and shows it; the maximum is not below it.

    Parameters
    ----------
    params : CoreParams
        Its keys are a power of two.
    key : int
        Keys by which the claim is wrong; 0 to prove it.
    """

    def __init__(self, params, *, key=0):
        self.params, self.key = params, key
        super().__init__({})

    def elaborate(self, platform):
        m = Module()
        p, slots = self.params, self.params.slice_rows
        m.submodules.dut = dut = SurvivorRows(params=p)
        free_inputs(m, dut, but=("complete",))
        m.submodules += HoldRule(dut.o)
        watched, key = AnyConst(4), AnyConst(range(p.max_keys))
        slot = watched[: (slots - 1).bit_length()]
        freed, rows, beat = Signal(4), Signal(4), Signal(4)  # rows read, rows out, beat of this one
        there, score, some = Signal(), Signal.like(dut.i[0].p.score), Signal()
        given, fixed, pinned = Signal.like(score), Signal(), Signal()
        margin = AnyConst(dut.row.p.margin.shape())
        finish = AnySeq(slots)
        m.d.comb += [
            Assume(dut.row.p.keys <= p.max_keys),
            Assert(dut.freed == freed[: len(dut.freed)]),
        ]
        with m.If(freed == watched):
            m.d.comb += Assume(dut.row.p.margin == margin)
        mine = Signal()
        for way, port in enumerate(dut.i):
            m.d.comb += [
                Assume(port.p.key < p.max_keys),
                Assume(port.p.key % len(dut.i) == way),
                Assume(port.p.score == port.p.score[: p.score_bits].as_signed()),
                # a row is complete until it is free, and no score comes meanwhile
                Assume(~(port.valid & dut.complete.bit_select(port.p.row, 1))),
                Assert(dut.stored[way] == (port.valid & port.ready)),
            ]
            with m.If(dut.stored[way] & (port.p.row == slot) & (port.p.key == key)):
                m.d.comb += [mine.eq(1), given.eq(port.p.score), fixed.eq(port.p.pinned)]
        m.d.sync += dut.complete.eq((dut.complete | finish) & ~(dut.free << dut.freed))
        now = (freed <= watched) & (freed + slots > watched)  # it is inside
        with m.If(mine):
            m.d.comb += Assume(~some)  # once of each row
            m.d.sync += some.eq(1)
            with m.If(now):
                m.d.sync += [there.eq(1), score.eq(given), pinned.eq(fixed)]
        with m.If(dut.free):
            m.d.sync += freed.eq(freed + 1)
            with m.If(dut.freed == slot):
                m.d.comb += Assume(~some | (dut.row.p.keys > key))
                m.d.sync += some.eq(0)
        with m.If(dut.o.valid & dut.o.ready):
            m.d.sync += beat.eq(Mux(dut.o.p.last, 0, beat + 1))
            with m.If(dut.o.p.last):
                m.d.sync += rows.eq(rows + 1)
        m.d.comb += Assert(~dut.o.valid | (rows < freed) | ((rows == freed) & ~dut.o.p.last))
        claimed = (key + self.key)[: len(key)]
        for lane in range(p.groups):
            with m.If(dut.o.valid & (rows == watched) & (beat * p.groups + lane == claimed)):
                near = pinned | (score + margin >= dut.o.p.maximum)
                m.d.comb += [
                    Assert(dut.o.p.valid[lane] == (there & near)),
                    Cover(there & ~near & dut.o.p.valid.any()),
                    Cover(there & (watched >= slots)),
                    Cover(~there & dut.o.p.last & (dut.o.p.valid != 0)),
                ]
                with m.If(there):
                    m.d.comb += [
                        Assert(dut.o.p.score[lane] == score),
                        Assert(dut.o.p.maximum >= score),
                    ]
        return m


class Narrow(CoreParams):
    """Scores of few bits, to keep the proof small."""

    @property
    def score_bits(self):
        return 3


def small(groups, keys, rows):
    return Narrow(lanes=16 * groups, max_head_dim=16, max_keys=keys, output_lanes=1, slice_units=2,
                  slice_rows=rows)  # fmt: skip


SMALL = {"pair": small(1, 2, 2), "lanes": small(2, 4, 2), "eight": small(1, 1, 8)}


@pytest.mark.parametrize("name", SMALL)
def test_proof(name):
    prove(Proof(SMALL[name]), depth=12, name="survivor rows")


def test_everything_is_reached():
    prove(Proof(small(2, 4, 2)), depth=20, mode="cover", name="survivor rows")


def test_a_wrong_claim_is_refuted():
    with pytest.raises(ProofError):
        prove(Proof(SMALL["pair"], key=1), depth=12, name="survivor rows")
