# amaranth: UnusedElaboratable=no
"""Every segment of every key is visited exactly once, by the right lane group."""

import pytest
from amaranth.hdl import Module, Signal
from amaranth.sim import Simulator

from attnsieve.hdl.lib import geometry
from attnsieve.hdl.params import CoreParams

GROUPS = [1, 2, 4, 8, 32]
PARTS = range(1, 9)


def params(groups):
    return CoreParams(lanes=16 * groups)


@pytest.mark.parametrize("groups", GROUPS)
@pytest.mark.parametrize("parts", PARTS)
def test_scorer_visits_every_segment_once(groups, parts):
    p = params(groups)
    seen = {}
    for line in range(parts):
        for group in range(groups):
            cell = geometry.scorer_cell(p, parts, line, group)
            assert (cell.slot, cell.part) not in seen
            seen[cell.slot, cell.part] = line * groups + group
            assert cell.end == (cell.part == parts - 1)
    assert seen == {(k, r): k * parts + r for k in range(groups) for r in range(parts)}


@pytest.mark.parametrize("groups", GROUPS)
@pytest.mark.parametrize("parts", PARTS)
def test_prob_v_visits_every_segment_once(groups, parts):
    p = params(groups)
    keys, lines = geometry.prob_v_keys(p, parts), geometry.prob_v_lines(p, parts)
    assert keys * parts == lines * groups
    assert geometry.prob_v_passes(p, parts) == p.passes(16 * parts)
    steps = 3
    seen = set()
    for turn in range(geometry.prob_v_passes(p, parts)):
        for step in range(steps):
            for group in range(groups):
                cell = geometry.prob_v_cell(p, parts, turn, group)
                key = step * keys + cell.slot
                assert cell.slot < keys
                assert cell.line < lines
                assert (step * lines + cell.line) * groups + group == key * parts + cell.part
                assert cell.part // p.parallel_parts(16 * parts) == turn
                seen.add((key, cell.part))
    assert len(seen) == steps * keys * parts


def test_legal_parts():
    assert geometry.legal_parts(params(4)) == (1, 2, 3, 4, 5, 6, 7, 8)
    assert geometry.legal_parts(CoreParams(lanes=4, max_head_dim=48)) == (4, 8, 12)


@pytest.mark.parametrize("table", [{1: 2, 3: 5, 4: 0}, {1: 4, 2: 1}, {1: 3, 2: 3}, {0: 0}])
def test_lookup(table):
    m = Module()
    select = Signal(3)
    result = geometry.lookup(m, select, table, name="x")

    async def bench(ctx):
        for key, value in table.items():
            ctx.set(select, key)
            await ctx.delay(1e-9)
            assert ctx.get(result) == value

    sim = Simulator(m)
    sim.add_testbench(bench)
    sim.run()
