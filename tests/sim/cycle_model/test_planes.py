"""Slices on demand, as the cycle model sees them."""

import numpy as np
import pytest

from attnsieve.gen import config
from attnsieve.sim.bench.memory import Timing
from attnsieve.sim.bench.slice_model import random_job
from attnsieve.sim.cycle_model import predict
from attnsieve.sim.cycle_model.gather import Chunk
from attnsieve.sim.cycle_model.latency import Latency
from attnsieve.sim.cycle_model.lines import LineTimes
from attnsieve.sim.cycle_model.loader import VALUE
from attnsieve.sim.cycle_model.planes import Planes
from attnsieve.sim.cycle_model.shared import SharedLoaderModel
from attnsieve.sim.cycle_model.units import DealtRow
from attnsieve.sim.driver.plan import Placement, single_job
from attnsieve.sim.golden.job import Job

LEOPARD = config.load("leopard", settings=["slice_demand=true"]).core
TIMING = Timing(latency=50)
#: Cycles from a row's coming to the first packet's being asked for: the rows together, the packet,
#: its units.
ASKED = 1 + 3 + 2


def a_loader(latency=50):
    sinks = [LineTimes(1000, 1000) for _ in range(3)]
    timing = Timing(latency=latency)
    return SharedLoaderModel(LEOPARD, timing, Latency.of(LEOPARD), [[], [], []], sinks)


def an_image(keys=64, heads=1, kv_heads=1):
    job = Job(heads=heads, kv_heads=kv_heads, queries=1, keys=keys, head_dim=64, bits=12,
              planar=True, scales=((40000, 27),) * heads)  # fmt: skip
    rng = np.random.default_rng(1)
    q = rng.integers(-999, 1000, (heads, 1, 64), np.int16)
    k, v = (rng.integers(-999, 1000, (kv_heads, keys, 64), np.int16) for _ in "kv")
    return single_job(LEOPARD, job, q, k, v, place=Placement(LEOPARD))


def run(slices, kept=False, group=1, latency=50, last=6):
    """Rows of one KV head or more, by the slices of their keys, of which those of ``last`` may be
    kept; what became of them."""
    image = an_image(len(slices[0]), len(slices), len(slices) // group)
    planes = Planes(LEOPARD, a_loader(latency), image)
    for number, its in enumerate(slices):
        its = np.array(its)
        keys = planes.codes(number, its, (its == last) & kept)
        planes.give(DealtRow(number, 2 + number, keys, 0, (("row", 2 + number),)))
    while planes.inside:
        assert planes.advance(wait=False)
    return planes


def test_a_packet():
    """Asked for, on its way through memory and a unit; each further slice takes as long again."""
    ended = [run([[n] * 4]).ended[0] for n in (1, 2, 3, 6)]
    way = 50 + 5  # of memory and reader
    first = ASKED + way + 3 + 9 + 3
    assert ended[0] == pytest.approx(first, abs=1)
    turn = way + 3 + 9 + 1 + 3 + 2
    assert np.diff(ended).tolist() == pytest.approx([turn, turn, 3 * turn], abs=3)


def test_packets_overlap():
    """A packet per cycle, whose four keys go to four of six units."""
    short, long = (run([[1] * n]).ended[0] for n in (4, 404))
    assert long - short == 100
    planes = run([[6] * 404])
    assert planes.busy >= 404
    assert 606 < planes.ended[0] < 606 + 6 * 80


def test_rows_of_a_kv_head_share_packets():
    """Each key goes to its unit once per row; units are read once."""
    one, three = run([[2] * 96]), run([[2] * 96] * 3, group=3)
    assert three.loader.asked - one.loader.asked < 100
    assert three.busy > 2 * one.busy


def test_units_that_no_key_needs_are_not_read():
    """Two keys lie in a unit: where the other two are masked, one channel has nothing to do."""
    planes = run([[1, 1, 0, 0] * 50])
    low, high = sorted(max(flying) for flying in planes.loader.flying)
    assert low < 0 < high


def test_packets_that_go_on_come_before_new_ones():
    """More than a hundred come before the first is back, none behind it before all are through."""
    planes = run([[6] * 1000])
    assert 0 < planes.idle["key"] < 300
    assert planes.ended[0] < 6 * 250 + 300


def test_few_packets_are_on_their_way():
    """With a slow memory 128 at a time."""
    quick, slow = (run([[1] * 1000], latency=n).ended[0] for n in (10, 600))
    assert slow - quick > 590 + 600 - 128 - 40


def test_keys_that_are_kept_are_stored_one_per_way_and_cycle():
    planes = run([[6] * 100] * 6, kept=True, group=6)
    assert planes.left == [0] * 6
    assert max(planes.ended) >= 300


def test_keys_that_find_no_room_take_places():
    """Units that keep every score of one slice wait for the two ways."""
    kept, dropped = (run([[1] * 200] * 6, kept=k, group=6, last=1).ended for k in (True, False))
    assert max(kept) > 600 > 1.5 * max(dropped)


def test_rows_behind_which_none_comes():
    """Of eight rows the last four wait for a row that is not known."""
    image = an_image(8, 4, 4)
    planes = Planes(LEOPARD, a_loader(), image)
    for number in range(2):
        keys = planes.codes(number, np.full(8, 2), np.zeros(8, bool))
        planes.give(DealtRow(number, 2, keys, 0, (("row", 2),)))
    assert planes.advance(wait=True) == []
    assert planes.time < 20
    assert planes.advance(wait=False) == [0]


def test_slices_go_before_rows_and_both_leave_in_order():
    loader = a_loader()
    units = np.tile([0, 1], 20)
    loader.count = 1
    loader._read(Chunk(VALUE, 10, units, np.arange(20), np.arange(20), True))
    assert loader.ask(12, [0]) == 12
    assert loader.pending[0].asked == 2
    there = loader.there
    assert there == 12 + 50 + loader.way
    assert loader.ask(12, [0, 1]) == 13
    assert loader.there == there
    loader.take(there + 30)  # it is taken late: what is behind it waits
    assert loader.there == there + 31
    assert loader.force()  # the rest of the rows
    assert not loader.pending
    assert not loader.delivered
    loader.take(there + 40)
    assert loader.delivered == 1
    arrive = loader.sinks[VALUE].arrive[:20] - loader.latency.word - loader.latency.line - 1
    assert (arrive[:2] + loader.way == [there - 2, there - 1]).all()
    assert (arrive[2:] + loader.way == there + 41 + np.arange(18)).all()
    assert not loader.step()


def test_any_job_has_a_consistent_prediction():
    tiny = ["value_demand=true", "slice_demand=true", "data_width=128"]
    for core in (LEOPARD, config.load("leopard-tiny", settings=tiny).core):
        for seed in range(12):
            image = random_job(core, seed, 500, ("planes", "both")[seed % 2]).jobs[0]
            p = predict(core, TIMING, image)
            assert p.busy + p.setup + p.query + p.key + p.output + p.tail == p.cycles
            assert min(p.busy, p.setup, p.query, p.key, p.output, p.tail) >= 0
            slices = image.expected.slices
            assert p.busy <= slices <= p.busy * core.slice_units
            beats = image.read_bytes / core.channels / core.beat_bytes
            assert p.cycles > beats
