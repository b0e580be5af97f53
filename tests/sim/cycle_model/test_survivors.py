"""Keys that are kept: when they are stored, and which have to wait in their places."""

import numpy as np

from attnsieve.sim.cycle_model.survivors import SurvivorsModel

TURN = 9


def stored(model, now=10_000):
    """Rows of the keys that waited, by time."""
    model.advance(now)
    found = [(time, row) for row, time in model.stored]
    model.stored.clear()
    return sorted(found)


def test_a_key_alone_is_stored_two_cycles_later():
    model = SurvivorsModel(4, 2, TURN, 1)
    assert model.keep(100, 1, 0, 7) == 102
    assert model.keep(103, 1, 0, 8) == 105
    assert not stored(model)


def test_one_per_way_and_cycle():
    model = SurvivorsModel(4, 2, TURN, 1)
    ways = [model.keep(100, unit, unit % 2, unit) for unit in range(4)]
    assert ways == [102, 102, 103, 103]


def test_units_are_served_in_turn():
    model = SurvivorsModel(3, 1, TURN, 1)
    for row, unit in enumerate((0, 0, 2, 2, 1, 1)):  # the first two find nothing before them
        model.keep(100, unit, 0, row)
    assert [row for _, row in stored(model)] == [4, 2, 5, 3]


def test_a_unit_without_room_holds_the_place_of_its_key():
    model = SurvivorsModel(2, 1, TURN, 1)
    given = [model.keep(100, 0, 0, row) for row in range(9)]
    assert given == [102, 103, *[0] * 5, None, None]
    model.advance(100 + TURN)
    assert model.left == [(100 + TURN, 1)] * 2
    assert len(stored(model)) == 7


def test_with_static_dealing_it_tries_at_its_own_unit():
    model = SurvivorsModel(2, 1, TURN, 0)
    for row in range(8):
        model.keep(100, 0, 0, row)
    model.advance(100 + TURN)
    assert model.left == [(100 + TURN, 0)]


def test_scores_wait_while_another_row_is_read_from_their_memory():
    model = SurvivorsModel(4, 2, TURN, 1, parts=3)
    model.read(1, range(100, 104))
    assert model.keep(100, 0, 0, 3 * 5 + 2) == 105  # of row 5
    assert model.keep(100, 1, 1, 3 * 6) == 102
    assert model.keep(101, 2, 0, 3 * 6) == 0  # behind the first
    assert stored(model) == [(106, 3 * 6)]


def test_nothing_is_lost_and_no_cycle_is_idle():
    """However keys come, all are stored, of each way in different cycles."""
    rng = np.random.default_rng(3)
    for _ in range(20):
        units, step = int(rng.integers(1, 13)), int(rng.integers(2))
        model, times, number = SurvivorsModel(units, 2, TURN, step), ([], []), 200
        for row, end in enumerate(np.sort(rng.integers(0, number // 3, number)).tolist()):
            way = row % 2
            time = model.keep(end, int(rng.integers(units)), way, row)
            if time:
                times[way].append(time)
        for time, row in stored(model):
            times[row % 2].append(time)
        assert sum(map(len, times)) == number
        for way in times:
            assert len(set(way)) == len(way)
