"""What decides which tokens go on in a cascade: importance, age, or their places alone."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from attnsieve.hdl.params import CoreParams
from attnsieve.sim.driver.cascade import Pruning, cascade
from attnsieve.sim.errors import InputError

PARAMS = CoreParams(value_lanes=4, token_lanes=4)
KEYS = 30


def a_trace(queries=6, *, masked=(), **options):
    rng = np.random.default_rng(7)
    q = rng.normal(size=(3, 4, queries, 16)).astype(np.float32)
    k, v = (rng.normal(size=(3, 2, KEYS, 16)).astype(np.float32) for _ in "kv")
    valid = np.ones(KEYS, bool)
    valid[list(masked)] = False
    rest = {"key_valid": valid, "query_valid": None, "causal": False, "decode": False, **options}
    return SimpleNamespace(q=2 * q, k=k, v=v, self_attention=queries == KEYS, **rest)


def jobs_of(trace, ranking, tokens=0.5):
    plans = cascade(PARAMS, trace, range(3), 8, Pruning(tokens=tokens, ranking=ranking))
    return [job for plan in plans for job in plan.jobs]


def survivors(image):
    return np.ones(image.job.keys, bool) if image.key_valid is None else image.key_valid


@pytest.mark.parametrize("masked", [(), (1, 3, 25)])
@pytest.mark.parametrize("trace", [
    {"decode": True}, {"queries": KEYS, "causal": True}, {"queries": KEYS},
])  # fmt: skip
@pytest.mark.parametrize("tokens", [0.06, 0.5, 0.9, 1.0])
def test_static_keeps_the_first_four_and_the_newest(trace, masked, tokens):
    """Of those that are candidates, as many as with any ranking."""
    selected = 0
    for image in jobs_of(a_trace(masked=masked, **trace), "static", tokens):
        scoring = image.job.scoring
        assert not scoring.age
        if scoring.keep is None:
            continue
        alive = survivors(image) if image.candidates is None else image.candidates
        candidates = np.flatnonzero(alive[: image.job.keys])
        first = candidates[: min(4, scoring.keep)]
        rest = candidates[len(first) :]
        newest = rest[max(0, len(rest) - (scoring.keep - len(first))) :]
        want = sorted({*first, *newest})
        assert np.flatnonzero(image.next_keys).tolist() == want
        wiped = replace(image, scores_before=None)  # scores have no say
        assert np.flatnonzero(wiped.next_keys).tolist() == want
        selected += 1
    assert selected


def test_ages_of_a_decode_begin_behind_the_prompt():
    images = jobs_of(a_trace(decode=True), "age")
    assert {image.job.scoring.age_base for image in images} == {KEYS - 6}
    assert all(image.job.scoring.age for image in images)


@pytest.mark.parametrize("queries, base", [(KEYS, 0), (20, 10)])
def test_ages_of_a_causal_trace(queries, base):
    images = jobs_of(a_trace(queries=queries, causal=True), "age")
    assert {(i.job.scoring.age, i.job.scoring.age_base) for i in images} == {(True, base)}
    kept = [survivors(i).sum() for i in images]
    assert kept == [survivors(i).sum() for i in jobs_of(a_trace(queries=queries, causal=True),
                                                        "importance")]


def test_all_ages_are_alike_where_all_queries_see_all_tokens():
    aged, plain = (jobs_of(a_trace(queries=KEYS), name) for name in ("age", "importance"))
    assert not any(image.job.scoring.age for image in aged)
    for a, b in zip(aged, plain, strict=True):
        np.testing.assert_array_equal(survivors(a), survivors(b))


def test_noise_draws_who_goes_on_but_not_how_many():
    def lists(seed):
        noise = np.random.default_rng(seed)
        plans = cascade(PARAMS, a_trace(decode=True), range(3), 8, Pruning(tokens=0.5), noise=noise)
        return [survivors(job).nonzero()[0].tolist() for plan in plans for job in plan.jobs]

    one, again, other = lists(1), lists(1), lists(2)
    assert one == again
    assert one != other
    counts = [len(tokens) for tokens in one]
    assert counts == [len(tokens) for tokens in other]
    assert counts == [survivors(job).sum() for job in jobs_of(a_trace(decode=True), "importance")]


def test_a_ranking_is_one_of_three():
    with pytest.raises(
        InputError, match=r"^ranking must be one of importance, age, static, not 'oldest'$"
    ):
        Pruning(ranking="oldest")
