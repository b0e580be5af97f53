"""Programs and the verdict on their outcomes, against a stand-in for the core."""

import numpy as np
import pytest

from attnsieve.hdl.control.register_map import COUNTERS, register_map
from attnsieve.hdl.params import CoreParams
from attnsieve.sim.bench.program import Outcome
from attnsieve.sim.driver.program import differences, job_case, job_reports
from attnsieve.sim.driver.random_jobs import random_image

PARAMS = CoreParams()


def a_good_outcome(image, case, **changes):
    """What a core would do: the expected memory, and reads from a table of registers."""
    registers = register_map(PARAMS)
    names = {registers[r.name].offset: r.name for r in registers.registers}
    reads, number = [], 0
    for operation in case.operations:
        if operation.kind != "read":
            continue
        name = names[operation.a]
        counters = {"busy": 70, "stall_setup": 30, **image.jobs[number].counters}
        values = {
            "RESULT": number << 16,
            "CYCLES": 100,
            "CYCLES_HI": 0,
            **{n.upper(): counters.get(n, 0) for n, _ in COUNTERS},
            **changes,
        }
        reads.append(values[name])
        number += name == "SCORES"
    after = image.expected()
    padded = np.zeros(len(image.linear), np.uint8)
    padded[:] = after
    channels = type(image)(image.params, padded, image.jobs).channels()
    return Outcome(np.stack(channels), reads, [], [])


def test_a_program_starts_each_job_and_reads_its_report():
    image = random_image(PARAMS, 1, jobs=3)
    case = job_case(image)
    kinds = [operation.kind for operation in case.operations]
    assert kinds[0] == "reset"
    assert kinds.count("irq") == 3
    starts = [o for o in case.operations if o.kind == "write" and o.a == 0x40]
    assert [o.b for o in starts] == [1, 1, 1]
    assert case.memory.shape[0] == PARAMS.channels
    outcome = a_good_outcome(image, case)
    assert differences(image, outcome) == []
    assert [report.tag for report in job_reports(outcome)] == [0, 1, 2]
    assert job_reports(outcome)[1].counters["cycles"] == 100


def test_queued_jobs_start_before_any_ends():
    image = random_image(PARAMS, 2, jobs=3)
    case = job_case(image, queued=True, limit=1000)
    kinds = [operation.kind for operation in case.operations]
    assert kinds.count("irq") == 0
    assert kinds.count("run") == 1
    last_start = max(i for i, o in enumerate(case.operations) if o[:2] == ("write", 0x40))
    assert kinds.index("run") > last_start
    with pytest.raises(ValueError, match=r"^Queued jobs must be at most 3, not 4$"):
        job_case(random_image(PARAMS, 2, jobs=4), queued=True)


def test_a_wrong_byte_is_named():
    image = random_image(PARAMS, 3)
    outcome = a_good_outcome(image, job_case(image))
    job = image.jobs[0]
    address = job.tensors["o"].row(job.job.heads - 1, 0) + 5
    linear = image.linear_from(list(outcome.memory)).copy()
    linear[address] ^= 1
    outcome.memory = np.stack(type(image)(PARAMS, linear, image.jobs).channels())
    (line,) = differences(image, outcome)
    assert f"1 bytes of memory differ, first job 0 o head {job.job.heads - 1} row 0 byte 5" in line
    linear[address] ^= 1
    linear[0] ^= 1
    outcome.memory = np.stack(type(image)(PARAMS, linear, image.jobs).channels())
    assert "first address 0x0, outside all tensors" in differences(image, outcome)[0]


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"RESULT": 9}, "job 0: status 9, want 0"),
        ({"RESULT": 7 << 16}, "report has the tag 7 of no job"),
        ({"ROWS": 12345}, "job 0: rows is 12345, want "),
        ({"CYCLES": 99}, "job 0: busy and stalls [70, 30, 0, 0, 0, 0] do not sum to 99"),
    ],
)
def test_a_wrong_report_is_named(changes, message):
    image = random_image(PARAMS, 4)
    outcome = a_good_outcome(image, job_case(image), **changes)
    assert any(line.startswith(message) for line in differences(image, outcome))


def test_bytes_of_overlapping_jobs_are_not_compared():
    image = random_image(PARAMS, 4)
    outcome = a_good_outcome(image, job_case(image), READ_BYTES=1)
    assert differences(image, outcome, queued=True) == []
    assert len(differences(image, outcome)) == 1


def test_an_early_end_is_reported():
    image = random_image(PARAMS, 5)
    outcome = a_good_outcome(image, job_case(image))
    outcome.error = "no interrupt in 5 cycles"
    assert differences(image, outcome) == ["no interrupt in 5 cycles"]
