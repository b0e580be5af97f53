"""Checks of a job's shape."""

import pytest

from attnsieve.hdl.params import CoreParams
from attnsieve.sim.errors import InputError
from attnsieve.sim.golden.job import Job

GOOD = {"heads": 2, "kv_heads": 1, "queries": 3, "keys": 5, "head_dim": 32, "bits": 8}
SCALES = ((40000, 20),) * 2


def job(**changes):
    return Job(**{**GOOD, "scales": SCALES, **changes})


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"keys": 0}, r"^keys must be at least 1, not 0$"),
        ({"kv_heads": 3}, r"^kv_heads must divide heads \(2\), not 3$"),
        ({"head_dim": 24}, r"^head_dim must be a multiple of 16, not 24$"),
        ({"bits": 16}, r"^bits must be 8 or 12, not 16$"),
        (
            {"causal": True, "queries": 6},
            r"^queries of a causal job must be at most keys \(5\), not 6$",
        ),
        ({"scales": SCALES[:1]}, r"^scales must be one per head \(2\), not 1$"),
        ({"scales": ((1, 0),) * 2}, r"^scale mantissa must be in 32768\.\.65535, not 1$"),
        ({"scales": ((40000, 64),) * 2}, r"^scale shift must be in 0\.\.63, not 64$"),
    ],
)
def test_a_wrong_job_is_refused(changes, message):
    with pytest.raises(InputError, match=message):
        job(**changes)


@pytest.mark.parametrize(
    "core, message",
    [
        ({"max_heads": 1}, r"^heads must be at most 1 on this core, not 2$"),
        ({"max_keys": 4}, r"^keys must be at most 4 on this core, not 5$"),
        ({"max_queries": 2}, r"^queries must be at most 2 on this core, not 3$"),
        ({"max_head_dim": 16}, r"^head_dim must be at most 16 on this core, not 32$"),
        (
            {"lanes": 16, "max_head_dim": 32, "buffer_elements": 64},
            r"^keys times head_dim must be at most 128 \(two buffers\) on this core, not 5 \* 32$",
        ),
    ],
)
def test_a_job_over_the_built_size_is_refused(core, message):
    with pytest.raises(InputError, match=message):
        job().check(CoreParams(**core))


def test_twelve_bits_need_a_core_that_has_them():
    with pytest.raises(InputError, match=r"^bits must be at most 8 on this core, not 12$"):
        job(bits=12).check(CoreParams(operand_bits=8))


def test_a_job_of_the_built_size_is_taken():
    job(keys=1024, queries=1024, head_dim=128, bits=12).check(CoreParams())
