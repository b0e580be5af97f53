# amaranth: UnusedElaboratable=no
"""The list of all rows: every entry; proof."""

from __future__ import annotations

import pytest
from amaranth.asserts import AnyConst
from amaranth.hdl import Assert, Cover, Module, Signal

from attnsieve.hdl.axi.list_rows import index_bits
from attnsieve.hdl.axi.whole_list import WholeList
from attnsieve.hdl.params import CoreParams
from attnsieve.sim.formal import ProofError, free_inputs, prove
from attnsieve.sim.unit import simulate

SMALL = {"slice_units": 2, "value_demand": True, "output_lanes": 1}
SIZES = {
    "one lane": (CoreParams(lanes=16, max_keys=40, max_queries=9, **SMALL), 40, 1),
    "lines": (CoreParams(lanes=64, max_keys=40, max_queries=9, **SMALL), 40, 4),
    "beats": (CoreParams(lanes=512, max_keys=70, max_queries=9, channels=1, **SMALL), 70, 32),
    "more queries": (CoreParams(lanes=64, max_keys=4, max_queries=30, **SMALL), 30, 4),
    "one line": (CoreParams(lanes=64, max_keys=3, max_queries=2, **SMALL), 3, 4),
    "one row": (CoreParams(lanes=16, max_keys=1, max_queries=1, **SMALL), 1, 1),
}


@pytest.mark.parametrize("size", SIZES)
def test_entry_n_is_row_n(size):
    params, rows, lanes = SIZES[size]
    dut = WholeList(params=params, rows=rows, lanes=lanes)

    async def bench(ctx):
        for line in [*range(-(-rows // lanes)), 0]:
            ctx.set(dut.read.line, line)
            ctx.set(dut.read.en, 1)
            await ctx.tick().repeat(dut.latency)
            ctx.set(dut.read.en, 0)
            ctx.set(dut.read.line, 0)  # what is not asked for does not matter
            for _ in range(2):
                found = [ctx.get(entry) for entry in dut.read.data]
                inside = [(e.index, e.before, e.after) for e in found][: rows - line * lanes]
                want = range(line * lanes, line * lanes + len(inside))
                assert inside == [(row, 1, 1) for row in want]
                await ctx.tick()

    simulate(dut, bench)


def test_a_line_each_cycle():
    params, rows, lanes = SIZES["lines"]
    dut = WholeList(params=params, rows=rows, lanes=lanes)

    async def bench(ctx):
        ctx.set(dut.read.en, 1)
        for line in range(10):
            ctx.set(dut.read.line, line)
            await ctx.tick()
            assert ctx.get(dut.read.data[0].index) == 4 * line

    simulate(dut, bench)


def test_parameters_are_checked():
    params = SIZES["lines"][0]
    with pytest.raises(TypeError, match=r"^Params must be a CoreParams, not None$"):
        WholeList(params=None, rows=4, lanes=4)
    with pytest.raises(ValueError, match=r"^Lanes must be a power of two, not 3$"):
        WholeList(params=params, rows=4, lanes=3)
    with pytest.raises(ValueError, match=r"^Rows must be in 1\.\.40, not 41$"):
        WholeList(params=params, rows=41, lanes=4)


@pytest.mark.parametrize("wrong", [0, 1])
def test_proof(wrong):
    """Whichever line was read last, its entries are its rows, until the next one is."""
    params = CoreParams(lanes=64, max_keys=16, max_queries=4, **SMALL)
    m, lanes = Module(), 4
    m.submodules.dut = dut = WholeList(params=params, rows=16, lanes=lanes)
    free_inputs(m, dut)
    lane, last, read = Signal(2), Signal(2), Signal()
    m.d.comb += lane.eq(AnyConst(2))
    with m.If(dut.read.en):
        m.d.sync += [last.eq(dut.read.line), read.eq(1)]
    width = index_bits(params)
    index = Signal(width)
    with m.Switch(lane):
        for n, entry in enumerate(dut.read.data):
            with m.Case(n):
                m.d.comb += [index.eq(entry.index), Assert(entry.before & entry.after)]
    m.d.comb += [Assert(~read | (index == lanes * last + lane + wrong)), Cover(read)]
    if wrong:
        with pytest.raises(ProofError):
            prove(m, depth=4, name="whole list")
    else:
        prove(m, depth=2, mode="induction", name="whole list")
