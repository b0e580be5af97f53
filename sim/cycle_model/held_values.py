"""Rows that wait until all of their KV head know what they keep of V."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from attnsieve.sim.cycle_model.gather import GatherLoaderModel, ListedRegion
from attnsieve.sim.cycle_model.latency import Latency
from attnsieve.sim.cycle_model.loader import VALUE

__all__ = ["HeldValues", "RegionOf"]

#: Rows behind the packer whose V may not be there.
_PACKED = 6

RegionOf = Callable[[str, int, int], ListedRegion]


class HeldValues:
    """When the lists of KV heads are there, their V is asked for, and their rows are packed.

    Parameters
    ----------
    region : callable
        The region of a tensor's head that the loader hears of at some time.
    loader : GatherLoaderModel
        Gets regions of V.
    latency : Latency
        Of the core's blocks.
    kv : sequence of int
        KV head of each row.
    beats : int
        Of a row.
    """

    def __init__(
        self,
        region: RegionOf,
        loader: GatherLoaderModel,
        latency: Latency,
        kv: Sequence[int],
        beats: int,
    ) -> None:
        self.region, self.loader, self.latency, self.beats = region, loader, latency, beats
        self.kv = list(kv)
        self.heads = list(dict.fromkeys(self.kv))  # in order
        self.entered = self.rows = 0  # rows inside, or packed; that are packed
        self.last = np.zeros(len(self.kv), np.int64)  # when each row's last beat entered
        self.packed = np.zeros(len(self.kv), np.int64)  # when it was packed
        self.begins = np.zeros(len(self.kv), np.int64)  # and in prob·V
        self.pack_time = -1
        self.left: list[int] = []  # when each KV head left
        self.lists: list[tuple[int, int]] = []  # KV heads whose list is to be read, and when
        self.asked = 0  # lists
        self.lines: list[int] = []  # of V, of each KV head

    def lines_of(self, number: int) -> int:
        """Lines of V that a packed row spans."""
        return self.lines[self.heads.index(self.kv[number])]

    def room(self, number: int) -> int | None:
        """When a row may enter; None if that is not known yet."""
        place = self.heads.index(self.kv[number])
        opens = number == 0 or self.kv[number - 1] != self.kv[number]
        if not opens or place < 2:
            return 0
        return self.left[place - 2] + 2 if len(self.left) > place - 2 else None

    def enter(self, time: int) -> None:
        """The last beat of the next row enters."""
        number = self.entered
        self.last[number] = time
        self.entered += 1
        if number == len(self.kv) - 1 or self.kv[number + 1] != self.kv[number]:
            place = self.heads.index(self.kv[number])
            self.lists.append((place, time + self.latency.flags))

    def ask(self) -> bool:
        """The list of a KV head is complete: its V is asked for."""
        if not self.lists:
            return False
        place, time = self.lists[0]
        region = self.region("v", self.heads[place], 0)
        if region.lines and self.asked >= 2:
            if len(self.loader.value_read) <= self.asked - 2:
                return False
            time = max(time, self.loader.value_read[self.asked - 2] + self.beats
                       + self.latency.flags)  # fmt: skip
        self.lines.append(region.lines)
        self.lists.pop(0)
        if region.lines:
            self.asked += 1
            self.loader.offer(VALUE, self.region("v", self.heads[place], time))
        else:
            self.loader.heads[VALUE] += 1
        return True

    def pack(self, summed: int) -> bool:
        """A row leaves, packed, if the one ``_PACKED`` before is through prob·V."""
        number = self.rows
        if number >= self.entered or summed < number - _PACKED + 1:
            return False
        last = len(self.kv) - 1 - self.kv[::-1].index(self.kv[number])
        if last >= self.entered:
            return False
        start = max(int(self.last[last]) + 3, self.pack_time + 1)
        if number >= _PACKED:
            start = max(start, int(self.begins[number - _PACKED]) - self.beats)
        self.pack_time = start + self.beats - 1
        self.packed[number] = self.pack_time + self.latency.packing
        if number == last:
            self.left.append(self.pack_time)
        self.rows += 1
        return True
