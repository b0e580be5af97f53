"""Cores that drop scores below a threshold: random jobs, faults, whole traces, on the Verilog."""

import numpy as np
import pytest

from attnsieve.gen.config import load
from attnsieve.hdl.control.status import StatusCode
from attnsieve.hdl.datapath import Datapath
from attnsieve.hdl.params import CoreParams
from attnsieve.sim.bench.campaign import job_cases, random_image, run_campaign
from attnsieve.sim.bench.jobs import programs, read_reports, report, setup, start
from attnsieve.sim.bench.memory import Fault
from attnsieve.sim.bench.program import Operation, execute
from attnsieve.sim.calibrate import calibrate
from attnsieve.sim.driver.thresholds import Thresholds
from attnsieve.sim.simulate import simulate
from attnsieve.sim.trace import Trace
from tests.system.cores import campaign, config, machine, run_case
from tests.system.faults import CODES, LIMIT, assert_only_outputs_written, case

TINY = "leopard-tiny"


def test_random_jobs():
    campaign(TINY, 150)


BITS = ["slice_bits=1", "slice_units=3", "operand_bits=12"]


@pytest.mark.parametrize("settings", [[], pytest.param(BITS, marks=pytest.mark.full)])
def test_random_jobs_with_signs(settings):
    chosen = load(TINY, settings=["slice_words=sign_magnitude", *settings])
    coverage, failures = run_campaign(chosen, job_cases(chosen.core, 60, most_cycles=2000))
    assert not failures, "\n".join(map(str, failures))
    assert coverage.cases == 60


@pytest.mark.parametrize("name, cases", [(TINY, 3000), ("leopard-ecp5", 1000), ("leopard", 1000)])
@pytest.mark.full
def test_thousands_of_random_jobs(name, cases):
    campaign(name, cases, most_cycles=3000)


@pytest.mark.parametrize(
    "settings",
    [
        ["slice_bits=1", "slice_units=5"], ["slice_bits=4", "slice_rows=2"],
        ["slice_dealing=static", "lanes=32", "slice_units=3"],
        ["outstanding_beats=1024"], ["max_keys=1", "lanes=32"],
        ["slice_words=sign_magnitude"],
        ["slice_words=sign_magnitude", "lanes=64", "slice_units=8", "operand_bits=12"],
        ["slice_words=sign_magnitude", "slice_dealing=static", "slice_bits=4", "slice_rows=2"],
        ["slice_units=1", "operand_bits=12"], ["lanes=64", "slice_units=8", "operand_bits=12"],
    ],
    ids=lambda settings: "-".join(settings),
)  # fmt: skip
@pytest.mark.full
def test_other_sizes(settings):
    chosen = load(TINY, settings=settings)
    coverage, failures = run_campaign(chosen, job_cases(chosen.core, 200, most_cycles=2000))
    assert not failures, "\n".join(map(str, failures))
    assert coverage.cases == 200


def test_a_small_buffer():
    """It has fewer lines than memory may have on the way."""
    small = load(TINY, settings=["max_keys=16", "max_head_dim=16", "buffer_elements=128"])
    coverage, failures = run_campaign(small, job_cases(small.core, 10, most_cycles=500))
    assert not failures, "\n".join(map(str, failures))
    assert coverage.cases == 10


@pytest.mark.parametrize("on", [pytest.param("verilator", marks=pytest.mark.full), "icarus"])
def test_random_jobs_under_cocotb(on):
    campaign(TINY, 4, on=on, most_cycles=400)


def test_only_units_have_a_form_of_words():
    message = r"^slice_units must not be 0 on a core with slice_words = 'sign_magnitude'$"
    with pytest.raises(ValueError, match=message):
        Datapath(params=CoreParams(slice_words="sign_magnitude"))


# -- faults -------------------------------------------------------------------------------------


def an_image(seed=3):
    image, _ = random_image(
        config(TINY).core, np.random.default_rng(seed), jobs=2, most_cycles=400
    )
    return image


def run_next_job(image):
    """The last job of the image on the machine as it is; all of its output is right."""
    m = machine(TINY)
    m.clear()
    outcome = execute(m, list(programs(image))[-1])
    assert outcome.error is None
    found = read_reports(image.params, outcome.reads)[-1]
    assert found.status is StatusCode.OK
    got = image.jobs[-1].read_output(image.linear_from(list(outcome.memory)))
    np.testing.assert_array_equal(got, image.jobs[-1].expected.out)
    for name, want in image.jobs[-1].counters.items():
        if name != "read_bytes":
            assert found.counters[name] == want, name
    assert_only_outputs_written(image, m)
    assert m.violations is None
    assert m.bus_idle


@pytest.mark.parametrize("write", [False, True])
@pytest.mark.parametrize("stalls", [0.0, 0.4])
def test_bus_errors_on_any_beat(write, stalls):
    image = an_image()
    program = [*setup(image.params), *next(iter(programs(image)))]
    beats = (image.jobs[0].write_bytes if write else image.jobs[0].read_bytes) // 4
    for number in range(beats):
        fault = Fault(0, write, number, 2)
        outcome = run_case(TINY, case(image, program, faults=[fault], stalls=stalls))
        assert outcome.error is None, number
        found = read_reports(image.params, outcome.reads)[-1]
        assert found.status is CODES[write, 2], number
        assert all(found.counters[f"exits_{n}"] == 0 for n in range(1, 5))
        run_next_job(image)


@pytest.mark.parametrize("stalls", [0.0, 0.5])
@pytest.mark.parametrize("jobs", [1, 2])
def test_abort_at_any_time(jobs, stalls):
    image = an_image(4)
    registers = report(image.params)
    abort = Operation("write", 0x040, 2)
    idle = Operation("poll", 0x044, 0, 1, LIMIT // 16)
    for after in range(0, 1200, 7):
        started = [
            step for number in range(jobs) for step in start(image.jobs[number], number + 1)
        ]
        operations = [
            *setup(image.params), *started, Operation("run", after), abort, idle, *registers
        ]  # fmt: skip
        outcome = run_case(TINY, case(image, operations, stalls=stalls))
        assert outcome.error is None, after
        assert machine(TINY).bus_idle, after
        assert_only_outputs_written(image, machine(TINY))
        run_next_job(image)


# -- traces -------------------------------------------------------------------------------------


def a_trace(**options):
    rng = np.random.default_rng(2)

    def draw(*shape):
        return rng.standard_normal(shape).astype(np.float32)

    layers, heads, kv_heads, queries, keys = options.pop("shape", (2, 4, 2, 24, 24))
    return Trace(
        q=draw(layers, heads, queries, 32), k=draw(layers, kv_heads, keys, 32),
        v=draw(layers, kv_heads, keys, 32), **options,
    )  # fmt: skip


@pytest.mark.parametrize(
    "options",
    [{}, {"causal": True}, {"shape": (2, 4, 2, 6, 30), "decode": True}],
    ids=["encoder", "causal", "decode"],
)
@pytest.mark.parametrize("keep", [0.5, 0.15])
def test_out_follows_from_what_is_kept(options, keep):
    trace = a_trace(**options)
    result = simulate(
        load(TINY), trace, thresholds=calibrate([trace], keep), baseline=False
    )
    assert result.mismatches == 0, result.messages
    kept = result.arrays["kept_scores"]
    k, v = (np.repeat(x, trace.group, axis=1) for x in (trace.k, trace.v))
    scores = np.einsum("lhqd,lhkd->lhqk", trace.q, k) / np.sqrt(trace.q.shape[-1])
    e = np.where(kept, np.exp(scores), 0)
    p = e / np.maximum(e.sum(axis=-1, keepdims=True), 1e-30)
    assert np.abs(result.arrays["out"] - np.einsum("lhqk,lhkd->lhqd", p, v)).max() < 0.1
    unmasked = np.broadcast_to(trace.pair_mask(), kept.shape)
    share = kept.sum() / unmasked.sum()
    assert abs(share - keep) < 0.03
    assert result.stats["total"]["kept_scores"] == pytest.approx(share, abs=1e-6)
    assert result.stats["total"]["empty_rows"] == (~kept.any(axis=-1)).sum()
    assert result.stats["total"]["waste_macs"] == 0


def test_the_form_of_words_changes_no_output():
    trace, settings = a_trace(causal=True), ["slice_words=sign_magnitude"]
    limits = calibrate([trace], 0.3)
    plain, signs = (
        simulate(load(TINY, settings=each), trace, thresholds=limits, baseline=False)
        for each in ([], settings)
    )
    assert plain.mismatches == signs.mismatches == 0, signs.messages
    np.testing.assert_array_equal(plain.out, signs.out)
    np.testing.assert_array_equal(plain.arrays["kept_scores"], signs.arrays["kept_scores"])
    slices = [each.stats["total"]["slices"] for each in (plain, signs)]
    assert slices[0] != slices[1]
    assert slices[0] == pytest.approx(slices[1], rel=0.1)


@pytest.mark.parametrize("settings", [[], ["slice_words=sign_magnitude"]])
def test_the_references_keep_everything(settings):
    trace = a_trace()
    result = simulate(load(TINY, settings=settings), trace, thresholds=calibrate([trace], 0.1))
    assert result.mismatches == 0
    for name in ("unpruned", "baseline"):
        assert result.stats[name]["total"]["kept_scores"] == 1
    assert result.stats["unpruned"]["total"]["slices"] > result.stats["total"]["slices"]
    assert result.stats["unpruned"]["total"]["cycles"] > result.stats["total"]["cycles"]


def test_without_thresholds_all_is_kept():
    trace = a_trace()
    result = simulate(load(TINY), trace, baseline=False)
    assert result.mismatches == 0
    assert result.arrays["kept_scores"].all()
    dense = simulate(load(TINY, settings=["slice_units=0"]), trace, baseline=False)
    np.testing.assert_array_equal(result.out, dense.out)


def test_fewer_slices_are_read_the_less_is_kept():
    trace = a_trace()
    slices = [
        simulate(
            load(TINY), trace, thresholds=Thresholds(((limit,) * 4,) * 2), baseline=False
        ).stats["total"]["slices"]
        for limit in (-100.0, 0.0, 1.0, 100.0)
    ]
    pairs = 2 * 4 * 24 * 24
    assert slices[0] == 4 * pairs
    assert slices == sorted(slices, reverse=True)
    assert slices[-1] == pairs  # no key survives its first slice
