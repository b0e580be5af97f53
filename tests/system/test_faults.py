"""Wrong jobs, bus errors, aborts and resets: no hang, no stray write, and the next job is right."""

import numpy as np
import pytest

from attnsieve.hdl.control.register_map import register_map
from attnsieve.hdl.control.status import StatusCode
from attnsieve.sim.bench.campaign import job_cases, run_campaign
from attnsieve.sim.bench.jobs import check_jobs, programs, read_reports, report, setup, start
from attnsieve.sim.bench.memory import Fault, Timing
from attnsieve.sim.bench.noise import random_contents
from attnsieve.sim.bench.program import Operation, execute
from attnsieve.sim.driver.plan import Placement, memory_image, single_job
from attnsieve.sim.golden.job import Job
from tests.system.cores import config, machine, run_case, verilog
from tests.system.faults import CODES, LIMIT, WRONG, assert_only_outputs_written, case


def small_image(name="dense-tiny", jobs=2, seed=5, **changes):
    """Some jobs in noisy memory: grouped heads, causal, masks with holes."""
    params = config(name).core
    rng = np.random.default_rng(seed)
    place = Placement(params, rng=rng)
    made = []
    for _ in range(jobs):
        shape = {"heads": 2, "kv_heads": 1, "queries": 3, "keys": 5, "head_dim": 32, **changes}
        job = Job(**shape, bits=12, causal=True, scales=((40_000, 29),) * shape["heads"])
        q, k, v = (
            rng.integers(-2048, 2048, (heads, rows, job.head_dim)).astype(np.int16)
            for heads, rows in (
                (job.heads, job.queries), (job.kv_heads, job.keys), (job.kv_heads, job.keys),
            )
        )  # fmt: skip
        key_valid = np.arange(job.keys) != 1
        made.append(single_job(params, job, q, k, v, key_valid, None, place=place))
    return memory_image(params, made, place, rng)


def run_next_job(image, m, expected_finished):
    """The last job of the image on the machine as it is; all of its output is right."""
    m.clear()
    outcome = execute(m, list(programs(image))[-1])
    assert outcome.error is None
    found = read_reports(image.params, outcome.reads)[-1]
    assert found.status is StatusCode.OK
    assert found.finished == expected_finished
    got = image.jobs[-1].read_output(image.linear_from(list(outcome.memory)))
    np.testing.assert_array_equal(got, image.jobs[-1].expected.out)
    assert_only_outputs_written(image, m)
    assert m.violations is None
    assert m.bus_idle


def registers_of(image):
    return register_map(image.params)


@pytest.mark.parametrize("status", WRONG)
def test_refused_jobs_touch_no_memory(status):
    image = small_image()
    registers = registers_of(image)
    for wrong in WRONG[status]:
        *writes, go = start(image.jobs[0], 1)
        for name, value in wrong.items():
            window = name == "HEAD_TABLE"
            offset = registers.window(name).offset if window else registers[name].offset
            writes.append(Operation("write", offset, value))
        operations = [*setup(image.params), *writes, go, Operation("irq", LIMIT)]
        outcome = run_case("dense-tiny", case(image, [*operations, *report(image.params)]))
        assert outcome.error is None, wrong
        found = read_reports(image.params, outcome.reads)[0]
        assert (found.status, found.tag, found.finished) == (status, 1, 1), wrong
        for moved in outcome.counters:
            assert (moved.read_bursts, moved.write_bursts) == (0, 0), wrong
        run_next_job(image, machine("dense-tiny"), 2)


def test_start_while_busy_is_refused_and_noted():
    image = small_image(jobs=1, queries=5)
    registers = registers_of(image)
    status = registers["STATUS"]
    depth = image.params.queue_depth + 1
    operations = setup(image.params)
    for tag in range(1, depth + 4):
        operations += start(image.jobs[0], tag)
    operations += [
        Operation("read", status.offset),
        Operation("read", registers["IRQ_STATUS"].offset),
        Operation("poll", status.offset, 0, status.field("busy").mask),
        Operation("read", status.offset),
        Operation("write", status.offset, status.field("start_while_busy").mask),
        Operation("read", status.offset),
        *report(image.params),
    ]
    slow = Timing(latency=2000, bytes_per_cycle=4)
    outcome = run_case("dense-tiny", case(image, operations, timing=slow))
    assert outcome.error is None
    during, interrupt, after, cleared = outcome.reads[:4]
    refused = status.field("start_while_busy").mask
    assert during & refused
    assert during & status.field("queue_full").mask
    assert interrupt & registers["IRQ_STATUS"].field("error").mask
    assert after & refused
    assert not cleared & refused
    found = read_reports(image.params, outcome.reads[4:])[0]
    assert (found.status, found.tag, found.finished) == (StatusCode.OK, depth, depth)
    np.testing.assert_array_equal(image.linear_from(list(outcome.memory)), image.expected())


def counts(image):
    """Read beats and write bursts of the first job."""
    program = [*setup(image.params), *next(programs(image, limit=LIMIT))]
    outcome = run_case("dense-tiny", case(image, program))
    assert outcome.error is None
    moved = outcome.counters[0]
    return moved.read_beats, moved.write_bursts, outcome.cycles[-1]


@pytest.mark.parametrize("stalls", [0.0, 0.4])
@pytest.mark.parametrize("write", [False, True])
@pytest.mark.parametrize("response", [2, 3])
def test_bus_errors_on_any_beat(write, response, stalls):
    image = small_image()
    total = counts(image)[1 if write else 0]
    assert total > (5 if write else 100)
    step = 1 if write or response == 2 else 3
    for number in range(0, total, step):
        program = [*setup(image.params), *next(programs(image, limit=LIMIT))]
        fault = Fault(0, write, number, response)
        outcome = run_case("dense-tiny", case(image, program, faults=[fault], stalls=stalls))
        assert outcome.error is None, number
        found = read_reports(image.params, outcome.reads)[0]
        assert found.status is CODES[write, response], number
        assert_only_outputs_written(image, machine("dense-tiny"))
        run_next_job(image, machine("dense-tiny"), 2)


def test_an_error_while_the_next_job_loads_is_that_jobs():
    """Queued jobs: whatever beat fails, each job that ends well is right, and all of them end."""
    jobs = config("dense-tiny").core.queue_depth + 1
    image = small_image(jobs=jobs)
    registers = registers_of(image)
    beats = counts(image)[0]
    busy = registers["STATUS"].field("busy").mask
    operations = setup(image.params)
    for tag, job in enumerate(image.jobs, start=1):
        operations += start(job, tag)
    operations.append(Operation("poll", registers["STATUS"].offset, 0, busy))
    operations += report(image.params)
    for number in range(0, jobs * beats, 7):
        outcome = run_case(
            "dense-tiny", case(image, operations, faults=[Fault(0, False, number, 2)])
        )
        assert outcome.error is None, number
        assert read_reports(image.params, outcome.reads)[0].finished == jobs
        after = image.linear_from(list(outcome.memory))
        wrong = [
            not np.array_equal(job.read_output(after), job.expected.out) for job in image.jobs
        ]
        assert sum(wrong) <= 1, number
        assert_only_outputs_written(image, machine("dense-tiny"))
        run_next_job(image, machine("dense-tiny"), jobs + 1)


@pytest.mark.parametrize("stalls", [0.0, 0.5])
@pytest.mark.parametrize("jobs", [1, 2])
def test_abort_at_any_time(jobs, stalls):
    image = small_image(jobs=jobs)
    registers = registers_of(image)
    cycles = counts(image)[2]
    status, control = registers["STATUS"], registers["CTRL"]
    begin = setup(image.params)
    for tag, job in enumerate(image.jobs, start=1):
        begin += start(job, tag)
    seen = set()
    step = 5 * jobs if stalls == 0 else 23
    for after in range(0, int(cycles * jobs / (1 - stalls)), step):
        operations = [
            *begin,
            Operation("run", after),
            Operation("write", control.offset, control.field("abort").mask),
            Operation("poll", status.offset, 0, status.field("busy").mask, 2000),
            *report(image.params),
        ]
        outcome = run_case("dense-tiny", case(image, operations, stalls=stalls))
        assert outcome.error is None, after
        found = read_reports(image.params, outcome.reads)[0]
        assert found.finished == jobs, after
        assert machine("dense-tiny").bus_idle, after
        seen.add(found.status)
        assert_only_outputs_written(image, machine("dense-tiny"))
        run_next_job(image, machine("dense-tiny"), jobs + 1)
    assert seen == {StatusCode.OK, StatusCode.ABORTED}


def test_abort_of_an_idle_core_does_nothing():
    image = small_image()
    control = registers_of(image)["CTRL"]
    operations = [
        *setup(image.params),
        Operation("write", control.offset, control.field("abort").mask),
        Operation("run", 20),
    ]
    assert run_case("dense-tiny", case(image, operations)).error is None
    run_next_job(image, machine("dense-tiny"), 1)


@pytest.mark.parametrize("stalls", [0.0, 0.5])
def test_reset_at_any_time(stalls):
    image = small_image()
    cycles = counts(image)[2]
    begin = [*setup(image.params), *start(image.jobs[0], 1)]
    for after in range(0, int(cycles / (1 - stalls)), 7 if stalls == 0 else 19):
        operations = [*begin, Operation("run", after), *setup(image.params)]
        outcome = run_case("dense-tiny", case(image, operations, stalls=stalls))
        assert outcome.error is None, after
        assert_only_outputs_written(image, machine("dense-tiny"))
        run_next_job(image, machine("dense-tiny"), 1)


def test_watchdog_ends_a_job_whose_memory_is_too_slow():
    image = small_image()
    program = [*setup(image.params, watchdog=300), *next(programs(image, limit=LIMIT))]
    slow = Timing(latency=1000, bytes_per_cycle=4)
    outcome = run_case("dense-tiny", case(image, program, timing=slow))
    assert outcome.error is None
    assert read_reports(image.params, outcome.reads)[0].status is StatusCode.WATCHDOG
    assert_only_outputs_written(image, machine("dense-tiny"))
    machine("dense-tiny").set_timing(Timing(latency=20, bytes_per_cycle=4))
    run_next_job(image, machine("dense-tiny"), 2)


def test_watchdog_lets_a_slow_memory_that_answers_in_time():
    image = small_image()
    operations = setup(image.params, watchdog=300)
    for program in programs(image, limit=LIMIT):
        operations += program
    slow = Timing(latency=200, bytes_per_cycle=4)
    outcome = run_case("dense-tiny", case(image, operations, timing=slow, stalls=0.6))
    assert check_jobs(image, outcome).total == 0


@pytest.mark.parametrize("name, seed", [
    ("dense-tiny", 0), pytest.param("dense-tiny", 1, marks=pytest.mark.full),
    pytest.param("spatten-tiny", 0, marks=pytest.mark.full),
])  # fmt: skip
def test_contents_before_reset_do_not_matter(name, seed):
    """Memories and registers start with noise, as in an ASIC."""
    noisy = random_contents(verilog(name), seed)
    assert noisy.count("= ") == verilog(name).count("= ")
    cases = job_cases(config(name).core, 40, first_seed=50 * seed)
    _, failures = run_campaign(config(name), cases, verilog=noisy)
    assert not failures, "\n".join(map(str, failures))
