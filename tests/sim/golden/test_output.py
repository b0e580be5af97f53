"""Normalisation to int16."""

from fractions import Fraction

import numpy as np
import pytest

from attnsieve.hdl.params import CoreParams
from attnsieve.sim.golden.output import normalise

PARAMS = CoreParams()


def one(acc, mantissa, exponent, params=PARAMS):
    out = normalise(params, np.array([[acc]]), np.array([mantissa]), np.array([exponent]))
    return int(out[0, 0])


@pytest.mark.parametrize("value", [-2047, -1, 0, 1, 1000, 2047])
@pytest.mark.parametrize("exponent", [0, 1, 10])
def test_powers_of_two_divide_exactly(value, exponent):
    assert one(value << (20 + exponent), 65536, exponent) == value * 16


def test_only_the_most_negative_operand_saturates():
    assert one(-2048 << 20, 65536, 0) == -32767
    assert one(2047 << 20, 65536, 0) == 2047 * 16


def test_the_narrow_word_is_clamped_before_the_product():
    assert one(1 << 41, 65536, 0) == 32767
    assert one(-(1 << 41), 65536, 0) == -32767


@pytest.mark.parametrize("seed", range(3))
def test_results_are_within_one_of_the_quotient(seed):
    rng = np.random.default_rng(seed)
    for _ in range(300):
        exponent = int(rng.integers(0, 11))
        mantissa = int(rng.integers(1 << 15, (1 << 16) + 1))
        acc = int(rng.integers(-2000, 2000)) << (20 + exponent) | int(rng.integers(1 << 20))
        exact = Fraction(acc, 1 << 20) * mantissa / (1 << (16 + exponent)) * 16
        assert abs(one(acc, mantissa, exponent) - exact) <= 1


def test_an_empty_row_is_zero():
    assert one(12345, 0, 0) == 0


def test_an_eight_bit_core_has_more_fraction_bits():
    params = CoreParams(operand_bits=8)
    assert one(127 << 20, 65536, 0, params) == 127 * 256
    assert one(-128 << 20, 65536, 0, params) == -32767
