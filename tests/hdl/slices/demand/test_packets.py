# amaranth: UnusedElaboratable=no
"""Sizes of packets, and which keys lie in which of their units."""

import pytest

from attnsieve.hdl.slices.demand.packets import (
    hand_layout,
    kv_rows_layout,
    packet_layout,
    packet_params,
)

from .demand_cores import CORES, Packets, demand_core


@pytest.mark.parametrize("name", CORES)
def test_sizes(name):
    p, want = CORES[name], Packets(CORES[name])
    sizes = packet_params(p)
    assert (sizes.row_bytes, sizes.keys, sizes.hand) == (want.pitch, want.keys, want.hand)
    assert (sizes.unit_bytes, sizes.channels) == (p.unit_bytes, p.channels)
    assert sizes.most == want.most
    assert sizes.hands * sizes.hand == sizes.keys


@pytest.mark.parametrize("name", CORES)
def test_keys_of_a_unit(name):
    p, want = CORES[name], Packets(CORES[name])
    sizes = packet_params(p)
    for unit in range(p.channels):
        keys = [key for key in range(want.keys) if unit in want.units([key])]
        assert list(sizes.unit_keys(unit)) == keys


@pytest.mark.parametrize("name", CORES)
def test_every_number_fits_its_field(name):
    p, want = CORES[name], Packets(CORES[name])
    last = p.max_keys - 1
    place, group = zip(*(want.place(key) for key in range(p.max_keys)), strict=True)
    most = {"number": want.slices - 1, "word": last // want.keys, "place": max(place),
            "group": max(group), "unit": (1 << p.addr_width) // p.unit_bytes - 1,
            "plane": (1 << p.addr_width) // p.unit_bytes - 1}  # fmt: skip
    layout = packet_layout(p)
    for field, number in most.items():
        assert layout.const({field: number})[field] == number
    assert hand_layout(p).const({"number": want.keys // want.hand - 1})["number"] == (
        want.keys // want.hand - 1
    )
    rows = kv_rows_layout(p).const({"keys": p.max_keys, "own": (1 << p.key_bits) - 1})
    assert (rows["keys"], rows["own"]) == (p.max_keys, (1 << p.key_bits) - 1)


@pytest.mark.parametrize("channels, width", [(1, 32), (1, 64)])
def test_a_key_must_fit_a_packet(channels, width):
    p = demand_core(channels=channels, data_width=width, max_head_dim=64, slice_bits=4)
    with pytest.raises(
        ValueError,
        match=r"^channels and data_width must give units of 32 bytes in all, a slice of a key, or "
        rf"more on a core with slice_demand, not {width // 8}$",
    ):
        packet_params(p)
