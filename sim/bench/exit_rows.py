"""Queries, keys and thresholds for bit-serial units: random, real, and made to be hard."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, partial

import numpy as np
import numpy.typing as npt

from attnsieve.sim.calibrate import calibrate
from attnsieve.sim.driver.thresholds import threshold_codes
from attnsieve.sim.errors import InputError
from attnsieve.sim.golden.quantise import Quantised, quantise_layer
from attnsieve.sim.trace.trace import Trace

__all__ = ["KEYS", "KINDS", "Batch", "Make", "Row", "real"]

Ints = npt.NDArray[np.int64]
Rng = np.random.Generator

#: Most keys of a batch; rows of one in which every query meets every key.
KEYS, ROWS = 512, 32
#: Keys that are made for one query.
WINDOW = 64
#: Shares of the scores of a trace that thresholds keep.
KEEP = (0.5, 0.3, 0.15)


@dataclass(frozen=True, eq=False)
class Row:
    """A query with its threshold, and which of the keys it is to meet.

    Parameters
    ----------
    query : int array
        ``[taps]``.
    threshold : int
    first, keys : int
        The first key, and how many.
    """

    query: Ints
    threshold: int
    first: int
    keys: int


@dataclass(frozen=True, eq=False)
class Batch:
    """Keys and the rows that meet them.

    Parameters
    ----------
    bits : int
        Of an element of a query and of a key.
    keys : int array
        ``[keys, taps]``.
    rows : list of Row
    """

    bits: int
    keys: Ints
    rows: list[Row]

    @property
    def vectors(self) -> int:
        """Pairs of a query and a key."""
        return sum(row.keys for row in self.rows)

    def head(self, vectors: int) -> Batch:
        """No more than so many of its pairs."""
        rows: list[Row] = []
        for row in self.rows:
            if vectors > 0:
                rows.append(replace(row, keys=min(row.keys, vectors)))
            vectors -= row.keys
        return replace(self, rows=rows)


#: Makes a batch of elements of so many bits, of so many taps.
Make = Callable[[Rng, int, int], Batch]


def _ends(bits: int) -> tuple[int, int]:
    return -(1 << bits - 1), (1 << bits - 1) - 1


def _threshold(rng: Rng, scores: Ints) -> int:
    """One that some share of the scores reaches."""
    return int(np.quantile(scores, rng.random(), method="lower")) + int(rng.integers(-1, 2))


def _plain(rng: Rng, bits: int, queries: Ints, keys: Ints) -> Batch:
    """Every query meets every key."""
    rows = [Row(q, _threshold(rng, keys @ q), 0, len(keys)) for q in queries]
    return Batch(bits, keys, rows)


def _whole(rng: Rng, bits: int, taps: int, number: int) -> Ints:
    """Vectors of any elements."""
    low, high = _ends(bits)
    return rng.integers(low, high + 1, (number, taps))


def _uniform(rng: Rng, bits: int, taps: int) -> Batch:
    queries, keys = (_whole(rng, bits, taps, n) for n in (ROWS, KEYS))
    return _plain(rng, bits, queries, keys)


def _gaussian(rng: Rng, bits: int, taps: int) -> Batch:
    low, high = _ends(bits)
    queries, keys = (
        np.clip(np.rint(rng.normal(0, high / 3, (n, taps))), low, high).astype(np.int64)
        for n in (ROWS, KEYS)
    )
    return _plain(rng, bits, queries, keys)


def _patterns(rng: Rng, bits: int, taps: int, number: int) -> Ints:
    """Vectors of one value, of the two extremes, with one element that is not zero, with no
    element above or below zero, and with many zeros."""
    low, high = _ends(bits)
    anything = _whole(rng, bits, taps, number)
    one_hot = np.arange(taps) == rng.integers(0, taps, (number, 1))
    extremes = np.where(rng.random((number, taps)) < 0.5, low, high)
    equal = rng.choice([low, high, 0, -1, 1], (number, 1)).repeat(taps, 1)
    kinds = [
        equal, extremes, np.where(one_hot, anything, 0), np.where(one_hot, extremes, 0),
        np.where(one_hot, anything, equal), np.minimum(anything, -1), np.maximum(anything, 0),
        np.where(rng.random((number, taps)) < 0.9, 0, anything),
    ]  # fmt: skip
    return np.stack(kinds)[rng.integers(0, len(kinds), number), np.arange(number)]


def _extremes(rng: Rng, bits: int, taps: int) -> Batch:
    """Patterns with patterns; thresholds at, one below and one above a score, or far from all."""
    queries, keys = (_patterns(rng, bits, taps, n) for n in (ROWS, KEYS))
    most = taps << 2 * bits - 2
    rows = []
    for q in queries:
        near = int(keys[rng.integers(len(keys))] @ q) + int(rng.integers(-1, 2))
        far = int(rng.choice([-most, most, 0, 1, -1]))
        rows.append(Row(q, near if rng.random() < 0.75 else far, 0, len(keys)))
    return Batch(bits, keys, rows)


def _edges(rng: Rng, bits: int, taps: int, *, signs: bool = False) -> Batch:
    """Keys that begin with the same bits, among them the best of these for the query; thresholds
    at, one below and one above its score, which is the most that is possible behind those bits, and
    around the score of another one. The bits are those of words in two's complement or, with
    ``signs``, of a sign and a magnitude."""
    sets, rows = [], []
    low, high = (0, _ends(bits)[1]) if signs else _ends(bits)
    for first in range(0, KEYS, WINDOW):
        query = (_patterns if rng.random() < 0.3 else _whole)(rng, bits, taps, 1)[0]
        base = rng.integers(low, high + 1, taps)
        sign = rng.choice([-1, 1], taps) if signs else np.ones(taps, np.int64)
        open_bits = int(rng.integers(1, bits - signs))
        begin = base >> open_bits << open_bits
        best = begin + np.where(query * sign > 0, (1 << open_bits) - 1, 0)
        others = begin + rng.integers(0, 1 << open_bits, (WINDOW - 1, taps))
        near = np.arange(taps) == rng.integers(0, taps, (WINDOW - 1, 1))  # one bit less than best
        less = best ^ np.where(near, 1 << rng.integers(0, open_bits, (WINDOW - 1, 1)), 0)
        keys = np.concatenate([[best], np.where(rng.random((WINDOW - 1, 1)) < 0.5, others, less)])
        keys = rng.permutation(keys) * sign
        sets.append(keys)
        for score in (best * sign @ query, keys[rng.integers(WINDOW)] @ query):
            rows += [Row(query, int(score) + n, first, WINDOW) for n in (-1, 0, 1)]
    return Batch(bits, np.concatenate(sets), [rows[n] for n in rng.permutation(len(rows))])


def real(trace: Trace) -> Make:
    """Makes batches of a head of a trace each, drawn at random: its keys and some of its queries,
    masked or not, as the simulator quantises them, with the thresholds of its layer that keep
    `KEEP` of all scores."""
    kept = [calibrate([trace], keep) for keep in KEEP]

    @cache
    def layer_of(layer: int, bits: int) -> Quantised:
        tensors = (trace.q[layer], trace.k[layer], trace.v[layer])
        return quantise_layer(*tensors, bits, trace.key_valid, trace.query_valid)

    def make(rng: Rng, bits: int, taps: int) -> Batch:
        if trace.head_dim > taps:
            raise InputError(f"head_dim of the trace must be at most {taps}, not {trace.head_dim}")
        layer, head = int(rng.integers(trace.layers)), int(rng.integers(trace.heads))
        made, room = layer_of(layer, bits), ((0, 0), (0, taps - trace.head_dim))
        queries = np.pad(made.q[head].astype(np.int64), room)
        keys = np.pad(made.k[head // trace.group][:KEYS].astype(np.int64), room)
        codes = [threshold_codes(made, np.array(each.layers[layer]))[head] for each in kept]
        picked = rng.permutation(len(queries) * len(codes))[:ROWS]
        pairs = np.stack(np.divmod(picked, len(codes)), 1).tolist()
        return Batch(bits, keys, [Row(queries[q], codes[n], 0, len(keys)) for q, n in pairs])

    return make


#: Kinds that need no trace.
KINDS: dict[str, Make] = {
    "uniform": _uniform,
    "Gaussian": _gaussian,
    "extremes": _extremes,
    "edges": _edges,
    "signed edges": partial(_edges, signs=True),
}
