# amaranth: UnusedElaboratable=no
"""Function tables against real arithmetic, and their interpolation."""

from __future__ import annotations

import random
from decimal import Decimal, getcontext

import pytest

from attnsieve.hdl.lib.tables import TableLookup, exponential_table, reciprocal_table
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


@pytest.mark.parametrize("values", [(9, 0), (40, 33, 33, 1, 0), reciprocal_table(4)])
@pytest.mark.parametrize("offset_bits", [2, 6])
@pytest.mark.parametrize("cycles", [1, 4])
def test_lookups_interpolate_and_hold(values, offset_bits, cycles):
    rng = random.Random(f"{len(values)} {offset_bits}")
    dut = TableLookup(values=values, offset_bits=offset_bits, cycles=cycles)
    waiting = []

    async def bench(ctx):
        phase = 0
        for _ in range(300 * cycles):
            index = rng.randrange(len(values) - 1)
            offset = rng.randrange(1 << offset_bits)
            go = phase == cycles - 1 and rng.random() < 0.7
            ctx.set(dut.phase, phase)
            phase = 0 if go else min(phase + 1, cycles - 1)
            ctx.set(dut.en, go)
            ctx.set(dut.index, index)
            ctx.set(dut.offset, offset)
            await ctx.tick("sync")
            if go:
                slope = values[index] - values[index + 1]
                half = 1 << (offset_bits - 1)
                waiting.append(values[index] - (slope * offset + half >> offset_bits))
            if go and len(waiting) >= dut.latency:
                assert ctx.get(dut.o) == waiting[-dut.latency]

    simulate(dut, bench)
    assert len(waiting) > 100


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
