"""Cycles per row of rows that follow one another without a gap."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from attnsieve.hdl.select.top_k import TopKParams
from attnsieve.sim.bench.top_k.engines import Thresholds
from attnsieve.sim.bench.top_k.rows import STREAMED, Row

__all__ = ["Interval", "goal", "interval", "interval_lines"]


class Interval(NamedTuple):
    """Cycles per row: from the first beat of a run to its last threshold, divided by the rows; and
    the most from a row's last beat to that of the row after it, in the same run."""

    mean: float
    worst: int


def goal(n: int, lanes: int) -> int:
    """What a row of n values should take at most: two passes and a little."""
    return -(-2 * n // lanes) + 4


def interval(engine: Thresholds, rows: list[Row]) -> Interval:
    """Of rows of one length; every threshold has to be right."""
    found = engine.run(rows)
    if found.wrong.any() or not found.run.complete:
        raise AssertionError(f"{found.wrong.sum()} of {len(rows)} thresholds are wrong")
    beats = -(-len(rows[0].values) // engine.params.lanes)
    taken = found.run.times["i"][beats - 1 :: beats]
    total = found.run.times["o"][-1] - found.run.times["i"][0] + 1
    return Interval(float(total / len(rows)), int(np.diff(taken).max()))


def intervals(
    engine: Thresholds, n: int, count: int, seed: int
) -> Iterator[tuple[str, str, Interval]]:
    """Kind of values, k and interval: rows with k = 1, n/8, n/2, and with any k."""
    rng = np.random.default_rng([seed, n])
    ks = {"1": 1, "n/8": n // 8, "n/2": n // 2, "any": None}
    for kind, make in STREAMED.items():
        for name, k in ks.items():
            rows = [
                Row(
                    make(rng, n, 1 << engine.params.value_bits),
                    int(rng.integers(0, n, endpoint=True)) if k is None else k,
                )
                for _ in range(count)
            ]
            yield kind, name, interval(engine, rows)


def interval_lines(params: TopKParams, engine: str, count: int, seed: int) -> Iterator[str]:
    """A table of `intervals`."""
    compiled = Thresholds(engine, params)
    yield f"{engine}, {params.lanes} lanes, {params.value_bits} bits, {count} rows each"
    yield f"{'n':>5}{'goal':>6}  {'values':14}{'k':>5}{'mean':>9}{'worst':>7}"
    for n in (33, 113, 300, 1024):
        most = goal(n, params.lanes)
        for kind, k, found in intervals(compiled, n, count, seed):
            above = "" if found.mean <= most else "  above"
            yield f"{n:5}{most:6}  {kind:14}{k:>5}{found.mean:9.2f}{found.worst:7}{above}"
