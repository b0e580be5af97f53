"""Random contents of what hardware leaves undefined: memories, and registers before reset."""

from __future__ import annotations

import re

import numpy as np

__all__ = ["random_contents"]

_BLOCK = re.compile(r"^  initial begin\n(?P<lines>(?:    .*\n)+?)  end\n", re.M)
_WORD = re.compile(r"^    (?P<name>\S+)\[(?P<at>\d+)\] = (?P<width>\d+)'h(?P<value>[0-9a-f]+);$")
_REGISTER = re.compile(
    r"^(?P<head>  reg (?:\[\d+:0\] )?[\\\w$.:\[\]]+ ?) = (?P<width>\d+)'h[0-9a-fx]+;$", re.M
)


def _bits(rng: np.random.Generator, width: int) -> str:
    value = int.from_bytes(rng.bytes(-(-width // 8)), "little") & ((1 << width) - 1)
    return f"{width}'h{value:x}"


def random_contents(verilog: str, seed: int, *, registers: bool = True) -> str:
    """Verilog whose memories start with random words, and whose registers do, before reset.

    Tables are left alone: a memory counts as undefined when all of its words are zero at the
    start. What a design does after reset must not depend on the change.

    Parameters
    ----------
    verilog : str
        Verilog as yosys writes it.
    seed : int
        Chooses the contents.
    registers : bool
        Change initial values of registers, too.
    """
    rng = np.random.default_rng(seed)

    def block(found: re.Match[str]) -> str:
        words = [_WORD.match(line) for line in found["lines"].splitlines()]
        if not all(w is not None and not int(w["value"], 16) for w in words):
            return found[0]
        lines = [
            f"    {w['name']}[{w['at']}] = {_bits(rng, int(w['width']))};\n" for w in words if w
        ]
        return f"  initial begin\n{''.join(lines)}  end\n"

    def register(found: re.Match[str]) -> str:
        return f"{found['head']} = {_bits(rng, int(found['width']))};"

    changed = _BLOCK.sub(block, verilog)
    return _REGISTER.sub(register, changed) if registers else changed
