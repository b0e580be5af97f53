"""Bugs in progressive quantisation: the second plane of K, and the rows that wait for it."""

from __future__ import annotations

from .bug import Bug

__all__ = ["PLANE_BUGS"]

_SCORES = "stages/test_plane_scores.py::test_"
_GATE = "stages/test_precision_gate.py::test_"
_PLANES = "control/test_planes.py::test_"
_SCORER = "stages/test_scorer.py::test_"
_REGIONS = "control/test_regions.py::test_"

PLANE_BUGS = [
    # -- plane_scores
    Bug("stages/plane_scores.py", "self.row.p.progressive & ~self.row.p.again",
        "self.row.p.progressive", "products of the second plane are not added",
        f"{_SCORES}random_rows[one group-0.0]", quick=True),
    Bug("stages/plane_scores.py", "take & row.progressive & ~row.again",
        "take & row.progressive", "what is kept is written over as it is read",
        f"{_SCORES}proof {_SCORES}random_rows[one group-0.0]"),
    Bug("stages/plane_scores.py", "Mux(started, number, row.place)", "row.place",
        "all beats of a row are kept in one place", f"{_SCORES}random_rows[four groups-0.0]"),
    Bug("stages/plane_scores.py", "number.eq(next_index(place, p.held_beats))",
        "number.eq(place + 1)", "a row may not wrap around the memory",
        f"{_SCORES}memory_is_full"),
    Bug("stages/plane_scores.py", "ram.read[0].en.eq(move)", "ram.read[0].en.eq(1)",
        "what was read is lost while a beat waits",
        f"{_SCORES}random_rows[four groups-stall2] {_SCORES}random_rows[one group-stall2]"),
    Bug("stages/plane_scores.py", "self.row.ready.eq(take & beat.last)",
        "self.row.ready.eq(take)", "a row is taken with its first beat",
        f"{_SCORES}random_rows[four groups-0.4]"),
    # -- precision_gate
    Bug("stages/precision_gate.py", "largest < self.threshold", "largest <= self.threshold",
        "a probability that equals the threshold is too small",
        f"{_GATE}threshold_to_the_last_bit[0]", quick=True),
    Bug("stages/precision_gate.py", "found.mantissa >> found.exponent", "found.mantissa",
        "sums count as less than two", f"{_GATE}threshold_to_the_last_bit[1]"),
    Bug("stages/precision_gate.py", "again.eq(~judged.again & ~found.empty &",
        "again.eq(~found.empty &", "a row comes again and again",
        f"{_GATE}proof_of_order {_GATE}all_or_none_come_again[one group-1-0.0]"),
    Bug("stages/precision_gate.py", "~judged.again & ~found.empty", "~judged.again",
        "a row without a key comes again", f"{_GATE}a_row_without_a_key_is_final"),
    Bug("stages/precision_gate.py", "with m.If(gone):\n            m.d.sync += final",
        "with m.If(0):\n            m.d.sync += final",
        "a row leaves before its verdict, as the last one in its segment was final",
        f"{_GATE}room_is_just_enough[one group]"),
    Bug("stages/precision_gate.py", "sums.write.en.eq(valid & ~again)",
        "sums.write.en.eq(valid)", "rows leave although they must come again",
        f"{_GATE}proof_of_order"),
    Bug("stages/precision_gate.py", "self.row.ready & row.progressive & ~row.again",
        "self.row.ready & row.progressive", "rows that come again leave twice",
        f"{_GATE}all_or_none_come_again[one group-1-0.0]"),
    Bug("stages/precision_gate.py", "begin.eq(ready & told & free & ~going)",
        "begin.eq(ready & free & ~going)", "statistics are lost where nobody takes them",
        f"{_GATE}random_jobs[one group-0.0-0.7] {_GATE}proof_of_order"),
    Bug("stages/precision_gate.py", "Mux(beats == 0, row.place, number)", "row.place",
        "all beats of a row are held in one place", f"{_GATE}random_jobs[one group-0.0-0.0]"),
    # -- planes
    Bug("control/planes.py", "(need.beats <= free.beats)", "(free.beats != 0)",
        "rows start where there is room for a beat",
        f"{_PLANES}room_is_just_enough[one group-1] {_PLANES}proof", quick=True),
    Bug("control/planes.py", "(need.segments <= free.segments)", "(free.segments != 0)",
        "rows start where there is room for a segment",
        f"{_PLANES}room_is_just_enough[one group-None]"),
    Bug("control/planes.py", "Mux(keys == 0, 1, (keys + (groups - 1)) // groups)",
        "(keys + (groups - 1)) // groups", "rows without a key need no room",
        f"{_PLANES}rows_without_a_key_need_a_beat"),
    Bug("control/planes.py", "s.repeats.o.p.address + self.plane", "s.repeats.o.p.address",
        "the first plane is read again", f"{_PLANES}all_or_none_come_again[one group-1-0.0]"),
    Bug("control/planes.py", "self.o_row.p.last_of_kv.eq(last)", "self.o_row.p.last_of_kv.eq(1)",
        "keys are released by the first row that comes again",
        f"{_PLANES}one_row_or_many {_PLANES}room_is_just_enough[one group-1]"),
    Bug("control/planes.py", "s.repeats.i.valid.eq(s.heads.o.ready & (after != 0))",
        "s.repeats.i.valid.eq(s.heads.o.ready)", "KV heads without such rows come again",
        f"{_PLANES}all_or_none_come_again[one group-0-0.0]"),
    Bug("control/planes.py", "Mux(record.p.last_of_kv, 0, after)", "after",
        "rows of all KV heads are counted", f"{_PLANES}all_or_none_come_again[one group-1-0.0]"),
    Bug("control/planes.py", "s.segment.eq(s.segment + s.rows.o.p.parts)",
        "s.segment.eq(s.segment)", "queries of other jobs all lie in one place",
        f"{_PLANES}random_jobs[one group-0.0]"),
    Bug("control/planes.py", "Mux(after >= p.held_beats, after - p.held_beats, after)", "after",
        "places may not wrap around the memory", f"{_PLANES}random_jobs[one group-0.0]"),
    # -- what they need of others
    Bug("control/regions.py", 'first = 16 if self.tensor == "k" else 20', "first = 16",
        "V has the width of K", f"{_REGIONS}widths[0.0-1.0-v]"),
    Bug("control/regions.py", "Mux(region.wide, 4, 2)", "Mux(region.wide, 3, 2)",
        "K of 12 bits is read as 10", f"{_REGIONS}widths[0.0-1.0-k]"),
    Bug("stages/query_store.py", "used = Mux(self.read.hold, 0, used)", "used = used + 0",
        "queries that are held are written over",
        f"{_SCORER}held_queries_fill_the_store[one group]"),
    Bug("stages/query_store.py", "first.eq(self.read.segment)", "first.eq(0)",
        "all queries are read in one place", f"{_SCORER}held_queries_fill_the_store[one group]"),
    Bug("stages/scorer_issue.py", "query = query | row.again", "query = query | 0",
        "a row that comes again waits for another query",
        f"{_SCORER}held_queries_fill_the_store[one group]"),
]
