"""Faults on a core that prunes, whose rows are gathered, come again or ask for their V: no hang, no
stray write, and the next job is right: outputs, scores, selections and counters."""

import functools
from dataclasses import replace

import numpy as np
import pytest

from attnsieve.hdl.control.register_map import register_map
from attnsieve.hdl.control.status import StatusCode
from attnsieve.sim.bench.jobs import (
    check_jobs,
    memories,
    programs,
    read_reports,
    report,
    setup,
    start,
    state,
)
from attnsieve.sim.bench.memory import Fault, Timing
from attnsieve.sim.bench.program import Operation, execute
from attnsieve.sim.driver.image import MemoryImage
from attnsieve.sim.driver.plan import Placement, memory_image, single_job
from attnsieve.sim.golden.job import Job, Scoring
from tests.system.cores import config, machine, run_case
from tests.system.faults import CODES, LIMIT, WRONG, assert_only_outputs_written, case

TINY = "spatten-tiny"
#: A prefill of listed tokens, and a step whose rows come again and ask for their V.
SHAPES = {
    "prefill": {
        "heads": 2, "kv_heads": 1, "queries": 3, "keys": 5, "head_dim": 32, "causal": True,
        "values": 2, "key_bits": 6,
    },
    "step": {
        "heads": 4, "kv_heads": 2, "queries": 1, "keys": 11, "head_dim": 32, "values": 4,
        "key_bits": 6, "value_bits": 6, "threshold": 20_000, "demand": True, "pruned_heads": (1,),
    },
}  # fmt: skip


#: Each beat and cycle, or some of them.
EVERY = [pytest.param(1, marks=pytest.mark.full, id="every"), pytest.param(13, id="some")]


@functools.cache
def an_image(kind, jobs=2, **changes):
    """Jobs in noisy memory that prune and select; the last one gets its scores from software."""
    params = config(TINY).core
    rng = np.random.default_rng(5)
    place = Placement(params, rng=rng)
    made = []
    for _ in range(jobs):
        shape = {**SHAPES[kind], **changes}
        scoring = Scoring(keep=3, heads=1, first=1, newest=1, decay=2)
        sharp, flat = (23, 28) if kind == "step" else (21, 22)
        scales = tuple((40_000, (sharp, flat)[head // 2]) for head in range(shape["heads"]))
        job = Job(**{"bits": 12, "scales": scales, "scoring": scoring, **shape})
        q, k, v = (
            rng.integers(-(1 << bits - 1) + 8, (1 << bits - 1) - 8, (heads, rows, job.head_dim))
            for heads, rows, bits in (
                (job.heads, job.queries, job.bits),
                (job.kv_heads, job.keys, job.key_width + 4 * job.progressive),
                (job.kv_heads, job.keys, job.value_width),
            )
        )
        key_valid = np.arange(job.keys) % 4 != 1
        q, k, v = (x.astype(np.int16) for x in (q, k, v))
        made.append(single_job(params, job, q, k, v, key_valid, None, place=place))
    last = made[-1]
    made[-1] = replace(
        last, job=replace(last.job, scoring=replace(last.job.scoring, clear=False)),
        scores_before=rng.integers(0, 1 << 20, params.max_keys),
        heads_before=rng.integers(0, 1 << 30, params.max_heads),
    )  # fmt: skip
    return memory_image(params, made, place, rng)


def alone(image, number=-1):
    """The image with one of its jobs only."""
    return MemoryImage(image.params, image.linear, (image.jobs[number],))


def run_next_job(image, finished):
    """The last job of the image on the machine as it is, in memory as it was; all of it is right,
    and so many jobs have finished then."""
    m, last = machine(TINY), alone(image)
    assert m.bus_idle
    m.set_memory(memories(image))
    m.clear()
    (program,) = programs(last, limit=LIMIT)
    check = check_jobs(last, execute(m, program))
    wrong = [] if finished == 1 else [f"job 0: {finished} jobs finished, not 1"]
    assert check.messages == wrong
    assert_only_outputs_written(image, m)
    assert m.violations is None
    assert m.bus_idle


def first_job(image):
    """Program of the first job, with what is read at its end."""
    first = alone(image, 0)
    return [*setup(image.params), *next(programs(first, limit=LIMIT))]


@functools.cache
def counts(kind):
    """Read beats, write bursts and cycles of the first job, which is right."""
    first = alone(an_image(kind), 0)
    outcome = run_case(TINY, case(first, first_job(first)))
    assert check_jobs(first, outcome).messages == []
    moved = outcome.counters[0]
    return moved.read_beats, moved.write_bursts, outcome.cycles[-1]


def report_of(image, outcome):
    """The first report among what was read."""
    size = len(report(image.params)) - 2
    return read_reports(image.params, outcome.reads[:size])[0]


def test_the_jobs_do_what_faults_are_to_hit():
    step, prefill = (an_image(kind).jobs[0] for kind in ("step", "prefill"))
    again = step.expected.recomputed[np.array(step.job.alive)]
    assert 0 < again.sum() < again.size
    for job in (step, prefill):
        assert 0 < job.expected.values < job.expected.scores  # V is chosen
        assert len(job.listed_keys) < job.job.keys
        assert 0 < job.next_keys.sum() < job.job.keys
    assert any(len(step.demanded_keys(head)) < len(step.listed_keys) for head in range(2))


@pytest.mark.parametrize("kind", SHAPES)
@pytest.mark.parametrize("stalls", [0.0, 0.4])
@pytest.mark.parametrize("write", [False, True])
@pytest.mark.parametrize("every", EVERY)
def test_bus_errors_on_any_beat(kind, write, stalls, every):
    """Of Q, both planes of K, V and outputs, also of rows that are gathered one by one."""
    image, total = an_image(kind), counts(kind)[1 if write else 0]
    assert total >= (3 if write else 100)
    for number in range(0, total, 1 if write else every):
        response = 2 + number % 2
        fault = Fault(0, write, number, response)
        outcome = run_case(TINY, case(image, first_job(image), faults=[fault], stalls=stalls))
        assert outcome.error is None, number
        assert report_of(image, outcome).status is CODES[write, response], number
        assert_only_outputs_written(image, machine(TINY))
        run_next_job(image, 2)


@pytest.mark.parametrize("kind", SHAPES)
@pytest.mark.parametrize("stalls", [0.0, 0.5])
@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize("every", EVERY)
def test_abort_at_any_time(kind, jobs, stalls, every):
    """In setup, gathers, second planes, demanded V, selections, writes; of a queued job too."""
    image = an_image(kind)
    registers = register_map(image.params)
    status, control = registers["STATUS"], registers["CTRL"]
    begin = setup(image.params)
    for tag in range(1, jobs + 1):
        begin += start(image.jobs[0], tag)
    seen = set()
    last = int(counts(kind)[2] * jobs / (1 - stalls))
    for after in range(0, last, every * jobs * (5 if stalls == 0 else 13)):
        operations = [
            *begin,
            Operation("run", after),
            Operation("write", control.offset, control.field("abort").mask),
            Operation("poll", status.offset, 0, status.field("busy").mask, 2000),
            *report(image.params),
        ]
        outcome = run_case(TINY, case(image, operations, stalls=stalls))
        assert outcome.error is None, after
        found = read_reports(image.params, outcome.reads)[0]
        assert found.finished == jobs, after
        seen.add(found.status)
        assert_only_outputs_written(image, machine(TINY))
        run_next_job(image, jobs + 1)
    assert seen == {StatusCode.OK, StatusCode.ABORTED}


@pytest.mark.parametrize("kind", SHAPES)
@pytest.mark.parametrize("every", EVERY)
def test_reset_at_any_time(kind, every):
    image = an_image(kind)
    begin = [*setup(image.params), *start(image.jobs[0], 1)]
    for after in range(0, counts(kind)[2], 7 * every):
        operations = [*begin, Operation("run", after), *setup(image.params)]
        outcome = run_case(TINY, case(image, operations))
        assert outcome.error is None, after
        run_next_job(image, 1)


@pytest.mark.parametrize("kind", SHAPES)
@pytest.mark.parametrize("every", EVERY)
def test_an_error_while_the_next_job_waits(kind, every):
    """Queued jobs: whatever beat fails, one job is wrong at most, and all of them end."""
    image = an_image(kind)
    registers = register_map(image.params)
    busy = registers["STATUS"].field("busy").mask
    operations = setup(image.params)
    for tag, job in enumerate(image.jobs, start=1):
        operations += start(job, tag)
    operations += [
        Operation("poll", registers["STATUS"].offset, 0, busy), *report(image.params)
    ]
    for number in range(0, 2 * counts(kind)[0], 3 * every):
        outcome = run_case(TINY, case(image, operations, faults=[Fault(0, False, number, 2)]))
        assert outcome.error is None, number
        assert read_reports(image.params, outcome.reads)[0].finished == 2
        after = image.linear_from(list(outcome.memory))
        right = [
            np.array_equal(job.read_output(after)[alive], job.expected.out[alive])
            for job in image.jobs
            for alive in [np.array(job.job.alive)]
        ]
        assert sum(right) == 1, number
        assert_only_outputs_written(image, machine(TINY))
        run_next_job(image, 3)


@pytest.mark.parametrize("kind", SHAPES)
def test_watchdog_ends_a_job_whose_memory_is_too_slow(kind):
    image = an_image(kind)
    program = [*setup(image.params, watchdog=300), *first_job(image)[len(setup(image.params)) :]]
    slow = Timing(latency=1000, bytes_per_cycle=4)
    outcome = run_case(TINY, case(image, program, timing=slow))
    assert outcome.error is None
    assert report_of(image, outcome).status is StatusCode.WATCHDOG
    assert_only_outputs_written(image, machine(TINY))
    machine(TINY).set_timing(Timing(latency=20, bytes_per_cycle=4))
    run_next_job(image, 2)


#: Registers that only cores that prune have, of the step.
WRONG_STEPS = {
    StatusCode.BAD_COUNT: [
        {"PRECISION": 5 << 16}, {"PRECISION": 15 << 16}, {"PRECISION": 3 << 20},
        {"PRECISION": 14 << 20 | 6 << 16}, {"PRECISION": 0, "QUERIES": 2},  # on demand
        {"PRUNED_HEADS": 0b1111}, {"PRUNED_HEADS": 0xFFFFFFFF, "PRUNED_HEADS_HI": 0xFFFFFFFF},
    ],
    StatusCode.BAD_THRESHOLD: [
        {"QUERIES": 2, "FETCH": 0}, {"QUERIES": 2}, {"PRECISION": 1, "QUERIES": 11, "FETCH": 0},
        {"HEAD_TABLE": 0x7FFF},
    ],
    StatusCode.MISALIGNED: [{"K_PLANE": 0x1004}, {"K_PLANE": 1}, {"K_PLANE": 0x10}],
    StatusCode.ADDRESS_WRAP: [
        {"K_PLANE": 0xFFFFFFE0}, {"K_PLANE": 0x1000000}, {"K_PLANE": 0xFFFC00}
    ],
    StatusCode.BAD_GROUP: [  # more rows of a KV head than can wait
        {"HEADS": 16, "KV_HEADS": 1, "KEYS": 64, "PRECISION": 0},
        {"HEADS": 16, "KV_HEADS": 1},
    ],
}  # fmt: skip
ALL_WRONG = [
    *((status, "prefill", wrong) for status, many in WRONG.items() for wrong in many),
    *((status, "step", wrong) for status, many in WRONG_STEPS.items() for wrong in many),
]


@pytest.mark.parametrize("status", [*WRONG])
def test_refused_jobs_touch_no_memory(status):
    for code, kind, wrong in ALL_WRONG:
        if code is not status:
            continue
        image = an_image(kind)
        registers = register_map(image.params)
        *writes, go = start(image.jobs[0], 1)
        for name, value in wrong.items():
            window = name == "HEAD_TABLE"
            offset = registers.window(name).offset if window else registers[name].offset
            writes.append(Operation("write", offset, value))
        operations = [*setup(image.params), *writes, go, Operation("irq", LIMIT)]
        outcome = run_case(TINY, case(image, [*operations, *report(image.params)]))
        assert outcome.error is None, wrong
        found = read_reports(image.params, outcome.reads)[0]
        assert (found.status, found.tag, found.finished) == (status, 1, 1), wrong
        for moved in outcome.counters:
            assert (moved.read_bursts, moved.write_bursts) == (0, 0), wrong
        run_next_job(image, 2)


def with_wrong(image, wrong, tag):
    """The program of the first job with registers that make it wrong."""
    registers = register_map(image.params)
    *writes, go = start(image.jobs[0], tag)
    return [*writes, *[Operation("write", registers[n].offset, v) for n, v in wrong.items()], go]


@pytest.mark.parametrize("kind", SHAPES)
def test_a_refused_job_leaves_scores_and_selections(kind):
    """Also where it would begin by clearing all scores."""
    image = an_image(kind)
    first = alone(image, 0)
    irq, known = Operation("irq", LIMIT), state(image.jobs[0])
    for wrong in ({"HEADS": 0}, {"K_BASE": 1}, {"O_STRIDE": 1}, {"KEYS": 65}):
        operations = [*first_job(image), *with_wrong(image, wrong, 2), irq, *known]
        outcome = run_case(TINY, case(image, operations))
        assert outcome.error is None, wrong
        count = sum(operation.kind == "read" for operation in known)
        right = replace(outcome, reads=outcome.reads[:-count])
        assert check_jobs(first, right).messages == []
        assert outcome.reads[-count:] == right.reads[-count:], wrong


@pytest.mark.parametrize("every", EVERY)
def test_a_refused_job_at_any_time_before_the_next_one(every):
    """It is checked, and its lists are built, while the job before it ends."""
    image = an_image("prefill")
    registers = register_map(image.params)
    status = registers["STATUS"]
    full, busy = (status.field(name).mask for name in ("queue_full", "busy"))
    *writes, go = start(image.jobs[0], 3)
    for wrong in ({"HEADS": 0}, {"K_BASE": 1, "KEYS": 64, "QUERIES": 64}):
        for after in range(0, 2 * counts("prefill")[2], every):
            *refused, start_it = with_wrong(image, wrong, 2)
            operations = [
                *setup(image.params), *start(image.jobs[0], 1), *refused, Operation("run", after),
                start_it, *writes, Operation("poll", status.offset, 0, full, 2000), go,
                Operation("poll", status.offset, 0, busy, 4000),
                *report(image.params), *state(image.jobs[0]),
            ]  # fmt: skip
            outcome = run_case(TINY, case(image, operations))
            assert outcome.error is None, (wrong, after)
            found = report_of(image, outcome)
            assert (found.status, found.tag, found.finished) == (StatusCode.OK, 3, 3), after
            messages = check_jobs(alone(image, 0), outcome).messages
            assert [m for m in messages if "finished" not in m and "tag" not in m] == [], after


@pytest.mark.parametrize("kind", SHAPES)
def test_an_abort_leaves_scores(kind):
    """A job that does not clear them adds to them at most."""
    image = an_image(kind, scoring=Scoring(keep=3, heads=1, first=1, newest=1))
    last, registers = image.jobs[-1], register_map(image.params)
    status, control = registers["STATUS"], registers["CTRL"]
    begin, known = next(programs(alone(image), limit=LIMIT)), state(last)
    begin = begin[: next(n for n, o in enumerate(begin) if o.kind == "irq")]
    keys, heads = last.job.keys, last.job.heads
    before = [*last.scores_before[:keys], *last.heads_before[:heads]]
    for after in range(0, counts(kind)[2], 40):
        operations = [
            *setup(image.params), *begin, Operation("run", after),
            Operation("write", control.offset, control.field("abort").mask),
            Operation("poll", status.offset, 0, status.field("busy").mask, 2000), *known,
        ]  # fmt: skip
        outcome = run_case(TINY, case(image, operations))
        assert outcome.error is None, after
        halves = outcome.reads[keys : keys + 2 * heads]
        found = [low | high << 32 for low, high in zip(halves[::2], halves[1::2], strict=True)]
        found = [*outcome.reads[:keys], *found]
        assert all(have >= had for have, had in zip(found, before, strict=True)), after


def beyond(operations, image):
    """The program with ones in all bits of masks that stand for no token and no head."""
    registers, job = register_map(image.params), image.jobs[0].job
    ranges = {"KEY_MASK": job.keys, "CANDIDATES": job.keys, "QUERY_MASK": job.queries}
    extra = {}
    for name, used in ranges.items():
        window = registers.window(name)
        for word in range(window.words):
            extra[window.offset + 4 * word] = 0xFFFFFFFF & ~((1 << max(0, used - 32 * word)) - 1)
    for half, name in enumerate(("PRUNED_HEADS", "PRUNED_HEADS_HI")):
        extra[registers[name].offset] = 0xFFFFFFFF & ~((1 << max(0, job.heads - 32 * half)) - 1)
    known = {o.a: o.b for o in operations if o.kind == "write"}
    more = [Operation("write", a, known.get(a, 0) | b) for a, b in extra.items()]
    place = next(n for n, o in enumerate(operations) if o.a == registers["CTRL"].offset)
    return [*operations[:place], *more, *operations[place:]]


@pytest.mark.parametrize("kind", SHAPES)
def test_bits_of_masks_that_are_out_of_range_do_not_matter(kind):
    image = alone(an_image(kind), 0)
    outcome = run_case(TINY, case(image, beyond(first_job(image), image)))
    assert check_jobs(image, outcome).messages == []


@pytest.mark.parametrize("kind", SHAPES)
@pytest.mark.parametrize("many", [0, 12, 65535])
def test_counts_of_nothing_and_of_more_than_there_is(kind, many):
    """Keep counts and pins beyond the tokens mean all of them; no keep count means none."""
    scoring = Scoring(keep=many, heads=many, first=many, newest=many, age=True, age_base=many)
    image = an_image(kind, 1, scoring=scoring, values=many)
    first = MemoryImage(
        image.params, image.linear,
        (replace(image.jobs[0], scores_before=None, heads_before=None),),
    )  # fmt: skip
    job = first.jobs[0]
    cleared = replace(job, job=replace(job.job, scoring=replace(scoring, clear=True)))
    first = MemoryImage(image.params, image.linear, (cleared,))
    outcome = run_case(TINY, case(first, first_job(first)))
    assert check_jobs(first, outcome).messages == []
    registers = register_map(image.params)
    if many == 65535:  # also as the number of heads, which the image says are as many as there are
        *writes, go = start(cleared, 1)
        writes.append(Operation("write", registers["KEEP_HEADS"].offset, many))
        heads = Operation("read", registers["NEXT_HEADS"].offset)
        operations = [*setup(image.params), *writes, go, Operation("irq", LIMIT), heads]
        outcome = run_case(TINY, case(first, operations))
        assert outcome.reads[-1] == sum(1 << h for h, lives in enumerate(job.job.alive) if lives)
