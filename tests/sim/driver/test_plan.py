"""Traces to jobs."""

from types import SimpleNamespace

import numpy as np
import pytest

from attnsieve.hdl.params import CoreParams
from attnsieve.sim.driver.plan import plan
from attnsieve.sim.errors import InputError
from attnsieve.sim.golden.dense import dense_float

PARAMS = CoreParams()


def a_trace(queries=6, keys=6, heads=4, kv_heads=2, head_dim=32, **fields):
    rng = np.random.default_rng(0)
    tensors = {
        "q": rng.normal(size=(2, heads, queries, head_dim)).astype(np.float32),
        "k": rng.normal(size=(2, kv_heads, keys, head_dim)).astype(np.float32),
        "v": rng.normal(size=(2, kv_heads, keys, head_dim)).astype(np.float32),
    }
    rest = {"key_valid": None, "query_valid": None, "causal": False, "decode": False}
    return SimpleNamespace(**{**tensors, **rest, **fields})


def real(layer_plan):
    return layer_plan.real_output(layer_plan.output(layer_plan.image.expected()))


def assert_close(got, want):
    assert np.abs(got - want).max() < 3e-3


def test_a_layer_is_one_job_with_the_models_output():
    trace = a_trace(queries=5, keys=9)
    made = plan(PARAMS, trace, 1, 12)
    (image,) = made.jobs
    assert (image.key_valid, image.query_valid) == (None, None)
    assert_close(real(made), dense_float(trace.q[1], trace.k[1], trace.v[1]))


def test_trailing_padding_is_cut_and_holes_are_masked():
    key_valid = np.array([1, 1, 0, 1, 1, 0, 0, 0], bool)
    query_valid = np.array([0, 1, 1, 0], bool)
    trace = a_trace(queries=4, keys=8, key_valid=key_valid, query_valid=query_valid)
    made = plan(PARAMS, trace, 0, 12)
    (image,) = made.jobs
    assert (image.job.queries, image.job.keys) == (3, 5)
    np.testing.assert_array_equal(image.key_valid, [1, 1, 0, 1, 1])
    np.testing.assert_array_equal(image.query_valid, [0, 1, 1])
    want = dense_float(
        trace.q[0], trace.k[0], trace.v[0], key_valid=key_valid, query_valid=query_valid
    )
    got = real(made)
    assert got.shape == want.shape
    assert not got[:, ~query_valid].any()
    assert_close(got, want)


@pytest.mark.parametrize("key_tail, query_tail", [(2, 2), (3, 1), (1, 3), (0, 0), (5, 0)])
def test_the_diagonal_stays_where_it_was(key_tail, query_tail):
    key_valid = np.arange(9) < 9 - key_tail
    query_valid = np.arange(6) < 6 - query_tail
    trace = a_trace(queries=6, keys=9, causal=True, key_valid=key_valid, query_valid=query_valid)
    made = plan(PARAMS, trace, 0, 12)
    assert made.jobs[0].job.keys == 9 - query_tail
    want = dense_float(
        trace.q[0], trace.k[0], trace.v[0],
        causal=True, key_valid=key_valid, query_valid=query_valid,
    )  # fmt: skip
    assert_close(real(made), want)


def test_decode_is_a_job_per_step_on_one_cache():
    valid = np.array([1, 1, 0, 1, 1, 1, 1], bool)
    trace = a_trace(queries=3, keys=7, head_dim=16, decode=True, key_valid=valid)
    made = plan(PARAMS, trace, 0, 12, rng=np.random.default_rng(0))
    assert [image.job.keys for image in made.jobs] == [5, 6, 7]
    assert all(image.job.queries == 1 and not image.job.causal for image in made.jobs)
    assert len({image.tensors["k"].base for image in made.jobs}) == 1
    assert len({image.tensors["q"].base for image in made.jobs}) == 3
    assert {image.tensors["q"].stride % 32 for image in made.jobs} == {0}
    want = dense_float(trace.q[0], trace.k[0], trace.v[0], causal=True, key_valid=valid)
    assert_close(real(made), want)


def test_invalid_decode_steps_are_no_jobs():
    trace = a_trace(queries=3, keys=7, decode=True, query_valid=np.array([1, 0, 1], bool))
    made = plan(PARAMS, trace, 0, 8)
    assert [int(image.query_rows[0]) for image in made.jobs] == [0, 2]
    assert not real(made)[:, 1].any()


@pytest.mark.parametrize("heads, kv_heads", [([0, 1], 1), ([2, 0], 2), ([0, 1, 2], 3), ([3], 1)])
def test_chosen_heads_share_kv_heads_where_groups_are_whole(heads, kv_heads):
    trace = a_trace()
    made = plan(PARAMS, trace, 0, 12, heads=heads)
    assert made.jobs[0].job.kv_heads == kv_heads
    assert made.heads == tuple(heads)
    assert_close(real(made), dense_float(trace.q[0], trace.k[0], trace.v[0])[heads])


def test_only_padding_means_empty_rows():
    trace = a_trace(key_valid=np.zeros(6, bool))
    made = plan(PARAMS, trace, 0, 8)
    assert made.jobs[0].job.keys == 1
    assert made.jobs[0].expected.empty_rows == 24
    assert not real(made).any()


@pytest.mark.parametrize(
    "fields, options, message",
    [
        (
            {"query_valid": np.zeros(6, bool)},
            {},
            r"^query_valid must hold a valid query, not only invalid ones$",
        ),
        ({}, {"heads": [4]}, r"^heads must be in 0\.\.3, not \[4\]$"),
        ({}, {"heads": []}, r"^heads must be in 0\.\.3, not \[\]$"),
        (
            {"queries": 7, "causal": True},
            {},
            r"^queries of a causal trace must be at most keys \(6\), not 7$",
        ),
        (
            {"queries": 7, "decode": True},
            {},
            r"^queries of a decode trace must be at most keys \(6\), not 7$",
        ),
        ({"keys": 1025}, {}, r"^keys must be at most 1024 on this core, not 1025$"),
    ],
)
def test_what_cannot_run_is_refused(fields, options, message):
    with pytest.raises(InputError, match=message):
        plan(PARAMS, a_trace(**fields), 0, 8, **options)


def test_a_plan_is_the_same_twice():
    a, b = (plan(PARAMS, a_trace(), 0, 8, rng=np.random.default_rng(7)) for _ in range(2))
    np.testing.assert_array_equal(a.image.linear, b.image.linear)
    assert a.jobs[0].request == b.jobs[0].request
