# amaranth: UnusedElaboratable=no
"""The comparison of top-k engines runs; the model of the paper's engine gives its known mean."""

from __future__ import annotations

import numpy as np
import pytest

from attnsieve.hdl.select.radix_select import RadixSelect
from attnsieve.hdl.select.top_k import TopKParams
from attnsieve.sim.bench import top_k
from attnsieve.sim.bench.top_k import cycles, main, model_cycles


def test_model_of_quick_select():
    """208 cycles for k = 128 of 1,024 values, 268 for k = 512, as the release's model has it."""
    rng = np.random.default_rng(1)
    for k, mean in ((128, 208), (512, 268)):
        rows = [rng.permutation(1024) for _ in range(1500)]
        got = np.mean([model_cycles(rng, row, k, 16) for row in rows])
        assert got == pytest.approx(mean, rel=0.05)


def test_a_wrong_threshold_is_noticed(monkeypatch):
    monkeypatch.setattr(top_k, "top_k_threshold", lambda *_: (0, 0))
    engine = RadixSelect(params=TopKParams(lanes=4, value_bits=6, max_values=16))
    with pytest.raises(AssertionError, match=r"^threshold .* is not \(0, 0\)$"):
        cycles(engine, np.arange(16), 3)


def test_table(capsys, monkeypatch):
    monkeypatch.setattr(top_k, "N", 64)
    monkeypatch.setattr(top_k, "KS", (8,))
    assert main(["--rows", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 + len(top_k.KINDS)
