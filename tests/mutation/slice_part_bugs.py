"""Bugs in the blocks of ``hdl/slices`` that deal rows part by part, by their maxima."""

from __future__ import annotations

from .bug import Bug

__all__ = ["SLICE_PART_BUGS"]

_PARTS = "slices/test_row_parts.py::test_"
_TURNS = "slices/test_key_turns.py::test_"
_MAXIMA = "slices/test_row_maxima.py::test_"
_RELATIVE = "slices/test_relative_bounds.py::test_"

SLICE_PART_BUGS = [
    # -- row_parts
    Bug("slices/row_parts.py", "held.turns > self.ENDS[number]", "held.turns >= self.ENDS[number]",
        "a row that ends with a part has one more", f"{_PARTS}the_ends_of_parts[lane]", quick=True),
    Bug("slices/row_parts.py", "queue.o.valid & settled.bit_select(queue.o.p.row, 1)",
        "queue.o.valid", "a part comes before its row is renewed",
        f"{_PARTS}older_parts_first[lane]"),
    Bug("slices/row_parts.py", "            settled.bit_select(held.row, 1).eq(0),\n", "",
        "a row that was renewed once is so for ever", f"{_PARTS}older_parts_first[lane]"),
    Bug("slices/row_parts.py", "(0, *self.ENDS)[number]", "(0, 0, *self.ENDS)[number]",
        "a second part begins anew", f"{_PARTS}the_ends_of_parts[lane]"),
    Bug("slices/row_parts.py",
        "~self.row.p.relative & ~later[0].level.any() & ~later[1].level.any()",
        "~self.row.p.relative", "parts wait behind a row whose keys need their room",
        f"{_PARTS}random_rows[lane-rate]"),
    Bug("slices/row_parts.py", "self.row.valid & (enough | alone)", "self.row.valid & enough",
        "every row waits for its last key", f"{_PARTS}rows_before_their_keys[narrow]"),
    Bug("slices/row_parts.py", "self.row.ready & row.last_of_kv", "self.row.ready",
        "keys of a head count for each of its rows", f"{_PARTS}random_rows[lane-all]"),
    Bug("slices/row_parts.py", "Mux(ended >= room, ended - room, ended)", "ended",
        "the ring of keys does not start anew", f"{_PARTS}random_rows[lane-all]"),
    Bug("slices/row_parts.py", "Mux(row.pin_newest > row.keys, 0, row.keys - row.pin_newest)",
        "row.keys - row.pin_newest", "more pins than keys are none",
        f"{_PARTS}random_rows[lane-all]"),
    Bug("slices/row_parts.py", "row.relative & row.write", "row.relative",
        "a row without scores waits for its maximum",
        f"{_PARTS}other_rows_have_one_part[lane-row1]"),
    # -- key_turns
    Bug("slices/key_turns.py", "part.down & turn.any()", "part.down",
        "the first keys are not among the first", f"{_TURNS}rows_of_every_length[one-1]",
        quick=True),
    Bug("slices/key_turns.py", "Mux(left < lanes, left, lanes)", "lanes",
        "a turn has keys that its row does not have", f"{_TURNS}random_parts[more-0.0]"),
    Bug("slices/key_turns.py", "end & part.last", "end", "every part ends its row",
        f"{_TURNS}random_parts[one-0.0]"),
    Bug("slices/key_turns.py", "Mux(within, place, part.first)", "place",
        "a part begins where the one before ended", f"{_TURNS}random_parts[one-0.0]"),
    Bug("slices/key_turns.py", "self.part.valid & o.ready & end",
        "self.part.valid & o.ready", "a part leaves with its first turn",
        f"{_TURNS}a_turn_in_every_cycle[one]"),
    Bug("slices/key_turns.py", "m.If(o.valid & o.ready)", "m.If(o.valid)",
        "a turn for which there is no room is left out",
        f"{_TURNS}random_parts[one-stall2]"),
    # -- row_maxima
    Bug("slices/row_maxima.py", "~best.known | (port.p.score > best.score)",
        "port.p.score > best.score", "a row begins with the maximum of another one",
        f"{_MAXIMA}random_scores[narrow-0.5-0.3]", quick=True),
    Bug("slices/row_maxima.py", "self.free & (self.freed == n)", "self.free",
        "all rows begin anew at once", f"{_MAXIMA}random_scores[narrow-0.5-0.3]"),
    Bug("slices/row_maxima.py", "b.known & (~a.known | (b.score > a.score))",
        "b.score > a.score", "a way without a score counts",
        f"{_MAXIMA}random_scores[more-0.1-0.3]"),
    Bug("slices/row_maxima.py", "self._larger(found[0], found[-1])",
        "self._larger(found[0], found[0])", "only keys of even numbers count",
        f"{_MAXIMA}both_ways_at_once[1]"),
    Bug("slices/row_maxima.py", "m.d.sync += one.eq(rows[port.row])",
        "m.d.comb += one.eq(rows[port.row])", "a maximum is there a cycle early",
        f"{_MAXIMA}the_stated_latency[narrow]"),
    # -- relative_bounds
    Bug("slices/relative_bounds.py", "(reach + (1 << left) - 1) >> left", "reach >> left",
        "bounds are rounded down", f"{_RELATIVE}all_ends[narrow]", quick=True),
    Bug("slices/relative_bounds.py", "Mux(below < least, least, below)", "below",
        "a threshold below the least score is a high one", f"{_RELATIVE}all_ends[narrow]"),
    Bug("slices/relative_bounds.py", "below = Signal(signed(s.score_bits + 2))",
        "below = Signal(signed(s.score_bits + 1))", "the largest margin wraps",
        f"{_RELATIVE}all_ends[narrow]"),
    Bug("slices/relative_bounds.py", "threshold << s.pad if", "threshold if",
        "the last bound lacks its zeros", f"{_RELATIVE}all_ends[padded]"),
    Bug("slices/relative_bounds.py", 'm.next = "END"\n            with m.State("REACH")',
        'm.next = "REACH"\n            with m.State("REACH")',
        "a row without a score loses its bounds", f"{_RELATIVE}random_rows[narrow-0.9-1.0]"),
    Bug("slices/relative_bounds.py", "with m.If(number == s.bounds - 1)", "with m.If(number == 0)",
        "a row is renewed with its first bound", f"{_RELATIVE}random_rows[narrow-0.9-1.0]"),
    Bug("slices/relative_bounds.py", "with m.If(self.bound.ready):", "with m.If(1):",
        "a bound that waits is lost", f"{_RELATIVE}random_rows[narrow-0.9-0.3]"),
]
