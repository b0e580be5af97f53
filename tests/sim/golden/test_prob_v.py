"""prob·V accumulators."""

import numpy as np
import pytest

from attnsieve.hdl.params import CoreParams
from attnsieve.sim.golden.prob_v import prob_v_float, prob_v_integer
from attnsieve.sim.golden.softmax import Terms

PARAMS = CoreParams(max_keys=4096, p_bits=16)


def one_by_one(params, t, v):
    acc = [0] * v.shape[1]
    for key in range(v.shape[0]):
        shift = 5 * int(t.exponent_class[0, key]) - 4
        for i in range(v.shape[1]):
            product = int(v[key, i]) * int(t.mantissa[0, key])
            acc[i] += product << -shift if shift < 0 else product >> shift
    return acc


@pytest.mark.parametrize("seed", range(4))
def test_products_are_rounded_down_one_by_one(seed):
    rng = np.random.default_rng(seed)
    mantissa = rng.integers(0, 65537, (1, 40)) * (rng.random((1, 40)) < 0.7)
    t = Terms(mantissa, rng.integers(0, PARAMS.max_class + 1, (1, 40)))
    v = rng.integers(-2048, 2048, (40, 16))
    np.testing.assert_array_equal(prob_v_integer(PARAMS, t, v)[0], one_by_one(PARAMS, t, v))


def test_the_order_of_keys_does_not_matter():
    rng = np.random.default_rng(9)
    t = Terms(rng.integers(0, 65537, (3, 50)), rng.integers(0, 3, (3, 50)))
    v = rng.integers(-2048, 2048, (50, 32))
    order = rng.permutation(50)
    moved = Terms(t.mantissa[:, order], t.exponent_class[:, order])
    np.testing.assert_array_equal(
        prob_v_integer(PARAMS, t, v), prob_v_integer(PARAMS, moved, v[order])
    )


@pytest.mark.parametrize("exponent_class", range(5))
@pytest.mark.parametrize("element", [-2048, 2047])
def test_the_longest_row_fits(exponent_class, element):
    shape = (1, PARAMS.max_keys)
    t = Terms(np.full(shape, 65536), np.full(shape, exponent_class))
    acc = prob_v_integer(PARAMS, t, np.full((PARAMS.max_keys, 16), element))
    assert (acc == PARAMS.max_keys * element << (20 - 5 * exponent_class)).all()


def test_the_float_product():
    np.testing.assert_allclose(prob_v_float([[0.5, 0.5]], [[1.0], [3.0]]), [[2.0]])
