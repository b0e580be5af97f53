"""Times of lines in rings."""

import numpy as np
import pytest

from attnsieve.sim.cycle_model.lines import LineTimes, paced


@pytest.mark.parametrize(
    "bounds, pace, want",
    [
        ([0, 0, 0], 1, [0, 1, 2]),
        ([5, 0, 9], 1, [5, 6, 9]),
        ([5, 0, 9], 4, [5, 9, 13]),
        ([7], 3, [7]),
    ],
)
def test_events_are_in_order_and_apart(bounds, pace, want):
    np.testing.assert_array_equal(paced(np.array(bounds), pace), want)


def test_room_grows_with_releases():
    ring = LineTimes(depth=4, total=10)
    ring.asked = 3
    assert ring.room(0) == 1
    assert ring.room_from(1) == 0
    assert ring.room_from(2) is None
    ring.put(np.array([10, 11, 12]))
    ring.take(np.array([20, 30]))
    assert ring.room_from(2) == 20
    assert ring.room_from(3) == 30
    assert ring.room_from(4) is None
    assert (ring.room(19), ring.room(20), ring.room(99)) == (1, 2, 3)
