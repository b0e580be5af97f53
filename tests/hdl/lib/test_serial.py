# amaranth: UnusedElaboratable=no
"""Serial arithmetic against Python's."""

from __future__ import annotations

import itertools
import random

import pytest
from amaranth.hdl import Shape

from attnsieve.hdl.lib.serial import SerialMultiplier, SerialShifter
from attnsieve.sim.unit import simulate


def digits(value: int, step: int, count: int, signed: bool) -> list[int]:
    """Chunks of a value, the lowest first."""
    found = []
    for _ in range(count):
        digit = value % (1 << step)
        if signed and digit >> (step - 1):
            digit -= 1 << step
        found.append(digit)
        value = (value - digit) >> step
    assert value == 0
    return found


def check_products(dut: SerialMultiplier, pairs: list, count: int) -> None:
    """Products with ``b`` in ``count`` chunks; cycles without ``en`` in between."""
    rng = random.Random(len(pairs))

    async def bench(ctx):
        for a, b in pairs:
            ctx.set(dut.restart, 1)
            await ctx.tick("sync")
            ctx.set(dut.restart, 0)
            ctx.set(dut.a, a)
            for number, digit in enumerate(digits(b, dut.step, count, dut.signed)):
                ctx.set(dut.chunk, digit)
                for _ in range(rng.randrange(2)):
                    await ctx.tick("sync")
                ctx.set(dut.en, 1)
                seen = digits(b, dut.step, count, dut.signed)[: number + 1]
                part = dut.init + a * sum(d << n * dut.step for n, d in enumerate(seen))
                assert ctx.get(dut.o) == part >> number * dut.step
                await ctx.tick("sync")
                ctx.set(dut.en, 0)
                assert ctx.get(dut.held) == part >> (number + 1) * dut.step

    simulate(dut, bench)


@pytest.mark.parametrize(
    ("a_bits", "step", "count", "signed"),
    [
        *((*shape, signed) for shape in [(1, 2, 2), (3, 2, 3), (4, 3, 2)] for signed in (0, 1)),
        (2, 1, 4, 0),  # a signed digit of one bit is never positive
    ],
)
def test_every_pair_of_small_operands(signed, a_bits, step, count):
    top = 1 << step * count
    some = range(-top // 2, top // 3) if signed else range(top)
    pairs = list(itertools.product(range(1 << a_bits), some))
    dut = SerialMultiplier(a_bits=a_bits, step=step, signed=signed, init=(1 << a_bits) - 1)
    check_products(dut, pairs, count)


@pytest.mark.parametrize(
    ("a_bits", "step", "count", "signed", "init"),
    [(16, 6, 3, False, 1 << 14), (9, 2, 3, False, 32), (8, 1, 10, False, 512),
     (17, 5, 4, True, 1 << 16)],
)  # fmt: skip
def test_random_and_extreme_operands(a_bits, step, count, signed, init):
    rng = random.Random(a_bits)
    bits = step * count
    low, high = (-(1 << bits - 1), 1 << bits - 2) if signed else (0, (1 << bits) - 1)
    top = (1 << a_bits) - 1
    pairs = list(itertools.product((0, 1, top, top - 1), (low, high, 0, 1)))
    pairs += [(rng.randint(0, top), rng.randint(low, high)) for _ in range(150)]
    dut = SerialMultiplier(a_bits=a_bits, step=step, signed=signed, init=init)
    check_products(dut, pairs, count)


@pytest.mark.parametrize(
    ("bits", "signed", "shift_bits", "step", "turns"),
    [(48, False, 6, 6, 3), (18, False, 5, 6, 3), (25, True, 3, 5, 4), (6, False, 1, 2, 2),
     (6, True, 2, 3, 3)],
)  # fmt: skip
def test_shifted_and_rounded(bits, signed, shift_bits, step, turns):
    rng = random.Random(bits)
    dut = SerialShifter(shape=Shape(bits, signed=signed), shift_bits=shift_bits, step=step,
                        turns=turns)  # fmt: skip

    async def bench(ctx):
        for _ in range(400):
            value = rng.choice([0, (1 << bits) - 1, rng.getrandbits(rng.randint(1, bits))])
            if signed:
                value = rng.choice([value >> 1, ~(value >> 1)])
            shift = rng.randrange(1 << shift_bits)
            ctx.set(dut.value, value)
            ctx.set(dut.shift, shift)
            total = 0
            for turn in range(turns):
                ctx.set(dut.turn, turn)
                ctx.set(dut.en, 1)
                await ctx.tick("sync")
                ctx.set(dut.en, 0)
                for _ in range(rng.randrange(2)):
                    await ctx.tick("sync")
                total += ctx.get(dut.chunk) << turn * step
            want = ((value >> shift) + 1) >> 1
            top = 1 << turns * step
            if signed:
                assert (total - want) % top == 0
                assert total == want or not -top // 4 <= want < top // 4
            else:
                assert total == want % top
                assert ctx.get(dut.over) == (want >= top)

    simulate(dut, bench)


@pytest.mark.parametrize(
    ("block", "options", "error", "message"),
    [
        (SerialMultiplier, {"step": 0}, ValueError, r"^step must be at least 1, not 0$"),
        (SerialMultiplier, {"init": -1}, ValueError, r"^init must be at least 0, not -1$"),
        (SerialMultiplier, {"a_bits": 2.0}, TypeError, r"^a_bits must be an integer, not 2.0$"),
        (SerialShifter, {"turns": 1}, ValueError, r"^turns must be at least 2, not 1$"),
        (SerialShifter, {"shift_bits": True}, TypeError,
         r"^shift_bits must be an integer, not True$"),
    ],
)  # fmt: skip
def test_parameters_are_checked(block, options, error, message):
    good = {
        SerialMultiplier: {"a_bits": 4, "step": 2},
        SerialShifter: {"shape": Shape(4), "shift_bits": 2, "step": 2, "turns": 2},
    }[block]
    with pytest.raises(error, match=message):
        block(**{**good, **options})
