"""Jobs whose rows come again, or ask for their V: predicted cycles, also without contents."""

import numpy as np
import pytest

from attnsieve.gen import config
from attnsieve.sim.bench.campaign import random_image
from attnsieve.sim.bench.memory import Timing
from attnsieve.sim.bench.model import measure, one_query_job
from attnsieve.sim.cycle_model import predict
from attnsieve.sim.limits import Necessary, limit_cycles
from attnsieve.sim.replay import operands

TINY = config.load("spatten-tiny").core
SPATTEN = config.load("spatten").core
TIMING = Timing()


FEATURES = {
    "listed keys": {"listed": 30},
    "narrow K and V": {"listed": 30, "key_bits": 6, "value_bits": 6},
    "demand": {"demand": True},
    "demand, narrow": {"demand": True, "key_bits": 8, "value_bits": 6},
    "demand, a KV head for two heads": {"heads": 4, "kv_heads": 2, "demand": True},
    "threshold, no row again": {"listed": 30, "threshold": 6554, "key_bits": 6, "value_bits": 6},
    "threshold, some rows again": {
        "threshold": 6554, "again": 3, "key_bits": 8, "value_bits": 8, "demand": True,
    },
    "threshold, all rows again": {
        "threshold": 6554, "again": 6, "key_bits": 6, "value_bits": 6,
    },
    "threshold, a KV head for two heads": {
        "heads": 4, "kv_heads": 2, "threshold": 6554, "again": 2, "key_bits": 8, "demand": True,
    },
}  # fmt: skip


def test_each_feature_takes_the_predicted_cycles():
    """Within 5 % on a small core; busy to the cycle."""
    rng = np.random.default_rng(4)
    images = [operands(one_query_job(TINY, **feature), rng) for feature in FEATURES.values()]
    counters = measure(config.load("spatten-tiny"), images)
    for name, image, found in zip(FEATURES, images, counters, strict=True):
        predicted = predict(TINY, TIMING, image).counters()
        assert predicted["busy"] == found["busy"], name
        error = predicted["cycles"] / found["cycles"] - 1
        assert abs(error) < 0.05, (name, predicted, found)


@pytest.mark.full
def test_decode_steps_of_the_reference_core_take_the_predicted_cycles():
    rng = np.random.default_rng(5)
    images = []
    for heads, kv_heads in ((12, 12), (9, 3)):
        for listed in (102, 204, 1024):
            for feature in FEATURES.values():
                shape = {**feature, "heads": heads, "kv_heads": kv_heads, "listed": listed}
                image = one_query_job(SPATTEN, **{**shape, "keys": 1024, "head_dim": 64})
                images.append(operands(image, rng))
    for image, found in zip(images, measure(config.load("spatten"), images), strict=True):
        predicted = predict(SPATTEN, TIMING, image).cycles
        assert abs(predicted / found["cycles"] - 1) < 0.05, (image.job, predicted, found)


def test_any_job_has_a_consistent_prediction():
    for seed in range(60):
        memory = random_image(TINY, np.random.default_rng(seed), most_cycles=500)[0]
        (image,) = memory.jobs
        p = predict(TINY, TIMING, image)
        assert p.busy + p.setup + p.query + p.key + p.output + p.tail == p.cycles
        assert min(p.busy, p.setup, p.query, p.key, p.output, p.tail) >= 0
        result = image.expected
        work = Necessary(macs_qk=result.macs_qk, macs_pv=result.macs_pv, granules=0)
        assert p.cycles > limit_cycles(TINY, TIMING, work)
        assert p.cycles > image.read_bytes / TINY.channels / TINY.beat_bytes


def test_contents_do_not_matter_beside_counts():
    for feature in FEATURES.values():
        image = one_query_job(TINY, **feature)
        real = operands(image, np.random.default_rng(1))
        assert real.expected.recomputed.tolist() == image.expected.recomputed.tolist()
        assert real.expected.values == image.expected.values
        assert real.expected.macs_qk == image.expected.macs_qk
        ahead, cycles = predict(TINY, TIMING, image).cycles, predict(TINY, TIMING, real).cycles
        assert abs(ahead / cycles - 1) < 0.02


def test_more_rows_again_take_longer():
    shape = {"threshold": 3277, "key_bits": 6, "value_bits": 6, "demand": True}
    cycles = [
        predict(SPATTEN, TIMING, one_query_job(SPATTEN, again=n, head_dim=64, **shape)).cycles
        for n in range(7)
    ]
    assert cycles == sorted(cycles)
    assert cycles[-1] > 1.2 * cycles[0]


def test_values_on_demand_save_what_they_do_not_read():
    shape = {"keys": 1024, "listed": 1024, "head_dim": 64}
    whole, demand = (one_query_job(SPATTEN, demand=d, **shape) for d in (False, True))
    saved = whole.read_bytes - demand.read_bytes
    assert saved == 6 * 1024 * 96 * 3 // 4
    assert predict(SPATTEN, TIMING, demand).cycles < 0.7 * predict(SPATTEN, TIMING, whole).cycles


def test_a_layer_of_gpt2_medium_without_contents():
    """16 heads of 64 on 1024 keys: near its limit, which is memory."""
    image = one_query_job(
        SPATTEN, heads=16, kv_heads=16, keys=1024, listed=1024, head_dim=64,
        threshold=3277, key_bits=8, value_bits=8, demand=True,
    )  # fmt: skip
    result = image.expected
    work = Necessary(
        macs_qk=result.macs_qk, macs_pv=result.macs_pv, granules=image.needed_granules
    )
    limit = limit_cycles(SPATTEN, TIMING, work)
    assert limit < predict(SPATTEN, TIMING, image).cycles < 1.1 * limit
