"""Softmax in hardware order against exact arithmetic."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attnsieve.hdl.params import CoreParams
from attnsieve.sim.golden.quantise import scale_pair, scale_value
from attnsieve.sim.golden.softmax import (
    Terms,
    largest_lsb_error,
    probabilities,
    reciprocal,
    row_sum,
    softmax_exact,
    softmax_float,
    terms,
)

PARAMS = CoreParams()
LONG = CoreParams(max_keys=4096, max_queries=4096)
ONE = (1 << 15, 7 - 1 + 0)  # c = 2**15 * 2**-16 = 1/2


def one_row(params, distances, scale):
    scores = -np.asarray(distances, np.int64)[None]
    return terms(params, scores, np.ones(scores.shape, bool), scale)


def value(t, index):
    return Fraction(int(t.mantissa[0, index]), 1 << (16 + 5 * int(t.exponent_class[0, index])))


@pytest.mark.parametrize("halvings", [0, 1, 4, 5, 9, 10, 14, 15])
def test_whole_powers_are_exact(halvings):
    t = one_row(PARAMS, [0, 2 * halvings], ONE)
    assert value(t, 1) == Fraction(1, 1 << halvings)
    assert t.exponent_class[0, 1] == min(halvings // 5, PARAMS.max_class)


def test_terms_end_at_the_last_class():
    t = one_row(PARAMS, [0, 2 * 26, 2 * 27, 2 * 28, 2 * 31, 2 * 32, 2**30], ONE)
    assert value(t, 1) == Fraction(1, 1 << 26)
    assert value(t, 2) == Fraction(1, 1 << 26)  # half of the last bit rounds up
    assert not t.mantissa[0, 3:].any()
    assert not t.exponent_class[0, 3:].any()


def relative_errors(params, scale, distances):
    """Relative error of each term against 2**-(d c), with c the pair's value."""
    t = one_row(params, [0, *distances], scale)
    got = t.mantissa[0, 1:] * 2.0 ** (-16.0 - 5 * t.exponent_class[0, 1:])
    exact = np.exp2(-np.asarray(distances) * scale_value(scale))
    return got / exact - 1


def test_the_terms_constants_of_the_bound():
    """Every table entry and offset, mantissas of at least 2**11: under 2.63e-4."""
    distances = np.arange(1, 15 * 8192)  # c = 2**-13: the argument is exact
    worst = np.abs(relative_errors(LONG, (1 << 15, 18), distances)).max()
    assert 1.5e-4 < worst < 2.63e-4


def test_the_reciprocals_constant_of_the_bound():
    one = 1 << PARAMS.sum_fraction
    total = np.linspace(one, 2 * one - 1, 1 << 20).astype(np.int64)
    mantissa, exponent = reciprocal(PARAMS, total)
    assert not exponent.any()
    worst = np.abs(mantissa / 65536 * (total / one) - 1).max()
    assert 1e-5 < worst < 3.2e-5


def test_the_bound_is_half_a_bit_beside_the_last_rounding():
    p = np.linspace(0, 1, 10001)
    epsilon = math.log(2) * 1.5 * 2.0**-13 + 2.63e-4
    last_class = p / 32
    error = (p * (1 - p) * epsilon + p * 3.2e-5) * 4096 + last_class
    assert error.max() <= 0.5


def exact_scale(rng, low, high):
    """A random pair whose scale is between two values, often with an extreme mantissa."""
    mantissa, shift = scale_pair(float(np.exp2(rng.uniform(np.log2(low), np.log2(high)))))
    return int(rng.choice([mantissa, 65535, 32768, 65534])), shift


@pytest.mark.parametrize("keys", [2, 17, 64, 300, 1024, 4096])
def test_rows_of_one_maximum_and_equal_rest(keys):
    """The directed worst rows: all other terms err the same way, at every size of the rest."""
    rng = np.random.default_rng(keys)
    worst = 0.0
    for _ in range(60):
        scale = exact_scale(rng, 1e-5, 2.0)
        c = scale_value(scale)
        arguments = np.concatenate(
            [
                rng.uniform(0, 14, 8),
                np.array([1, 5, 10, 15, 26, 27]) - rng.uniform(0, 0.05, 6),  # ends of classes
                np.log2(keys) + rng.uniform(-1, 1, 4),  # the rest weighs about as much
            ]
        )
        d = np.maximum(0, np.rint(arguments / c)).astype(np.int64)
        d = d[d < 1 << 30]
        if not len(d):
            continue
        scores = np.repeat(-d[:, None], keys, axis=1)
        scores[:, int(rng.integers(keys))] = 0
        error = largest_lsb_error(LONG, scores, np.ones(scores.shape, bool), c, scale)
        worst = max(worst, error)
    assert 0.3 < worst <= 1.0


@pytest.mark.parametrize("keys", [1, 3, 113, 1000, 4096])
def test_random_rows_are_within_one_bit(keys):
    rng = np.random.default_rng(keys)
    for spread in (0.3, 2.0, 8.0, 40.0):
        scale = exact_scale(rng, 1e-6, 1e-2)
        c = scale_value(scale)
        scores = np.rint(rng.normal(size=(12, keys)) * spread / c).astype(np.int64)
        scores = np.clip(scores, -(2**28), 2**28)
        valid = rng.random(scores.shape) < 0.8
        assert largest_lsb_error(LONG, scores, valid, c, scale) <= 1.0


def test_terms_just_under_an_accumulator_step_are_not_lost():
    """4095 terms of half of the last bit round up together and stay in the last bit of p."""
    c = scale_value(ONE)
    for argument in (LONG.sum_fraction, LONG.sum_fraction + 1):
        d = np.array([0] + [2 * argument] * 4095)[None]
        assert largest_lsb_error(LONG, -d, np.ones(d.shape, bool), c, ONE) <= 1.0


def test_sums_are_those_of_the_terms():
    rng = np.random.default_rng(0)
    scores = rng.integers(-(2**20), 2**20, (4, 77))
    valid = rng.random((4, 77)) < 0.7
    t = terms(PARAMS, scores, valid, (40000, 30))
    want = [
        sum(Fraction(int(m), 1 << (16 + 5 * int(k))) for m, k in zip(*row, strict=True))
        for row in zip(t.mantissa, t.exponent_class, strict=True)
    ]
    got = [Fraction(int(s), 1 << PARAMS.sum_fraction) for s in row_sum(PARAMS, t)]
    assert got == want


def test_an_empty_row_has_no_reciprocal():
    t = terms(PARAMS, np.zeros((1, 3), np.int64), np.zeros((1, 3), bool), ONE)
    assert not t.mantissa.any()
    mantissa, exponent = reciprocal(PARAMS, row_sum(PARAMS, t))
    assert (mantissa[0], exponent[0]) == (0, 0)
    assert not probabilities(PARAMS, t, mantissa, exponent).any()


def test_a_lone_key_saturates_under_one():
    t = one_row(PARAMS, [0], ONE)
    p = probabilities(PARAMS, t, *reciprocal(PARAMS, row_sum(PARAMS, t)))
    assert p[0, 0] == 4095


@pytest.mark.parametrize("p_bits", [12, 13, 16])
def test_wider_probabilities_have_wider_sums(p_bits):
    params = CoreParams(max_keys=4096, p_bits=p_bits)
    assert params.sum_fraction >= p_bits + 12 + 2
    t = one_row(params, np.zeros(4096), ONE)
    assert row_sum(params, t)[0] == 4096 << params.sum_fraction
    p = probabilities(params, t, *reciprocal(params, row_sum(params, t)))
    assert (p == 1 << (p_bits - 12)).all()


@pytest.mark.parametrize("shift", [0, 1, 18, 19, 20, 62, 63])
@pytest.mark.parametrize("mantissa", [32768, 65535])
def test_extreme_scales(shift, mantissa):
    d = [0, 1, 2, 3, 2**10, 2**29, 2**30]
    t = one_row(PARAMS, d, (mantissa, shift))
    for index, distance in enumerate(d):
        exact = 2.0 ** -min(1000.0, distance * scale_value((mantissa, shift)))
        assert float(value(t, index)) == pytest.approx(exact, rel=3e-4, abs=2.0**-26)


def test_saturated_arguments_are_zero_terms_in_every_format():
    for p_bits, keys in ((12, 64), (16, 4096)):
        params = CoreParams(p_bits=p_bits, max_keys=keys)
        t = one_row(params, [0, 1, 2, 2**20], (32768, 0))
        assert t.mantissa[0].tolist() == [65536, 0, 0, 0]


def test_the_top_argument_that_is_not_saturated_counts():
    """u = 2**18 - 1 reached without saturation is a term, not a zero."""
    params = CoreParams(p_bits=16, max_keys=4096)
    t = one_row(params, [0, 2**18 - 1, 2**18], (32768, 18))
    assert t.mantissa[0, 1] > 0
    assert t.mantissa[0, 2] == 0


def test_a_row_sum_under_one_is_refused():
    with pytest.raises(OverflowError, match=r"^row sum is under one: its largest term must be "):
        reciprocal(PARAMS, np.array([5]))


def test_a_sum_over_its_wire_is_refused():
    t = Terms(np.full((1, 3000), 65536), np.zeros((1, 3000), np.int64))
    with pytest.raises(OverflowError, match=r"^row sum in .* does not fit 37 unsigned bits$"):
        row_sum(PARAMS, t)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 200), st.integers(0, 63))
def test_permuting_keys_permutes_terms_and_nothing_else(seed, keys, shift):
    rng = np.random.default_rng(seed)
    scores = rng.integers(-(2**30), 2**30, (2, keys))
    valid = rng.random((2, keys)) < 0.8
    order = rng.permutation(keys)
    a = terms(PARAMS, scores, valid, (50000, shift))
    b = terms(PARAMS, scores[:, order], valid[:, order], (50000, shift))
    np.testing.assert_array_equal(a.mantissa[:, order], b.mantissa)
    np.testing.assert_array_equal(a.exponent_class[:, order], b.exponent_class)
    np.testing.assert_array_equal(row_sum(PARAMS, a), row_sum(PARAMS, b))


def test_exact_and_float_softmax_agree():
    rng = np.random.default_rng(5)
    scores = rng.integers(-(2**20), 2**20, (3, 50))
    valid = rng.random((3, 50)) < 0.6
    valid[2] = False
    c = 1e-5
    exact = softmax_exact(scores, c, valid)
    np.testing.assert_allclose(exact, softmax_float(scores * c * math.log(2), valid), atol=1e-12)
    np.testing.assert_allclose(exact.sum(axis=1), [1, 1, 0])
    assert not exact[~valid].any()
