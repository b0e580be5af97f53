"""Programs of jobs, and a check that sees every kind of difference."""

import numpy as np
import pytest

from attnsieve.hdl.control.register_map import register_map
from attnsieve.hdl.control.status import StatusCode
from attnsieve.hdl.params import CoreParams
from attnsieve.sim.bench.campaign import Coverage, job_cases, random_image
from attnsieve.sim.bench.jobs import (
    check_jobs,
    memories,
    predicted_counters,
    programs,
    queued_program,
    read_reports,
    report_registers,
)
from attnsieve.sim.bench.program import Outcome
from attnsieve.sim.driver.packing import split_channels

PARAMS = CoreParams()
READ = report_registers(PARAMS)


def image_of(jobs=2):
    """Random jobs that all write something and have scores."""
    for seed in range(100):
        rng = np.random.default_rng(seed)
        image, _ = random_image(PARAMS, rng, jobs=jobs, most_cycles=300)
        if all(len(job.written) and job.expected.scores for job in image.jobs):
            return image
    raise AssertionError("no such image")


def perfect(image):
    """The outcome of a core without a fault."""
    reads = []
    for number, job in enumerate(image.jobs, start=1):
        known = {"finished": number, "result": number << 16, "cycles": 100, "busy": 60}
        known |= {"stall_key": 30, "stall_tail": 10, **predicted_counters(job)}
        reads += [known.get(name.lower(), 0) for name in READ]
    after = np.stack(split_channels(PARAMS, image.expected()))
    return Outcome(after, reads, [1] * 9, [])


def put(outcome, job, name, value):
    outcome.reads[job * len(READ) + READ.index(name)] = value


def test_a_perfect_run():
    image = image_of()
    check = check_jobs(image, perfect(image))
    assert (check.total, check.messages) == (0, [])
    assert [r.tag for r in check.reports] == [1, 2]
    assert all(r.status is StatusCode.OK for r in check.reports)


@pytest.mark.parametrize(
    "name, value, message",
    [
        ("RESULT", 1 << 16 | 9, r"status READ_SLVERR"),
        ("RESULT", 5 << 16, r"tag 5, not 1"),
        ("CYCLES", 101, r"busy and stall cycles sum to 100, not 101"),
        ("CYCLES_HI", 1, r"busy and stall cycles sum to 100, not 4294967396"),
        ("SCORES", 0, r"counter scores is 0, not \d+"),
        ("READ_BYTES", 7, r"counter read_bytes is 7, not \d+"),
    ],
)
def test_wrong_registers(name, value, message):
    image = image_of()
    outcome = perfect(image)
    put(outcome, 0, name, value)
    check = check_jobs(image, outcome)
    assert check.total
    assert check.mismatches[0] == 1
    with pytest.raises(AssertionError, match=rf"^job 0: {message}$"):
        raise AssertionError(check.messages[0])


def test_wrong_outputs_and_stray_bytes():
    image = image_of()
    outcome = perfect(image)
    wrong = image.expected()
    output = image.jobs[1].tensors["o"].view(wrong)
    row = image.jobs[1].written[0]
    output[0, row, 4] ^= 1
    outcome.memory = np.stack(split_channels(PARAMS, wrong))
    check = check_jobs(image, outcome)
    assert check.mismatches == [0, 1]
    assert f"first head 0 query {row} element 2" in check.messages[0]
    wrong[5] ^= 0xFF
    outcome.memory = np.stack(split_channels(PARAMS, wrong))
    check = check_jobs(image, outcome)
    assert check.stray_bytes == 1
    assert check.messages[-1] == "1 bytes changed outside the outputs, first at 0x5"


def test_jobs_that_never_finished():
    image = image_of()
    outcome = perfect(image)
    put(outcome, 1, "FINISHED", 1)
    assert check_jobs(image, outcome).messages == ["job 1: 1 jobs finished, not 2"]
    outcome.reads = []
    outcome.error = "no interrupt in 9 cycles"
    assert check_jobs(image, outcome).messages == ["job 0: no interrupt in 9 cycles"]
    with pytest.raises(ValueError, match=r"^Reads must be a multiple of \d+, not 1$"):
        read_reports(PARAMS, [1])


def test_programs_start_and_end_every_job():
    image = image_of(jobs=3)
    control = register_map(PARAMS)["CTRL"].offset
    kinds = [[op.kind for op in program] for program in programs(image)]
    assert len(kinds) == 3
    assert all(k.count("irq") == 1 and k.count("read") == len(READ) for k in kinds)
    queued = queued_program(image)
    starts = [n for n, op in enumerate(queued) if op.kind == "write" and op.a == control]
    assert len(starts) == 3
    assert all(queued[n - 1].kind == "poll" for n in starts)
    assert memories(image).shape[0] == PARAMS.channels


def test_random_cases_are_reproducible_and_cover():
    coverage = Coverage()
    cases = list(job_cases(PARAMS, 40))
    for case, again in zip(cases, job_cases(PARAMS, 40), strict=True):
        assert str(case) == str(again)
        np.testing.assert_array_equal(case.case.memory, again.case.memory)
        coverage.add(case, 10)
    assert coverage.cases == 40
    assert coverage.cycles == 400
    table = coverage.table()
    assert table.splitlines()[0].split() == ["mask", "keys", *(f"d={d}" for d in PARAMS.head_dims)]
    counted = sum(
        int(n)
        for line in table.splitlines()[1:-1]
        for cell in line.split()[2:]
        for n in cell.split("/")
    )
    assert counted == coverage.jobs
