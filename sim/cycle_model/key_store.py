"""When keys are there, cut into slices."""

from __future__ import annotations

import numpy as np

from attnsieve.hdl.params import CoreParams
from attnsieve.hdl.slices.slice_params import slice_params
from attnsieve.hdl.slices.slice_store import SliceStore
from attnsieve.sim.cycle_model.lines import LineTimes, paced

__all__ = ["KeyStoreModel"]

#: Cycles from a line's being readable to its first piece at the store.
_CUT = 3


class KeyStoreModel:
    """Keys of all KV heads, one behind the other: cut from lines, stored while there is room.

    A piece of a key, what a line has of it, takes `SliceParams.turns` cycles.

    Parameters
    ----------
    params : CoreParams
        The core.
    lines : LineTimes
        Lines of K.
    heads, keys, parts : int
        KV heads, keys of each, and segments of a key.
    """

    def __init__(
        self, params: CoreParams, lines: LineTimes, heads: int, keys: int, parts: int
    ) -> None:
        slices = slice_params(params)
        self.lines = lines
        self.turns = slices.turns
        self.room = slices.groups * slices.units  # in keys
        self.keys = keys
        groups = params.groups
        whole = np.arange(1, keys + 1) * parts
        cuts = np.arange(groups, keys * parts, groups)
        ends = np.union1d(whole, cuts)  # of pieces, in segments
        self.line = (ends - 1) // groups  # of each piece
        self.key = (ends - 1) // parts
        self.whole = ends % parts == 0  # the piece completes its key
        self.of_head = -(-keys * parts // groups)  # lines
        self.there = np.zeros(heads * keys, np.int64)  # when each key can be dealt
        self.known = 0  # keys of which that is known
        self.released = np.zeros(heads, np.int64)  # when the keys of each KV head leave
        self.gone = 0  # heads that have
        self.taken = -1  # when the store has taken the last piece

    def release(self, time: int) -> None:
        """The keys of the oldest KV head are not needed any more."""
        self.released[self.gone] = time
        self.gone += 1

    def advance(self) -> bool:
        """Follow the lines that have come; False if none has."""
        line = self.lines.freed
        if line == self.lines.arrived:
            return False
        head, first = divmod(line, self.of_head)
        last = min(self.lines.arrived - head * self.of_head, self.of_head)
        pieces = np.flatnonzero((self.line >= first) & (self.line < last))
        need = (head * self.keys + self.key[pieces] - self.room) // self.keys
        pieces = pieces[need < self.gone]  # those for which there will be room, once it is known
        if not len(pieces):
            return False
        # a line leaves with its last piece
        last = int(self.line[pieces[-1]]) + (pieces[-1] + 1 == len(self.line)
            or self.line[pieces[-1] + 1] != self.line[pieces[-1]])
        pieces = pieces[self.line[pieces] < last]
        if not len(pieces):
            return False
        need = need[: len(pieces)]
        base = head * self.of_head
        came = self.lines.arrive[base + self.line[pieces]] + _CUT
        room = np.where(need >= 0, self.released[np.maximum(need, 0)] + 1, 0)
        bounds = np.maximum(came, room) + self.turns - 1
        bounds[0] = max(int(bounds[0]), self.taken + self.turns)
        times = paced(bounds, self.turns)
        cut = np.maximum(came - 1, np.append(self.taken, times[:-1]))
        self.lines.take(cut[np.append(np.diff(self.line[pieces]) > 0, True)])
        whole = times[self.whole[pieces]] + SliceStore.latency + 1
        self.there[self.known : self.known + len(whole)] = whole
        self.known += len(whole)
        self.taken = int(times[-1])
        return True
