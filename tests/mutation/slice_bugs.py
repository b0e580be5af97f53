"""Bugs in the blocks of ``hdl/slices``."""

from __future__ import annotations

from .bug import Bug

__all__ = ["SLICE_BUGS"]

_DOT = "slices/test_bit_serial_dot.py::test_"

SLICE_BUGS = [
    # -- exit_bounds
    Bug("slices/exit_bounds.py", "Mux(value < 0, 0, value)", "value",
        "negative elements of the query lower the margin", f"{_DOT}bounds[bits]", quick=True),
    Bug("slices/exit_bounds.py", "threshold + most + round_up", "threshold + most",
        "bounds are rounded down", f"{_DOT}bounds[bits]"),
    Bug("slices/exit_bounds.py", "threshold << p.pad", "threshold",
        "the last bound forgets the zeros behind a word", f"{_DOT}bounds[padded]"),
    # -- bit_serial_dot
    Bug("slices/bit_serial_dot.py", "Cat(bits, first & bits[-1])", "Cat(bits, bits[-1])",
        "every slice has a sign", f"{_DOT}random_keys[bits-1-0.0]", quick=True),
    Bug("slices/bit_serial_dot.py", "first & bits[-1]", "0",
        "no slice has a sign", f"{_DOT}random_keys[bits-1-0.0]"),
    Bug("slices/bit_serial_dot.py", "short.eq(summed.sum < bound)",
        "short.eq(summed.sum <= bound)", "a score that equals the threshold is pruned",
        f"{_DOT}largest_operands[bits]"),
    Bug("slices/bit_serial_dot.py", "goes_on.eq(back.valid & ~decided)", "goes_on.eq(back.valid)",
        "a key that is decided goes on", f"{_DOT}random_keys[bits-1-0.0]"),
    Bug("slices/bit_serial_dot.py", "before.sum << self.params.slice_bits", "before.sum",
        "slices all count the same", f"{_DOT}random_keys[fours-1-0.0]"),
    Bug("slices/bit_serial_dot.py",
        "Mux(there.query, self.queries[1][tap], self.queries[0][tap])", "self.queries[0][tap]",
        "all keys are scored with one query", f"{_DOT}random_keys[fours-1-0.0]"),
    Bug("slices/bit_serial_dot.py", "Mux(place.query, two, one)", "one",
        "all keys have the bounds of one query", f"{_DOT}random_keys[fours-1-0.0]"),
    Bug("slices/bit_serial_dot.py", "summed.sum >> p.pad", "summed.sum",
        "a score has the zeros behind its words", f"{_DOT}random_keys[padded-1-0.0]"),
]
