"""Bugs in the blocks of ``hdl/slices`` that keys go through once they have been dealt."""

from __future__ import annotations

from .bug import Bug

__all__ = ["SLICE_BACK_BUGS"]

_CIRCLE = "slices/test_unit_circle.py::test_"
_COUNT = "slices/test_row_count.py::test_"
_ROWS = "slices/test_survivor_rows.py::test_"
_SURVIVORS = "slices/test_survivors.py::test_"
_TALLY = "slices/test_exit_tally.py::test_"

SLICE_BACK_BUGS = [
    # -- unit_circle
    Bug("slices/unit_circle.py", "units[self.params.bank(n, 1)]", "units[(n - 1) % count]",
        "keys go round the other way", f"{_CIRCLE}random_keys[padded-0.0]", quick=True),
    Bug("slices/unit_circle.py", "behind.arrive.eq(unit.leave)",
        "behind.arrive.eq(unit.leave if n < count - 1 else 0)",
        "the circle is not closed", f"{_CIRCLE}random_keys[padded-0.0]"),
    Bug("slices/unit_circle.py", "connect(m, unit.read, flipped(self.read[n]))",
        "connect(m, unit.read, flipped(self.read[(n + 1) % count]))",
        "each unit reads the bank of the next one", f"{_CIRCLE}random_keys[padded-0.0]"),
    Bug("slices/unit_circle.py", "unit.passes.eq(self.passes[n])", "unit.passes.eq(0)",
        "every unit takes places", f"{_CIRCLE}a_unit_that_lets_places_pass_starts_no_key"),
    Bug("slices/bit_serial_dot.py", "asked.valid.eq(start.valid & ~self.passes)",
        "asked.valid.eq(start.valid)", "a key begins though it was not taken",
        f"{_CIRCLE}a_unit_that_lets_places_pass_starts_no_key"),
    Bug("slices/unit_circle.py", "unit.bound.valid.eq(self.bound.valid)",
        "unit.bound.valid.eq(self.bound.valid & (n > 0))", "a unit has no bounds",
        f"{_CIRCLE}random_keys[padded-0.0]"),
    # -- survivors
    Bug("slices/survivors.py", "(last + 1 + n) % units", "n",
        "the first unit always comes first", f"{_SURVIVORS}units_take_turns[3-0.0]", quick=True),
    Bug("slices/survivors.py", "turn.eq(n)", "turn.eq(0)",
        "the unit that was last is forgotten", f"{_SURVIVORS}units_take_turns[3-0.0]"),
    Bug("slices/survivors.py", "~self.o.valid | self.o.ready", "1",
        "a key that nobody takes is overwritten", f"{_SURVIVORS}random_keys[3-2-stall2]"),
    Bug("slices/survivors.py", "for queue in queues).any()", "for queue in queues).all()",
        "keys wait until all units have one", f"{_SURVIVORS}the_stated_latency[2]"),
    # -- row_count
    Bug("slices/row_count.py", "~e.p.kept & ~e.p.waits", "~e.p.waits",
        "a key that is kept counts twice", f"{_COUNT}the_stated_latency[group-stored]", quick=True),
    Bug("slices/row_count.py", "~e.p.kept & ~e.p.waits", "~e.p.kept",
        "every turn that a key waits counts", f"{_COUNT}random_rows[group-0.7]"),
    Bug("slices/row_count.py", "(left == 0) & (more == 0)", "(left == 0)",
        "keys are not seen in the cycle after they are dealt",
        f"{_COUNT}all_or_none_are_kept[group-0.0]"),
    Bug("slices/row_count.py", "[end.eq(0), self.complete[row].eq(0)]", "[end.eq(0)]",
        "a row that is free stays complete for a cycle", f"{_COUNT}rows_without_a_key[group]"),
    Bug("slices/row_count.py", "end.eq(self.dealt.p.end_of_row)", "end.eq(1)",
        "a row is complete whenever its keys so far are", f"{_COUNT}parts[group-1]"),
    Bug("slices/row_count.py", "range(s.units + len(self.stored) + 1)",
        "range(s.units + len(self.stored))",
        "a key too many at once is lost", f"{_COUNT}as_many_keys_as_can_be_at_once[group]"),
    Bug("slices/row_count.py", "part.eq(~self.dealt.p.end_of_row)", "part.eq(1)",
        "a row that is through waits for its bounds", f"{_COUNT}parts[group-1]"),
    Bug("slices/row_count.py", "[part.eq(0), self.quiet[row].eq(0)]", "[self.quiet[row].eq(0)]",
        "a part is through before it has begun", f"{_COUNT}parts[group-0]"),
    # -- survivor_rows
    Bug("slices/survivor_rows.py", "clear.eq(read)", "clear.eq(0)",
        "scores are there again in the next row of their number",
        f"{_ROWS}what_a_row_leaves_is_cleared[pair]", quick=True),
    Bug("slices/survivor_rows.py", "credit.some & ~sweep", "credit.some",
        "a row is read while scores from before the reset are cleared",
        f"{_ROWS}reset_in_the_middle_of_a_job[eight-False-keyless]"),
    Bug("slices/survivor_rows.py", "~sweep & ~(clear & (bank == port.p.row[:split]))", "~sweep",
        "a score is lost where its memory is cleared",
        f"{_ROWS}a_score_waits_only_where_its_memory_is_read[4]"),
    Bug("slices/survivor_rows.py", "self.complete.bit_select(self.freed, 1) & credit.some",
        "self.complete.bit_select(self.freed, 1)", "beats that nobody takes are lost",
        f"{_ROWS}random_rows[four-1.0-stall3-1-1]"),
    Bug("slices/survivor_rows.py", "maxima.free.eq(self.free)", "maxima.free.eq(0)",
        "the maximum is one of an earlier row", f"{_ROWS}random_rows[four-1.0-0.0-1-1]"),
    Bug("slices/survivor_rows.py", "w.pinned | (w.score >= floor)", "w.score >= floor",
        "a pinned key that is far below the maximum is dropped",
        f"{_ROWS}random_rows[four-1.0-0.0-1-1]"),
    Bug("slices/survivor_rows.py", "w.score >= floor", "w.score > floor",
        "a score at its row's margin is dropped", f"{_ROWS}random_rows[four-1.0-0.0-1-1]"),
    Bug("slices/survivor_rows.py", "Mux(sweep, count, Mux(wipe, cleared, place))",
        "Mux(wipe, cleared, place)", "scores from before the reset are still there",
        f"{_ROWS}reset_in_the_middle_of_a_job[eight-False-some]"),
    Bug("slices/survivor_rows.py", "(self.row.p.keys - 1) >> shift",
        "self.row.p.keys >> shift", "a row that fills its last beat has one more",
        f"{_ROWS}all_or_none_are_kept[four-1.0]"),
    Bug("slices/survivor_rows.py", "self.free & self.row.p.last_of_kv, self.row.p.keys",
        "self.free, self.row.p.keys", "every row releases its keys",
        f"{_ROWS}random_rows[four-1.0-0.0-1-1]"),
    # -- exit_tally
    Bug("slices/exit_tally.py", "~e.p.waits & (e.p.number == n)", "(e.p.number == n)",
        "every turn that a key waits counts as its end", f"{_TALLY}random_jobs[paper-0.6-0.0]",
        quick=True),
    Bug("slices/exit_tally.py", "c[n + skipped] if n + skipped < s.slices else 0", "c[n]",
        "8-bit keys seem to have more slices", f"{_TALLY}random_jobs[paper-0.6-0.0]"),
    Bug("slices/exit_tally.py", "older.eq(~older)", "older.eq(0)",
        "only one of two jobs is told", f"{_TALLY}random_jobs[paper-0.6-0.0]"),
    Bug("slices/exit_tally.py", "total.eq(0)", "total.eq(total + more)",
        "a job counts the keys of the one before the last", f"{_TALLY}random_jobs[paper-0.6-0.0]"),
    Bug("slices/exit_tally.py", "depth=p.queue_depth + 1", "depth=p.queue_depth",
        "counts are lost for want of room", f"{_TALLY}counts_of_as_many_jobs_wait[paper]"),
]
