"""Bugs in the blocks of ``hdl/slices``."""

from __future__ import annotations

from .bug import Bug

__all__ = ["SLICE_BUGS"]

_DOT = "slices/test_bit_serial_dot.py::test_"
_SCORER = "slices/test_bit_serial_scorer.py::test_"

SLICE_BUGS = [
    # -- exit_bounds
    Bug("slices/exit_bounds.py", "Mux(value < 0, 0, value)", "value",
        "negative elements of the query lower the margin", f"{_DOT}bounds[bits]", quick=True),
    Bug("slices/exit_bounds.py", "threshold + most + round_up", "threshold + most",
        "bounds are rounded down", f"{_DOT}bounds[bits]"),
    Bug("slices/exit_bounds.py", "threshold << p.pad", "threshold",
        "the last bound forgets the zeros behind a word", f"{_DOT}bounds[padded]"),
    # -- bit_serial_dot
    Bug("slices/bit_serial_dot.py", "Mux(first, rest - highest, rest + highest)",
        "rest - highest",
        "every slice has a sign", f"{_DOT}random_keys[bits-1-0.0]", quick=True),
    Bug("slices/bit_serial_dot.py", "Mux(first, rest - highest, rest + highest)",
        "rest + highest",
        "no slice has a sign", f"{_DOT}random_keys[bits-1-0.0]"),
    Bug("slices/bit_serial_dot.py", "summed.sum < bound",
        "summed.sum <= bound", "a score that equals the threshold is pruned",
        f"{_DOT}largest_operands[bits]"),
    Bug("slices/bit_serial_dot.py", "(summed.sum < bound) & ~summed.pinned",
        "summed.sum < bound", "a pinned key is dropped", f"{_DOT}random_keys[bits-1-0.0]"),
    Bug("slices/bit_serial_dot.py", "summed.valid & ~short & ~(last & room)",
        "summed.valid & ~(last & room)", "a key that is too small goes on",
        f"{_DOT}random_keys[bits-1-0.0]"),
    Bug("slices/bit_serial_dot.py", "~short & ~(last & room)", "~short & ~last",
        "a key that nobody takes is lost", f"{_DOT}random_keys[tap-1-0.5]"),
    Bug("slices/bit_serial_dot.py", "self.ended.p.waits.eq(~short & ~room)",
        "self.ended.p.waits.eq(0)", "a key that waits is told as one that is dropped",
        f"{_DOT}random_keys[bits-1-0.5]"),
    Bug("slices/bit_serial_dot.py", "with m.If(~before.done):", "with m.If(1):",
        "the sum of a key that waits goes on", f"{_DOT}random_keys[bits-1-0.5]"),
    Bug("slices/bit_serial_dot.py", "with m.If(room):", "with m.If(1):",
        "a key that nobody takes is overwritten", f"{_DOT}random_keys[bits-1-0.5]"),
    Bug("slices/bit_serial_dot.py", "before.sum << p.slice_bits", "before.sum",
        "slices all count the same", f"{_DOT}random_keys[fours-1-0.0]"),
    Bug("slices/bit_serial_dot.py", "ram.read[0].address.eq(place.row)",
        "ram.read[0].address.eq(0)", "all keys are scored with one query",
        f"{_DOT}random_keys[fours-1-0.0]"),
    Bug("slices/bit_serial_dot.py", "Cat(place.number[:bits], place.row)",
        "place.number[:bits]", "all keys have the bounds of one query",
        f"{_DOT}random_keys[fours-1-0.0]"),
    Bug("slices/bit_serial_dot.py", "summed.sum >> p.pad", "summed.sum",
        "a score has the zeros behind its words", f"{_DOT}random_keys[padded-1-0.0]"),
    Bug("slices/bit_serial_dot.py", "[asked.done.eq(0), asked.sum.eq(0)]", "asked.done.eq(0)",
        "a key starts with the sum of the one before", f"{_DOT}random_keys[bits-1-0.0]"),
    Bug("slices/bit_serial_dot.py", "for n, _ in start.p.shape()]",
        "for n in ('key', 'row', 'number')]", "a key starts where the one before ended",
        f"{_DOT}random_keys[bits-1-0.0]"),
    Bug("slices/bit_serial_dot.py", "for n, _ in start.p.shape()]",
        "for n in ('key', 'row', 'address')]", "a key starts with the number of the one before",
        f"{_DOT}random_keys[bits-1-0.0]"),
    # -- bit_serial_scorer
    Bug("slices/bit_serial_scorer.py", "tally.row.p.job.eq(bounds.o.p.job)",
        "tally.row.p.job.eq(0)", "keys of two jobs are counted together",
        f"{_SCORER}random_rows[two-units-0.0-1]", quick=True),
    Bug("slices/bit_serial_scorer.py", "self.mask_used.eq(dealer.mask_used)",
        "self.mask_used.eq(1)", "all rows are masked", f"{_SCORER}random_rows[two-units-0.0-1]"),
    Bug("slices/bit_serial_scorer.py", "relative.bound.ready.eq(~bounds.bound.valid)",
        "relative.bound.ready.eq(1)", "bounds are lost where those of another row are written",
        f"{_SCORER}random_rows[four-groups-0.0-1]"),
    Bug("slices/bit_serial_scorer.py", "dealer.mask_data.eq(self.mask_data)",
        "dealer.mask_data.eq((1 << self.params.groups) - 1)", "no row is masked",
        f"{_SCORER}random_rows[two-units-0.0-1]"),
]
