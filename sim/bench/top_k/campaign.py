"""Rows of all kinds through both engines and the flags, against the golden model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import astuple, dataclass
from itertools import islice

import numpy as np

from attnsieve.hdl.select.top_k import TopKParams
from attnsieve.sim.bench.top_k.engines import ENGINES, Compared, Selector
from attnsieve.sim.bench.top_k.rows import ADVERSARIAL, Row, beats_of, random_row

__all__ = ["SIZES", "STALLS", "Tally", "adversarial_rows", "campaign"]

#: Lanes, bits of a value, most values of a row.
SIZES = [
    TopKParams(lanes=lanes, value_bits=bits, max_values=most)
    for lanes, bits, most in ((16, 12, 1024), (16, 32, 1024), (3, 12, 100), (1, 8, 40))
]

#: Probability that the bench waits with an input or an output, by turns.
STALLS = [{}, {"i": 0.5, "o": 0.5}, {"i": 0.8}, {"o": 0.8}, {"i": 0.1, "o": 0.95}]

_BATCH = 400  # rows of a run


@dataclass(frozen=True)
class Tally:
    """What came of rows on an engine: all of these but ``rows`` and ``cycles`` should be zero."""

    rows: int = 0
    thresholds: int = 0
    flags: int = 0
    hangs: int = 0
    not_held: int = 0
    cycles: int = 0

    @property
    def bad(self) -> int:
        """How much went wrong."""
        return self.thresholds + self.flags + self.hangs + self.not_held

    def __add__(self, other: Tally) -> Tally:
        return Tally(*(sum(pair) for pair in zip(astuple(self), astuple(other), strict=True)))

    @classmethod
    def of(cls, engine: Compared, flags: Compared) -> Tally:
        """Of a run of an engine and of the flags behind it."""
        runs = (engine.run, flags.run)
        return cls(
            rows=len(engine.wrong),
            thresholds=int(engine.wrong.sum()),
            flags=int(flags.wrong.sum()),
            hangs=sum(not run.complete for run in runs),
            not_held=sum(not run.held for run in runs),
            cycles=int(engine.run.times["o"][-1]),
        )


def adversarial_rows(params: TopKParams, rng: np.random.Generator) -> Iterator[Row]:
    """Every kind of values with numbers around the beats, and k at both ends and in between."""
    lanes, most = params.lanes, params.max_values
    for n in sorted({1, lanes, lanes + 1, 2 * lanes + 1, most // 2 + 1, most - 1, most}):
        for k in sorted({0, 1, n // 2, n - 1, n, n + 1}):
            for make in ADVERSARIAL.values():
                yield Row(np.asarray(make(rng, n, 1 << params.value_bits), np.int64), k)


def _random_rows(params: TopKParams, rng: np.random.Generator, count: int) -> Iterator[Row]:
    return (random_row(params, rng) for _ in range(count))


def _batches(rows: Iterable[Row]) -> Iterator[list[Row]]:
    waiting = iter(rows)
    while batch := list(islice(waiting, _BATCH)):
        yield batch


def campaign(params: TopKParams, count: int, seed: int) -> Iterator[tuple[str, str, Tally]]:
    """Engine, kind of rows and tally, for ``count`` random rows and the adversarial ones under each
    of `STALLS`; the same for each engine. Every second run has lanes that do not take part."""
    selectors = {engine: Selector.of(engine, params) for engine in ENGINES}
    rng = np.random.default_rng(seed)
    work: dict[str, Iterator[tuple[list[Row], dict[str, float]]]] = {
        "random": (
            (batch, STALLS[turn % len(STALLS)])
            for turn, batch in enumerate(_batches(_random_rows(params, rng, count)))
        ),
        "adversarial": (
            (batch, stall)
            for stall in STALLS
            for batch in _batches(adversarial_rows(params, rng))
        ),
    }
    for kind, runs in work.items():
        tallies = dict.fromkeys(ENGINES, Tally())
        for turn, (rows, stall) in enumerate(runs):
            beats = beats_of(params, rows, rng if turn % 2 else None)
            for engine, selector in selectors.items():
                found, flags = selector.run(rows, beats, stall, seed + turn)
                tallies[engine] += Tally.of(found, flags)
        for engine, tally in tallies.items():
            yield engine, kind, tally
