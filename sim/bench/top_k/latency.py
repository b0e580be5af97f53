"""Cycles from a row's last value to its threshold, beside a model of quick-select."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from attnsieve.hdl.select.top_k import TopKParams
from attnsieve.sim.bench.top_k.engines import ENGINES, Thresholds
from attnsieve.sim.bench.top_k.rows import Ints, Rng, Row

__all__ = ["KINDS", "KS", "Source", "cycles", "latency_lines", "model_cycles", "random_sources"]

#: k of the rows.
KS = (16, 64, 128, 512, 1000)

#: Bits of the values and how they are made, by kind.
KINDS: dict[str, tuple[int, Callable[[Rng, int], Ints]]] = {
    "uniform": (12, lambda rng, n: rng.integers(0, 1 << 12, n)),
    "exponential of normal": (
        16,
        lambda rng, n: (65535 * np.exp(-np.abs(rng.normal(0, 4, n)))).astype(np.int64),
    ),
    "gamma": (32, lambda rng, n: (2e8 * rng.gamma(1, 1, n)).astype(np.int64)),
}


@dataclass(frozen=True, eq=False)
class Source:
    """Rows of one kind.

    Parameters
    ----------
    name : str
    value_bits : int
        Bits of a value.
    rows : sequence of arrays
    """

    name: str
    value_bits: int
    rows: Sequence[Ints]


def random_sources(n: int, count: int, seed: int) -> Iterator[Source]:
    """So many rows of n values of each of `KINDS`."""
    for kind, (bits, make) in KINDS.items():
        rng = np.random.default_rng([seed, bits])
        yield Source(kind, bits, [make(rng, n) for _ in range(count)])


def cycles(engine: Thresholds, values: Ints, k: int) -> int:
    """Cycles of an engine from the last value to the threshold of a row that is alone, which must
    be right."""
    found = engine.run([Row(values, k)])
    if found.wrong.any():
        raise AssertionError(f"threshold {found.run.outputs['o']} is wrong")
    return int(found.run.times["o"][-1] - found.run.times["i"][-1])


def model_cycles(rng: Rng, values: Ints, k: int, lanes: int) -> int:
    """Cycles of quick-select with a random pivot: ceil(n / lanes) + 3 for a round of n values."""
    rest, total = np.asarray(values), 0
    while True:
        pivot = rng.choice(rest)
        total += -(-len(rest) // lanes) + 3
        larger, smaller = rest[rest > pivot], rest[rest < pivot]
        if k <= len(larger):
            rest = larger
        elif k <= len(rest) - len(smaller):
            return total
        else:
            k -= len(rest) - len(smaller)
            rest = smaller


def latency_lines(sources: Iterator[Source], lanes: int, seed: int) -> Iterator[str]:
    """A table of means, per source and k."""
    yield f"{'values':28}{'bits':>5}{'rows':>6}{'k':>6}" + "".join(
        f"{name:>14}" for name in (*ENGINES, "its model")
    )
    for source in sources:
        n = len(source.rows[0])
        params = TopKParams(lanes=lanes, value_bits=source.value_bits, max_values=n)
        compiled = [Thresholds(engine, params) for engine in ENGINES]
        rng = np.random.default_rng(seed)
        for k in (k for k in KS if k <= n):
            means = [np.mean([cycles(e, row, k) for row in source.rows]) for e in compiled]
            often = list(source.rows) * -(-200 // len(source.rows))
            means.append(np.mean([model_cycles(rng, row, k, lanes) for row in often]))
            yield (
                f"{source.name:28}{source.value_bits:5}{len(source.rows):6}{k:6}"
                + "".join(f"{mean:14.1f}" for mean in means)
            )
