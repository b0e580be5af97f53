"""The table of rankings: as many keys each, and nothing lost where nothing is pruned."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from attnsieve.sim.bench.ranking import main, measure
from attnsieve.sim.driver.cascade import RANKINGS, Pruning
from attnsieve.sim.golden.dense import dense_float


def a_trace(steps=6, keys=40):
    """Decode of a model with a sink: all look at token 0 and at their neighbours."""
    rng = np.random.default_rng(3)
    q, k, v = (rng.normal(size=(3, 2, n, 16)).astype(np.float32) for n in (steps, keys, keys))
    q[..., 0], k[..., 0, 0] = 6, 8
    return SimpleNamespace(
        q=q, k=k, v=v, key_valid=None, query_valid=None, causal=False, decode=True
    )


def wanted(trace):
    return [dense_float(*qkv, causal=True) for qkv in zip(trace.q, trace.k, trace.v, strict=True)]


def test_nothing_pruned():
    trace = a_trace()
    kept = measure(trace, wanted(trace), Pruning())
    assert kept.share == 1
    assert kept.worst > 0.999


def test_all_rankings_keep_as_many():
    trace = a_trace()
    found = [measure(trace, wanted(trace), Pruning(tokens=0.5, ranking=r)) for r in RANKINGS]
    noise = [
        measure(trace, wanted(trace), Pruning(tokens=0.5), np.random.default_rng(seed))
        for seed in range(3)
    ]
    assert len({kept.keys for kept in (*found, *noise)}) == 1
    assert min(kept.worst for kept in found) > np.mean([kept.worst for kept in noise])


def test_the_table(capsys):
    arguments = "--tokens 30 --steps 3 --layers 0-5 --seeds 2 --keep 0.5"
    assert main(arguments.split()) == 0
    rows = [line.split(" | ") for line in capsys.readouterr().out.splitlines()[2:]]
    assert [row[1] for row in rows] == ["–", *RANKINGS, "random, 2 seeds"]
    assert len({row[2] for row in rows[1:]}) == 1


def test_options_are_checked():
    with pytest.raises(SystemExit):
        main(["--keep"])
