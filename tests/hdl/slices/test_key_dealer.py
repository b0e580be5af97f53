# amaranth: UnusedElaboratable=no
"""Keys to the units that have their first slices: each once, in order, once it is there; proof."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import pytest
from amaranth.asserts import AnyConst
from amaranth.hdl import Array, Assert, Assume, Const, Cover, Module, Signal
from amaranth.lib import wiring

from attnsieve.hdl.params import CoreParams
from attnsieve.hdl.slices.key_dealer import KeyDealer
from attnsieve.hdl.slices.row_parts import keys_dealt
from attnsieve.sim.formal import HoldRule, ProofError, free_inputs, prove
from attnsieve.sim.unit import run_streams, simulate

from .front_cores import CORES, core

WAITS = ("wait_turn", "wait_key", "wait_unit")


def slices(p):
    return -(-p.operand_bits // p.slice_bits)


def capacity(p):
    keys = 2 * p.buffer_elements // p.max_head_dim
    return -(-keys // p.slice_units) * p.slice_units


def lanes(p):
    """Keys dealt at once: no more than units, or than lane groups; a power of two."""
    return max(n for n in (1, 2, 4, 8, 16) if n <= p.slice_units and n <= p.groups)


@dataclass
class Work:
    """Turns, and what must come out of them."""

    p: CoreParams
    masks: list  # a list of bits per bank
    turn: list = field(default_factory=list)
    starts: list = field(default_factory=list)  # per unit
    dealt: list = field(default_factory=list)
    turns: list = field(default_factory=list)  # (keys that must be there, units that get one)
    frees: list = field(default_factory=list)  # keys that may leave after each turn
    keys: int = 0  # of all heads so far
    rows: int = 0

    def __post_init__(self):
        self.starts = [[] for _ in range(self.p.slice_units)]

    def head(self, keys, rows):
        """A head of so many keys, and its rows, each (keys, bank or None, whether it is written,
        pins, whether it goes downwards), which are left out if so; the last sees all keys."""
        rows = [*rows[:-1], (keys, *rows[-1][1:])]
        for n, row in enumerate(rows):
            self._row(keys, n == len(rows) - 1, *row)
        self.keys += keys
        return self

    def _row(self, keys, last, seen, bank, write=True, pins=(0, 0, None), down=False):
        p = self.p
        row, number = self.rows % p.slice_rows, p.slice_bits % 3  # handed through
        first, newest, own = pins
        begins = list(range(0, max(1, seen), lanes(p)))
        if down:
            begins = [*begins[:1], *begins[:0:-1]]
        for place, begin in enumerate(begins):
            end = min(begin + lanes(p), seen)
            chosen = [
                k for k in range(begin, end) if (bank is None or self.masks[bank][k]) and write
            ]
            for key in chosen:
                group, unit = divmod(self.keys + key, p.slice_units)
                address = group % (capacity(p) // p.slice_units) * slices(p)
                self.starts[unit].append(
                    {"key": key, "row": row, "number": number, "address": address,
                     "pinned": key < first or key >= seen - newest or key == own}
                )  # fmt: skip
            final = place == len(begins) - 1
            self.turn.append(
                {"row": row, "number": number, "key_mask": bank is not None, "bank": bank or 0,
                 "write": write, "pin_first": first, "pin_from": max(0, seen - newest),
                 "own": (1 << p.key_bits) - 1 if own is None else own, "opens": not down,
                 "base": self.keys % capacity(p), "start": self._modulo(self.keys), "key": begin,
                 "count": end - begin, "end_of_part": final or place in (1, 7),
                 "end_of_row": final}
            )  # fmt: skip
            self.dealt.append(
                {"rows": 1 << row, "keys": len(chosen), "end_of_part": final or place in (1, 7),
                 "end_of_row": final}
            )  # fmt: skip
            units = [(self.keys + key) % p.slice_units for key in chosen]
            self.turns.append((self.keys + (end if not down else 0), units))
            self.frees.append(keys if last and final else 0)
        self.rows += 1

    def _modulo(self, count):
        """As `arrived` counts: signed, twice as far as keys can be apart."""
        bits = (capacity(self.p) + self.p.max_keys).bit_length() + 1
        return (count + (1 << bits - 1)) % (1 << bits) - (1 << bits - 1)


class Around:
    """The store that tells of keys, and the key mask."""

    def __init__(self, dut, work, *, seed, rate):
        self.dut, self.work, self.rate = dut, work, rate
        self.rng = random.Random(seed)
        self.deals, self.there, self.waits = [], 0, []

    async def bench(self, ctx):
        dut, p, rng = self.dut, self.dut.params, self.rng
        cycle, begun, freed = 0, 0, 0
        while True:
            # a key that comes has room: those of heads that are through have left
            append = (
                self.there < self.work.keys
                and self.there - freed < capacity(p)
                and rng.random() < self.rate
            )
            ctx.set(dut.arrived, self.work._modulo(self.there))
            _, _, en, used, bank, beat, moved, *waits = await ctx.tick().sample(
                dut.mask.en, dut.mask.used, dut.mask.bank, dut.mask.beat,
                dut.turn.valid & dut.turn.ready, *(getattr(dut, n) for n in WAITS),
            )  # fmt: skip
            assert en + sum(waits) == 1
            assert en == moved
            self.waits.append(WAITS[waits.index(1)] if not en else None)
            data = rng.randrange(1 << p.groups)  # it does not count unless it was asked for
            if en:
                assert begun < len(self.work.turns)
                assert self.there >= self.work.turns[begun][0]
                freed += self.work.frees[begun]
                begun += 1
                self.deals.append(cycle)
                if used:
                    mask = self.work.masks[bank][beat * p.groups : (beat + 1) * p.groups]
                    data = sum(bit << n for n, bit in enumerate(mask))
                else:
                    data = (1 << p.groups) - 1
            ctx.set(dut.mask.data, data)
            self.there += append
            cycle += 1


def run(work, *, stall=0.0, rate=1.0, seed=0, **options):
    """Deal and compare. Returns what was around, and the result."""
    p = work.p
    dut = KeyDealer(params=p)
    around = Around(dut, work, seed=seed, rate=rate)
    outputs = {f"o.{n}": len(starts) for n, starts in enumerate(work.starts)}
    result = run_streams(
        dut, {"turn": work.turn}, outputs | {"dealt": len(work.dealt)},
        testbenches=[around.bench], stall=stall, seed=seed, **options,
    )  # fmt: skip
    for n, starts in enumerate(work.starts):
        got = result.outputs[f"o.{n}"]
        assert [{name: o[name] for name in starts[0]} for o in got] == starts if starts else not got
    got = result.outputs["dealt"]
    assert [{name: o[name] for name in work.dealt[0]} for o in got] == work.dealt
    assert len(around.deals) == len(work.turns)
    assert result.times["dealt"] == [cycle + 2 for cycle in around.deals]
    return around, result


def masks_of(p, seed=0):
    rng = random.Random(seed)
    share = [0.5, 0.1, 0, 1]
    return [
        [rng.random() < share[bank % 4] for _ in range(p.max_keys)] for bank in range(p.banks)
    ]


def random_work(p, seed, heads=5):
    rng, work = random.Random(f"work {seed}"), Work(p, masks_of(p))
    for _ in range(heads):
        keys = rng.choice([1, p.max_keys, rng.randint(1, p.max_keys)])
        rows = [
            (
                rng.choice([0, 1, keys, rng.randint(0, keys)]),
                rng.choice([None, *range(p.banks)]),
                rng.random() < 0.8,
                (rng.choice([0, 1, keys]), rng.choice([0, 2]), rng.choice([None, keys // 2])),
                n > 0 and rng.random() < 0.5,  # the first row waits for its keys
            )
            for n in range(rng.randint(1, 4))
        ]
        work.head(keys, rows)
    return work


@pytest.mark.parametrize(("stall", "rate"), [(0.0, 1.0), (0.5, 0.9), (0.0, 0.2), (0.8, 0.6)])
@pytest.mark.parametrize("name", CORES)
def test_random_rows(name, stall, rate):
    work = random_work(CORES[name], f"{name} {stall} {rate}", heads=8)
    run(work, stall=stall, rate=rate, seed=name)


@pytest.mark.parametrize("name", CORES)
def test_one_unit_is_slow(name):
    """The others wait for it, and no key is lost."""
    p = CORES[name]
    work, heads = Work(p, masks_of(p)), -(-100 * p.slice_units // (4 * p.max_keys))
    for _ in range(heads):
        work.head(p.max_keys, [(p.max_keys, None)] * 4)
    around, _ = run(work, stall={f"o.{p.slice_units - 1}": 0.9})
    assert "wait_unit" in around.waits


@pytest.mark.parametrize("name", CORES)
def test_all_keys_are_masked(name):
    """Nothing comes out, but the keys are counted; those of the next head are found."""
    p = CORES[name]
    work = Work(p, [[False] * p.max_keys] * p.banks)
    work.head(p.max_keys, [(p.max_keys, 0), (1, 1), (0, 0), (1, None, False), (p.max_keys, 2)])
    work.head(1, [(1, None, False)])
    assert not any(work.starts)
    work.head(p.max_keys, [(p.max_keys, None)])
    run(work)


def test_keys_dealt():
    """Units and lane groups, both, bound it."""
    assert [keys_dealt(p) for p in CORES.values()] == [lanes(p) for p in CORES.values()]
    got = [keys_dealt(core(lanes=64, slice_units=units)) for units in (1, 2, 3, 4, 7, 16)]
    assert got == [1, 2, 2, 4, 4, 4]


@pytest.mark.parametrize("name", CORES)
def test_keys_are_dealt_without_a_gap(name):
    """From row to row and from head to head; rows without a key take a cycle. `latency` cycles
    later each key is at its unit."""
    p = CORES[name]
    work, keys = Work(p, masks_of(p)), min(p.max_keys, capacity(p) // 2)
    rows = [(keys, None)] * (lanes(p) + 3)  # meanwhile those of the second head come
    work.head(keys, [*rows, (0, None), (0, 1), (keys - 1, 0), (min(keys, 3), 1), (keys, None)])
    work.head(keys, [(0, 0), (keys, 0)])
    around, result = run(work)
    second = -(-keys // lanes(p))  # the first turn of the second row
    deals = around.deals[second:]
    assert deals == list(range(deals[0], deals[0] + len(deals)))
    assert len(deals) == len(work.turn) - second
    for unit in range(p.slice_units):
        assert result.times[f"o.{unit}"] == [
            cycle + KeyDealer.latency
            for cycle, (_, units) in zip(around.deals, work.turns, strict=True)
            if unit in units
        ]


@pytest.mark.parametrize("name", CORES)
def test_a_key_is_dealt_in_the_cycle_after_it_is_there(name):
    """With one key per row and head."""
    p = CORES[name]
    work = Work(p, masks_of(p))
    for _ in range(12):
        work.head(1, [(1, None)])
    assert run(work)[0].deals == list(range(1, 13))


def test_a_unit_that_stands():
    """As many keys as stated wait for it; then it gets one in every cycle."""
    p = core(slice_units=1, max_keys=64)
    dut, dealt, taken = KeyDealer(params=p), [], []

    async def bench(ctx):
        ctx.set(dut.mask.data, 1)
        await ctx.tick()
        ctx.set(dut.turn.valid, 1)
        ctx.set(dut.turn.p, {"count": 1, "write": 1})
        for cycle in range(200):
            ctx.set(dut.o[0].ready, cycle >= 100)
            _, _, deal, take, wait = await ctx.tick().sample(
                dut.mask.en, dut.o[0].valid & dut.o[0].ready, dut.wait_unit
            )
            if deal:
                dealt.append(cycle)
                if len(dealt) == 60:
                    ctx.set(dut.turn.valid, 0)
            if take:
                taken.append(cycle)
            assert wait == (not deal and len(dealt) < 60)

    simulate(dut, bench)
    assert dealt[:33] == [*range(KeyDealer.depth), dealt[32]]
    assert dealt[32] > 100
    assert taken == list(range(100, 160))


class Shallow(KeyDealer):
    """Queues that are soon full."""

    depth = 6


class Contract(wiring.Component):
    """Of any turns and masks, watch any key that any unit gets: it is the one whose turn it was, at
    its address, and pinned if it is. No unit gets more than its queue holds; no key is dealt before
    it is there.

    Parameters
    ----------
    less : int
        By which the claim about queues is wrong; 0 to prove it.
    """

    def __init__(self, params, *, less=0):
        self.params, self.less = params, less
        super().__init__({})

    def elaborate(self, platform):
        m = Module()
        p, units, width = self.params, self.params.slice_units, lanes(self.params)
        dut = m.submodules.dut = Shallow(params=p)
        free_inputs(m, dut)
        given, deal, older = dut.turn.p, dut.mask.en, Signal.like(dut.arrived)
        there = ~given.opens | (older >= given.key + given.count)
        m.d.comb += [
            older.eq(dut.arrived - given.start),
            Assume((given.count <= width) & (given.key % width == 0)),
            Assume(given.key + given.count <= p.max_keys),
            Assume(given.base < capacity(p)),
            Assert(dut.turn.ready == deal),
            Assert(~deal | (dut.turn.valid & there)),
            Assert(dut.wait_turn + dut.wait_key + dut.wait_unit + deal == 1),
            Assert(~dut.wait_key | ~there),
        ]
        turn, now = Signal(), Signal.like(given)  # a cycle later
        m.d.sync += [turn.eq(deal), now.eq(given)]
        beat = p.groups // width  # turns with one word of the mask
        word = now.key // width % beat
        bits = dut.mask.data.word_select(word, width) if beat > 1 else dut.mask.data
        chosen, groups = AnyConst(3), capacity(p) // units
        places = [divmod(n % capacity(p), units) for n in range(2 * capacity(p))]
        unit_of = Array(Const(unit, range(units)) for _, unit in places)
        address_of = Array(Const(group % groups * slices(p), 6) for group, _ in places)
        for unit in range(units):
            m.submodules += HoldRule(dut.o[unit])
            sent, taken = Signal(3, name=f"sent{unit}"), Signal(3, name=f"taken{unit}")
            want, gets = Signal.like(dut.o[unit].p, name=f"want{unit}"), 0
            for lane in range(width):
                position, key = (now.base + now.key + lane)[:5], now.key + lane
                mine = turn & now.write & (lane < now.count) & bits[lane]
                mine &= unit_of[position] == unit
                gets |= mine
                with m.If(mine & (sent == chosen)):
                    m.d.sync += [
                        want.key.eq(key),
                        want.row.eq(now.row),
                        want.number.eq(now.number),
                        want.address.eq(address_of[position]),
                        want.pinned.eq(
                            (key < now.pin_first) | (key >= now.pin_from) | (key == now.own)
                        ),
                    ]
            out = dut.o[unit]
            m.d.sync += [sent.eq(sent + gets), taken.eq(taken + (out.valid & out.ready))]
            m.d.comb += [
                Assume(sent != 7),
                Assert((sent - taken)[:3] + self.less <= dut.depth),
                Assert(~out.valid | (taken < sent)),
            ]
            with m.If(out.valid & (taken == chosen)):
                m.d.comb += [Assert(out.p.as_value() == want.as_value()), Cover(chosen == 4)]
        return m


def small(units, groups):
    return CoreParams(
        lanes=16 * groups, max_head_dim=16, max_keys=3, max_queries=2, output_lanes=1,
        buffer_elements=max(2, groups) * 16, slice_units=units, slice_bits=4, slice_rows=2,
    )  # fmt: skip


@pytest.mark.parametrize(("units", "groups"), [(1, 1), (2, 2), (3, 2), (2, 4)])
def test_proof(units, groups):
    prove(Contract(small(units, groups)), depth=10, name="key dealer")


def test_everything_is_reached():
    prove(Contract(small(2, 2)), depth=16, mode="cover", name="key dealer")


def test_a_wrong_claim_is_refuted():
    with pytest.raises(ProofError):
        prove(Contract(small(1, 1), less=1), depth=12, name="key dealer")
