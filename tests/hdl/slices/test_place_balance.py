# amaranth: UnusedElaboratable=no
"""Which units let free places pass: in every cycle, never all, never for nobody (proof)."""

from __future__ import annotations

import random
from collections import deque

import pytest
from amaranth.asserts import AnyConst
from amaranth.hdl import Array, Assert, Cat, Cover, Module, Signal

from attnsieve.hdl.slices.place_balance import PlaceBalance
from attnsieve.sim.formal import ProofError, free_inputs, prove
from attnsieve.sim.unit import simulate

#: Units, cycles of a turn, keys that can wait.
SIZES = {
    "pair": (2, 2, 32),
    "one-cycle": (3, 1, 20),
    "few": (3, 24, 20),
    "six": (6, 54, 32),
    "sixteen": (16, 160, 32),
    "never": (4, 8, PlaceBalance.margin),  # so few that none may differ by more
}


def balance(units, turn, depth):
    return PlaceBalance(units=units, turn=turn, depth=depth)


def passing(waiting, begun):
    """Units behind which more keys would be left than at them."""
    left = [max(0, keys - less) for keys, less in zip(waiting, begun, strict=True)]
    behind = left[1:] + left[:1]
    return sum((b > a + 12) << n for n, (a, b) in enumerate(zip(left, behind, strict=True)))


def run(size, stimulus, cycles):
    """Compare in every cycle. Returns how often a unit let places pass.

    Parameters
    ----------
    stimulus : callable
        Of a cycle, keys that wait for each unit and whether one begins there.
    """
    units, turn, _ = size
    dut, times = balance(*size), [0] * units
    recent = deque([[0] * units for _ in range(turn)], maxlen=turn)
    expected = deque([0] * PlaceBalance.latency)

    async def drive(ctx):
        for cycle in range(cycles):
            waiting, begins = stimulus(cycle)
            for port, keys in zip(dut.waiting, waiting, strict=True):
                ctx.set(port, keys)
            ctx.set(dut.begins, sum(b << n for n, b in enumerate(begins)))
            expected.append(passing(waiting, map(sum, zip(*recent, strict=True))))
            passes = expected.popleft()
            assert ctx.get(dut.passes) == passes, cycle
            for n in range(units):
                times[n] += passes >> n & 1
            recent.append(begins)
            await ctx.tick()

    simulate(dut, drive)
    return times


@pytest.mark.parametrize("pace", [0.02, 0.3, 0.9])
@pytest.mark.parametrize("name", SIZES)
def test_random_keys(name, pace):
    units, _, depth = size = SIZES[name]
    rng = random.Random(f"{name} {pace}")
    waiting = [0] * units

    def stimulus(cycle):
        for n in range(units):
            if rng.random() < 0.1:
                waiting[n] = rng.choice((0, depth, rng.randint(0, depth)))
        return list(waiting), [rng.random() < pace * (n % 2 or 0.1) for n in range(units)]

    times = run(size, stimulus, 1500)
    assert any(times) == (name != "never")


@pytest.mark.parametrize("name", SIZES)
def test_nothing_waits(name):
    units, _, _ = SIZES[name]
    assert not any(run(SIZES[name], lambda _: ([0] * units, [1] * units), 200))


@pytest.mark.parametrize("name", ["few", "six", "sixteen"])
def test_a_unit_with_many_places_gives_some_away(name):
    """All have as many keys; what counts is how fast they go. The last unit is before the first."""
    units, turn, depth = SIZES[name]
    times = run(SIZES[name], lambda _: ([depth] * units, [0] + [1] * (units - 1)), 2 * turn + 40)
    assert times[-1] > 0
    assert not any(times[:-1])


@pytest.mark.parametrize("more", [12, 13])
def test_the_margin(more):
    times = run(SIZES["six"], lambda _: ([1, 1 + more, 1, 1, 1, 1], [0] * 6), 20)
    assert times == ([20 - PlaceBalance.latency, 0, 0, 0, 0, 0] if more > 12 else [0] * 6)


@pytest.mark.parametrize("bad, message", [
    ({"units": 1}, "Units"), ({"units": 2.0}, "Units"), ({"turn": 0}, "Turn"),
    ({"depth": 0}, "Depth"),
])  # fmt: skip
def test_wrong_parameters(bad, message):
    with pytest.raises((TypeError, ValueError), match=message):
        PlaceBalance(**({"units": 2, "turn": 4, "depth": 16} | bad))


class Contract(PlaceBalance):
    """What holds whatever waits and begins."""

    def __init__(self, *size, least=PlaceBalance.margin + 1):
        units, turn, depth = size
        super().__init__(units=units, turn=turn, depth=depth)
        self.least = least

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = dut = balance(self.units, self.turn, self.depth)
        free_inputs(m, dut)
        unit = Signal(range(self.units))
        m.d.comb += unit.eq(AnyConst(unit.shape()))
        before, at_once = Signal(range(self.depth + 1)), Signal(range(self.depth + 1))
        known = Signal(2)  # that there was such a cycle
        behind = Array([*dut.waiting[1:], dut.waiting[0]])[unit]
        m.d.sync += [at_once.eq(behind), before.eq(at_once), known.eq(Cat(1, known))]
        passes = dut.passes.bit_select(unit, 1)
        m.d.comb += [
            Assert(~dut.passes.all()),
            Assert(~passes | (known[1] & (before >= self.least))),
            Cover(passes & (before == self.least)),
        ]
        return m


@pytest.mark.parametrize("size", [(2, 3, 16), (3, 4, 16), (6, 6, 32)])
def test_some_unit_takes_keys_and_nobody_passes_for_nothing(size):
    prove(Contract(*size), depth=3, mode="induction", name="place balance")


def test_the_proof_is_not_empty():
    prove(Contract(2, 3, 16), depth=8, mode="cover", name="place balance")


def test_the_proof_finds_a_wrong_bound():
    with pytest.raises(ProofError):
        prove(Contract(2, 3, 16, least=PlaceBalance.margin + 2), depth=6, name="place balance")
