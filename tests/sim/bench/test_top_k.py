# amaranth: UnusedElaboratable=no
"""The measurements of the top-k engines run, notice what is wrong, and give what is stated."""

from __future__ import annotations

import functools

import numpy as np
import pytest

from attnsieve.hdl.params import CoreParams
from attnsieve.hdl.select.top_k import TopKParams
from attnsieve.sim.bench.top_k import __main__ as command
from attnsieve.sim.bench.top_k import engines, latency, size
from attnsieve.sim.bench.top_k.campaign import STALLS, adversarial_rows, campaign
from attnsieve.sim.bench.top_k.engines import ENGINES, Flags, Thresholds
from attnsieve.sim.bench.top_k.interval import goal, interval
from attnsieve.sim.bench.top_k.latency import cycles, latency_lines, model_cycles, random_sources
from attnsieve.sim.bench.top_k.real import ranks, real_text
from attnsieve.sim.bench.top_k.rows import STREAMED, Row, beats_of, random_row
from attnsieve.sim.bench.top_k.size import size_lines
from attnsieve.sim.golden.softmax import Terms
from attnsieve.sim.trace import smollm2
from attnsieve.sim.unit import run_streams

SMALL = TopKParams(lanes=4, value_bits=12, max_values=64)


@functools.cache
def compiled(engine):
    return Thresholds(engine, SMALL)


def random_rows(count, seed=1):
    rng = np.random.default_rng(seed)
    return [random_row(SMALL, rng) for _ in range(count)]


def test_model_of_quick_select():
    """208 cycles for k = 128 of 1,024 values, 268 for k = 512, as the release's model has it."""
    rng = np.random.default_rng(1)
    for k, mean in ((128, 208), (512, 268)):
        rows = [rng.permutation(1024) for _ in range(1500)]
        got = np.mean([model_cycles(rng, row, k, 16) for row in rows])
        assert got == pytest.approx(mean, rel=0.05)


@pytest.mark.parametrize("gaps", [None, 3])
def test_beats_hold_the_rows(gaps):
    rows = [Row(np.zeros(0, np.int64), 0), *random_rows(50)]
    made = beats_of(SMALL, rows, None if gaps is None else np.random.default_rng(gaps))
    fields = made.fields
    assert fields["last"].sum() == len(rows)
    assert np.bincount(made.row).max() <= SMALL.max_beats
    for number, row in enumerate(rows):
        mine = made.row == number
        flags = fields["keep"][mine][:, None] >> np.arange(SMALL.lanes) & 1
        np.testing.assert_array_equal(fields["value"][mine][flags.astype(bool)], row.values)
        assert fields["k"][mine][-1] == row.k
        assert fields["last"][mine].tolist() == [0] * (mine.sum() - 1) + [1]


@pytest.mark.parametrize("engine", ENGINES)
def test_the_compiled_engine_has_the_cycles_of_amaranths(engine):
    rows = random_rows(12)
    beats = beats_of(SMALL, rows).fields
    names = list(beats)
    payloads = [
        dict(zip(names, (each.tolist() for each in beat), strict=True))
        for beat in zip(*beats.values(), strict=True)
    ]
    want = run_streams(ENGINES[engine](params=SMALL), {"i": payloads}, {"o": len(rows)})
    found = compiled(engine).run(rows)
    assert not found.wrong.any()
    for name in "io":
        assert found.run.times[name].tolist() == want.times[name]


def test_short_campaign():
    for _, _, tally in campaign(SMALL, 1000, seed=1):
        assert tally.rows >= 1000
        assert tally.cycles > tally.rows
        assert (tally.thresholds, tally.flags, tally.hangs, tally.not_held) == (0, 0, 0, 0)


def test_a_campaign_has_every_kind():
    rows = list(adversarial_rows(SMALL, np.random.default_rng(1)))
    assert {len(row.values) for row in rows} == {1, 4, 5, 9, 33, 63, 64}
    assert {row.k for row in rows if len(row.values) == 64} == {0, 1, 32, 63, 64, 65}
    assert STALLS[0] == {}
    assert {name for stall in STALLS for name in stall} == {"i", "o"}


@pytest.mark.full
@pytest.mark.parametrize("seed", [2])
def test_campaign(seed, capsys):
    assert command.main(["--campaign", "100000", "--seed", str(seed)]) == 0
    lines = capsys.readouterr().out.splitlines()[-4:]
    for line in lines:
        assert line.endswith(" 0 wrong")


def test_what_is_wrong_is_counted(monkeypatch, capsys):
    monkeypatch.setattr(engines, "top_k_threshold", lambda values, k, bits: (k, k))
    monkeypatch.setattr(command, "SIZES", [SMALL])
    assert command.main(["--campaign", "50"]) == 1
    assert "quick-select: 50 random rows, 0 wrong" not in capsys.readouterr().out


def test_a_wrong_threshold_is_noticed(monkeypatch):
    (row,) = random_rows(1)
    monkeypatch.setattr(engines, "top_k_threshold", lambda *_: (0, 77))
    with pytest.raises(AssertionError, match="is wrong"):
        cycles(compiled("radix select"), row.values, 3)
    with pytest.raises(AssertionError, match="1 of 1 thresholds are wrong"):
        interval(compiled("radix select"), [row])


def test_wrong_flags_are_noticed(monkeypatch):
    rows = random_rows(20)
    beats = beats_of(SMALL, rows)
    found = compiled("radix select").run(rows, beats)
    flags = Flags(SMALL)
    assert not flags.run(rows, beats, found.run.outputs["o"]).wrong.any()
    monkeypatch.setattr(engines, "top_k", lambda values, k: np.ones(len(values), bool))
    wrong = flags.run(rows, beats, found.run.outputs["o"]).wrong
    assert wrong.tolist() == [row.k < len(row.values) for row in rows]


@pytest.mark.parametrize("kind", STREAMED)
@pytest.mark.parametrize("n", [9, 33, 64])
def test_interval(kind, n):
    """Two passes and a little, of 12-bit values of any kind."""
    rng = np.random.default_rng(n)
    rows = [Row(STREAMED[kind](rng, n, 1 << 12), int(rng.integers(0, n + 1))) for _ in range(300)]
    found = interval(compiled("radix select"), rows)
    assert -(-n // 4) <= found.mean <= goal(n, 4)
    assert found.worst >= found.mean - 1


def test_latency_table(monkeypatch):
    monkeypatch.setattr(latency, "KINDS", {"uniform": latency.KINDS["uniform"]})
    lines = list(latency_lines(random_sources(64, 1, seed=1), 4, seed=1))
    assert [line.split()[:4] for line in lines[1:]] == [
        ["uniform", "12", "1", k] for k in ("16", "64")
    ]


def test_ranks_rise_with_the_terms():
    params = CoreParams(value_lanes=16)
    mantissa = np.array([0, 1 << 11, 1 << 16, 1 << 11, 1 << 16])
    kinds = np.array([0, 1, 1, 0, 0])
    rank = ranks(params, Terms(mantissa, kinds))
    assert rank[0] == 0
    assert (np.diff(rank) >= 0).all()
    assert rank[2] == rank[3]


def test_text_is_long_enough():
    assert len(smollm2.tokenize(real_text(), 1100)) == 1100


def test_size_table(monkeypatch):
    """One block is mapped; the place and route that a core's tests go through is not run."""
    real, asked = size.synth_component, []

    def synth_component(core, top, target, options, *, pnr=False, work=None, by_block=True):
        asked.append((target, pnr, options.ecp5_speed, options.seed))
        found = real(core, top, target, options, by_block=by_block)
        return found | {"pnr": {"fmax_mhz": 101.2}}

    def place_and_route(folder, family, options, blocks):
        asked.append((family, options.ecp5_speed, options.seed))
        return {"fmax_mhz": 123.4}

    monkeypatch.setattr(size, "synth_component", synth_component)
    monkeypatch.setattr(size, "place_and_route", place_and_route)
    monkeypatch.setattr(size, "BLOCKS", {"keep": size.BLOCKS["keep"]})
    lines = list(size_lines(TopKParams(lanes=1, value_bits=6, max_values=8), seed=5))
    name, lut, _, ff, _, *clocks = lines[1].split()[:7]
    assert (name, clocks) == ("keep", ["101.2", "123.4"])
    assert int(lut) > 6
    assert int(ff) > 6
    assert asked == [("ecp5", True, 6, 5), ("ecp5", 8, 5), ("xilinx", False, 6, 5)]
