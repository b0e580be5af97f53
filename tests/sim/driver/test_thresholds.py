"""Thresholds: files, checks, and integers of heads."""

import numpy as np
import pytest

from attnsieve.sim.driver.thresholds import Thresholds, threshold_codes
from attnsieve.sim.errors import InputError
from attnsieve.sim.golden.quantise import quantise_layer


def test_a_file_comes_back(tmp_path):
    path = tmp_path / "t.toml"
    for made in (
        Thresholds(((0.1, -2.5), (3.0, 1e-9)), 'of a "test" \\ of größe'),
        Thresholds(((0.0, 4.0),), "margins", relative=True),
    ):
        path.write_text(made.as_toml())
        assert Thresholds.load(path) == made


@pytest.mark.parametrize(
    "text, message",
    [
        ("[[layers]]\nthresholds = [1.0, nan]\n", r"layers\.0\.thresholds\.1: .*finite"),
        ("[[layers]]\nthresholds = ['x']\n", r"layers\.0\.thresholds\.0: .*number"),
        ("[[layers]]\nthreshold = [1.0]\n", r"layers\.0\.thresholds: Field required"),
        ("source = 'a'\n", r"layers: Field required"),
        ("[[layers]]\nthresholds = [1.0]\nmore = 1\n", r"layers\.0\.more: Extra inputs"),
        ("relative = true\n[[layers]]\nthresholds = [-1.0]\n", r"t\.toml: .* must not be negative"),
        ("relative = 1\n[[layers]]\nthresholds = [1.0]\n", r"relative: .*boolean"),
        ("[[layers]\n", r"t\.toml: .*"),
        ("[[layers]]\nthresholds = [1" + "0" * 5000 + "]\n", r"t\.toml: .*digits.*"),
    ],
)
def test_wrong_files(tmp_path, text, message):
    path = tmp_path / "t.toml"
    path.write_text(text)
    with pytest.raises(InputError, match=message) as found:
        Thresholds.load(path)
    assert "\n" not in str(found.value)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(InputError, match=r"none\.toml cannot be read: No such file"):
        Thresholds.load(tmp_path / "none.toml")


@pytest.mark.parametrize(
    "layers, message",
    [
        (((1.0, 2.0),), r"must be of 2 layers as the trace, not 1"),
        (((1.0, 2.0), (1.0,)), r"of layer 1 must be of 2 heads as the trace, not 1"),
    ],
)
def test_thresholds_of_another_trace(layers, message):
    with pytest.raises(InputError, match=message):
        Thresholds(layers).check(2, 2)


@pytest.mark.parametrize("bits", [8, 12])
def test_an_integer_reaches_its_threshold_as_the_real_score_does(bits):
    rng = np.random.default_rng(bits)
    q, k = (rng.standard_normal((heads, 30, 32)).astype(np.float32) for heads in (4, 2))
    layer = quantise_layer(q, k, k, bits)
    limits = np.array([-0.7, 0.0, 0.3, 1.2])
    codes = threshold_codes(layer, limits)
    for head, (limit, code) in enumerate(zip(limits, codes, strict=True)):
        integer = layer.q[head].astype(np.int64) @ layer.k[head // 2].T.astype(np.int64)
        real = integer * (layer.s_q[head] * layer.s_k[head // 2] / np.sqrt(32))
        near = np.abs(real - limit) < 1e-9
        assert ((integer >= code) == (real >= limit))[~near].all()


def test_an_integer_is_within_its_margin_as_the_real_score_is():
    rng = np.random.default_rng(5)
    q, k = (rng.standard_normal((2, 30, 32)).astype(np.float32) for _ in range(2))
    layer = quantise_layer(q, k, k, 8)
    margins = np.array([0.4, 2.0])
    for head, code in enumerate(threshold_codes(layer, margins, relative=True)):
        integer = layer.q[head].astype(np.int64) @ layer.k[head].T.astype(np.int64)
        below = integer.max(axis=1, keepdims=True) - integer
        real = below * (layer.s_q[head] * layer.s_k[head] / np.sqrt(32))
        near = np.abs(real - margins[head]) < 1e-9
        assert ((below <= code) == (real <= margins[head]))[~near].all()


def test_what_no_register_holds_is_its_end():
    rng = np.random.default_rng(1)
    q = rng.standard_normal((1, 3, 16)).astype(np.float32)
    layer = quantise_layer(q, q, q, 12)
    assert threshold_codes(layer, np.array([1e30])) == ((1 << 31) - 1,)
    assert threshold_codes(layer, np.array([1.7e308])) == ((1 << 31) - 1,)
    assert threshold_codes(layer, np.array([-1e30])) == (-(1 << 31),)
