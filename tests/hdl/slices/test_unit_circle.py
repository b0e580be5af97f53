# amaranth: UnusedElaboratable=no
"""Units in a circle: every key's score and slices, from the right banks; no idle cycle; proof."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from dataclasses import dataclass

import numpy as np
import pytest
from amaranth.asserts import AnyConst
from amaranth.hdl import Assert, Assume, Cover, Module, Signal
from amaranth.lib import wiring

from attnsieve.hdl.slices.slice_params import SliceParams
from attnsieve.hdl.slices.unit_circle import UnitCircle
from attnsieve.sim.formal import HoldRule, ProofError, free_inputs, prove
from attnsieve.sim.unit import StreamError, run_streams


def params(units, word_bits, slice_bits, taps=3, **others):
    return SliceParams(**(
        {"taps": taps, "query_bits": 5, "word_bits": word_bits, "slice_bits": slice_bits,
         "units": units, "keys": 64, "rows": 4, "stored": 64} | others))  # fmt: skip


SIZES = {
    "unit": params(1, 8, 2),
    "unit-slice": params(1, 4, 4, taps=1),
    "pair": params(2, 5, 1),
    "padded": params(3, 9, 2, rows=2),
    "square": params(4, 8, 2, rows=8),
    "units": params(8, 12, 4, taps=6),
    "whole": params(5, 4, 4, rows=8),
    "slices": params(5, 12, 1),
    "static": params(3, 8, 2, static=True),
    "signs": params(3, 9, 2, rows=2, sign_magnitude=True),
    "sign-bits": params(4, 6, 1, taps=6, sign_magnitude=True),
}


def unit_of(p, key, slices):
    """Where a key is after so many slices."""
    return (key if p.static else key + slices) % p.units


@dataclass
class Row:
    query: np.ndarray
    threshold: int


def bounds_of(p, row, words=None):
    """The least sums of the first slices with which some bits behind them reach the threshold; with
    signs those of a key, or, of all of them, the threshold."""
    rising = row.query > 0
    if p.sign_magnitude:
        if words is None:
            return [row.threshold]
        rising = (row.query > 0) == (words >= 0)
    most = int(abs(row.query[rising]).sum())
    left = [max(0, p.word_bits - (n + 1) * p.slice_bits) for n in range(p.slices)]
    bounds = [-((most * ((1 << bits) - 1) - row.threshold) // (1 << bits)) for bits in left]
    return [*bounds[:-1], row.threshold << p.pad]


def slices_read(p, row, words, skipped):
    """How many slices are read of a key, and whether it is kept."""
    for n, bound in enumerate(bounds_of(p, row, words)):
        if n >= skipped:
            behind = (p.slices - 1 - n) * p.slice_bits
            known = (words << p.pad) >> behind
            if p.sign_magnitude:
                known = np.sign(words) * ((abs(words) << p.pad) >> behind)
            if known @ row.query < bound:
                return n + 1 - skipped, False
    return p.slices - skipped, True


def bits_of(p, words, number, skipped=0):
    """A slice of a key."""
    if p.sign_magnitude:
        sign = p.word_bits - skipped * p.slice_bits - 1
        words = [abs(w) + ((w < 0) << sign) for w in words.tolist()]
    return [int(w << p.pad) >> (p.slices - 1 - number) * p.slice_bits & (1 << p.slice_bits) - 1
            for w in words]  # fmt: skip


def case(p, seed, count, shares=(0.0, 0.5, 0.9, 1.0), skipped=0):
    """Keys, and a query for each row, which keeps a share of them."""
    rng = np.random.default_rng(seed)

    def draw(bits, shape):
        some = rng.integers(-(1 << bits - 1), 1 << bits - 1, shape)
        return np.where(rng.random(shape) < 0.3, some, some >> bits // 2)

    width = p.word_bits - skipped * p.slice_bits
    keys = draw(width, (count, p.taps))
    if p.sign_magnitude:
        keys = np.maximum(keys, 1 - (1 << width - 1))
    rows = []
    for n in range(p.rows):
        query = draw(p.query_bits, p.taps)
        share, scores = shares[n % len(shares)], np.sort(keys @ query)
        rows.append(Row(query, int(scores[round((1 - share) * (count - 1))] + (share == 0))))
    return keys, rows


class Circle(wiring.Component):
    """The circle; keys start once so many queries and bounds have been written."""

    def __init__(self, params, writes):
        self.params, self.writes = params, writes
        self.dut = UnitCircle(params=params)
        super().__init__(dict(self.dut.signature.members.items()))

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = dut = self.dut
        go, cycle = Signal(), Signal(range(self.writes + 2))
        m.d.sync += cycle.eq(cycle + ~go)
        m.d.comb += go.eq(cycle == self.writes + 1)
        for name in ("query", "bound"):
            wiring.connect(m, wiring.flipped(getattr(self, name)), getattr(dut, name))
        for n in range(self.params.units):
            for name in ("o", "ended", "read"):
                wiring.connect(m, getattr(dut, name)[n], wiring.flipped(getattr(self, name)[n]))
            m.d.comb += [
                dut.start[n].valid.eq(self.start[n].valid & go),
                dut.start[n].p.eq(self.start[n].p),
                self.start[n].ready.eq(dut.start[n].ready & go),
            ]
        m.d.comb += dut.passes.eq(self.passes)
        return m


@dataclass
class Read:
    cycle: int
    unit: int
    key: int
    number: int  # of the slice, from the key's first one on


def run(p, keys, rows, jobs, *, skipped=0, taken=True, passes=None, **options):
    """Score keys, check what is kept, what ended and what was read.

    Parameters
    ----------
    jobs : list of (int, int)
        Keys and rows, in the order in which each unit gets its own.
    skipped : int
        Slices that the words do not have.
    taken : bool
        Whether anybody takes what is kept.
    passes : callable
        Units that let free places pass in a cycle.
    """
    bounds = [
        {"row": r, "number": n, "bound": bound}
        for r, row in enumerate(rows)
        for n, bound in enumerate(bounds_of(p, row))
    ]
    dut, reads, rng = Circle(p, max(len(bounds), len(rows))), [], random.Random(1)
    units = range(p.units)

    def memory(unit):
        async def bank(ctx):
            cycle, way, port = 0, [], dut.read[unit]
            while True:
                _, _, en, address = await ctx.tick().sample(port.en, port.address)
                data = [rng.randrange(1 << p.slice_bits) for _ in range(p.taps)]
                if en:
                    number = address % p.slices
                    first = next(n for n in units if unit_of(p, n, number) == unit)
                    key = address // p.slices * p.units + first
                    reads.append(Read(cycle, unit, key, number))
                    if key < len(keys) and number + skipped < p.slices:
                        data = bits_of(p, keys[key], number + skipped, skipped)
                way.append(data)
                if len(way) >= UnitCircle.memory_latency:
                    ctx.set(port.data, way.pop(0))
                cycle += 1

        return bank

    async def passing(ctx):
        for cycle in itertools.count():
            ctx.set(dut.passes, passes(cycle))
            await ctx.tick()

    want = {(k, r): slices_read(p, rows[r], keys[k], skipped) for k, r in jobs}
    inputs = {f"start.{n}": [] for n in units}
    for key, row in jobs:
        inputs[f"start.{key % p.units}"].append(
            {"key": key, "row": row, "number": skipped, "address": key // p.units * p.slices})
    inputs["query"] = [{"row": r, "query": row.query.tolist()} for r, row in enumerate(rows)]
    inputs["bound"] = bounds
    kept, ended = {n: [] for n in units}, Counter()
    for key, row in jobs:
        count, stays = want[key, row]
        ended[row, count + skipped - 1, int(stays)] += 1
        if stays:  # where its last slice is; or further on, where there is room
            kept[unit_of(p, key, count - 1)].append((key, row, int(keys[key] @ rows[row].query)))
    outputs = {f"o.{n}": None for n in units} if taken else {}
    outputs |= {f"ended.{n}": None for n in units}
    settle = options.pop("settle", 30 * p.slices + 60)
    benches = [memory(n) for n in units] + ([passing] if passes else [])
    result = run_streams(dut, inputs, outputs, settle=settle, testbenches=benches, **options)
    if not taken:
        return result, reads
    found = {n: [(o.key, o.row, o.score) for o in result.outputs[f"o.{n}"]] for n in units}
    assert sorted(sum(found.values(), [])) == sorted(sum(kept.values(), []))
    if not options.get("stall"):  # there is always room
        assert {n: sorted(each) for n, each in found.items()} == {
            n: sorted(each) for n, each in kept.items()
        }
        assert not any(e.waits for n in units for e in result.outputs[f"ended.{n}"])
    assert ended == Counter(
        (e.row, e.number, e.kept) for n in units for e in result.outputs[f"ended.{n}"]
        if not e.waits
    )  # fmt: skip
    asked = Counter((read.key, read.number) for read in reads)
    assert asked == Counter((k, n) for k, r in jobs for n in range(want[k, r][0]))
    return result, reads


def all_jobs(p, keys):
    return [(key, row) for row in range(p.rows) for key in range(len(keys))]


@pytest.mark.parametrize("stall", [0.0, 0.4, {"start.0": 0.9}])
@pytest.mark.parametrize("size", SIZES)
def test_random_keys(size, stall):
    p = SIZES[size]
    keys, rows = case(p, 1, 24)
    units = range(p.units)
    if stall == 0.4:
        stall = {f"{name}.{n}": 0.4 for n in units for name in ("o", "start")}
    run(p, keys, rows, all_jobs(p, keys), stall=stall, settle=600)


@pytest.mark.parametrize("size, skipped", [("units", 1), ("unit", 2),
                                           ("slices", 4), ("sign-bits", 2)])  # fmt: skip
def test_words_that_lack_slices(size, skipped):
    """Keys that start with a later slice have it where others have their first one."""
    p = SIZES[size]
    keys, rows = case(p, 2, 20, skipped=skipped)
    run(p, keys, rows, all_jobs(p, keys), skipped=skipped)


@pytest.mark.parametrize("share", [0.0, 1.0])
@pytest.mark.parametrize("size", SIZES)
def test_all_or_none_are_kept(size, share):
    p = SIZES[size]
    keys, rows = case(p, 3, 12, shares=(share,))
    run(p, keys, rows, all_jobs(p, keys))


@pytest.mark.parametrize("size", SIZES)
def test_the_stated_latency(size):
    """One key alone: from unit to unit, to the next slice in its bank; then it is kept."""
    p = SIZES[size]
    latency = UnitCircle(params=p).latency
    assert latency == 1 + 2 + 1 + {1: 0, 3: 1, 6: 2}[p.taps] + 2 * p.sign_magnitude + 2
    keys, rows = case(p, 4, p.units, shares=(1.0,))
    for key in {0, p.units - 1}:
        result, reads = run(p, keys, rows, [(key, 1)])
        start = result.first(f"start.{key}")
        assert [(r.cycle - start, r.unit) for r in reads] == [
            (1 + n * latency, unit_of(p, key, n)) for n in range(p.slices)
        ]
        assert result.first(f"o.{unit_of(p, key, p.slices - 1)}") == start + p.slices * latency


@pytest.mark.parametrize("seed", [5, 6])
@pytest.mark.parametrize("size", SIZES)
def test_all_units_read_in_every_cycle(size, seed):
    """From the first key on, until a unit has none to start any more."""
    p = SIZES[size]
    keys, rows = case(p, seed, 8 * p.units, shares=(0.1, 0.5))
    jobs = all_jobs(p, keys) * 2
    result, reads = run(p, keys, rows, jobs)
    starts = [result.times[f"start.{n}"] for n in range(p.units)]
    first = starts[0][0]
    assert [times[0] for times in starts] == [first] * p.units
    busy = Counter(read.cycle for read in reads)
    last = min(times[-1] for times in starts)
    assert last - first >= 2 * UnitCircle(params=p).latency
    assert all(busy[cycle] == p.units for cycle in range(first + 1, last + 2))


@pytest.mark.parametrize("size", SIZES)
def test_a_unit_that_lets_places_pass_starts_no_key(size):
    """Keys that are under way go on, and other units take the places."""
    p, rng = SIZES[size], random.Random(size)
    keys, rows = case(p, 8, 24)
    often = [[rng.random() < 0.1 + 0.6 * (n % 2) for n in range(p.units)] for _ in range(400)]
    flags = [sum(bit << n for n, bit in enumerate(units)) for units in often]
    result, _ = run(
        p, keys, rows, all_jobs(p, keys), passes=lambda cycle: flags[cycle % 400], settle=600
    )
    for n in range(p.units):
        assert not any(often[time % 400][n] for time in result.times[f"start.{n}"])


@pytest.mark.parametrize("size", SIZES)
def test_so_many_keys_are_inside(size):
    """Where nobody takes what is kept: one at each output, and in each place."""
    p = SIZES[size]
    most = UnitCircle(params=p).latency + 1  # of each unit
    keys, rows = case(p, 7, p.units, shares=(1.0,))
    jobs = [(key, n % p.rows) for n in range(most) for key in range(p.units)]
    run(p, keys, rows, jobs, taken=False)
    with pytest.raises(StreamError, match=rf"start\.0: {most} of {most + 1} taken"):
        run(p, keys, rows, [*jobs, (0, 0)], taken=False, max_cycles=600)


class Proof(wiring.Component):
    """Any queries, bounds, slices and keys, any of which is watched: it is the only one of row 1,
    and the others are other keys. Its slices are read one after the other, of the bank in which
    each is, none before it starts or after it is decided; with the last one read it is decided.

    Parameters
    ----------
    units : int
    shift : int
        Banks by which the claim is wrong; 0 to prove it.
    """

    def __init__(self, *, units, word_bits, shift=0):
        self.units, self.word_bits, self.shift = units, word_bits, shift
        super().__init__({})

    def elaborate(self, platform):
        m = Module()
        units = self.units
        p = SliceParams(taps=1, query_bits=2, word_bits=self.word_bits, slice_bits=1, units=units,
                        keys=2 * units, rows=2, stored=2 * units)  # fmt: skip
        m.submodules.dut = dut = UnitCircle(params=p)
        free_inputs(m, dut)
        watched = AnyConst(range(2 * units))
        asked, comes, ends = Signal(units), Signal(units), Signal(units)
        started, decided, count = Signal(), Signal(), Signal(range(p.slices + 1))
        for n in range(units):
            start, read, ended = dut.start[n], dut.read[n], dut.ended[n]
            m.submodules += HoldRule(dut.o[n])
            its = Signal(name=f"its{n}")
            m.d.comb += [
                # a key starts at its unit, with its first slice
                Assume(~start.valid | (start.p.number == 0)),
                Assume(~start.valid | (start.p.key == n) & (start.p.address == 0)
                       | (start.p.key == units + n) & (start.p.address == p.slices)),
                Assume(~start.valid | ((start.p.row == 1) == (start.p.key == watched))),
                comes[n].eq(start.valid & start.ready & (start.p.key == watched)),
                ends[n].eq(ended.valid & (ended.p.row == 1) & ~ended.p.waits),
            ]  # fmt: skip
            for number in range(p.slices):
                for key in range(2 * units):
                    bank = (key + number + self.shift) % units
                    address = key // units * p.slices + number
                    with m.If((watched == key) & (read.address == address) & (bank == n)):
                        m.d.comb += its.eq(read.en)
            m.d.comb += asked[n].eq(its)
            with m.If(its):
                m.d.comb += Assert(started & ~decided)
                for number in range(p.slices):
                    with m.If(count == number):
                        m.d.comb += Assert((read.address == number)
                                           | (read.address == p.slices + number))
            with m.If(ends[n]):
                m.d.comb += [
                    Assert(started & ~decided & (count == ended.p.number + 1)),
                    Cover(ended.p.kept),
                    Cover(~ended.p.kept & (ended.p.number == 0)),
                ]
            with m.If(dut.o[n].valid & (dut.o[n].p.row == 1)):
                m.d.comb += [
                    Assert(decided | ends.any()),
                    Assert((dut.o[n].p.key == watched) & (count == p.slices)),
                ]
        m.d.comb += [
            *(Assume(~(one & started)) for one in comes),
            Assert((asked & (asked - 1)) == 0),
        ]
        m.d.sync += [
            started.eq(started | comes.any()),
            decided.eq(decided | ends.any()),
            count.eq(count + asked.any()),
        ]
        return m


@pytest.mark.parametrize("units, word_bits", [(1, 2), (2, 2), (3, 2), (2, 3)])
def test_proof(units, word_bits):
    prove(Proof(units=units, word_bits=word_bits), depth=6 * word_bits + 4, name="unit circle")


def test_everything_is_reached():
    prove(Proof(units=2, word_bits=2), depth=16, mode="cover", name="unit circle")


def test_a_wrong_claim_is_refuted():
    with pytest.raises(ProofError):
        prove(Proof(units=3, word_bits=2, shift=1), depth=16, name="unit circle")
