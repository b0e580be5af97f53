"""Shorter initial contents of memories: Verilator takes long over one assignment per word."""

from __future__ import annotations

import itertools
import re

__all__ = ["compact_zeros", "without_zeros"]

_ZEROS = re.compile(r"^  initial begin\n((?:    \S+\[\d+\] = \d+'h0+;\n)+)  end\n", re.M)


def compact_zeros(verilog: str) -> str:
    """The same Verilog with a loop wherever a whole memory starts with zeros, word by word."""
    number = itertools.count()

    def loop(found: re.Match[str]) -> str:
        lines = found[1].splitlines()
        name = lines[0].split("[")[0].strip()
        words = len(lines)
        return (
            f"  initial begin : zeros_{next(number)}\n    integer word;\n"
            f"    for (word = 0; word < {words}; word = word + 1) {name}[word] = 0;\n  end\n"
        )

    return _ZEROS.sub(loop, verilog)


def without_zeros(verilog: str) -> str:
    """The same Verilog for a simulator whose memories start with zeros anyway."""
    return _ZEROS.sub("", verilog)
