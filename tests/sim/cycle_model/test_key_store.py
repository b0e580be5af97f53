"""When keys are in the store, by when their lines come."""

import numpy as np
import pytest

from attnsieve.gen import config
from attnsieve.hdl.slices.slice_store import SliceStore
from attnsieve.sim.cycle_model.key_store import KeyStoreModel
from attnsieve.sim.cycle_model.lines import LineTimes

LATENCY = 4 + SliceStore.latency + 1


def a_store(heads=1, keys=12, parts=4, arrive=None, **settings):
    params = config.load(
        "leopard-tiny", settings=["lanes=64", *(f"{k}={v}" for k, v in settings.items())]
    ).core
    number = heads * -(-keys * parts // params.groups)
    lines = LineTimes(number, number)
    store = KeyStoreModel(params, lines, heads, keys, parts, [])
    lines.put(np.arange(number) if arrive is None else np.array(arrive))
    return store, lines


@pytest.mark.parametrize("parts, pace", [(4, 1), (8, 2), (2, 1), (1, 1)])
def test_a_piece_per_cycle(parts, pace):
    store, lines = a_store(parts=parts, slice_units=4, max_head_dim=128, buffer_elements=8192)
    assert store.advance()
    assert lines.freed == lines.arrived
    np.testing.assert_array_equal(np.diff(store.there), pace)
    assert store.there[0] == pace - 1 + LATENCY


def test_a_key_takes_as_long_as_its_slices_are_written():
    for settings, turns in (
        ({"slice_dealing": "static"}, 4), ({"slice_units": 3}, 2), ({"slice_units": 4}, 1),
    ):  # fmt: skip
        store, _ = a_store(parts=2, **settings)
        store.advance()
        np.testing.assert_array_equal(np.diff(store.there), turns)


def test_a_line_that_is_late():
    store, _ = a_store(arrive=[0, 1, 50, *range(51, 60)], slice_units=4, max_head_dim=64)
    store.advance()
    assert store.there[2] - store.there[1] == 49


def test_a_line_is_known_when_it_has_come():
    store, lines = a_store(arrive=range(5), slice_units=4, max_head_dim=64)
    store.advance()
    assert store.known == lines.freed == 5
    assert not store.advance()


def test_keys_wait_for_room():
    """There is room for two heads; the third one waits for the first."""
    store, lines = a_store(
        heads=3, keys=64, slice_units=4, max_head_dim=64, buffer_elements=4096
    )
    assert store.room == 128
    store.advance()
    assert store.known == lines.freed == 128
    store.release(1000)
    store.advance()
    assert store.known == 192
    assert len(store.heads_cut) == 3
    assert store.heads_cut[2] > 1000
    assert store.there[128] == 1002 + SliceStore.latency + 1
