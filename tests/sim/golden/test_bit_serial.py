"""Scores that end early: what is kept and what is read, against all that words can become."""

from itertools import product

import numpy as np
import pytest

from attnsieve.gen import config
from attnsieve.sim.golden.bit_serial import bit_serial, cut
from attnsieve.sim.golden.job import Job
from attnsieve.sim.golden.layer import attention_layer


@pytest.mark.parametrize("word_bits, slice_bits", [(4, 1), (4, 2), (5, 2), (3, 4), (12, 2)])
def test_slices_make_up_the_word(word_bits, slice_bits):
    words = np.arange(-(1 << word_bits - 1), 1 << word_bits - 1)
    slices = cut(words, word_bits, slice_bits)
    assert slices.shape[0] == -(-word_bits // slice_bits)
    whole = sum(s << slice_bits * n for n, s in enumerate(slices[::-1]))
    total = slices.shape[0] * slice_bits
    signed = np.where(whole >> total - 1, whole - (1 << total), whole)
    np.testing.assert_array_equal(signed, words << total - word_bits)


@pytest.mark.parametrize("word_bits, slice_bits", [(4, 1), (4, 2), (5, 2), (3, 4), (12, 2)])
def test_slices_make_up_sign_and_magnitude(word_bits, slice_bits):
    top = 1 << word_bits - 1
    words = np.arange(-top, top)
    slices = cut(words, word_bits, slice_bits, sign_magnitude=True)
    pad = slices.shape[0] * slice_bits - word_bits
    for word, whole in zip(words, slices.T, strict=True):
        bits = "".join(f"{each:0{slice_bits}b}" for each in whole)
        sign, magnitude, rest = bits[0], bits[1:word_bits], bits[word_bits:]
        assert (sign == "1") == (word < 0)
        assert int(magnitude, 2) == min(abs(int(word)), top - 1)
        assert rest == "0" * pad


@pytest.mark.parametrize("slice_bits", [1, 2])
def test_a_key_ends_exactly_when_no_rest_of_its_words_would_do(slice_bits):
    """Every rest of both words is tried."""
    rng, bits = np.random.default_rng(slice_bits), 4
    for _ in range(40):
        q = rng.integers(-8, 8, 2)
        keys = rng.integers(-8, 8, (6, 2))
        threshold = int(rng.integers(-60, 60))
        found = bit_serial(q, keys, threshold, word_bits=bits, slice_bits=slice_bits)
        np.testing.assert_array_equal(found.kept, keys @ q >= threshold)
        np.testing.assert_array_equal(found.score, keys @ q)
        for key, read in zip(keys, found.slices, strict=True):
            for number in range(1, bits // slice_bits + 1):
                rest = bits - number * slice_bits
                known = key >> rest << rest
                best = max(int((known + each) @ q) for each in product(range(1 << rest), repeat=2))
                assert (read == number) == (best < threshold or rest == 0)
                if read == number:
                    break


@pytest.mark.parametrize("slice_bits", [1, 2, 4])
def test_so_does_a_key_with_signs(slice_bits):
    """Every rest of both magnitudes is tried."""
    rng, bits = np.random.default_rng(slice_bits), 5
    for _ in range(40):
        q = rng.integers(-8, 8, 2)
        keys = rng.integers(-16, 16, (6, 2))
        threshold = int(rng.integers(-120, 120))
        found = bit_serial(
            q, keys, threshold, word_bits=bits, slice_bits=slice_bits, sign_magnitude=True
        )
        keys = np.where(keys == -16, -15, keys)  # which has no magnitude
        np.testing.assert_array_equal(found.kept, keys @ q >= threshold)
        np.testing.assert_array_equal(found.score, keys @ q)
        for key, read in zip(keys, found.slices, strict=True):
            sign = np.array([-1 if word < 0 else 1 for word in key])
            for number in range(1, -(-bits // slice_bits) + 1):
                rest = max(0, bits - number * slice_bits)
                known = abs(key) >> rest << rest
                ends = product(range(1 << rest), repeat=2)
                best = max(int((sign * (known + each)) @ q) for each in ends)
                assert (read == number) == (best < threshold or rest == 0)
                if read == number:
                    break


def test_the_margin_of_signs_depends_on_the_key():
    """Where no sign agrees nothing can be gained; a word of zero has the sign +."""
    keys = np.array([[-8, -8], [8, 8], [0, 0]])
    found = bit_serial([3, 5], keys, 1, word_bits=12, slice_bits=1, sign_magnitude=True)
    assert found.slices.tolist() == [1, 12, 12]
    assert found.kept.tolist() == [False, True, False]


def test_a_word_that_does_not_fit():
    with pytest.raises(OverflowError, match=r"^word in 8\.\.8 does not fit 4 signed bits$"):
        bit_serial([1], np.array([[8]]), 0, word_bits=4, slice_bits=2)


def test_a_layer_tells_of_each_key_what_was_read():
    params = config.load("leopard-tiny").core
    rng, shape = np.random.default_rng(5), {"heads": 4, "kv_heads": 2, "queries": 9, "keys": 20}
    job = Job(
        **shape, head_dim=16, bits=8, causal=True, scales=((40000, 14),) * 4,
        thresholds=(-5000, 0, 4000, 90000),
    )  # fmt: skip
    q = rng.integers(-99, 100, (4, 9, 16))
    k, v = rng.integers(-99, 100, (2, 2, 20, 16))
    valid = rng.random(9) < 0.7
    found = attention_layer(params, job, q, k, v, query_valid=valid)
    assert found.read.shape == found.kept_values.shape == (4, 9, 20)
    np.testing.assert_array_equal(found.read > 0, np.broadcast_to(found.seen, (4, 9, 20)))
    np.testing.assert_array_equal(np.bincount(found.read.ravel(), minlength=5)[1:], found.exits)
    assert (found.read[found.kept_scores] == 4).all()
    np.testing.assert_array_equal(found.stored, found.kept_scores)
    assert found.kept_scores[found.kept_values].all()
    assert 0 < found.kept_values.sum() < found.kept_scores.sum()
