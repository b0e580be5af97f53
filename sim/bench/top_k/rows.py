"""Rows of values for the top-k engines: how they are made, and their beats."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from attnsieve.hdl.select.top_k import TopKParams

__all__ = ["ADVERSARIAL", "STREAMED", "Beats", "Row", "beats_of", "random_row"]

Ints = npt.NDArray[np.int64]
Rng = np.random.Generator


@dataclass(frozen=True, eq=False)
class Row:
    """Values, and how many of them to keep."""

    values: Ints
    k: int


def random_row(params: TopKParams, rng: Rng) -> Row:
    """A row of any length, spread and skew, and a k that often lies at an end."""
    lanes, most = params.lanes, params.max_values
    length = rng.choice([1, lanes, lanes + 1, most, *rng.integers(1, most, 4, endpoint=True)])
    n = int(min(length, most))
    top = 1 << int(rng.integers(1, params.value_bits, endpoint=True))
    values = (top * rng.random(n) ** rng.choice([1, 1, 4, 12])).astype(np.int64)
    k = rng.choice([0, 1, n - 1, n, n + 1, *rng.integers(0, n, 5, endpoint=True)])
    return Row(values, int(k))


def _last_digit(rng: Rng, n: int, top: int) -> Ints:
    """Values that differ in their lowest bits only."""
    return top // 2 + rng.integers(0, 16, n)


def _outliers(rng: Rng, n: int, top: int) -> Ints:
    """The same, but for one value in each digit above the last: the most passes, all of them over
    nearly all values."""
    values = _last_digit(rng, n, top)
    places = range(4, top.bit_length() - 4, 5)
    for at, place in zip(range(0, n, 2), places, strict=False):
        values[at] = top // 2 + (1 << place)
    return values


#: Values by kind, from their number and the least value that is too large.
ADVERSARIAL: dict[str, Callable[[Rng, int, int], Ints]] = {
    "all equal": lambda rng, n, top: np.full(n, top * 5 // 7),
    "all zero": lambda rng, n, top: np.zeros(n, np.int64),
    "all ones": lambda rng, n, top: np.full(n, top - 1),
    "sorted": lambda rng, n, top: np.sort(rng.integers(0, top, n)),
    "reversed": lambda rng, n, top: np.sort(rng.integers(0, top, n))[::-1],
    "two values": lambda rng, n, top: top - 1 - rng.integers(0, 2, n),
    "one is larger": lambda rng, n, top: np.where(np.arange(n) == n // 2, top - 1, 1),
    "last digit": _last_digit,
    "outliers": _outliers,
}

#: Values by kind, for rows that follow one another.
STREAMED: dict[str, Callable[[Rng, int, int], Ints]] = {
    "uniform": lambda rng, n, top: rng.integers(0, top, n),
    "exponential": lambda rng, n, top: ((top - 1) * np.exp(-rng.gamma(1, 2, n))).astype(np.int64),
    "two values": ADVERSARIAL["two values"],
    "last digit": _last_digit,
    "outliers": _outliers,
}


@dataclass(frozen=True, eq=False)
class Beats:
    """Beats of some rows, one after the other.

    Parameters
    ----------
    fields : dict
        Of `TopKParams.beat_layout`, an array per field.
    places : array
        Lane of each value, counted over all beats.
    row : array
        Row of each beat.
    """

    fields: dict[str, Any]
    places: Ints
    row: Ints


def beats_of(params: TopKParams, rows: Sequence[Row], gaps: Rng | None = None) -> Beats:
    """Beats of rows; with ``gaps``, lanes that do not take part lie between the values of a row
    where it leaves room, and hold values of any size."""
    lanes = params.lanes
    counts, within = [], []
    for row in rows:
        n = len(row.values)
        least = max(1, -(-n // lanes))
        beats = least
        if gaps is not None:
            beats = int(gaps.integers(least, min(params.max_beats, 2 * least), endpoint=True))
            within.append(np.sort(gaps.choice(beats * lanes, n, replace=False)))
        else:
            within.append(np.arange(n))
        counts.append(beats)
    ends = np.cumsum(counts)
    starts = ends - counts
    places = np.concatenate([start * lanes + at for start, at in zip(starts, within, strict=True)])
    total = int(ends[-1])
    values = np.zeros(total * lanes, np.int64)
    if gaps is not None:
        values = gaps.integers(0, 1 << params.value_bits, total * lanes)
    values[places] = np.concatenate([row.values for row in rows])
    keep = np.zeros(total * lanes, np.int64)
    keep[places] = 1
    last = np.zeros(total, np.int64)
    last[ends - 1] = 1
    number = np.repeat(np.arange(len(rows)), counts)
    fields = {
        "value": values.reshape(total, lanes),
        "keep": keep.reshape(total, lanes) @ (1 << np.arange(lanes)),
        "k": np.array([row.k for row in rows])[number],
        "last": last,
    }
    return Beats(fields, places, number)
