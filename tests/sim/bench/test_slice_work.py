"""What early exit and pruning spare, counted by hand on a made-up run and on a small one."""

import numpy as np
import pytest

from attnsieve.gen.config import load
from attnsieve.sim.bench.bit_serial import Row, measure
from attnsieve.sim.bench.slice_work import Work, lines, main, work
from attnsieve.sim.trace.trace import Trace, save


def a_trace():
    rng = np.random.default_rng(4)
    q, k, v = (rng.standard_normal((1, 4, 24, 32)).astype(np.float32) for _ in range(3))
    return Trace(q=q, k=k, v=v)


def total(slices, kept, cycles):
    """10 scores of keys of 16 elements, on units of 32 taps."""
    return {
        "slices": slices, "kept_scores": kept / 10, "macs_qk": 160, "macs_pv": 16 * kept,
        "dram_read_bytes": 64, "dram_write_bytes": 32, "head_dim": 16, "cycles": cycles,
        "limit_cycles": 20,
    }  # fmt: skip


def test_counted_by_hand():
    config = load("leopard-tiny")
    row = Row("p", "0.2", total(15, 2, 30), config, 8, total(40, 10, 60), total(0, 10, 45))
    assert work(row) == {
        "dense core": Work(160 * 8, 10, 160, 96),
        "everything kept": Work(40 * 64, 10, 160, 96),
        "pruning alone": Work(40 * 64, 2, 32, 96),
        "early exit alone": Work(15 * 64, 10, 160, 96),
        "both": Work(15 * 64, 2, 32, 96),
    }
    assert [line[43:].split()[-7:] for line in lines(row)] == [
        ["kept", "0.50", "1.00", "1.00", "1.00", "0.83", "0.75"],  # three granules, 4 bytes a cycle
        ["pruning", "alone", "0.50", "5.00", "5.00", "1.00", "0.83"],
        ["exit", "alone", "1.33", "1.00", "1.00", "1.00", "0.83"],
        ["both", "1.33", "5.00", "5.00", "1.00", "0.83", "1.50"],
    ]


def test_on_the_verilog():
    """With keys of as many elements as there are taps, keeping all reads as much as the dense
    core."""
    (row,) = measure(load("leopard-tiny"), a_trace(), [0.2])[1:]
    done = work(row)
    assert done["everything kept"] == done["dense core"]
    assert done["both"].key_bits == row.total["slices"] * 64 < done["dense core"].key_bits
    assert done["both"].value_macs <= 32 * done["both"].terms
    assert done["both"].terms == pytest.approx(0.2 * row.pairs, abs=1)
    assert done["both"].moved == done["dense core"].moved


def test_the_table_has_four_lines_for_each_run(tmp_path, capsys):
    save(tmp_path / "t.npz", a_trace())
    assert main(["leopard-tiny", "--trace", str(tmp_path / "t.npz"), "--keep", "0.2", "0.1"]) == 0
    head, *table = capsys.readouterr().out.splitlines()
    assert [line[32:43].strip() for line in table] == ["0.2"] * 4 + ["0.1"] * 4
    assert all(len(line) <= len(head) for line in table)
