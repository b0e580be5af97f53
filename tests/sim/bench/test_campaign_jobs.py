"""Random jobs on cores with planes of K and values on demand: what they cover."""

from dataclasses import replace

import numpy as np
import pytest

from attnsieve.gen.config import load
from attnsieve.sim.bench.campaign import Coverage, job_cases
from attnsieve.sim.driver.precision import PLAIN
from attnsieve.sim.golden.progressive import largest_probability, row_softmax

CORE = replace(load("spatten-tiny").core, progressive=True, value_demand=True)


def jobs(core, cases):
    return [job for case in job_cases(core, cases, most_cycles=600) for job in case.image.jobs]


def test_every_width_threshold_and_demand_comes():
    made = jobs(CORE, 60)
    plain = [job.job for job in made if not (job.job.progressive or job.job.demand)]
    assert {job.key_width for job in plain} == {job.value_width for job in plain} == {
        4, 6, 8, 10, 12,
    }  # fmt: skip
    assert any(job.queries > 1 for job in plain)
    planes = [job.job for job in made if job.job.progressive]
    assert {job.key_width for job in planes} == {4, 6, 8, 10, 12}
    assert {job.queries for job in planes} == {1}
    assert {job.demand for job in planes} == {False, True}
    assert max(job.group for job in planes) >= 6
    rows = np.concatenate([j.expected.recomputed[j.expected.kept_scores.any(axis=2)]
                           for j in made if j.job.progressive])  # fmt: skip
    assert 0.1 < rows.mean() < 0.9


def test_thresholds_stand_at_the_edge_of_a_row():
    edges = set()
    for job in jobs(CORE, 60):
        if not job.job.progressive or job.key_valid is not None and not job.key_valid.any():
            continue
        seen = np.ones((1, job.job.keys), bool) if job.key_valid is None else job.key_valid[None]
        for head in np.flatnonzero(job.job.alive):
            once = replace(job.job, threshold=1)
            first = row_softmax(CORE, once, int(head), job.q[head], job.k[head // job.job.group],
                                seen, np.arange(1))  # fmt: skip
            largest = int(largest_probability(first.mantissa, first.exponent)[0])
            edges.add(job.job.threshold - largest)
    assert {0, 1} <= edges


@pytest.mark.parametrize("name", ["progressive", "value_demand"])
def test_a_core_with_one_of_them_gets_that_one(name):
    core = replace(CORE, **{name: False})
    made = [job.job for job in jobs(core, 30)]
    assert any(job.progressive for job in made) == core.progressive
    assert any(job.key_bits for job in made) == core.progressive
    assert any(job.demand for job in made) == core.value_demand
    assert any(job.queries > 1 for job in made)


def test_other_cores_get_plain_jobs():
    plain = load("spatten-tiny", settings=["core.progressive=false", "core.value_demand=false"])
    for case in job_cases(plain.core, 10, most_cycles=600):
        assert {shape.precision for shape in case.shapes} == {PLAIN}


def test_the_table_tells_of_them():
    coverage = Coverage()
    cases = list(job_cases(CORE, 20, most_cycles=600))
    for case in cases:
        coverage.add(case, 0)
    assert "progressive rows computed again; " in coverage.table()
    assert " 6+4: " in coverage.table()
    assert coverage.demand == sum(job.job.demand for case in cases for job in case.image.jobs)
    assert any("key_bits" in str(case) for case in cases)
