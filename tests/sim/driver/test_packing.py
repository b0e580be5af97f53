"""Bytes of tensors and of channels."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from attnsieve.hdl.params import CoreParams
from attnsieve.sim.driver.packing import join_channels, pack, row_bytes, split_channels, unpack


@pytest.mark.parametrize("head_dim, bits, size", [
    (16, 8, 16), (16, 12, 24), (48, 12, 72), (16, 4, 8), (48, 6, 36), (16, 10, 20),
])  # fmt: skip
def test_a_row_has_no_padding(head_dim, bits, size):
    assert row_bytes(head_dim, bits) == size
    assert pack(np.zeros((2, head_dim), np.int16), bits).shape == (2, size)


def test_twelve_bits_by_example():
    np.testing.assert_array_equal(pack(np.array([[0x123, -1]]), 12), [[0x23, 0xF1, 0xFF]])


def test_sixteen_bits_by_example():
    np.testing.assert_array_equal(pack(np.array([[0x1234, -2]]), 16), [[0x34, 0x12, 0xFE, 0xFF]])


def test_four_six_and_ten_bits_by_example():
    np.testing.assert_array_equal(pack(np.array([[1, -2]]), 4), [[0xE1]])
    np.testing.assert_array_equal(pack(np.array([[6, -6, 31, 0]]), 6), [[0x86, 0xFE, 0x01]])
    np.testing.assert_array_equal(
        pack(np.array([[0x155, -1, 0, 1]]), 10), [[0x55, 0xFD, 0x0F, 0x40, 0x00]]
    )


@given(st.sampled_from([4, 6, 8, 10, 12, 16]), st.integers(0, 2**32 - 1))
def test_unpacking_gives_the_elements_back(bits, seed):
    half = 1 << (bits - 1)
    x = np.random.default_rng(seed).integers(-half, half, (3, 2, 16))
    x[0, 0, :2] = -half, half - 1
    packed = pack(x, bits)
    assert packed.dtype == np.uint8
    np.testing.assert_array_equal(unpack(packed, bits), x)
    word = int.from_bytes(packed[0, 0].tobytes(), "little")
    assert [(word >> (bits * i)) % (1 << bits) for i in range(16)] == [int(e) % (1 << bits)
                                                                      for e in x[0, 0]]


def test_elements_must_fit():
    with pytest.raises(OverflowError, match=r"^element in 0\.\.128 does not fit 8 bits$"):
        pack(np.array([0, 128]), 8)
    with pytest.raises(ValueError, match=r"^Bits must be 4, 6, 8, 10, 12 or 16, not 9$"):
        pack(np.array([0]), 9)


@pytest.mark.parametrize("channels", [1, 2, 4, 8, 16])
@pytest.mark.parametrize("data_width", [32, 64, 128, 256, 512])
def test_channels_hold_every_byte_once(channels, data_width):
    params = CoreParams(channels=channels, data_width=data_width)
    size = 3 * params.wide_bytes + 4
    linear = np.random.default_rng(channels).integers(0, 256, size, np.uint8)
    images = split_channels(params, linear)
    assert {len(image) for image in images} == {4 * params.unit_bytes}
    np.testing.assert_array_equal(join_channels(params, images, size), linear)
    unit = params.unit_bytes
    for address in range(size):
        channel = address // unit % channels
        inside = address // (unit * channels) * unit + address % unit
        assert images[channel][inside] == linear[address]
