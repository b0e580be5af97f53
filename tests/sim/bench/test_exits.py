# amaranth: UnusedElaboratable=no
"""Many vectors through the bit-serial units: none differs, every kind is what it says, and what is
wrong is counted."""

import functools

import numpy as np
import pytest

from attnsieve.hdl.slices.bit_serial_dot import BitSerialDot
from attnsieve.sim.bench import exits
from attnsieve.sim.bench.exit_rows import KINDS, Batch, Row, real
from attnsieve.sim.bench.exit_units import CompiledUnits, unit_params
from attnsieve.sim.bench.exits import Tally, campaign, compare
from attnsieve.sim.errors import InputError
from attnsieve.sim.golden.bit_serial import bit_serial
from attnsieve.sim.trace.trace import Trace, save

SMALL = unit_params(2, taps=4, units=3)
SIGNS = unit_params(2, taps=4, units=3, sign_magnitude=True)


@functools.cache
def compiled(params=SMALL):
    return CompiledUnits(params)


def made(kind, bits=12, seed=1):
    return KINDS[kind](np.random.default_rng(seed), bits, SMALL.taps)


def a_trace(head_dim=32):
    rng = np.random.default_rng(4)
    q, k, v = (rng.standard_normal((2, 2, 20, head_dim)).astype(np.float32) for _ in range(3))
    return Trace(q=q, k=k, v=v)


def test_short_campaign():
    """64 taps."""
    found = list(campaign([unit_params(2)], 24_000, 1, a_trace()))
    assert {(kind, bits) for kind, bits, _, _ in found} == {
        (kind, bits) for kind in (*KINDS, "real") for bits in (8, 12)
    }
    for _, bits, slice_bits, tally in found:
        assert tally.vectors == 2000
        assert tally.bad == 0
        assert slice_bits == 2
        assert 0 < tally.kept < tally.vectors < tally.slices < tally.vectors * bits / 2


@pytest.mark.full
@pytest.mark.parametrize("words", ["twos_complement", "sign_magnitude"])
def test_campaign(words, tmp_path, capsys):
    save(tmp_path / "t.npz", a_trace())
    argv = ["--vectors", "600000", "--trace", str(tmp_path / "t.npz"), "--seed", "2"]
    assert exits.main([*argv, "--words", words]) == 0
    assert capsys.readouterr().out.splitlines()[-1].split()[1:7] == ["600000", *"00000"]


@pytest.mark.parametrize("stall", [0.0, 0.9])
@pytest.mark.parametrize("bits", [8, 12])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("params", [SMALL, SIGNS], ids=["two's complement", "signs"])
def test_three_units(params, kind, bits, stall):
    batch = made(kind, bits).head(3000)
    tally = compare(batch, compiled(params).run(batch, stall=stall), params)
    assert (tally.vectors, tally.bad) == (3000, 0)


def test_a_row_may_have_one_key():
    rows = [Row(np.array([1, -2, 3, -4]), 0, first, 1) for first in (0, 1, 5, 6)]
    batch = Batch(12, np.arange(28).reshape(7, 4), rows)
    tally = compare(batch, compiled().run(batch), SMALL)
    assert (tally.vectors, tally.bad) == (4, 0)


@pytest.mark.parametrize(("kind", "signs"), [("edges", False), ("signed edges", True)])
def test_edges_are_at_their_thresholds(kind, signs):
    """Some keys reach the threshold exactly, some miss it by one, and some have to be read to the
    end for the one bit that they lack."""
    batch, gaps, slices = made(kind), [], []
    for row in batch.rows:
        keys = batch.keys[row.first : row.first + row.keys]
        want = bit_serial(
            row.query, keys, row.threshold, word_bits=12, slice_bits=2, sign_magnitude=signs
        )
        gaps += (want.score - row.threshold).tolist()
        slices += want.slices[~want.kept].tolist()
    assert {-1, 0, 1} <= set(gaps)
    assert set(slices) == {1, 2, 3, 4, 5, 6}


def test_extremes_hold_both_ends():
    batch = made("extremes")
    assert {tuple(key) for key in batch.keys} >= {(n,) * 4 for n in (-2048, 2047, 0)}
    assert any((row.query < 0).all() for row in batch.rows)
    assert (np.count_nonzero(batch.keys, axis=1) == 1).any()


def test_real_vectors_are_those_of_the_trace():
    trace = a_trace()
    batch = real(trace)(np.random.default_rng(1), 8, 64)
    assert batch.keys.shape == (20, 64)
    assert not batch.keys[:, 32:].any()
    assert np.abs(batch.keys).max() == 127
    with pytest.raises(InputError, match=r"^head_dim of the trace must be at most 16, not 32$"):
        real(trace)(np.random.default_rng(1), 8, 16)


def test_a_part_of_a_batch():
    batch = made("edges").head(100)
    assert [row.keys for row in batch.rows] == [64, 36]
    assert batch.vectors == 100


def tally_of(monkeypatch, owner, name, wrong):
    """Of units with something wrong in them."""
    monkeypatch.setattr(owner, name, wrong)
    batch = made("edges")
    return compare(batch, CompiledUnits(SMALL).run(batch), SMALL)


@pytest.mark.parametrize(("more", "late"), [(-1, True), (1, False)])
def test_a_bound_that_is_one_off_is_noticed(monkeypatch, more, late):
    """Too low: keys go on that are known to be too small. Too high: others are dropped."""
    right = BitSerialDot._bound

    def wrong(dot, m, place):
        return right(dot, m, place) + more

    tally = tally_of(monkeypatch, BitSerialDot, "_bound", wrong)
    assert min(tally.verdict, tally.exit, tally.reads) > 0
    assert (tally.late > 0) == late


def test_a_wrong_product_is_noticed(monkeypatch):
    """The first slice without its sign."""
    right = BitSerialDot._product
    wrong = staticmethod(lambda value, bits, first: right(value, bits, 0))
    assert tally_of(monkeypatch, BitSerialDot, "_product", wrong).score > 0


def test_a_difference_is_exit_1(monkeypatch, capsys):
    monkeypatch.setattr(exits, "unit_params", lambda *_, **signs: SMALL)
    monkeypatch.setattr(exits, "SLICES", [2])
    assert exits.main(["--vectors", "400"]) == 0
    monkeypatch.setattr(exits, "compare", lambda batch, *_: Tally(vectors=batch.vectors, late=1))
    assert exits.main(["--vectors", "400"]) == 1
    assert capsys.readouterr().out.splitlines()[-1].split()[:7] == ["all", "400", *"000", "10", "0"]
