"""Float tensors to integers and scales."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from attnsieve.sim.errors import InputError
from attnsieve.sim.golden.quantise import (
    dequantise_output,
    quantise,
    quantise_layer,
    scale_pair,
    scale_value,
)


@pytest.mark.parametrize("bits, top", [(8, 127), (12, 2047)])
def test_the_largest_magnitude_of_each_head_takes_the_last_code(bits, top):
    x = np.array([[[0.5, -2.0]], [[1e-3, 1e-4]]])
    integer, scale = quantise(x, bits)
    np.testing.assert_array_equal(np.abs(integer).max(axis=(1, 2)), [top, top])
    np.testing.assert_allclose(scale, [2.0 / top, 1e-3 / top])
    assert integer.dtype == np.int16


def test_ties_go_to_even():
    x = np.array([[[127.0, 0.5, 1.5, 2.5, -0.5, -1.5]]])
    integer, scale = quantise(x, 8)
    assert scale[0] == 1.0
    np.testing.assert_array_equal(integer[0, 0], [127, 0, 2, 2, 0, -2])


def test_invalid_rows_do_not_set_the_scale_and_are_clamped():
    x = np.array([[[1.0], [-50.0]]])
    integer, scale = quantise(x, 8, np.array([True, False]))
    assert scale[0] == 1 / 127
    np.testing.assert_array_equal(integer[0, :, 0], [127, -127])


def test_a_head_of_zeros_has_scale_one():
    integer, scale = quantise(np.zeros((1, 3, 16)), 8)
    assert scale[0] == 1.0
    assert not integer.any()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_must_be_finite(value):
    with pytest.raises(InputError, match=r"^tensor must be finite: it holds NaN or infinity$"):
        quantise(np.array([[[value]]]), 8)


def test_bits_must_be_a_mode():
    with pytest.raises(InputError, match=r"^bits must be one of 4, 6, 8, 10, 12, not 5$"):
        quantise(np.zeros((1, 1, 1)), 5)


@pytest.mark.parametrize("bits, top", [(4, 119), (6, 503), (8, 2039), (10, 8183), (12, 32759)])
def test_of_two_planes_the_largest_magnitude_leaves_room_for_rounding(bits, top):
    integer, scale = quantise(np.array([[[0.5, -2.0], [9.0, 0.0]]]), bits, np.array([1, 0], bool),
                              planes=True)  # fmt: skip
    assert top == (1 << (bits + 3)) - 1 - 8
    np.testing.assert_array_equal(integer[0], [[round(top / 4), -top], [top, 0]])
    assert scale[0] == 2.0 / top
    assert integer.dtype == np.int16


@pytest.mark.parametrize("planes", [False, True])
def test_every_operand_has_its_width(planes):
    rng = np.random.default_rng(1)
    q, k, v = (rng.normal(size=(h, 5, 16)) for h in (4, 2, 2))
    z = quantise_layer(q, k, v, 8, key_bits=6, value_bits=10, planes=planes)
    assert [np.abs(x).max() for x in (z.q, z.k, z.v)] == [127, 503 if planes else 31, 511]
    assert (z.bits, z.key_bits, z.value_bits) == (8, 6, 10)
    for x, integer, scale in ((q, z.q, z.s_q), (k, z.k, z.s_k), (v, z.v, z.s_v)):
        step = scale[:, None, None]
        assert (np.abs(integer * step - x) <= 0.51 * step).all()
    with pytest.raises(InputError, match=r"^bits must be 8 or 12, not 10$"):
        quantise_layer(q, k, v, 10)


@given(st.floats(2.0**-58, 31.9, exclude_min=True))
def test_pairs_are_within_half_a_unit(c):
    mantissa, shift = scale_pair(c)
    assert 1 << 15 <= mantissa < 1 << 16
    assert 0 <= shift <= 63
    assert abs(scale_value((mantissa, shift)) - c) <= c * 2.0**-16


@pytest.mark.parametrize(
    "c, pair",
    [
        (32.0, (1 << 15, 0)),
        (63.9999999, (1 << 15, 0)),
        (1e30, (1 << 15, 0)),
        (0.5, (1 << 15, 6)),
        (math.ldexp(1 << 15, -73), (1 << 15, 63)),
        (1e-300, (1 << 15, 63)),
    ],
)
def test_pairs_saturate_at_both_ends(c, pair):
    assert scale_pair(c) == pair


@pytest.mark.parametrize("c", [0.0, -1.0, math.nan, math.inf])
def test_a_scale_must_be_positive(c):
    with pytest.raises(InputError, match=r"^scale must be positive and finite, not "):
        scale_pair(c)


@given(st.integers(0, 2**32 - 1), st.sampled_from([8, 12]), st.floats(-8, 8))
def test_the_scale_of_scores_is_exactly_a_pair(seed, bits, magnitude):
    rng = np.random.default_rng(seed)
    q, k, v = (rng.normal(size=(h, 5, 16)) * 10**magnitude for h in (4, 2, 2))
    z = quantise_layer(q, k, v, bits)
    unit = math.log2(math.e) / 4
    for head in range(4):
        pair = z.scales[head]
        if pair not in ((1 << 15, 0), (1 << 15, 63)):
            assert z.c[head] == pytest.approx(scale_value(pair), rel=1e-14)
        assert z.c[head] == pytest.approx(z.s_q[head] * z.s_k[head // 2] * unit, rel=1e-14)
    step = z.s_q[:, None, None]
    assert (np.abs(z.q * step - q) <= 0.51 * step).all()
    assert np.abs(z.q).max() == (1 << (bits - 1)) - 1


def test_output_units_are_those_of_v():
    out = np.array([[[256, -512]], [[256, 0]]], np.int16)
    real = dequantise_output(out, np.array([0.5]), 8)
    np.testing.assert_array_equal(real, [[[0.5, -1.0]], [[0.5, 0.0]]])
    assert real.dtype == np.float32
    np.testing.assert_array_equal(dequantise_output(out, np.array([0.5]), 12)[0, 0], [8.0, -16.0])
