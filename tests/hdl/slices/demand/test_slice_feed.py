# amaranth: UnusedElaboratable=no
"""Slices from memory to a unit: a place for each row, with the sum that was parked for it, and who
goes on; proof."""

import random
from collections import deque

import pytest
from amaranth.asserts import AnyConst
from amaranth.hdl import Assert, Assume, Cat, Cover, Module, Mux, Signal
from amaranth.lib import wiring

from attnsieve.hdl.lib.delay import delayed
from attnsieve.hdl.lib.queue import Queue
from attnsieve.hdl.slices.demand.slice_feed import SliceFeed, slice_entry_layout, verdict_layout
from attnsieve.hdl.slices.slice_params import SliceParams
from attnsieve.sim.formal import HoldRule, ProofError, free_inputs, prove
from attnsieve.sim.unit import simulate

from .demand_cores import ones


def params(**changes):
    values = {"taps": 2, "query_bits": 4, "word_bits": 8, "slice_bits": 2, "keys": 9, "units": 2,
              "rows": 4, "demand": True}  # fmt: skip
    return SliceParams(**(values | changes))


#: (sizes, memory latency, latency); one key of a row at a unit, one slice, many rows.
SIZES = {
    "some": (params(), 2, 7),
    "one-key": (params(keys=3, units=3, rows=2), 1, 3),
    "one-slice": (params(word_bits=4, slice_bits=4, units=1), 2, 6),
    "many-rows": (params(rows=8, keys=40, units=3, slice_bits=1, taps=5), 3, 9),
}


class Around:
    """What a feed is between: packets, which bring slices of keys again while rows need them, and a
    unit, which finds at random who does.

    Parameters
    ----------
    stall : float
        How often the unit has no place, and verdicts are not taken; `rest` how often no key comes.
    rows : function of a generator
        Rows that need a key at first.
    """

    def __init__(self, dut, *, count, stall=0.0, rest=0.0, seed=0, rows=None, late=False):
        self.dut, self.p, self.rng = dut, dut.params, random.Random(f"feed {seed}")
        self.count, self.stall, self.rest, self.late = count, stall, rest, late
        self.rows = rows or (lambda rng: rng.randrange(1, 1 << self.p.rows))
        groups = -(-self.p.keys // self.p.units)
        self.next = dict.fromkeys(range(groups))  # slice and rows of its key, if any
        self.busy = set()  # groups whose key is inside
        self.sums = {}  # by group and row
        self.given = deque()  # keys whose places are not yet all with the unit: entry, rows left
        self.told = deque()  # of keys in the order in which they came: group, verdict or None
        self.times = {"i": [], "place": [], "leave": [], "o": []}

    def entry(self):
        """The next slice of a key, or the first one of another."""
        p, rng = self.p, self.rng
        free = [group for group in self.next if group not in self.busy]
        if not free or rng.random() < self.rest or len(self.told) >= SliceFeed.depth:
            return None
        group = rng.choice(free)
        number, rows = self.next[group] or (0, self.rows(rng))
        self.busy.add(group)
        entry = {
            "slice": [rng.randrange(1 << p.slice_bits) for _ in range(p.taps)],
            "key": rng.randrange(p.keys), "group": group, "number": number,
            "opens": number == 0, "pinned": rng.randrange(2), "rows": rows,
        }  # fmt: skip
        self.given.append((entry, ones(rows, p.rows)))
        self.told.append([entry, 0, 0])  # who goes on, and how many of the rows have left
        return entry

    def start(self, place):
        """A place is with the unit. Returns its key and row."""
        entry, rows = self.given[0]
        row = rows.pop(0)
        if not rows:
            self.given.popleft()
        want = {name: entry[name] for name in ("key", "number", "pinned")} | {
            "row": row, "first": entry["opens"],
            "sum": 0 if entry["opens"] else self.sums[entry["group"], row],
        }  # fmt: skip
        assert {name: place[name] for name in want} == want
        return entry, row

    def leave(self, gone):
        """What leaves the unit: (payload, whether the feed must keep it)."""
        p, rng = self.p, self.rng
        payload = {
            "valid": rng.randrange(2), "done": rng.random() < 0.2, "row": rng.randrange(p.rows),
            "sum": rng.randrange(-(1 << p.sum_bits - 1), 1 << p.sum_bits - 1),
        }  # fmt: skip
        if gone is None:
            return payload, False
        entry, row, _ = gone
        last = entry["number"] == -(-p.word_bits // p.slice_bits) - 1
        payload["done"] |= last  # after the last slice nothing goes on
        alive = payload["valid"] and not payload["done"]
        if alive:
            self.sums[entry["group"], row] = payload["sum"]
        told = next(told for told in self.told if told[0] is entry)
        told[1] |= alive << row
        told[2] += 1
        return payload, alive

    def verdict(self, rows):
        """What is told of the oldest key."""
        entry, want, left = self.told.popleft()
        assert left == entry["rows"].bit_count()
        assert rows == want
        group, number = entry["group"], entry["number"] + 1
        self.busy.remove(group)
        self.next[group] = (number, rows) if rows and self.rng.random() < 0.9 else None

    async def bench(self, ctx):
        dut, rng, cycle, sent = self.dut, self.rng, 0, 0
        moved = deque([None] * dut.latency)  # what the unit has, the oldest first
        read = deque([None] * (1 + dut.memory_latency))
        held, answered = None, 0
        while answered < self.count:
            entry = self.entry() if sent < self.count else None
            ctx.set(dut.i.valid, entry is not None)
            if entry:
                ctx.set(dut.i.p, entry)
                self.times["i"].append(cycle)
                sent += 1
            gone = moved.popleft()
            payload, alive = self.leave(gone)
            ctx.set(dut.leave, payload)
            ready = rng.random() >= self.stall
            take = rng.random() >= self.stall and (not self.late or sent == self.count)
            ctx.set(dut.place.ready, ready)
            ctx.set(dut.o.ready, take)
            if gone and gone[2]:
                self.times["leave"].append(cycle)
            _, _, valid, place, use, bits, parked, told, rows = await ctx.tick().sample(
                dut.place.valid, dut.place.p, dut.use, dut.slice, dut.parked, dut.o.valid,
                dut.o.p.rows,
            )  # fmt: skip
            assert parked == alive
            assert held is None or (valid and place.as_bits() == held)
            held = place.as_bits() if valid and not ready else None
            slot = None
            if valid and ready:
                entry, row = self.start(place)
                slot = (entry, row, not self.given or self.given[0][0] is not entry)
                self.times["place"].append(cycle)
            moved.append(slot)
            read.append(slot)
            want = read.popleft()
            assert use == (want is not None)
            if want:
                assert list(bits) == want[0]["slice"]
            if told and take:
                self.verdict(rows)
                self.times["o"].append(cycle)
                answered += 1
            cycle += 1
            assert cycle < 100 * self.count + 1000, "no end"


def run(name, **options):
    p, memory_latency, latency = SIZES[name]
    dut = SliceFeed(params=p, memory_latency=memory_latency, latency=latency)
    around = Around(dut, seed=f"{name} {options}", **options)
    simulate(dut, around.bench)
    return around


@pytest.mark.parametrize(("stall", "rest"), [(0.0, 0.0), (0.5, 0.0), (0.9, 0.5), (0.0, 0.8)])
@pytest.mark.parametrize("name", SIZES)
def test_random_keys(name, stall, rest):
    run(name, count=150, stall=stall, rest=rest)


@pytest.mark.parametrize("name", SIZES)
def test_verdicts_wait(name):
    """Nobody takes one until all keys are inside, as many as there is room for."""
    p = SIZES[name][0]
    keys = min(SliceFeed.depth, -(-p.keys // p.units))
    run(name, count=keys, late=True)


@pytest.mark.parametrize("rows", [1, 2, 8])
def test_a_place_in_every_cycle(rows):
    """Two cycles from a key to its first place, and one from its last place's leaving to its
    verdict."""
    around = run("many-rows", count=14, rows=lambda _: (1 << rows) - 1)
    times = around.times
    first = times["place"][:1]
    assert first == [times["i"][0] + 2]
    assert times["place"][: 14 * rows] == list(range(2, 14 * rows + 2))
    assert times["o"] == [cycle + 1 for cycle in times["leave"]]


def test_as_many_keys_as_stated():
    """Keys of one row each, of which no place is taken; then all are."""
    p = params(keys=40, units=1)
    dut = SliceFeed(params=p, memory_latency=2, latency=7)
    around = Around(dut, count=SliceFeed.depth, late=True, rows=lambda _: 1)
    around.next = dict.fromkeys(range(40))
    simulate(dut, around.bench)
    assert len(around.times["o"]) == SliceFeed.depth


def test_bad_parameters():
    with pytest.raises(ValueError, match=r"^demand must be true to feed slices, not false$"):
        SliceFeed(params=params(demand=False), memory_latency=2, latency=7)
    with pytest.raises(ValueError, match=r"^Memory latency must be at least 1, not 0$"):
        SliceFeed(params=params(), memory_latency=0, latency=7)
    with pytest.raises(ValueError, match=r"^Latency must be at least 4, not 3$"):
        SliceFeed(params=params(), memory_latency=2, latency=3)


class Shallow(SliceFeed):
    """Room for a few keys."""

    depth = 3


class Contract(wiring.Component):
    """Any keys, and a unit that keeps any of them: the rows of each key have a place each, in
    order, with what was parked for that row; verdicts tell who went on, in the order of keys. The
    slices of a key come one after the other's verdict.

    Parameters
    ----------
    wrong : int
        1: what is parked for a row is claimed to be another one's; 0 to prove what is true.
    """

    latency = 3

    def __init__(self, *, wrong=0):
        self.wrong = wrong
        super().__init__({})

    def elaborate(self, platform):
        p = params(rows=2, keys=2, units=1, word_bits=4, query_bits=2, taps=1)
        m, self.params = Module(), p
        m.submodules.dut = dut = Shallow(params=p, memory_latency=1, latency=self.latency)
        free_inputs(m, dut)
        m.submodules += [HoldRule(dut.place), HoldRule(dut.o)]
        inside = Signal(3)
        told = dut.o.valid & dut.o.ready
        m.d.sync += inside.eq(inside + dut.i.valid - told)
        m.d.comb += [
            Assume(~dut.i.valid | (inside < dut.depth)),
            Assume(~dut.i.valid | (dut.i.p.rows != 0)),
        ]
        row, last, entry = self._places(m, dut)
        gone = delayed(m, Cat(dut.place.valid & dut.place.ready, row, last, entry.group),
                       self.latency)  # fmt: skip
        alive = gone[0] & dut.leave.valid & ~dut.leave.done
        m.d.comb += Assert(dut.parked == alive)
        self._parked(m, dut, gone, alive, row, entry)
        self._verdicts(m, dut, gone, alive)
        return m

    def _places(self, m, dut):
        """Each place is that of the lowest row that is left of the oldest key."""
        m.submodules.keys = keys = Queue(shape=slice_entry_layout(self.params), depth=4)
        entry, left, begun = keys.o.p, Signal(2), Signal()
        rows, row = Signal(2), Signal()
        last, moves = Signal(), Signal()
        place = dut.place.p
        m.d.comb += [
            keys.i.valid.eq(dut.i.valid), keys.i.p.eq(dut.i.p),
            moves.eq(dut.place.valid & dut.place.ready),
            rows.eq(Mux(begun, left, entry.rows)), row.eq(~rows[0]),
            last.eq((rows == 1) | (rows == 2)), keys.o.ready.eq(moves & last),
        ]  # fmt: skip
        with m.If(moves):
            m.d.sync += [begun.eq(~last), left.eq(rows & ~(1 << row))]
        with m.If(dut.place.valid):
            m.d.comb += [
                Assert(keys.o.valid & (place.row == row) & (place.first == entry.opens)),
                *(Assert(place[name] == entry[name]) for name in ("key", "number", "pinned")),
            ]
        came = delayed(m, Cat(moves, entry.slice.as_value()), 1 + dut.memory_latency)
        m.d.comb += [
            Assert(dut.use == came[0]),
            Assert(~dut.use | (dut.slice.as_value() == came[1:])),
        ]
        return row, last, entry

    def _parked(self, m, dut, gone, alive, row, entry):
        """Watch what is parked for any row of any key."""
        which, group = AnyConst(1), AnyConst(1)
        keeps, there, known = Signal.like(dut.leave.sum), Signal(2), Signal()
        mine = dut.i.valid & (dut.i.p.group == group)
        verdict_of = Signal()  # the oldest verdict is that of this key
        m.submodules.order = order = Queue(shape=1, depth=4)
        m.d.comb += [
            order.i.valid.eq(dut.i.valid), order.i.p.eq(dut.i.p.group),
            order.o.ready.eq(dut.o.valid & dut.o.ready), verdict_of.eq(order.o.p == group),
            # its next slice comes after what was found of the one before
            Assume(~mine | (there == 0)),
            Assume(~mine | dut.i.p.opens | ~dut.i.p.rows.bit_select(which, 1) | known),
        ]  # fmt: skip
        m.d.sync += there.eq(there + mine - (order.o.ready & verdict_of))
        with m.If(alive & (gone[1] == which ^ (self.wrong != 0)) & (gone[3] == group)):
            m.d.sync += [keeps.eq(dut.leave.sum), known.eq(1)]
        with m.If(dut.place.valid & (row == which) & (entry.group == group)):
            m.d.comb += [
                Assert(dut.place.p.sum == Mux(entry.opens, 0, keeps)),
                Cover(~entry.opens & (keeps == 3)),
            ]

    def _verdicts(self, m, dut, gone, alive):
        """Of each key which rows went on."""
        m.submodules.verdicts = verdicts = Queue(shape=verdict_layout(self.params), depth=4)
        before, rows = Signal(2), Signal(2)
        m.d.comb += [
            rows.eq(before | (alive << gone[1])), verdicts.i.valid.eq(gone[0] & gone[2]),
            verdicts.i.p.rows.eq(rows), verdicts.o.ready.eq(dut.o.ready),
            Assert(verdicts.o.valid == dut.o.valid),
            Assert(~dut.o.valid | (verdicts.o.p.rows == dut.o.p.rows)),
            Cover(dut.o.valid & (dut.o.p.rows == 3)),
        ]  # fmt: skip
        with m.If(gone[0]):
            m.d.sync += before.eq(Mux(gone[2], 0, rows))


def test_proof():
    prove(Contract(), depth=10, name="slice feed")


def test_everything_is_reached():
    prove(Contract(), depth=16, mode="cover", name="slice feed")


def test_a_wrong_claim_is_refuted():
    with pytest.raises(ProofError):
        prove(Contract(wrong=1), depth=12, name="slice feed")
