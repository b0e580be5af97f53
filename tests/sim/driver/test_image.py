"""Places of tensors, and what a job reads and writes."""

import numpy as np
import pytest

from attnsieve.hdl.params import CoreParams
from attnsieve.sim.driver.image import MemoryImage, Tensor
from attnsieve.sim.driver.packing import unpack
from attnsieve.sim.driver.plan import Placement, memory_image, single_job
from attnsieve.sim.errors import InputError
from attnsieve.sim.golden.job import Job

PARAMS = CoreParams()


def an_image(params=PARAMS, rng=None, bits=12, key_valid=None, query_valid=None, **changes):
    shape = {"heads": 4, "kv_heads": 2, "queries": 5, "keys": 9, "head_dim": 48, **changes}
    job = Job(**shape, bits=bits, scales=((40000, 27),) * shape["heads"])
    noise = np.random.default_rng(1)
    top = 1 << (bits - 1)
    q = noise.integers(-top, top, (job.heads, job.queries, job.head_dim), np.int16)
    k, v = (
        noise.integers(-top, top, (job.kv_heads, job.keys, job.head_dim), np.int16) for _ in "kv"
    )
    place = Placement(params, rng=rng)
    image = single_job(params, job, q, k, v, key_valid, query_valid, place=place)
    return image, memory_image(params, (image,), place, rng)


@pytest.mark.parametrize("data_width", [32, 512])
@pytest.mark.parametrize("seed", [None, 0, 1, 2])
def test_tensors_are_aligned_and_apart(data_width, seed):
    params = CoreParams(data_width=data_width)
    rng = None if seed is None else np.random.default_rng(seed)
    image, memory = an_image(params, rng)
    taken = np.zeros(len(memory.linear), int)
    for tensor in image.tensors.values():
        assert tensor.base % params.alignment == 0
        assert tensor.stride % params.alignment == 0
        for head in range(tensor.heads):
            start = tensor.row(head, 0)
            taken[start : start + tensor.rows * tensor.pitch] += 1
    assert taken.max() == 1
    assert tensor.end <= len(memory.linear)
    assert len(memory.linear) % params.wide_bytes == 0


def test_operands_lie_where_the_request_says():
    image, memory = an_image(rng=np.random.default_rng(3))
    request = image.request
    start = request["k_base"] + request["k_stride"] + 2 * 72
    np.testing.assert_array_equal(unpack(memory.linear[start : start + 72], 12), image.k[1, 2])
    start = request["q_base"] + 3 * request["q_stride"] + 4 * 72
    np.testing.assert_array_equal(unpack(memory.linear[start : start + 72], 12), image.q[3, 4])


def test_only_valid_output_rows_change():
    valid = np.array([1, 0, 1, 1, 0], bool)
    image, memory = an_image(rng=np.random.default_rng(4), query_valid=valid)
    after = memory.expected()
    changed = np.flatnonzero(after != memory.linear)
    allowed = np.zeros(len(after), bool)
    for head in range(4):
        for query in np.flatnonzero(valid):
            start = image.tensors["o"].row(head, int(query))
            allowed[start : start + 96] = True
    assert allowed[changed].all()
    np.testing.assert_array_equal(image.read_output(after), image.expected.out)


def test_memory_goes_through_channels():
    _, memory = an_image(rng=np.random.default_rng(5))
    assert isinstance(memory, MemoryImage)
    np.testing.assert_array_equal(memory.linear_from(memory.channels()), memory.linear)


def test_request_fields():
    image, _ = an_image(bits=8, key_valid=np.arange(9) != 3)
    request = image.request
    assert {name: request[name] for name in ("heads", "kv_heads", "queries", "keys")} == {
        "heads": 4, "kv_heads": 2, "queries": 5, "keys": 9,
    }  # fmt: skip
    assert (request["wide"], request["causal"], request["key_mask"], request["query_mask"]) == (
        0, 0, 1, 0,
    )  # fmt: skip


@pytest.mark.parametrize("pitch, stride, rows, want", [
    (16, 64, [0, 1, 2], 2 * 2),  # two rows to a granule
    (16, 64, [0, 2], 2 * 2),
    (16, 64, [0, 1], 2 * 1),
    (72, 224, [0], 2 * 3),
    (72, 224, [0, 1, 2], 2 * 7),
    (64, 64, [], 0),
])  # fmt: skip
def test_granules_are_counted_once(pitch, stride, rows, want):
    tensor = Tensor(base=96, stride=stride, heads=2, rows=3, pitch=pitch)
    assert tensor.granules(np.array(rows, int)) == want


def test_needed_granules_leave_out_what_masks_hide():
    key_valid, query_valid = np.arange(9) % 9 != 8, np.arange(5) != 4
    image, _ = an_image(
        head_dim=128, bits=8, key_valid=key_valid, query_valid=query_valid
    )
    assert image.needed_granules == 4 * 4 * (4 + 8) + 2 * 2 * 8 * 4
    assert image.write_bytes == 4 * 4 * 256
    assert image.read_bytes == 4 * 5 * 128 + 2 * 2 * 9 * 128


def test_memory_over_the_address_range_is_refused():
    params = CoreParams(addr_width=32)
    place = Placement(params, base=(1 << 32) - 64)
    with pytest.raises(InputError, match=r"^tensors must fit 32 address bits, not \d+ bytes$"):
        place.tensor(1, 10, 16, 8)


def test_counters_by_hand():
    image, _ = an_image(bits=8, key_valid=np.arange(9) != 3, query_valid=np.arange(5) != 4)
    q, kv = -(-5 * 48 // 32) * 32, -(-9 * 48 // 32) * 32
    assert image.counters == {
        "read_bytes": 4 * q + 2 * 2 * kv,
        "write_bytes": 4 * 4 * 96,
        "rows": 16,
        "empty_rows": 0,
        "scores": 16 * 8,
    }
