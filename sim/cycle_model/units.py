"""What bit-serial units do for rows, wherever the slices of keys come from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from attnsieve.hdl.params import CoreParams
from attnsieve.hdl.slices.row_count import RowCount
from attnsieve.hdl.slices.slice_params import slice_params, survivor_ways
from attnsieve.hdl.slices.unit_circle import UnitCircle

__all__ = ["COUNT", "KEPT", "PARTS", "ROW", "SLICES", "WAY", "DealtRow", "Units"]

#: A key in a number: the row above these bits, the way, that it is kept, its slices.
ROW, WAY, KEPT, SLICES = 6, 5, 16, 15
#: Cycles from a key's being dropped or stored to the row's being complete.
COUNT = RowCount.latency
#: Cycles from a row's bounds being there to its first keys.
PARTS = 3


@dataclass(frozen=True)
class DealtRow:
    """A row that is prepared.

    Parameters
    ----------
    number : int
        Which.
    start : int
        From when on its keys can be dealt.
    keys : list of int
        Of each key its slices and what becomes of it (`Units.codes`); 0 for one that is masked.
    first : int
        The first of its keys, over all KV heads.
    causes : tuple of (str, int)
        What it waits for before it is prepared, in order, and until when.
    write : bool
        Its keys are scored.
    """

    number: int
    start: int
    keys: list[int]
    first: int
    causes: tuple[tuple[str, int], ...]
    write: bool = True


class Units:
    """When rows are complete.

    Parameters
    ----------
    params : CoreParams
        The core.
    rows : int
        Rows of the job.
    parts : int
        Of a row, each of which is complete at a time of its own; rows below are all parts.
    """

    def __init__(self, params: CoreParams, rows: int, parts: int = 1) -> None:
        self.slices = slice_params(params)
        self.turn = UnitCircle(params=self.slices).latency
        self.ways = survivor_ways(params)
        self.step = 0 if self.slices.static else 1
        self.known = 0  # keys of which it is known when they are in the store
        self.blocked = False  # others wait for a row that is not complete
        self.count = rows
        self.inside = 0  # rows of which not all keys are in units
        self.left = [-1] * rows * parts  # keys of each that are not in a unit; -1: not yet dealt
        self.ended = [0] * rows * parts  # when the last one of each will be decided, or stored
        self.finished: list[int] = []
        self.busy = 0
        self.causes: list[tuple[tuple[str, int], ...]] = []  # of all rows
        self.turn_at = 0  # when the row behind them can be prepared, if there is room
        self.asked = 0  # the first row that is not prepared
        self.setup = 0  # cycles for want of a row before the first key
        self.idle = {"row": 0, "output": 0, "query": 0, "key": 0}

    def codes(self, row: int | np.ndarray, slices: np.ndarray, kept: np.ndarray) -> list[int]:
        """Keys of a row, for `DealtRow`, by the slices that are read of each and whether it is
        kept."""
        ways = np.arange(len(slices)) % self.ways
        code = slices + (kept * KEPT) + (ways << WAY) + (row << ROW)
        return np.where(slices > 0, code, 0).tolist()

    def _end(self, row: int, time: int) -> None:
        """Something of a row ends: a key, or that it is dealt."""
        if time > self.ended[row]:
            self.ended[row] = time
        self.left[row] -= 1
        if not self.left[row]:
            self.finished.append(row)
            self.inside -= 1

    def _idle(self, cause: str) -> None:
        """A cycle in which no slice is read."""
        self.idle[cause] += 1
        if not self.busy and cause == "row":
            self.setup += 1

    def _prepares(self, now: int) -> str:
        """What the next row waits for before it is prepared."""
        while self.asked < len(self.causes):
            for cause, until in self.causes[self.asked]:
                if now < until:
                    return cause
            self.asked += 1
        return "row" if now < self.turn_at or len(self.causes) == self.count else "output"
