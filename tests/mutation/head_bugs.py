"""Bugs in the importance and selection of heads."""

from __future__ import annotations

from .bug import Bug

__all__ = ["HEAD_BUGS"]

_HEADS = "observers/test_head_select.py::test_"
_UNIT = "observers/test_head_unit.py::test_"

HEAD_BUGS = [
    # -- scores
    Bug("observers/head_scores.py", "Mux(element < 0, -element, element)", "element",
        "magnitudes keep their sign", f"{_HEADS}scores[five-0.0]", quick=True),
    Bug("observers/head_scores.py", "total.eq(Mux(ends, 0, total + beat_sum))",
        "total.eq(total + beat_sum)", "a head counts those before it", f"{_HEADS}scores[five-0.0]"),
    Bug("observers/head_scores.py", "counts = self.beat & self.row.p.write", "counts = self.beat",
        "rows that are not written count", f"{_HEADS}scores[five-0.0]"),
    Bug("observers/head_scores.py", "Mux(total[-1], most, total)", "total",
        "a score wraps around", f"{_HEADS}scores[five-0.0]"),
    # -- selection
    Bug("observers/head_select.py", "(score == mine) & (place > n)",
        "(score == mine) & (place < n)", "of equal heads the last is taken",
        f"{_HEADS}selection[five]", quick=True),
    Bug("observers/head_select.py", "count_flags(before) < self.keep",
        "count_flags(before) <= self.keep", "one head too many is kept",
        f"{_HEADS}selection[five]"),
    Bug("observers/head_select.py", "self.alive[n] & ((score > mine) | first)",
        "(score > mine) | first", "pruned heads take a place", f"{_HEADS}selection[five]"),
    # -- unit
    Bug("observers/head_unit.py", "scores.write.eq(self.write & self.half[0])",
        "scores.write.eq(self.write)", "the lower half writes a score", f"{_UNIT}halves",
        quick=True),
    Bug("observers/head_unit.py", "scores.clear.eq(self.begin & self.clear)",
        "scores.clear.eq(self.begin)", "every job clears the scores", f"{_UNIT}jobs"),
    Bug("observers/head_unit.py", "select.start.eq(scores.ended & self.select)",
        "select.start.eq(scores.ended)", "heads are selected unasked", f"{_UNIT}jobs"),
]
