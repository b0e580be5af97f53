"""The case of SpAtten's release: as near to the limit as stated, beside what the release takes."""

import pytest

from attnsieve.sim.bench.release import CASES, cycles_per_query

#: Most cycles of a query: what the project set out to reach.
MOST = (1080, 1080, 2055, 1200)


@pytest.mark.full
@pytest.mark.parametrize("number", range(len(CASES)))
def test_cycles_per_query(number):
    case = CASES[number]
    cycles = cycles_per_query("spatten", case, few=4, more=12)
    assert case.limit <= cycles <= MOST[number]


def test_cases_are_legal():
    for case in CASES:
        assert case.release is None or case.limit < case.release
