"""Limits by hand."""

import pytest

from attnsieve.hdl.params import CoreParams
from attnsieve.sim.bench.memory import Timing
from attnsieve.sim.limits import (
    Necessary,
    granules_per_cycle,
    limit_cycles,
    ratios,
    tail_cycles,
)

TIMING = Timing()


@pytest.mark.parametrize(
    "channels, data_width, rate", [(2, 256, 2), (1, 32, 1 / 8), (16, 256, 16), (2, 512, 2)]
)
def test_granules_per_cycle(channels, data_width, rate):
    params = CoreParams(channels=channels, data_width=data_width)
    assert granules_per_cycle(params, TIMING) == rate


@pytest.mark.parametrize(
    "qk, pv, granules, limit",
    [(6400, 0, 0, 100), (6400, 6401, 0, 101), (0, 0, 201, 101), (1, 1, 1, 1), (6400, 64, 100, 100)],
)
def test_the_largest_resource_counts(qk, pv, granules, limit):
    work = Necessary(macs_qk=qk, macs_pv=pv, granules=granules)
    assert limit_cycles(CoreParams(), TIMING, work) == limit


def test_the_tail_is_latency_and_the_last_row():
    assert tail_cycles(CoreParams(), TIMING, 32, 113) == 100 + 57 + 64
    assert tail_cycles(CoreParams(), Timing(latency=10), 64, 300) == 20 + 300 + 64


def test_ratios():
    assert ratios(98, 2, 100) == (0.98, 1.0)
    with pytest.raises(ValueError, match=r"^Cycles must be positive, not 0$"):
        ratios(1, 1, 0)
