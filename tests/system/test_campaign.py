"""Random jobs on the generated Verilog of the presets, in every simulator."""

import numpy as np
import pytest

from attnsieve.gen.config import load
from attnsieve.sim.bench.campaign import MASKS, STALLS, job_cases, run_campaign
from attnsieve.sim.bench.runner import run_cases
from tests.system.cores import config, run_case, verilog
from tests.variants import mostly_full


def campaign(name, count, **options):
    cases = {k: options.pop(k) for k in ("first_seed", "most_cycles") if k in options}
    coverage, failures = run_campaign(
        config(name), job_cases(config(name).core, count, **cases), verilog=verilog(name), **options
    )
    print(coverage.table())
    assert not failures, "\n".join(map(str, failures))
    assert coverage.cases == count
    return coverage


def test_compiled_tiny():
    coverage = campaign("dense-tiny", 300)
    seen = {(mask, stalls) for mask, _, _, stalls in coverage.counts}
    assert seen == {(mask, stalls) for mask in MASKS for stalls in STALLS}
    assert coverage.queued > 20
    assert set(coverage.bits) == {8, 12}
    assert set(coverage.groups) == {1, 2, 3, 4}


def test_compiled_dense():
    coverage = campaign("dense", 100)
    assert {dim for _, _, dim, _ in coverage.counts} == set(config("dense").core.head_dims)


@pytest.mark.parametrize("simulator", mostly_full(["icarus", "verilator"], "icarus"))
def test_cocotb_keeps_time_with_the_compiled_simulation(simulator):
    cases = list(job_cases(config("dense-tiny").core, 4, first_seed=10, most_cycles=300))
    outcomes = run_cases(
        verilog("dense-tiny"),
        config("dense-tiny").top,
        [case.case for case in cases],
        simulator=simulator,
    )
    for case, got in zip(cases, outcomes, strict=True):
        want = run_case("dense-tiny", case.case)
        assert got.error is None
        assert (got.reads, got.cycles) == (want.reads, want.cycles), str(case)
        assert got.counters == want.counters
        np.testing.assert_array_equal(got.memory, want.memory)


def test_cocotb_with_the_librarys_memory():
    campaign(
        "dense-tiny", 3, on="icarus", memory="library", most_cycles=200, first_seed=20
    )


@pytest.mark.full
@pytest.mark.parametrize("name, count", [("dense-tiny", 4000), ("dense", 1500)])
def test_compiled_thousands(name, count):
    campaign(name, count, first_seed=100_000)


@pytest.mark.full
@pytest.mark.parametrize("memory", ["reference", "library"])
@pytest.mark.parametrize("name", ["dense-tiny", "dense"])
def test_cocotb_on_verilator(name, memory):
    count = 250 if memory == "reference" else 300
    campaign(name, count, on="verilator", memory=memory, first_seed=200_000)


@pytest.mark.full
def test_cocotb_on_icarus():
    campaign("dense-tiny", 50, on="icarus", first_seed=300_000, most_cycles=1000)


@pytest.mark.full
def test_compiled_long():
    coverage = campaign("dense", 60, first_seed=400_000, most_cycles=200_000)
    assert any(length == "301-1024" for _, length, _, _ in coverage.counts)


@pytest.mark.full
def test_compiled_4096_keys():
    longest = load("dense", settings=["core.max_keys=4096", "core.max_queries=4096"])
    cases = [
        case
        for case in job_cases(longest.core, 400, first_seed=500_000, most_cycles=60_000)
        if any(shape.keys == 4096 or shape.queries == 4096 for shape in case.shapes)
    ]
    assert len(cases) > 10
    coverage, failures = run_campaign(longest, cases)
    assert not failures, "\n".join(map(str, failures))
    assert any(length == ">1024" for _, length, _, _ in coverage.counts)
