"""The bench of bit-serial scores: a table of runs that all equal the golden model."""

import numpy as np

from attnsieve.gen.config import load
from attnsieve.sim.bench.bit_serial import main, measure
from attnsieve.sim.trace.trace import Trace, save


def a_trace():
    rng = np.random.default_rng(4)
    q, k, v = (rng.standard_normal((1, 4, 24, 32)).astype(np.float32) for _ in range(3))
    return Trace(q=q, k=k, v=v)


def test_the_less_is_kept_the_fewer_slices_are_read():
    rows = measure(load("leopard-tiny"), a_trace(), [0.5, 0.1], [1.5])
    pairs = 4 * 24 * 24
    assert [row.kind for row in rows] == ["all", "0.5", "0.1", "margin 1.5"]
    assert all(row.pairs == pairs for row in rows)
    slices = [row.total["slices"] for row in rows]
    assert slices[0] == 4 * pairs
    assert slices[0] > slices[1] > slices[2] > pairs
    assert slices[0] > slices[3] > pairs
    assert rows[0].unpruned == rows[0].total
    assert rows[0].total["cycles"] > rows[2].total["cycles"]


def test_the_table_has_a_line_for_each_point(tmp_path, capsys):
    save(tmp_path / "t.npz", a_trace())
    argv = ["leopard-tiny", "--trace", str(tmp_path / "t.npz"), "--keep", "0.2"]
    assert main([*argv, "--point", "", "--point", "run.bits=8,run.pin_first=1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    named = "run.bits=8,run.pin_first=1"
    assert [line[:32].strip() for line in lines] == ["point", "", "", named, named]
