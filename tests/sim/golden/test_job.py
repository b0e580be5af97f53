"""Checks of a job's shape."""

import pytest

from attnsieve.hdl.params import CoreParams
from attnsieve.sim.errors import InputError
from attnsieve.sim.golden.job import Job, Pins

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
        ({"key_bits": 7}, r"^key_bits must be one of 0, 4, 6, 8, 10, 12, not 7$"),
        ({"value_bits": 16}, r"^value_bits must be one of 0, 4, 6, 8, 10, 12, not 16$"),
        ({"threshold": 65536}, r"^threshold must be in 0\.\.65535, not 65536$"),
        ({"threshold": -1}, r"^threshold must be in 0\.\.65535, not -1$"),
        ({"scales": SCALES[:1]}, r"^scales must be one per head \(2\), not 1$"),
        ({"scales": ((1, 0),) * 2}, r"^scale mantissa must be in 32768\.\.65535, not 1$"),
        ({"relative": True}, r"^thresholds must be given, one per head, in a relative job$"),
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


@pytest.mark.parametrize("pins", [{"first": -1}, {"first": 1 << 16}, {"newest": 1 << 16}])
def test_wrong_pins(pins):
    (name, value), = pins.items()
    with pytest.raises(InputError, match=rf"^pin_{name} must be in 0\.\.65535, not {value}$"):
        Pins(**pins)


def test_pins_need_a_core_with_thresholds():
    pinned = job(pins=Pins(own=True))
    pinned.check(CoreParams(slice_units=2))
    with pytest.raises(InputError, match=r"^pins must be none on a core without thresholds"):
        pinned.check(CoreParams())


def test_a_margin_below_nothing_is_nothing():
    """And one beyond a score's range is its end; without thresholds all is kept."""
    params = CoreParams(slice_units=2)
    end = 1 << params.threshold_bits - 1
    relative = job(relative=True, thresholds=(-5, (1 << 31) - 1))
    assert [relative.threshold_of(params, head) for head in range(2)] == [0, end - 1]
    assert job().threshold_of(params, 0) == -end


def test_twelve_bits_need_a_core_that_has_them():
    with pytest.raises(InputError, match=r"^bits must be at most 8 on this core, not 12$"):
        job(bits=12).check(CoreParams(operand_bits=8))


def test_a_job_of_the_built_size_is_taken():
    job(keys=1024, queries=1024, head_dim=128, bits=12).check(CoreParams())


LISTS = {"value_lanes": 4, "token_lanes": 4}
WAITS = CoreParams(**LISTS, progressive=True, value_demand=True)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"key_bits": 8}, r"^key_bits must be 0 on a core without progressive, not 8$"),
        ({"value_bits": 4}, r"^value_bits must be 0 on a core without progressive, not 4$"),
        ({"threshold": 9}, r"^threshold must be 0 on a core without progressive, not 9$"),
        ({"demand": True}, r"^demand must be false on a core without value_demand$"),
    ],
)
def test_what_the_core_cannot_do_is_refused(changes, message):
    job(queries=1, **changes).check(WAITS)
    with pytest.raises(InputError, match=message):
        job(queries=1, **changes).check(CoreParams(**LISTS))


@pytest.mark.parametrize("changes, name", [({"threshold": 1}, "threshold"),
                                           ({"demand": True}, "demand")])  # fmt: skip
def test_rows_wait_in_jobs_of_one_query_only(changes, name):
    with pytest.raises(InputError, match=rf"^queries of a job with {name} must be 1, not 3$"):
        job(**changes).check(WAITS)


@pytest.mark.parametrize("changes, name", [({"threshold": 1}, "threshold"),
                                           ({"demand": True}, "demand")])  # fmt: skip
def test_rows_that_wait_must_fit_their_memory(changes, name):
    shape = {"heads": 8, "queries": 1, "head_dim": 16, "scales": SCALES * 4}
    job(**shape, keys=512, **changes).check(WAITS)  # 8 * 128 beats of 4 keys
    message = (
        rf"^heads per KV head times beats of keys must be at most 1024 on this core in a job "
        rf"with {name}, not 8 \* 129$"
    )
    with pytest.raises(InputError, match=message):
        job(**shape, keys=513, **changes).check(WAITS)
    job(**shape, keys=513).check(WAITS)


def test_queries_that_wait_must_fit_their_memory():
    shape = {"heads": 9, "queries": 1, "keys": 4, "head_dim": 128, "scales": SCALES[:1] * 9}
    message = (
        r"^heads per KV head times segments of a row must be at most 64 on this core in a job "
        r"with threshold, not 9 \* 8$"
    )
    with pytest.raises(InputError, match=message):
        job(**shape, threshold=1).check(WAITS)
    job(**shape, demand=True).check(WAITS)
