"""When keys are there, cut into slices."""

from __future__ import annotations

import numpy as np

from attnsieve.hdl.params import CoreParams
from attnsieve.hdl.slices.slice_params import slice_params
from attnsieve.hdl.slices.slice_store import SliceStore
from attnsieve.sim.cycle_model.lines import LineTimes

__all__ = ["KeyStoreModel"]

#: Cycles from a line's being readable to its first piece at the store; from a KV head's last row
#: being read to room for other keys.
_CUT, _FREE = 4, 2


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
    heads_cut : list
        Gets the time at which each KV head is cut.
    """

    def __init__(
        self,
        params: CoreParams,
        lines: LineTimes,
        heads: int,
        keys: int,
        parts: int,
        heads_cut: list[int],
    ) -> None:
        slices = slice_params(params)
        self.lines, self.keys, self.parts, self.groups = lines, keys, parts, params.groups
        self.heads_cut, self.turns = heads_cut, slices.turns
        self.room = slices.groups * slices.units  # in keys
        self.of_head = -(-keys * parts // params.groups)  # lines
        self.there = np.zeros(heads * keys, np.int64)  # when each key can be dealt
        self.known = 0  # keys of which that is known
        self.released: list[int] = []  # when the keys of each KV head left
        self.taken = -1  # when the last piece was stored

    def release(self, time: int) -> None:
        """The keys of the oldest KV head are not needed any more."""
        self.released.append(time)

    @property
    def waits_for(self) -> int | None:
        """KV head that has to leave before the next line can be cut; None: none, as far as is
        known."""
        gone = self._gone() if self.lines.freed < self.lines.arrived else -1
        return gone if gone >= len(self.released) else None

    def _gone(self) -> int:
        """The last KV head that has to be gone for the keys of the next line; −1: none."""
        head, number = divmod(self.lines.freed, self.of_head)
        last = min((number + 1) * self.groups, self.keys * self.parts)  # segments
        return int((head * self.keys + (last - 1) // self.parts - self.room) // self.keys)

    def advance(self) -> bool:
        """Follow the lines that have come; False if none has."""
        before = self.lines.freed
        while self._cut():
            pass
        return self.lines.freed > before

    def _cut(self) -> bool:
        """Cut the next line, if it is known when it comes and when there is room for its keys."""
        lines, parts = self.lines, self.parts
        if lines.freed == lines.arrived:
            return False
        head, number = divmod(lines.freed, self.of_head)
        first = number * self.groups
        last = min(first + self.groups, self.keys * parts)  # segments
        gone = self._gone()
        if gone >= len(self.released):
            return False
        came = int(lines.arrive[lines.freed])
        bound = max(came + _CUT, self.released[gone] + _FREE if gone >= 0 else 0)
        for key in range(first // parts, -(-last // parts)):
            cut = max(came, self.taken)
            self.taken = max(bound, self.taken + 1) + self.turns - 1
            if (key + 1) * parts <= last:
                self.there[self.known] = self.taken + SliceStore.latency + 1
                self.known += 1
        lines.take(np.array([cut]))
        if number == self.of_head - 1:
            self.heads_cut.append(cut)
        return True
