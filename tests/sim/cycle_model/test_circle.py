"""Keys through bit-serial units, as the cycle model sees them."""

import numpy as np
import pytest

from attnsieve.gen import config
from attnsieve.hdl.slices.key_dealer import KeyDealer
from attnsieve.hdl.slices.row_count import RowCount
from attnsieve.hdl.slices.slice_params import slice_params
from attnsieve.sim.cycle_model.circle import Circle, DealtRow


def a_circle(rows, kept=None, *, there=None, start=0, **settings):
    """A circle that has all rows, each by the slices of its keys."""
    settings = {"lanes": 64, "slice_units": 4, **settings}
    params = config.load("leopard-tiny", settings=[f"{k}={v}" for k, v in settings.items()]).core
    most = max(map(len, rows), default=0)
    circle = Circle(params, np.zeros(most, np.int64) if there is None else there, len(rows))
    circle.known = most
    for number, slices in enumerate(rows):
        keys = circle.codes(
            number, np.array(slices, np.int64), np.array(slices) * 0 + bool(kept)
        )
        circle.give(DealtRow(number, start, keys, 0, (("row", start),)))
    return circle


def run(circle):
    """When each row is complete."""
    while circle.inside:
        assert circle.advance(wait=False)
    return circle.ended


def test_one_key():
    """Dealt, in its unit some cycles later, decided after its slices."""
    circle = a_circle([[2]], start=20)
    assert run(circle) == [20 + KeyDealer.latency + 2 * circle.turn + RowCount.latency]
    circle = a_circle([[4]], kept=True)
    assert run(circle) == [KeyDealer.latency + 4 * circle.turn + 2 + RowCount.latency]


def test_rows_without_a_key_take_a_cycle():
    assert np.all(np.diff(run(a_circle([[], [0, 0], []]))) == 1)


@pytest.mark.parametrize("settings", [{}, {"slice_units": 6}, {"slice_dealing": "static"}])
def test_units_read_a_slice_per_cycle(settings):
    """Rows of a whole number of keys per unit."""
    circle = a_circle([[3] * 48] * 20, **settings)
    units = slice_params(config.load("leopard-tiny").core).units
    run(circle)
    units = settings.get("slice_units", 4)
    work = 20 * 48 * 3 / units
    assert work <= circle.busy < 1.15 * work + 3 * circle.turn


def test_one_unit_is_never_idle_while_there_are_keys():
    rng = np.random.default_rng(1)
    rows = [rng.integers(1, 5, 30).tolist() for _ in range(10)]
    circle = a_circle(rows, slice_units=1, lanes=16)
    run(circle)
    assert circle.busy == sum(map(sum, rows))


def test_few_keys_are_dealt_in_a_cycle():
    """Keys of one slice: four come per cycle, whatever the units could read."""
    circle = a_circle([[1] * 64] * 20, slice_units=8, operand_bits=8)
    ended = run(circle)
    assert ended[-1] - ended[0] == 19 * 16


def test_a_way_stores_a_key_per_cycle():
    circle = a_circle([[1] * 64] * 20, kept=True, slice_units=8, slice_bits=4)
    ended = run(circle)
    assert ended[-1] - ended[0] >= 19 * 32 - 64


def test_keys_that_are_not_there_are_waited_for():
    there = np.arange(8) * 10
    circle = a_circle([[1] * 8], there=there)
    assert run(circle) == [70 + KeyDealer.latency + circle.turn + RowCount.latency]
    assert circle.idle["key"] > 40
    circle = a_circle([[1] * 8], there=there)
    circle.known = 6
    assert not circle.advance(wait=False)
    assert circle.inside == 1


def test_the_next_row_is_waited_for():
    """Until it is known, or known to come later than a row ends."""
    circle = a_circle([[1] * 8])
    assert circle.advance(wait=True) == []
    assert circle.time == 2  # the row is dealt
    assert circle.advance(wait=False) == [0]
