# amaranth: UnusedElaboratable=no
"""Keys that are kept, of all units in turn: none lost or invented, none waits for ever; cycles."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from amaranth.hdl import Assert, Assume, Cat, Cover, Module, Signal, Value
from amaranth.lib import wiring

from attnsieve.hdl.slices.slice_params import SliceParams
from attnsieve.hdl.slices.survivors import Survivors
from attnsieve.sim.formal import HoldRule, ProofError, free_inputs, prove
from attnsieve.sim.unit import run_streams

UNITS = [1, 2, 3, 5, 8, 16]


def params(units, **others):
    return SliceParams(**({"taps": 2, "keys": 64, "rows": 4, "units": units} | others))


def keys_of(p, counts, seed=1):
    """Of each unit so many keys, all of them different."""
    rng = random.Random(f"{counts} {seed}")
    places = [(key, row) for key in range(p.keys) for row in range(p.rows)]
    rng.shuffle(places)
    top = 1 << p.score_bits - 1
    return [
        [
            dict(zip(("key", "row"), places.pop(), strict=True))
            | {"pinned": rng.randrange(2), "score": rng.randrange(-top, top)}
            for _ in range(count)
        ]
        for count in counts
    ]  # fmt: skip


def run(dut, given, **options):
    """All keys; whose each one that leaves is, in order."""
    owner = {(k["key"], k["row"]): n for n, keys in enumerate(given) for k in keys}
    inputs = {f"i.{n}": keys for n, keys in enumerate(given)}
    result = run_streams(dut, inputs, {"o": len(owner)}, **options)
    names = ("key", "row", "pinned", "score")
    found = [{name: o[name] for name in names} for o in result.outputs["o"]]
    owners = [owner[k["key"], k["row"]] for k in found]
    for n, keys in enumerate(given):  # each unit's in their order
        assert [k for k, mine in zip(found, owners, strict=True) if mine == n] == keys
    return result, owners


@pytest.mark.parametrize("stall", [0.0, 0.4, {"o": 0.8}, {"i.0": 0.9}])
@pytest.mark.parametrize("depth", [1, 2, 4])
@pytest.mark.parametrize("units", UNITS)
def test_random_keys(units, depth, stall):
    p = params(units)
    rng = random.Random(f"{units} {depth} {stall}")
    counts = [rng.choice((0, 1, 4, rng.randrange(12))) for _ in range(units)]
    run(Survivors(params=p, depth=depth), keys_of(p, counts), stall=stall)


@pytest.mark.parametrize("units", UNITS)
def test_the_stated_latency(units):
    """Two cycles, whichever unit it comes from."""
    p = params(units)
    for n in {0, units // 2, units - 1}:
        counts = [int(m == n) for m in range(units)]
        result, _ = run(Survivors(params=p), keys_of(p, counts))
        assert result.last("o") - result.first(f"i.{n}") == 2


@pytest.mark.parametrize("units", UNITS)
def test_a_key_per_cycle(units):
    """Also if they all are of one unit."""
    p = params(units)
    for counts in ([24 // units + 1] * units, [24] + [0] * (units - 1)):
        result, _ = run(Survivors(params=p), keys_of(p, counts))
        times = result.times["o"]
        assert times == list(range(times[0], times[0] + sum(counts)))


@pytest.mark.parametrize("stall", [0.0, 0.5])
@pytest.mark.parametrize("units", UNITS)
def test_units_take_turns(units, stall):
    """Of units that all have keys, each gives one of any ``units`` that follow each other."""
    p, most = params(units), 8
    result, owners = run(Survivors(params=p), keys_of(p, [most] * units), stall={"o": stall})
    assert result.first("o") == 2
    for start in range((most - 1) * units + 1):
        assert Counter(owners[start : start + units]) == Counter(range(units)), start


def test_a_busy_unit_does_not_keep_others_waiting():
    """The only key of a unit passes all but one of those of another one."""
    p = params(3)
    given = keys_of(p, [20, 1, 0])
    _, owners = run(Survivors(params=p), given)
    assert owners.index(1) <= 1


@pytest.mark.parametrize("depth", [1, 3, 4])
def test_a_unit_waits_where_its_queue_is_full(depth):
    """What nobody takes fills queues, and one more place behind them, and nothing is dropped."""
    p = params(2)
    given = keys_of(p, [12, 12])
    stall = {"o": 0.97}
    result, _ = run(Survivors(params=p, depth=depth), given, stall=stall)
    gone = result.times["o"]
    held = max(
        sum(t < now for n in range(2) for t in result.times[f"i.{n}"]) - sum(t < now for t in gone)
        for now in range(result.cycles)
    )
    assert held == 2 * depth + 1


def test_bad_depth():
    with pytest.raises(ValueError, match=r"^Depth must be at least 1, not 0$"):
        Survivors(params=params(2), depth=0)


class Proof(wiring.Component):
    """Any keys, of which at most one is number 1: it leaves as it came, once, and never else; while
    it is inside a key is offered, and only so many leave before it.

    Parameters
    ----------
    units, depth : int
    less : int
        By how many the claim about those before it is wrong; 0 to prove it.
    """

    def __init__(self, *, units, depth, less=0):
        self.units, self.depth, self.less = units, depth, less
        super().__init__({})

    def elaborate(self, platform):
        m = Module()
        p = SliceParams(taps=1, query_bits=2, word_bits=2, slice_bits=2, keys=2, rows=2,
                        units=self.units)  # fmt: skip
        m.submodules.dut = dut = Survivors(params=p, depth=self.depth)
        free_inputs(m, dut)
        m.submodules += HoldRule(dut.o)
        comes, leaves, given = Signal(self.units), Signal(), Signal()
        entered, just, left, before = Signal(), Signal(), Signal(), Signal(4)
        kept, its = Signal.like(Value.cast(dut.o.payload)), Value.cast(dut.o.payload)
        m.d.comb += [
            *(comes[n].eq(i.valid & i.ready & i.p.key) for n, i in enumerate(dut.i)),
            given.eq(dut.o.valid & dut.o.ready),
            leaves.eq(given & dut.o.p.key),
            Assert(~leaves | (entered & ~left & (its == kept))),
            Assert(~(entered & ~left) | dut.o.valid | just),
        ]
        for n, one in enumerate(comes):
            others = Cat(comes[:n], comes[n + 1 :])
            m.d.comb += Assume(~one | ~(entered | others.any()))
            with m.If(one):
                m.d.sync += kept.eq(dut.i[n].payload)
        m.d.sync += [entered.eq(entered | comes.any()), left.eq(left | leaves)]
        m.d.sync += just.eq(comes.any())
        with m.If(entered & ~left & given & ~leaves):
            m.d.sync += before.eq(before + 1)
        # in its queue, in each of the others as many, and one at the output
        most = self.units * self.depth
        m.d.comb += [
            Assert(before <= most - self.less),
            Cover(left & (before == most)),
            Cover(Cat(~i.ready for i in dut.i).all()),
        ]
        return m


@pytest.mark.parametrize("units, depth", [(1, 1), (1, 3), (2, 1), (2, 2), (3, 1)])
def test_proof(units, depth):
    prove(Proof(units=units, depth=depth), depth=10, name="survivors")


def test_everything_is_reached():
    prove(Proof(units=2, depth=2), depth=12, mode="cover", name="survivors")


def test_a_wrong_claim_is_refuted():
    with pytest.raises(ProofError):
        prove(Proof(units=2, depth=2, less=1), depth=10, name="survivors")
