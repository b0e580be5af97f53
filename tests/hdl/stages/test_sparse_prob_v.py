# amaranth: UnusedElaboratable=no
"""The sparse prob·V against the golden model, and its schedule to the cycle."""

from __future__ import annotations

import random
from math import gcd

import pytest

from attnsieve.hdl.stages.prob_v_drain import PassDrain
from attnsieve.hdl.stages.sparse_prob_v import SparseProbV

from .value_rows import EIGHT, FOUR, TINY, TWO, Work, run, run_recorded


def steps(work: Work) -> list[int]:
    """Steps of each row: passes times the terms of the largest class of lanes, counted anew."""
    p, counts, rows = work.params, [], []
    lanes = [0] * p.groups
    for beat in work.beats:
        lanes = [n + (t["mantissa"] > 0) for n, t in zip(lanes, beat["term"], strict=True)]
        if beat["last"]:
            counts.append(lanes)
            lanes = [0] * p.groups
    for row, lanes in zip(work.rows, counts, strict=True):
        side = gcd(row["parts"], p.groups)
        keys = p.groups // side
        classes = [sum(lanes[c::keys]) for c in range(keys)]
        rows.append(row["parts"] // side * max([1, *classes]))
    return rows


@pytest.mark.parametrize("head_dim", range(16, 129, 16))
@pytest.mark.parametrize("stall", [0.0, 0.3])
def test_every_head_dim(head_dim, stall):
    rng = random.Random(f"{head_dim} {stall}")
    work = Work(FOUR)
    for keys in (1, 5, rng.randrange(2, 71)):
        seen = [rng.randrange(keys + 1) for _ in range(2)]
        work.head(rng, head_dim, keys, [*seen, keys])
    run(SparseProbV, work, stall, seed=head_dim)


@pytest.mark.parametrize("params", [TINY, TWO, EIGHT], ids=["tiny", "two", "eight"])
@pytest.mark.parametrize("stall", [0.0, 0.3, {"o": 0.8}, {"line": 0.8}, {"i": 0.8}])
def test_rows_of_different_parts_back_to_back(params, stall):
    rng = random.Random(f"{params.lanes} {stall}")
    work = Work(params)
    for _ in range(5 if params.lanes < 128 else 2):
        keys = rng.randrange(1, min(40, params.max_keys))
        seen = [rng.randrange(keys + 1) for _ in range(rng.randrange(3))]
        work.head(rng, rng.choice(params.head_dims), keys, [*seen, keys])
    run(SparseProbV, work, stall, seed=1)


SIZES = [(TINY, 16), (TWO, 48), (TWO, 64), (EIGHT, 80), (EIGHT, 128)]
SIZES += [(FOUR, head_dim) for head_dim in FOUR.head_dims]


@pytest.mark.parametrize(("params", "head_dim"), SIZES)
def test_only_terms_take_steps_and_none_is_lost(params, head_dim):
    """Behind the first row, which waits for its lines, steps follow each other to the cycle."""
    rng = random.Random(head_dim)
    work = Work(params)
    keys = 33 + params.groups
    for _ in range(3):
        work.head(rng, head_dim, keys, [keys - 1, keys, keys])
    _, _, seen = run_recorded(SparseProbV, work)
    wanted = steps(work)
    busy = seen["busy"]
    assert len(busy) == sum(wanted)
    assert set(busy).isdisjoint(seen["value"])
    assert set(busy).isdisjoint(seen["output"])
    gaps = sum(b - a - 1 for a, b in zip(busy[wanted[0] :], busy[wanted[0] + 1 :], strict=False))
    waits = len(seen["output"]) + len(seen["value"])
    short = sum(n == 1 for n in wanted)
    # without a gap but for rows of one step, and for rows that are still on their way
    arrival = sum(max(0, -(-keys // params.groups) - n) + 3 for n in wanted)
    assert gaps <= waits + short + arrival


@pytest.mark.parametrize("params", [TINY, TWO, FOUR, EIGHT], ids=["tiny", "two", "four", "eight"])
def test_the_stated_latency(params):
    work = Work(params)
    rng = random.Random(0)
    head_dim = min(16 * params.groups, 128) if params.groups > 1 else 16
    work.head(rng, head_dim, 1, [1])
    dut, result, seen = run_recorded(SparseProbV, work)
    begun = max(result.last("i"), result.last("line") - 1)
    passes = len(seen["busy"])
    first = result.first("o") - begun
    assert abs(dut.dut.latency - first) <= passes - 1
    levels = (params.groups - 1).bit_length()
    want = 4 + 5 + 3 + (2 + levels if levels else 1)
    assert dut.dut.latency == want
    assert PassDrain.latency_of(params) == (2 + levels if levels else 1)


def test_lines_leave_behind_the_last_row():
    work = Work(FOUR)
    work.head(random.Random(4), 128, 70, [70, 1, 70])
    _, _, seen = run_recorded(SparseProbV, work)
    level = seen["level"]
    assert max(level) == 140
    assert level[seen["busy"][-1]] == 140
    assert level[-1] == 0


def test_heads_that_fill_the_ring_follow_each_other():
    work = Work(FOUR)
    for rows in ([70, 70], [70], [70]):
        work.head(random.Random(4), 128, 70, rows)
    _, _, seen = run_recorded(SparseProbV, work)
    assert max(seen["level"]) == FOUR.kv_lines
    assert seen["level"][-1] == 0


def test_terms_stay_until_the_last_pass():
    """Rows that fill the lanes, one behind the other, in three passes each."""
    work = Work(FOUR)
    work.head(random.Random(9), 48, 70, [70] * 5)
    run(SparseProbV, work)


def test_sums_that_cannot_leave_stop_the_steps():
    rng = random.Random(5)
    work = Work(FOUR)
    work.head(rng, 64, 12, [12] * 4)
    _, _, seen = run_recorded(SparseProbV, work, {"o": 0.8})
    assert seen["output"]
    assert set(seen["output"]).isdisjoint(seen["busy"])


def test_rows_wait_for_their_lines():
    work = Work(FOUR)
    work.head(random.Random(6), 48, 40, [40, 40])
    _, _, seen = run_recorded(SparseProbV, work, {"line": 0.9})
    assert len(seen["value"]) > 100
    assert len(seen["busy"]) == sum(steps(work))


def test_parameters_are_checked():
    with pytest.raises(TypeError, match=r"^Params must be a CoreParams, not 'dense'$"):
        SparseProbV(params="dense")
