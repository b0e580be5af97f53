"""How long the engine that selects values works on a row."""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np

from attnsieve.hdl.params import CoreParams
from attnsieve.hdl.select.quick_select import QuickSelect

__all__ = ["Search", "search"]

#: Cycles of a radix select beside its beats: the queue before it and the first digit, and what two
#: passes add at most.
FIRST, PASSES = 8, 20


class Search(NamedTuple):
    """Cycles for a row of values.

    Parameters
    ----------
    fill : int
        Beats in which the values come.
    busy : int
        From the last of them until the engine can search the next row.
    wait : int
        From there to the threshold.
    alone : bool
        The next row's values cannot come before.
    """

    fill: int
    busy: int
    wait: int
    alone: bool


def search(params: CoreParams, lanes: int, values: int, keep: int) -> Search:
    """The engine of a core, with ``lanes`` values per beat.

    Parameters
    ----------
    params : CoreParams
        The core.
    lanes : int
        Its parallelism.
    values, keep : int
        Of a row, and how many of them stay.
    """
    fill = -(-values // lanes)
    if params.top_k == "radix":
        return Search(fill, fill + PASSES if keep < values else 0, FIRST, False)
    return Search(fill, _rounds(lanes, values, keep) if keep < values else 0, 2, True)


@cache
def _rounds(lanes: int, values: int, keep: int, draws: int = 64) -> int:
    """Cycles of quick-select's rounds: the mean over ``draws`` rows with random pivots."""
    rng = np.random.default_rng([lanes, values, keep])
    total = 0
    for _ in range(draws):
        rest, k = values, keep
        while True:
            total += -(-rest // lanes) + QuickSelect.idle
            above = int(rng.integers(rest))  # values over the pivot
            if k == above + 1:
                break
            if k <= above:
                rest = above
            else:
                rest, k = rest - above - 1, k - above - 1
    return round(total / draws)
