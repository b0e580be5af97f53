# amaranth: UnusedElaboratable=no
"""Function tables against real arithmetic, and their interpolation."""

from __future__ import annotations

import random
from decimal import Decimal, getcontext

import pytest

from attnsieve.hdl.lib.tables import (
    SerialLookup,
    TableLookup,
    exponential_table,
    reciprocal_table,
)
from attnsieve.sim.unit import simulate


def test_the_exponential_table_is_rounded_to_nearest():
    getcontext().prec = 50
    table = exponential_table(7)
    for i, entry in enumerate(table):
        exact = Decimal(65536) * Decimal(2) ** (Decimal(-i) / 128)
        assert abs(exact - entry) <= Decimal(1) / 2
    assert (len(table), table[0], table[-1]) == (129, 65536, 32768)


def test_the_reciprocal_table_is_rounded_to_nearest():
    table = reciprocal_table(8)
    for i, entry in enumerate(table):
        assert abs(2 * (65536 * 256 - entry * (256 + i))) <= 256 + i
    assert (len(table), table[0], table[-1]) == (257, 65536, 32768)


def interpolated(values, offset_bits, index, offset):
    slope = values[index] - values[index + 1]
    return values[index] - (slope * offset + (1 << (offset_bits - 1)) >> offset_bits)


@pytest.mark.parametrize("values", [(9, 0), (40, 33, 33, 1, 0), reciprocal_table(4)])
@pytest.mark.parametrize("offset_bits", [2, 6])
def test_lookups_interpolate_and_hold(values, offset_bits):
    rng = random.Random(f"{len(values)} {offset_bits}")
    dut = TableLookup(values=values, offset_bits=offset_bits)
    waiting = []

    async def bench(ctx):
        for _ in range(300):
            index = rng.randrange(len(values) - 1)
            offset = rng.randrange(1 << offset_bits)
            go = rng.random() < 0.7
            ctx.set(dut.en, go)
            ctx.set(dut.index, index)
            ctx.set(dut.offset, offset)
            await ctx.tick("sync")
            if go:
                waiting.append(interpolated(values, offset_bits, index, offset))
            if go and len(waiting) >= dut.latency:
                assert ctx.get(dut.o) == waiting[-dut.latency]

    simulate(dut, bench)
    assert len(waiting) > 100


@pytest.mark.parametrize("values", [(9, 0), (40, 33, 33, 1, 0), reciprocal_table(4)])
@pytest.mark.parametrize(("offset_bits", "step"), [(2, 1), (6, 3), (6, 6)])
def test_serial_lookups_interpolate_and_hold(values, offset_bits, step):
    rng = random.Random(f"{len(values)} {offset_bits}")
    dut = SerialLookup(values=values, offset_bits=offset_bits, step=step)

    async def bench(ctx):
        for _ in range(150):
            index, offset = rng.randrange(len(values) - 1), rng.randrange(1 << offset_bits)
            ctx.set(dut.index, index)
            ctx.set(dut.read, 1)
            await ctx.tick("sync")
            ctx.set(dut.read, 0)
            ctx.set(dut.index, 0)
            for low in range(0, offset_bits, step):
                for _ in range(rng.randrange(2)):
                    await ctx.tick("sync")
                ctx.set(dut.chunk, offset >> low)
                ctx.set(dut.en, 1)
                await ctx.tick("sync")
                ctx.set(dut.en, 0)
            for _ in range(rng.randrange(3)):
                await ctx.tick("sync")
            assert ctx.get(dut.o) == interpolated(values, offset_bits, index, offset)

    simulate(dut, bench)


@pytest.mark.parametrize(
    ("values", "offset_bits", "error", "message"),
    [
        ((1,), 4, ValueError, r"^Table must have 2\*\*n \+ 1 values, not 1$"),
        ((4, 3, 2, 1), 4, ValueError, r"^Table must have 2\*\*n \+ 1 values, not 4$"),
        ((1, 2), 4, ValueError, r"^Table must fall and not be negative$"),
        ((1, -2), 4, ValueError, r"^Table must fall and not be negative$"),
        ((2, 1), 0, ValueError, r"^Offset bits must be at least 1, not 0$"),
        ((2, 1), "4", TypeError, r"^Offset bits must be an integer, not '4'$"),
    ],
)
def test_parameters_are_checked(values, offset_bits, error, message):
    with pytest.raises(error, match=message):
        TableLookup(values=values, offset_bits=offset_bits)
    with pytest.raises(error, match=message):
        SerialLookup(values=values, offset_bits=offset_bits, step=1)


@pytest.mark.parametrize("step", [0, 4])
def test_steps_are_checked(step):
    with pytest.raises(ValueError, match=rf"^Step must be a divisor of 6, not {step}$"):
        SerialLookup(values=(2, 1), offset_bits=6, step=step)
