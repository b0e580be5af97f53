"""The comparison of simulators."""

import pytest

from attnsieve.gen.config import load
from attnsieve.sim.bench import speed


def test_a_rate_counts_neither_building_nor_starting(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(speed.time, "perf_counter", lambda: clock[0])

    def run(count):
        clock[0] += 7 + 0.5 * count  # 7 s to start, half a second each

    assert speed.rate(run, 1000, 4) == pytest.approx(2000)


@pytest.mark.full
def test_simulators_are_compared():
    rates = speed.measure(load("dense-tiny"), simulators=("icarus",))
    assert set(rates) == {"compiled", "cocotb on icarus"}
    assert all(rate > 0 for rate in rates.values())
