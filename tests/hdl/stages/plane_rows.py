"""Cores with progressive quantisation, and room where their rows wait."""

from __future__ import annotations

from collections import deque
from dataclasses import replace

from attnsieve.gen import config
from attnsieve.hdl.params import CoreParams

__all__ = ["CORES", "Room", "core"]


def core(**changes):
    """A small core: sixteen lanes, one lane group."""
    values = {
        "lanes": 16, "max_head_dim": 32, "max_keys": 10, "max_queries": 4, "max_heads": 6,
        "buffer_elements": 1 << 10, "output_lanes": 1, "value_lanes": 4, "token_lanes": 4,
        "channels": 2, "progressive": True,
    }  # fmt: skip
    return CoreParams(**(values | changes))


#: One lane group of four lanes, as small as can be, one of sixteen lanes, and four of them.
CORES = {
    "tiny": replace(config.load("spatten-tiny").core, progressive=True),
    "least": core(max_head_dim=16, max_keys=1, max_heads=1),
    "one group": core(),
    "four groups": core(lanes=64, max_head_dim=128, max_keys=70),
}


class Room:
    """A ring of which pieces are taken in order, and given back in order."""

    def __init__(self, size):
        self.size, self.free, self.next = size, size, 0
        self.pieces = deque()

    def take(self, length):
        """Where the piece begins."""
        assert length <= self.free
        begin = self.next
        self.next = (begin + length) % self.size
        self.free -= length
        self.pieces.append(length)
        return begin

    def give(self):
        """The oldest piece is free."""
        self.free += self.pieces.popleft()
