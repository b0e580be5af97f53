# amaranth: UnusedElaboratable=no
"""Serial products against Python's."""

from __future__ import annotations

import itertools
import random

import pytest

from attnsieve.hdl.lib.serial import SerialMultiplier
from attnsieve.sim.unit import simulate


def check_products(dut: SerialMultiplier, pairs: list, seed: int = 0) -> None:
    rng = random.Random(seed)

    async def bench(ctx):
        for a, b in pairs:
            ctx.set(dut.restart, 1)
            await ctx.tick("sync")
            ctx.set(dut.restart, 0)
            ctx.set(dut.a, a)
            ctx.set(dut.b, b)
            for phase in range(dut.cycles):
                ctx.set(dut.phase, phase)
                if phase < dut.cycles - 1:
                    await ctx.tick("sync")
            for _ in range(rng.randrange(3)):  # the product stays
                assert ctx.get(dut.o) == a * b
                await ctx.tick("sync")
            assert ctx.get(dut.o) == a * b

    simulate(dut, bench)


@pytest.mark.parametrize("a_signed", [True, False])
@pytest.mark.parametrize(("a_bits", "b_bits", "cycles"), [(2, 2, 2), (3, 4, 2), (4, 3, 3)])
def test_every_pair_of_small_operands(a_signed, a_bits, b_bits, cycles):
    low = -(1 << a_bits - 1) if a_signed else 0
    pairs = list(itertools.product(range(low, low + (1 << a_bits)), range(1 << b_bits)))
    dut = SerialMultiplier(a_bits=a_bits, b_bits=b_bits, cycles=cycles, a_signed=a_signed)
    check_products(dut, pairs)


@pytest.mark.parametrize(
    ("a_bits", "b_bits", "cycles", "a_signed"),
    [(18, 17, 5, True), (18, 15, 4, False), (9, 6, 4, False), (8, 10, 6, False)],
)
def test_random_and_extreme_operands(a_bits, b_bits, cycles, a_signed):
    rng = random.Random(a_bits)
    low = -(1 << a_bits - 1) if a_signed else 0
    high = low + (1 << a_bits) - 1
    top = (1 << b_bits) - 1
    pairs = list(itertools.product((low, high, 0, 1), (0, 1, top, top - 1)))
    pairs += [(rng.randint(low, high), rng.randint(0, top)) for _ in range(150)]
    dut = SerialMultiplier(a_bits=a_bits, b_bits=b_bits, cycles=cycles, a_signed=a_signed)
    check_products(dut, pairs)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"cycles": 1}, ValueError, r"^cycles must be at least 2, not 1$"),
        ({"a_bits": 1}, ValueError, r"^a_bits must be at least 2, not 1$"),
        ({"b_bits": 2.0}, TypeError, r"^b_bits must be an integer, not 2.0$"),
    ],
)
def test_parameters_are_checked(options, error, message):
    with pytest.raises(error, match=message):
        SerialMultiplier(**{"a_bits": 4, "b_bits": 4, "cycles": 2, **options})
