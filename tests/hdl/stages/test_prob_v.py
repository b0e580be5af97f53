# amaranth: UnusedElaboratable=no
"""prob·V against the golden model, and its schedule to the cycle."""

from __future__ import annotations

import random
from math import gcd

import pytest

from attnsieve.hdl.stages.prob_v import ProbV
from attnsieve.hdl.stages.prob_v_steps import StepSequencer
from tests.variants import mostly_full

from .value_rows import EIGHT, FOUR, STALLS, TINY, TWO, Work, run, run_recorded


@pytest.mark.parametrize("head_dim", range(16, 129, 16))
@pytest.mark.parametrize("stall", mostly_full([0.0, 0.3], 0.3))
def test_every_head_dim(head_dim, stall):
    rng = random.Random(f"{head_dim} {stall}")
    work = Work(FOUR)
    for keys in (1, 5, rng.randrange(2, 71)):
        seen = [rng.randrange(keys + 1) for _ in range(2)]
        work.head(rng, head_dim, keys, [*seen, keys])
    run(ProbV, work, stall, seed=head_dim)


@pytest.mark.parametrize("params", [TINY, TWO, EIGHT], ids=["tiny", "two", "eight"])
@pytest.mark.parametrize("stall", mostly_full(STALLS, 0.3, {"o": 0.8}))
def test_rows_of_different_parts_back_to_back(params, stall):
    rng = random.Random(f"{params.lanes} {stall}")
    work = Work(params)
    for _ in range(5 if params.lanes < 128 else 2):
        keys = rng.randrange(1, min(40, params.max_keys))
        seen = [rng.randrange(keys + 1) for _ in range(rng.randrange(3))]
        work.head(rng, rng.choice(params.head_dims), keys, [*seen, keys])
    run(ProbV, work, stall, seed=1)


SIZES = [(TINY, 16), (TINY, 32), (TWO, 48), (TWO, 64), (EIGHT, 80), (EIGHT, 128)]
SIZES += [(FOUR, head_dim) for head_dim in FOUR.head_dims]


@pytest.mark.parametrize(("params", "head_dim"), SIZES)
def test_one_step_per_cycle_without_a_gap(params, head_dim):
    """Behind the first row, which waits for its lines, steps follow each other to the cycle."""
    rng = random.Random(head_dim)
    work = Work(params)
    keys = 17 + params.groups
    work.head(rng, head_dim, keys, [keys])
    first = work.steps
    for _ in range(2):
        work.head(rng, head_dim, keys, [keys - 1, keys])
    _, _, seen = run_recorded(ProbV, work)
    busy = seen["busy"]
    assert len(busy) == work.steps
    parts = head_dim // params.segment
    side = gcd(parts, params.groups)
    want = parts // side * sum(-(-k * side // params.groups) for k in [keys] * 3 + [keys - 1] * 2)
    assert work.steps == want
    rest = busy[first:]
    assert rest == list(range(rest[0], rest[0] + len(rest)))
    assert not seen["output"]
    assert set(seen["busy"]).isdisjoint(seen["value"])


@pytest.mark.parametrize("params", [TINY, TWO, FOUR, EIGHT], ids=["tiny", "two", "four", "eight"])
def test_the_stated_latency(params):
    head_dim = 16 * params.groups if params.groups > 1 else 16
    work = Work(params)
    rng = random.Random(0)
    work.head(rng, min(head_dim, 128), 1, [1])
    dut, result, seen = run_recorded(ProbV, work)
    assert len(seen["busy"]) == (4 if params.groups == 1 else 1)
    row = result.last("row") + StepSequencer.latency - 1
    begun = max(result.last("i"), result.last("line"), row - 1)  # of the first pass
    assert result.first("o") - begun == dut.dut.latency


def test_the_latencies_of_the_page():
    """As docs/reference/blocks/prob_v.md has it; the test above measures them."""
    for params in (TINY, TWO, FOUR, EIGHT):
        levels = (params.groups - 1).bit_length()
        want = 8 + (3 + levels if levels else 0)
        assert ProbV(params=params).latency == want


def test_lines_leave_with_the_last_pass_of_the_last_row():
    work = Work(FOUR)
    work.head(random.Random(4), 128, 70, [70, 1, 70])
    _, _, seen = run_recorded(ProbV, work)
    level, busy = seen["level"], seen["busy"]
    first = busy[140 + 2 + 70]  # a row of 70 keys takes 2 passes of 70 steps
    assert level[first] == max(level) == 140
    assert level[busy[-1]] <= 140 - 60  # one per cycle, from the third cycle of the pass on
    assert level[-1] == 0


def test_heads_that_fill_the_ring_follow_each_other():
    work = Work(FOUR)
    for rows in ([70, 70], [70], [70]):
        work.head(random.Random(4), 128, 70, rows)
    _, _, seen = run_recorded(ProbV, work)
    assert max(seen["level"]) == FOUR.kv_lines
    assert seen["level"][-1] == 0


def test_terms_stay_until_the_last_pass():
    """Rows that fill the term ring, one behind the other, in three passes each."""
    work = Work(FOUR)
    work.head(random.Random(9), 48, 70, [70] * 5)
    run(ProbV, work)


def test_terms_that_arrive_as_others_are_read():
    for seed in range(30):
        work = Work(TINY)
        work.head(random.Random(seed), 16, 1, [1, 1, 1])
        run(ProbV, work, {"i": 0.8}, seed=seed)


def test_sums_that_cannot_leave_stop_the_steps():
    rng = random.Random(5)
    work = Work(FOUR)
    work.head(rng, 64, 12, [12] * 4)
    _, _, seen = run_recorded(ProbV, work, {"o": 0.8})
    assert seen["output"]
    assert set(seen["output"]).isdisjoint(seen["busy"])
    assert set(seen["output"]).isdisjoint(seen["value"])


def test_steps_wait_for_lines_only_while_terms_are_there():
    rng = random.Random(6)
    work = Work(FOUR)
    work.head(rng, 48, 40, [40, 40])
    _, _, seen = run_recorded(ProbV, work, {"line": 0.9})
    assert len(seen["value"]) > 100
    assert len(seen["busy"]) == work.steps


def test_parameters_are_checked():
    with pytest.raises(TypeError, match=r"^Params must be a CoreParams, not 'dense'$"):
        ProbV(params="dense")
