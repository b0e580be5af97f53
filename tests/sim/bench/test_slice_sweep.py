"""The sweep of bit-serial units: which points there are, cycles beside areas, what is best."""

import json

import numpy as np
import pytest

from attnsieve.hdl.params import CoreParams
from attnsieve.sim.bench import slice_sweep
from attnsieve.sim.bench.front_size import Size
from attnsieve.sim.bench.slice_sweep import Entry, Point, best, entries, main, points, sizes
from attnsieve.sim.trace.trace import Trace, save

SIZE = Size(lut=10, carry=2, ff=20, bram=3, cells=2e6, memories=1e6)


def a_trace():
    rng = np.random.default_rng(4)
    q, k, v = (rng.standard_normal((1, 4, 24, 32)).astype(np.float32) for _ in range(3))
    return Trace(q=q, k=k, v=v)


@pytest.mark.parametrize("bits", (8, 12))
def test_points_of_the_reference_size(bits):
    dense, *others = points("leopard", bits)
    assert dense.units == 0
    shapes = {(p.slice_bits, p.units) for p in others}
    assert shapes == {(1, bits), (2, bits // 2), (4, bits // 4), (2, 4), (2, 6), (2, 8)}
    assert len(others) == 2 * len(shapes)
    assert {p.words for p in others} == {"twos_complement", "sign_magnitude"}
    assert len({p.key("leopard") for p in (dense, *others)}) == 1 + len(others)
    for point in others:
        config = point.config("leopard")
        assert config.core.operand_bits == bits
        assert (config.core.slice_bits, config.core.slice_units) == (point.slice_bits, point.units)
        row = slice_sweep.Row("", "", {}, config, bits, {}, {})
        same = point.slice_bits * point.units == bits
        assert (Entry(point, bits, None, 1, row).multiplier_bits == 1) == same
    assert dense.config("leopard").core == CoreParams(max_head_dim=64, operand_bits=bits)


def test_what_nothing_beats():
    def entry(cycles, area):
        return Entry(Point(8, 2, 2), 8, Size(cells=area * 1e6), cycles)

    small, fast, middle = entry(30, 1), entry(10, 4), entry(20, 2)
    beaten = [entry(20, 3), entry(31, 1), entry(10, 5), Entry(Point(8, 2, 2), 8, None, 1)]
    assert best([fast, *beaten, middle, small]) == [small, middle, fast]


def test_areas_are_kept(tmp_path, monkeypatch):
    mapped = []

    def front_size(config):
        mapped.append((config.core.slice_bits, config.core.slice_units))
        return SIZE

    monkeypatch.setattr(slice_sweep, "front_size", front_size)
    path = tmp_path / "area.json"
    some = [Point(8, 2, 2), Point(8, 4, 1)]
    assert list(sizes("leopard-tiny", some[:1], path)) == some[:1]
    assert list(sizes("leopard-tiny", some, path)) == some[1:]
    assert mapped == [(2, 2), (4, 1)]
    known = json.loads(path.read_text())
    assert known == {point.key("leopard-tiny"): SIZE._asdict() for point in some}


def test_the_table(tmp_path, monkeypatch, capsys):
    """Cycles of each point, and areas of those that are known, on the Verilog."""
    chosen = [Point(8, 2, 0), Point(8, 2, 2), Point(8, 4, 2)]
    monkeypatch.setattr(slice_sweep, "points", lambda system, bits: chosen)
    monkeypatch.setattr(slice_sweep, "front_size", lambda config: SIZE)
    area = tmp_path / "area.json"
    assert list(sizes("leopard-tiny", chosen[:2], area)) == chosen[:2]
    save(tmp_path / "t.npz", a_trace())
    argv = ["leopard-tiny", "--bits", "8", "--area", str(area)]
    assert main([*argv, "--trace", str(tmp_path / "t.npz")]) == 0
    head, dense, two, four, end = capsys.readouterr().out.splitlines()
    assert [line[11:29].strip() for line in (dense, two, four)] == [
        "dense", "two's complement", "two's complement",
    ]  # fmt: skip
    found = list(entries("leopard-tiny", 8, a_trace(), 0.3, {}))
    assert [entry.point for entry in found] == chosen
    assert found[0].row is None
    pairs = 4 * 24 * 24
    for entry, line, slices in zip(found[1:], (two, four), (4, 2), strict=True):
        assert entry.row.pairs < entry.row.total["slices"] < slices * pairs
        assert entry.row.total["kept_scores"] == pytest.approx(0.3, abs=0.01)
        assert str(entry.cycles) in line.split()
    assert (dense.split()[-1], len(two), len(four) < len(two)) == ("1.00", len(head), True)
    fastest = "dense" if found[0].cycles <= found[1].cycles else "2 x 2 two's complement"
    assert end == f"8 bits: nothing is smaller and faster than {fastest}"


def test_a_file_is_needed_to_keep_areas(capsys):
    with pytest.raises(SystemExit):
        main(["--synth"])
    assert "--synth needs --area" in capsys.readouterr().err
