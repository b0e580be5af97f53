"""Rows whose bounds follow their maximum, as the cycle model sees them."""

import numpy as np

from attnsieve.gen import config
from attnsieve.hdl.slices.key_dealer import KeyDealer
from attnsieve.hdl.slices.row_count import RowCount
from attnsieve.sim.cycle_model.circle import Circle
from attnsieve.sim.cycle_model.parts import PartedCircle
from attnsieve.sim.cycle_model.units import PARTS, DealtRow

#: Cycles from a part's being decided to the next one's being dealt: the row is looked up, its
#: bounds are written one by one, it is told, the part comes, and its first turn.
BOUNDS = 4 + 4 + 1 + 2


def a_circle(rows, kept=None, *, there=None, write=True, kind=PartedCircle, **settings):
    """A circle that has all rows, each by the slices of its keys; all are kept or none."""
    settings = {"lanes": 64, "slice_units": 4, "slice_rows": 8, **settings}
    params = config.load("leopard-tiny", settings=[f"{k}={v}" for k, v in settings.items()]).core
    most = max(map(len, rows), default=0)
    circle = kind(params, np.zeros(most, np.int64) if there is None else there, len(rows))
    circle.known = most
    for number, slices in enumerate(rows):
        keys = circle.codes(number, np.array(slices), np.array(slices) * 0 + bool(kept))
        circle.give(DealtRow(number, PARTS, keys, 0, (("row", PARTS),), write))
    return circle


def run(circle):
    """When each row is complete."""
    while circle.inside:
        assert circle.advance(wait=False)
    return circle.ended[: circle.count]


def decided(circle, slices):
    """Cycles from a turn to its keys' being decided."""
    return KeyDealer.latency + slices * circle.turn + RowCount.latency


def test_a_row_of_one_part():
    """Two turns of four keys; that all are there is known a cycle after the row comes."""
    circle = a_circle([[2] * 8])
    assert run(circle) == [PARTS + 2 + decided(circle, 2)]
    assert [len(part.turns) for part in circle._parts(DealtRow(0, 0, [1] * 8, 0, ()))] == [2]


def test_a_part_waits_for_the_bounds_that_follow_from_the_one_before():
    circle = a_circle([[4] * 64], kept=True)
    whole = run(circle)[0]
    free = run(a_circle([[4] * 64], kept=True, kind=Circle))[0]
    stored = 2  # cycles until one that is kept is
    waits = 2 * (decided(circle, 4) + stored + BOUNDS)
    assert waits - 40 < whole - free < waits + 10


def test_bounds_are_written_one_by_one_if_there_is_a_score():
    """Four of them, behind those of rows that begin; rows that wait come by their places."""
    circle = a_circle([])
    circle.quiet, circle.scored = {9: 100, 7: 101, 2: 100}, {9: True, 7: False, 2: True}
    circle._renew(99)
    assert not circle.settled
    circle.writes.append(100 + 4 + 4 + 2 + 4 + 2)
    circle._renew(1000)
    first = 100 + 4 + 4  # row 9 is in place 1
    second = first + 2 + 4 + 4 + 4
    assert circle.settled == {9: first + 1, 2: second + 1, 7: second + 2 + 3 + 1}


def test_the_order_of_turns():
    circle = a_circle([[1] * 38])
    (parts,) = circle.parts.values()
    first = [keys[0] for part in parts for keys, _ in part.turns]
    units = [unit for part in parts for _, unit in part.turns]
    assert [len(part.turns) for part in parts] == [2, 6, 2]
    assert [len(keys) for part in parts for keys, _ in part.turns] == [4, 2, *[4] * 8]
    assert units == [0] * 10
    numbers = [part.number for part in parts for _ in part.turns]
    assert [code >> 6 for code in first] == numbers


def test_rows_go_on_while_others_wait_for_their_bounds():
    """With eight rows inside units are hardly ever idle; alone each row waits twice."""
    rows = [[4] * 64] * 16
    alone = 16 * run(a_circle(rows[:1], kept=True))[0]
    circle = a_circle(rows, kept=True)
    together = run(circle)[-1]
    assert together < 0.6 * alone
    assert circle.busy > 0.9 * (together - 150)


def test_rows_are_complete_in_any_order_but_bounds_are_made_one_by_one():
    rng = np.random.default_rng(2)
    rows = [rng.integers(1, 5, int(n)).tolist() for n in rng.integers(0, 64, 30)]
    circle = a_circle(rows)
    ended = run(circle)
    assert all(ended)
    assert len(set(circle.settled)) == 0
    assert not circle.quiet


def test_a_row_comes_when_all_its_keys_are_there():
    there = np.arange(16) * 10
    circle = a_circle([[1] * 16], there=there)
    assert run(circle)[0] >= 150 + PARTS + decided(circle, 1)
    assert circle.idle["key"] > 100
    circle = a_circle([[1] * 16], there=there)
    circle.known = 15
    assert not circle.advance(wait=False)
    assert circle.inside == 2


def test_a_row_of_which_none_is_scored_is_one_part():
    circle = a_circle([[0] * 64], write=False)
    assert circle.inside == 1
    run(circle)
    circle = a_circle([[0] * 64])
    assert circle.inside == 3
    run(circle)
