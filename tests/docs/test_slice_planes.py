"""The planes of slices in docs/reference/memory.md against the driver's packing."""

from pathlib import Path

import numpy as np

from attnsieve.hdl.params import CoreParams
from attnsieve.sim.driver.plan import Placement
from attnsieve.sim.driver.slice_planes import plane_count, plane_pitch, slice_planes

LINES = (Path(__file__).parents[2] / "docs/reference/memory.md").read_text().splitlines()
PARAMS = CoreParams(
    max_head_dim=64, max_keys=512, slice_units=6, value_demand=True, slice_demand=True
)
ROOM, BITS = 4, 12


def table(first_column):
    begin = next(i for i, line in enumerate(LINES) if line.startswith(f"| {first_column} |"))
    rows = []
    for line in LINES[begin + 2 :]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return rows


FIELDS = {name: int(value, 0) for name, value in table("slice plane field")}


def test_the_fields_are_those_of_a_placement():
    assert all(value % PARAMS.alignment == 0 for value in FIELDS.values())
    tensor, plane = Placement(PARAMS).slice_planes(2, ROOM, BITS)
    assert (tensor.stride, plane) == (FIELDS["k_stride"], FIELDS["k_plane"])
    assert plane >= ROOM * plane_pitch(PARAMS)
    assert tensor.stride >= plane * plane_count(PARAMS, BITS)


def test_bytes_of_the_example():
    k = np.zeros((1, ROOM, 64), np.int16)
    line = next(line for line in LINES if line.startswith("Key 1 of head 0 begins"))
    words = line.removeprefix("Key 1 of head 0 begins ").split(". ")[0]
    elements = [int(word.replace("−", "-")) for word in words.split(", ")]
    k[0, 1, : len(elements)] = elements
    planes = slice_planes(PARAMS, k, BITS)
    rows = table("slice plane address")
    assert len(rows) == len(planes)
    for address, content, number in rows:
        plane, pitch = int(number), plane_pitch(PARAMS)
        assert int(address, 0) == FIELDS["k_base"] + plane * FIELDS["k_plane"] + pitch
        found = planes[plane, 0, 1].tobytes()
        assert found.startswith(bytes.fromhex(content))
        assert not any(found[len(elements) * PARAMS.slice_bits // 8 :])


def test_slices_of_every_width_give_the_words_again():
    for slice_bits in (1, 2, 4):
        p = CoreParams(**(PARAMS.as_dict() | {"slice_bits": slice_bits, "max_head_dim": 48}))
        for bits in (8, 12):
            k = np.random.default_rng(bits).integers(-(1 << bits - 1), 1 << bits - 1, (2, 5, 32))
            planes = slice_planes(p, k, bits)
            flags = np.unpackbits(planes, axis=-1, bitorder="little")
            assert not flags[..., 32 * slice_bits :].any()
            slices = flags[..., : 32 * slice_bits].reshape(*planes.shape[:-1], 32, slice_bits)
            value = (slices.astype(np.int64) << np.arange(slice_bits)).sum(axis=-1)
            words = sum(part << (len(planes) - 1 - n) * slice_bits for n, part in enumerate(value))
            words -= (words >> bits - 1 + len(planes) * slice_bits - bits) << (
                len(planes) * slice_bits
            )
            assert (words >> len(planes) * slice_bits - bits == k).all()
