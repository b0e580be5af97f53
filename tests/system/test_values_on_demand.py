"""Cores with bit-serial units that read rows of V once they are kept: random jobs, faults, whole
traces, on the Verilog."""

import functools
from dataclasses import replace

import numpy as np
import pytest

from attnsieve.gen.config import load
from attnsieve.hdl.control.register_map import register_map
from attnsieve.hdl.control.status import StatusCode
from attnsieve.sim.bench.jobs import (
    check_jobs,
    memories,
    programs,
    queued_program,
    read_reports,
    report,
    setup,
    start,
)
from attnsieve.sim.bench.memory import Fault
from attnsieve.sim.bench.program import Operation, execute
from attnsieve.sim.calibrate import calibrate
from attnsieve.sim.driver.image import MemoryImage
from attnsieve.sim.driver.plan import Placement, memory_image, single_job
from attnsieve.sim.errors import InputError
from attnsieve.sim.golden.job import Job
from attnsieve.sim.simulate import simulate
from attnsieve.sim.trace import Trace
from tests.system.cores import campaign, config, machine, run_case
from tests.system.faults import CODES, LIMIT, assert_only_outputs_written, case

TINY = "leopard-tiny"
DEMAND = "value_demand=true"
#: Cores, and what their jobs have beside demand: slices of K come one by one, or not.
PLANAR = (DEMAND, "slice_demand=true", "data_width=64")
CORES = [((DEMAND,), False), (PLANAR, True)]
NAMES = ["values", "slices and values"]
NOTHING, ALL = (1 << 31) - 1, -(1 << 31)  # thresholds


def test_random_jobs():
    assert campaign(TINY, 150, DEMAND).demand > 30


@pytest.mark.parametrize(
    "settings",
    [
        ["slice_words=sign_magnitude", "slice_bits=1", "slice_units=3", "operand_bits=12"],
        ["lanes=64", "slice_units=4", "operand_bits=12", "channels=2", "data_width=64"],
    ],
    ids=["signs", "four lane groups"],
)
@pytest.mark.full
def test_random_jobs_of_other_cores(settings):
    assert campaign(TINY, 60, DEMAND, *settings).demand > 10


@pytest.mark.parametrize(
    "settings",
    [
        [],
        pytest.param(
            ["lanes=64", "slice_units=3", "operand_bits=12", "channels=2", "data_width=128"],
            marks=pytest.mark.full,
        ),
        pytest.param(
            ["lanes=32", "slice_bits=4", "slice_rows=2", "channels=4"], marks=pytest.mark.full
        ),
    ],
    ids=["a key", "sixteen keys", "of several units"],
)
def test_random_jobs_with_slices(settings):
    """In a packet."""
    found = campaign(TINY, 60, *PLANAR, *settings)
    assert found.planar > 20
    assert found.demand > 20


@pytest.mark.parametrize("name, cases", [(TINY, 3000), ("leopard-hp", 1000)])
@pytest.mark.full
def test_thousands_of_random_jobs(name, cases):
    found = campaign(name, cases, *PLANAR[: 3 if name == TINY else 2], most_cycles=3000)
    assert min(found.demand, found.planar) > cases / 5


@pytest.mark.parametrize(
    "settings",
    [
        ["lanes=32", "slice_dealing=static", "slice_units=3"],
        ["lanes=2", "slice_bits=4", "slice_rows=2"],
        ["lanes=128", "slice_units=8", "operand_bits=12", "data_width=256"],
        ["lanes=512", "max_head_dim=64", "channels=4", "data_width=128"],
        ["max_keys=1"], ["outstanding_beats=1024"], ["queue_depth=4", "channels=4"],
    ],
    ids="-".join,
)  # fmt: skip
@pytest.mark.parametrize("core", CORES, ids=NAMES)
@pytest.mark.full
def test_other_sizes(core, settings):
    campaign(TINY, 200, *core[0], *settings)


# -- what rows keep ------------------------------------------------------------------------------


def a_job(params, place, rng, thresholds, query_valid=None, **shape):
    """A job of one query per head, each head with its threshold; without the first key."""
    shape = {"kv_heads": 1, "keys": 11, "head_dim": 32, "demand": True, **shape}
    heads = len(thresholds)
    job = Job(
        heads=heads, queries=1, bits=8, scales=((40_000, 22),) * heads,
        thresholds=tuple(thresholds), **shape,
    )  # fmt: skip
    q, k, v = (
        rng.integers(-127, 128, (number, rows, job.head_dim)).astype(np.int16)
        for number, rows in ((heads, 1), (job.kv_heads, job.keys), (job.kv_heads, job.keys))
    )
    valid = None if query_valid is None else np.array([query_valid])
    return single_job(params, job, q, k, v, np.arange(job.keys) > 0, valid, place=place)


def images(makers, settings=(DEMAND,), seed=5):
    """Jobs in noisy memory."""
    params, rng = config(TINY, *settings).core, np.random.default_rng(seed)
    place = Placement(params, rng=rng)
    return memory_image(params, [make(params, place, rng) for make in makers], place, rng)


def right(image, settings=(DEMAND,), *, stalls=0.0, queued=False):
    """The jobs' outputs, counters and bytes are those of the golden model."""
    program = [*setup(image.params)]
    if queued:
        program += queued_program(image, limit=LIMIT)
    else:
        program += [step for job in programs(image, limit=LIMIT) for step in job]
    outcome = run_case(TINY, case(image, program, stalls=stalls), *settings)
    assert check_jobs(image, outcome, queued=queued).messages == []


def bytes_of(job, *names):
    return sum(t.heads * t.rows * t.pitch for t in (job.tensors[name] for name in names))


@pytest.mark.parametrize("stalls", [0.0, 0.5])
@pytest.mark.parametrize("queued", [False, True])
def test_rows_that_keep_nothing_need_no_v(queued, stalls):
    """Nor do KV heads of which no row keeps anything, before, between and behind others."""
    none = functools.partial(a_job, thresholds=(NOTHING,) * 4, kv_heads=2)
    mixed = [
        functools.partial(a_job, thresholds=thresholds, kv_heads=3)
        for thresholds in (
            (NOTHING, NOTHING, 2000, 0, NOTHING, NOTHING), (0, 3000, NOTHING, NOTHING, 0, ALL),
        )
    ]  # fmt: skip
    image = images([none, *mixed, none, *mixed])
    for job in (image.jobs[0], image.jobs[3]):
        assert job.expected.empty_rows == 4
        assert job.read_bytes == bytes_of(job, "q", "k")
    read = [len(image.jobs[1].demanded_keys(head)) for head in range(3)]
    assert read[0] == read[2] == 0 < read[1]
    right(image, stalls=stalls, queued=queued)


@pytest.mark.parametrize("stalls", [0.0, 0.5])
@pytest.mark.parametrize("queued", [False, True])
def test_masked_queries_need_no_v(queued, stalls):
    masked, seen = (
        functools.partial(a_job, thresholds=(0, 0, 2000, ALL), kv_heads=2, query_valid=valid)
        for valid in (False, True)
    )
    image = images([seen, masked, seen, masked])
    assert image.jobs[1].read_bytes == bytes_of(image.jobs[1], "q", "k")
    right(image, stalls=stalls, queued=queued)


@pytest.mark.parametrize("stalls", [0.0, 0.5])
def test_jobs_with_and_without_demand_follow_each_other(stalls):
    makers = [
        functools.partial(a_job, thresholds=(0, 1000, 2000, NOTHING), kv_heads=2, demand=demand)
        for demand in (True, False, True, True, False, False, True)
    ]
    image = images(makers)
    plain = image.jobs[1]
    assert plain.read_bytes == bytes_of(plain, "q", "k", "v") > image.jobs[0].read_bytes
    right(image, stalls=stalls, queued=True)


@pytest.mark.parametrize("settings", [(), ("max_heads=64",)], ids=["16 heads", "64 heads"])
def test_as_many_rows_wait_as_a_core_has_heads(settings):
    """All rows of one KV head, each of one beat."""
    heads = config(TINY, DEMAND, *settings).core.max_heads
    makers = [functools.partial(a_job, thresholds=(0, 2000) * (heads // 2), keys=1)] * 3
    settings = (DEMAND, *settings, "lanes=64", "data_width=128")
    right(images(makers, settings), settings, queued=True)


# -- faults --------------------------------------------------------------------------------------


@functools.cache
def an_image(settings, planar):
    """Two jobs whose rows choose some of V."""
    thresholds = (3000, 4000, 20_000, 5000)
    maker = functools.partial(a_job, thresholds=thresholds, kv_heads=2, planar=planar)
    image = images([maker] * 2, settings, seed=6)
    job = image.jobs[0]
    read = [len(job.demanded_keys(head)) for head in range(2)]
    assert all(0 < rows < 11 for rows in read), read
    return image


def run_next_job(image, settings):
    """The last job on the machine as it is, in memory as it was; all of it is right."""
    m = machine(TINY, *settings)
    last = MemoryImage(image.params, image.linear, image.jobs[-1:])
    assert m.bus_idle
    m.set_memory(memories(image))
    m.clear()
    (program,) = programs(last, limit=LIMIT)
    messages = check_jobs(last, execute(m, program)).messages
    assert [text for text in messages if "finished" not in text] == []
    assert_only_outputs_written(image, m)
    assert m.violations is None
    assert m.bus_idle


@pytest.mark.parametrize("stalls", [0.0, 0.4])
@pytest.mark.parametrize("write", [False, True])
@pytest.mark.parametrize(("settings", "planar"), CORES, ids=NAMES)
def test_bus_errors_on_any_beat(settings, planar, write, stalls):
    """Of Q, K, V on demand, and outputs."""
    image = an_image(settings, planar)
    program = [*setup(image.params), *next(iter(programs(image)))]
    beat = image.params.data_width // 8
    count = image.jobs[0].expected.rows if write else image.jobs[0].read_bytes // beat
    for number in range(count):
        response = 2 + number % 2
        fault = Fault(0, write, number, response)
        outcome = run_case(TINY, case(image, program, faults=[fault], stalls=stalls), *settings)
        assert outcome.error is None, number
        found = read_reports(image.params, outcome.reads)[-1]
        assert found.status is CODES[write, response], number
        run_next_job(image, settings)


@pytest.mark.parametrize("stalls", [0.0, 0.5])
@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize(("settings", "planar"), CORES, ids=NAMES)
def test_abort_at_any_time(settings, planar, jobs, stalls):
    """While rows wait, lists are written and read, slices and V come; of a queued job too."""
    image = an_image(settings, planar)
    abort, idle = Operation("write", 0x040, 2), Operation("poll", 0x044, 0, 1, LIMIT // 16)
    for after in range(0, 1100, 7):
        started = [step for n in range(jobs) for step in start(image.jobs[n], n + 1)]
        operations = [
            *setup(image.params), *started, Operation("run", after), abort, idle,
            *report(image.params),
        ]  # fmt: skip
        outcome = run_case(TINY, case(image, operations, stalls=stalls), *settings)
        assert outcome.error is None, after
        assert machine(TINY, *settings).bus_idle, after
        assert_only_outputs_written(image, machine(TINY, *settings))
        run_next_job(image, settings)


@pytest.mark.parametrize(
    "planar, wrong, status",
    [
        (False, {"QUERIES": 2}, StatusCode.BAD_COUNT),
        (False, {"HEADS": 16, "KV_HEADS": 1, "KEYS": 64}, StatusCode.BAD_GROUP),
        (False, {"FETCH": 0, "QUERIES": 2}, StatusCode.OK),
        (False, {"FETCH": 0, "HEADS": 16, "KV_HEADS": 1, "KEYS": 64}, StatusCode.OK),
        (True, {"FETCH": 2, "QUERIES": 2}, StatusCode.BAD_COUNT),
        (True, {"FETCH": 2, "HEADS": 9, "KV_HEADS": 1}, StatusCode.BAD_GROUP),
        (True, {"FETCH": 2, "HEADS": 8, "KV_HEADS": 1}, StatusCode.OK),
        (True, {"FETCH": 2, "MODE": 0x10}, StatusCode.BAD_THRESHOLD),
        (True, {"K_PLANE": 0x68}, StatusCode.MISALIGNED),
        (True, {"K_PLANE": 0x60_0000}, StatusCode.ADDRESS_WRAP),
        (True, {"FETCH": 1, "K_PLANE": 0x60_0008}, StatusCode.OK),
    ],
)
def test_what_a_job_with_demand_may_be(planar, wrong, status):
    """One query per head, rows of a KV head that fit where they wait, planes in memory."""
    settings, _ = CORES[planar]
    image = an_image(settings, planar)
    registers = register_map(image.params)
    *writes, go = start(image.jobs[0], 1)
    writes += [Operation("write", registers[name].offset, value) for name, value in wrong.items()]
    writes += [
        Operation("write", registers.window("HEAD_TABLE").offset + 4 * head, 0x16_9C40)
        for head in range(16)
    ]
    operations = [*setup(image.params), *writes, go, Operation("irq", LIMIT), *report(image.params)]
    outcome = run_case(TINY, case(image, operations), *settings)
    found = read_reports(image.params, outcome.reads)[0]
    assert found.status is status
    if status is not StatusCode.OK:
        assert found.counters["read_bytes"] == 0


# -- traces --------------------------------------------------------------------------------------


def a_trace(shape=(2, 4, 2, 6, 40), **options):
    rng = np.random.default_rng(2)
    layers, heads, kv_heads, queries, keys = shape

    def draw(*sizes):
        return rng.standard_normal(sizes).astype(np.float32)

    return Trace(
        q=draw(layers, heads, queries, 32), k=draw(layers, kv_heads, keys, 32),
        v=draw(layers, kv_heads, keys, 32), **options,
    )  # fmt: skip


@pytest.mark.parametrize("keep", [0.5, 0.1])
def test_slices_on_demand_save_bytes_and_nothing_else(keep):
    """Slices in planes, and V whole or not: outputs, kept scores and exits stay."""
    trace = a_trace(shape=(2, 4, 4, 6, 40), decode=True)
    limits = calibrate([trace], keep)
    lines, planes, both = (
        simulate(
            load(TINY, settings=[*PLANAR, *run]), trace, thresholds=limits, baseline=False,
        )
        for run in ([], ["run.planar=true"], ["run.planar=true", "run.demand=true"])
    )  # fmt: skip
    before, after, least = (each.stats["total"] for each in (lines, planes, both))
    for each in (lines, planes, both):
        assert each.mismatches == 0, each.messages
        np.testing.assert_array_equal(lines.out, each.out)
        for name in ("kept_scores", "kept_values", "slices", "rows", "empty_rows"):
            assert before[name] == each.stats["total"][name]
        assert each.stats["total"]["waste_bytes"] == 0
    assert least["dram_read_bytes"] < after["dram_read_bytes"] < before["dram_read_bytes"]


@pytest.mark.parametrize("keep", [0.5, 0.1])
def test_values_on_demand_save_bytes_and_nothing_else(keep):
    trace = a_trace(decode=True)
    limits = calibrate([trace], keep)
    whole, saved = (
        simulate(
            load(TINY, settings=[DEMAND, f"run.demand={demand}"]), trace, thresholds=limits,
            baseline=False,
        )
        for demand in ("false", "true")
    )  # fmt: skip
    assert whole.mismatches == saved.mismatches == 0, saved.messages
    np.testing.assert_array_equal(whole.out, saved.out)
    before, after = (each.stats["total"] for each in (whole, saved))
    for name in ("kept_scores", "kept_values", "slices", "rows", "empty_rows"):
        assert before[name] == after[name]
    assert after["dram_read_bytes"] < (0.97 if keep == 0.5 else 0.75) * before["dram_read_bytes"]
    assert before["waste_bytes"] == after["waste_bytes"] == 0
    assert after["waste_macs"] == 0


def test_the_references_read_v_whole():
    trace = a_trace(decode=True)
    result = simulate(
        load(TINY, settings=[DEMAND, "run.demand=true"]), trace, thresholds=calibrate([trace], 0.1)
    )
    assert result.mismatches == 0
    total, unpruned = result.stats["total"], result.stats["unpruned"]["total"]
    assert unpruned["dram_read_bytes"] == result.stats["baseline"]["total"]["dram_read_bytes"]
    assert total["dram_read_bytes"] < unpruned["dram_read_bytes"]
    assert total["cycles"] < unpruned["cycles"]


def test_only_steps_can_have_demand():
    chosen = load(TINY, settings=[DEMAND, "run.demand=true"])
    with pytest.raises(InputError, match=r"^demand needs jobs of one query"):
        simulate(chosen, a_trace(shape=(1, 2, 1, 3, 8)))
    chosen = load(TINY, settings=[*PLANAR, "run.planar=true"])
    with pytest.raises(InputError, match=r"^planar needs jobs of one query"):
        simulate(chosen, a_trace(shape=(1, 2, 1, 3, 8)))
    plain = load(TINY, settings=["value_demand=false", "run.demand=true"])
    with pytest.raises(InputError, match=r"^demand must be false on a core without value_demand$"):
        simulate(plain, replace(a_trace(), decode=True))
