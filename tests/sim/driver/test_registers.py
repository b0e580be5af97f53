"""Register writes of a job."""

import numpy as np
import pytest

from attnsieve.hdl.control.register_map import register_map
from attnsieve.hdl.params import CoreParams
from attnsieve.sim.driver.plan import Placement, single_job
from attnsieve.sim.driver.registers import job_writes, mask_words, start_write
from attnsieve.sim.golden.job import Job, Scoring


def an_image(params, base=4096, **masks):
    job = Job(
        heads=2, kv_heads=1, queries=3, keys=40, head_dim=16, bits=12, causal=True,
        scales=((40000, 5), (65535, 63)),
    )  # fmt: skip
    q, k = np.zeros((2, 3, 16), np.int16), np.zeros((1, 40, 16), np.int16)
    return single_job(params, job, q, k, k, **masks, place=Placement(params, base))


@pytest.mark.parametrize("size", [1, 31, 32, 33, 64, 100])
def test_mask_words_hold_one_bit_a_position(size):
    valid = np.random.default_rng(size).random(size) < 0.5
    words = mask_words(valid)
    assert len(words) == -(-size // 32)
    assert [words[i // 32] >> (i % 32) & 1 for i in range(size)] == valid.tolist()
    assert sum(word.bit_count() for word in words) == valid.sum()


def test_every_field_reaches_its_register():
    params = CoreParams(addr_width=40)
    image = an_image(params, base=0x12_3456_7800, key_valid=np.arange(40) != 33)
    written = {write.name: write.value for write in job_writes(image, tag=77)}
    assert written["HEAD_TABLE[0]"] == 40000 | 5 << 16
    assert written["HEAD_TABLE[1]"] == 65535 | 63 << 16
    assert written["KEY_MASK[0]"] == 0xFFFFFFFF
    assert written["KEY_MASK[1]"] == 0xFD
    assert "QUERY_MASK[0]" not in written
    assert written["MODE"] == 0b0111
    assert [written[n] for n in ("HEADS", "KV_HEADS", "QUERIES", "KEYS", "HEAD_DIM")] == [
        2, 1, 3, 40, 16,
    ]  # fmt: skip
    assert written["JOB_TAG"] == 77
    for tensor in "QKVO":
        address = image.tensors[tensor.lower()].base
        assert written[f"{tensor}_BASE_HI"] << 32 | written[f"{tensor}_BASE"] == address


def test_offsets_are_those_of_the_map_and_differ():
    params = CoreParams()
    writes = job_writes(an_image(params, query_valid=np.arange(3) != 1))
    offsets = [write.offset for write in writes]
    assert len(set(offsets)) == len(offsets)
    registers = register_map(params)
    for write in writes:
        name = write.name.partition("[")[0]
        first = registers.window(name) if "[" in write.name else registers[name]
        assert first.offset <= write.offset < 4096
    assert start_write(an_image(params)) == ("CTRL", registers["CTRL"].offset, 1)


def test_precision_and_demand_reach_their_registers():
    params = CoreParams(value_lanes=4, token_lanes=4, progressive=True, value_demand=True)
    job = Job(
        heads=2, kv_heads=1, queries=1, keys=40, head_dim=16, bits=8, scales=((40000, 5),) * 2,
        key_bits=6, value_bits=10, threshold=0x1234, demand=True,
        scoring=Scoring(decay=3, keep=4, age=True, age_base=21),
    )  # fmt: skip
    q, k = np.zeros((2, 1, 16), np.int16), np.zeros((1, 40, 16), np.int16)
    image = single_job(params, job, q, k, k)
    written = {write.name: write.value for write in job_writes(image)}
    assert written["PRECISION"] == 0x1234 | 6 << 16 | 10 << 20
    assert written["K_PLANE"] == image.k_plane == 480
    assert written["FETCH"] == 1
    assert written["SCORING"] == 0b1011 | 3 << 8 | 21 << 16
    offsets = {write.name: write.offset for write in job_writes(image)}
    assert [offsets[name] for name in ("FETCH", "PRECISION", "K_PLANE")] == [0x198, 0x19C, 0x1A0]


def test_registers_that_the_core_lacks_are_not_written():
    written = {write.name for write in job_writes(an_image(CoreParams()))}
    assert not written & {"PRECISION", "K_PLANE", "FETCH", "SCORING"}
