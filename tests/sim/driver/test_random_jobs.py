"""Random jobs: legal, repeatable, and varied."""

import numpy as np
import pytest

from attnsieve.hdl.params import CoreParams
from attnsieve.sim.driver.random_jobs import coverage, random_image

TINY = CoreParams(
    lanes=4, max_head_dim=32, max_keys=64, max_queries=64, max_heads=16, buffer_elements=1536,
    output_lanes=1, channels=1, data_width=32, lut_ram=False,
)  # fmt: skip
CORES = {"dense": CoreParams(), "tiny": TINY, "eight": CoreParams(operand_bits=8)}


@pytest.mark.parametrize("core", sorted(CORES))
def test_jobs_are_legal_and_bounded(core):
    params = CORES[core]
    for seed in range(60):
        memory = random_image(params, seed, jobs=2, work=500)
        taken = np.zeros(len(memory.linear), int)
        for image in memory.jobs:
            job = image.job
            job.check(params)
            pairs = job.heads * job.queries * job.keys
            assert pairs * job.head_dim <= max(500 * params.lanes, job.keys * job.head_dim)
            for tensor in image.tensors.values():
                for head in range(tensor.heads):
                    start = tensor.row(head, 0)
                    taken[start : start + tensor.rows * tensor.pitch] += 1
        assert taken.max() == 1


def test_a_seed_gives_the_same_image():
    a, b = (random_image(TINY, 5, jobs=3) for _ in range(2))
    np.testing.assert_array_equal(a.linear, b.linear)
    np.testing.assert_array_equal(a.expected(), b.expected())
    assert [x.request for x in a.jobs] == [x.request for x in b.jobs]


def test_300_jobs_cover_what_campaigns_print():
    images = [i for s in range(150) for i in random_image(CORES["dense"], s, jobs=2, work=300).jobs]
    seen = coverage(images)
    assert set(seen["mask"]) == {"none", "key", "query", "key+query", "causal", "causal+key"}
    assert set(seen["head_dim"]) == {str(n) for n in range(16, 129, 16)}
    assert set(seen["bits"]) == {"8", "12"}
    assert {"1", "2", "3", "17", "64", "113", "300", "17..64"} <= set(seen["keys"])
    assert {"1", "2", "3", "17"} <= set(seen["queries"])
    assert {"1", "2", "3", "4"} == set(seen["group"])
    assert set(seen["empty"]) == {"yes", "no"}
    assert all(sum(counts.values()) == 300 for counts in seen.values())
