"""Predicted cycles: what must hold of any prediction, and against the RTL."""

import numpy as np
import pytest

from attnsieve.gen import config
from attnsieve.gen.verilog import generate_verilog
from attnsieve.hdl.params import CoreParams
from attnsieve.sim.bench.alone import counters_alone
from attnsieve.sim.bench.campaign import random_image
from attnsieve.sim.bench.memory import Timing
from attnsieve.sim.cycle_model import predict
from attnsieve.sim.driver.plan import Placement, memory_image, single_job
from attnsieve.sim.golden.job import Job
from attnsieve.sim.limits import Necessary, limit_cycles

DENSE = CoreParams()
TIMING = Timing()


def an_image(params, **shape):
    shape = {"heads": 1, "kv_heads": 1, "queries": 1, "keys": 64, "head_dim": 32, **shape}
    job = Job(bits=8, **shape, scales=((40000, 27),) * shape["heads"])
    rng = np.random.default_rng(1)
    q = rng.integers(-99, 100, (job.heads, job.queries, job.head_dim), np.int16)
    k, v = (rng.integers(-99, 100, (job.kv_heads, job.keys, job.head_dim), np.int16) for _ in "kv")
    place = Placement(params)
    return memory_image(params, [single_job(params, job, q, k, v, place=place)], place)


def random_jobs(params, seeds, most_cycles=2000):
    """Images of one random job each."""
    return [
        random_image(params, np.random.default_rng(seed), most_cycles=most_cycles)[0]
        for seed in seeds
    ]


CORES = {
    "dense": DENSE,
    "tiny": config.load("dense-tiny").core,
    "full": config.load("dense-full").core,
    "narrow": CoreParams(channels=4, data_width=64),
    "one channel": CoreParams(channels=1, data_width=512),
}


@pytest.mark.parametrize("core", sorted(CORES))
def test_any_job_has_a_consistent_prediction(core):
    params = CORES[core]
    for memory in random_jobs(params, range(25), 500):
        (image,) = memory.jobs
        p = predict(params, TIMING, image)
        assert p.busy + p.setup + p.query + p.key + p.output + p.tail == p.cycles
        assert min(p.busy, p.setup, p.query, p.key, p.output, p.tail) >= 0
        result = image.expected
        work = Necessary(macs_qk=result.macs_qk, macs_pv=result.macs_pv, granules=0)
        assert p.cycles > limit_cycles(params, TIMING, work)
        assert p.cycles > image.read_bytes / params.channels / params.beat_bytes
        counters = p.counters()
        assert sum(counters.values()) == 2 * counters["cycles"]


def test_more_latency_never_helps():
    for memory in random_jobs(DENSE, range(10), 500):
        (image,) = memory.jobs
        cycles = [predict(DENSE, Timing(latency=n), image).cycles for n in (5, 50, 200)]
        assert cycles == sorted(cycles)
        assert cycles[0] < cycles[2]


def test_long_jobs_are_near_their_limit():
    """The shapes whose limit_ratio the project promises."""
    for least, shape in (
        (0.98, {"heads": 12, "kv_heads": 12, "queries": 113, "keys": 113}),
        (0.98, {"heads": 9, "kv_heads": 3, "queries": 300, "keys": 300, "head_dim": 64}),
        (0.93, {"heads": 4, "kv_heads": 4, "queries": 128, "keys": 128, "head_dim": 48}),
        (0.93, {"heads": 4, "kv_heads": 4, "queries": 128, "keys": 128, "head_dim": 96}),
    ):
        (image,) = an_image(DENSE, **shape).jobs
        work = Necessary(
            macs_qk=image.expected.macs_qk,
            macs_pv=image.expected.macs_pv,
            granules=image.needed_granules,
        )
        limit = limit_cycles(DENSE, TIMING, work)
        assert limit / predict(DENSE, TIMING, image).cycles > least


# -- against the RTL -----------------------------------------------------------------------------


def compare(preset, images, margin=6):
    """Cycles within 2 %, or within ``margin`` cycles where jobs are very short."""
    built, params = config.load(preset), images[0].params
    measured = counters_alone(built, generate_verilog(built), images)
    for number, (image, counters) in enumerate(zip(images, measured, strict=True)):
        predicted = predict(params, TIMING, image.jobs[0]).counters()
        shape = image.jobs[0].request
        error = abs(predicted["cycles"] - counters["cycles"])
        assert error <= max(margin, 0.02 * counters["cycles"]), (number, shape, predicted, counters)
        assert predicted["busy"] == counters["busy"], (number, shape)
        for cause in ("stall_setup", "stall_query", "stall_key", "stall_output", "stall_tail"):
            error = abs(predicted[cause] - counters[cause])
            assert error <= max(50, 0.02 * counters["cycles"]), (number, shape, cause)


@pytest.mark.parametrize("preset, number", [("dense-tiny", 40), ("dense", 25)])
def test_random_jobs_take_the_predicted_cycles(preset, number):
    compare(preset, random_jobs(config.load(preset).core, range(number)))


@pytest.mark.full
def test_many_random_jobs_take_the_predicted_cycles():
    for preset in ("dense-tiny", "dense"):
        compare(preset, random_jobs(config.load(preset).core, range(1000, 1300), 3000))
