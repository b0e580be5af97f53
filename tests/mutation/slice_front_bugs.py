"""Bugs in the blocks of ``hdl/slices`` that bring keys and rows to the units."""

from __future__ import annotations

from .bug import Bug

__all__ = ["SLICE_FRONT_BUGS"]

_CUTTER = "slices/test_key_cutter.py::test_"
_STORE = "slices/test_slice_store.py::test_"
_DEALER = "slices/test_key_dealer.py::test_"
_BOUNDS = "slices/test_row_bounds.py::test_"

SLICE_FRONT_BUGS = [
    # -- key_cutter
    Bug("slices/key_cutter.py", "(in_line <= in_key) | head_end", "in_line <= in_key",
        "a head starts behind the last key of another one", f"{_CUTTER}random_heads[bits-0.0]",
        quick=True),
    Bug("slices/key_cutter.py", "key_end.eq(in_key <= in_line)", "key_end.eq(in_key < in_line)",
        "a key that ends with its line does not end", f"{_CUTTER}random_heads[narrow-0.0]"),
    Bug("slices/key_cutter.py", "self.i.ready.eq(move & line_end)", "self.i.ready.eq(move)",
        "only the first piece of a line is cut", f"{_CUTTER}random_heads[more-0.0]"),
    Bug("slices/key_cutter.py", "(group - part + place)[:bits]", "(group + place)[:bits]",
        "the rest of a key is at the wrong places", f"{_CUTTER}random_heads[more-0.0]"),
    Bug("slices/key_cutter.py", "key == head.keys - 1", "key == head.keys",
        "a head has a key more", f"{_CUTTER}random_heads[one-0.0]"),
    Bug("slices/key_cutter.py", "self.i.valid & self.head.valid &", "self.i.valid &",
        "lines are cut before their head has come",
        f"{_CUTTER}no_line_is_taken_without_its_head[one]"),
    Bug("slices/key_cutter.py", "self.head.valid & (~self.o.valid | self.o.ready)",
        "self.head.valid", "a piece is cut while another one waits",
        f"{_CUTTER}random_heads[one-0.4]"),
    # -- slice_store
    Bug("slices/slice_store.py", "word << p.operand_bits - 8", "word",
        "an 8-bit word has its bits in the last slices", f"{_STORE}largest_words[one]", quick=True),
    Bug("slices/slice_store.py", "room.eq(after != s.groups * s.units)", "room.eq(1)",
        "keys enter that have no place", f"{_STORE}room[narrow-1]"),
    Bug("slices/slice_store.py", "held + end - self.release", "held + end - (self.release != 0)",
        "keys that are released together give one place back", f"{_STORE}room[narrow-3]"),
    Bug("slices/slice_store.py", "self.i.ready.eq(take & last_turn)", "self.i.ready.eq(take)",
        "a piece leaves before all its slices are written", f"{_STORE}random_keys[one-0-0.0]"),
    Bug("slices/slice_store.py", "Signal(self.latency - 1)", "Signal(self.latency - 2)",
        "a key is told of before it is written", f"{_STORE}random_keys[narrow-0-0.0]"),
    Bug("slices/slice_store.py", "Mux(valid, there, 0)", "valid.replicate(len(there))",
        "a piece is written over those before it", f"{_STORE}random_keys[narrow-1-0.6]"),
    Bug("slices/slice_store.py", "Mux(last_group, 0, base + s.slices)", "base + s.slices",
        "the ring does not start anew", f"{_STORE}random_keys[narrow-0-0.0]"),
    Bug("slices/slice_store.py", "(bank - mine[1]) % s.units", "(bank + mine[1]) % s.units",
        "slices go round the banks backwards", f"{_STORE}random_keys[bits-0-0.0]"),
    # -- key_dealer
    Bug("slices/key_dealer.py", "queue.level < self.depth - 3", "queue.level < self.depth - 2",
        "a key more is dealt than the queue takes", f"{_DEALER}a_unit_that_stands", quick=True),
    Bug("slices/key_dealer.py", "last.eq(left <= lanes)", "last.eq(left < lanes)",
        "a row whose keys fill its turns has one more", f"{_DEALER}random_rows[narrow-0.0-1.0]"),
    Bug("slices/key_dealer.py", "room & (there >= count)", "room & (there > count)",
        "the last key that is there waits for another one",
        f"{_DEALER}a_key_is_dealt_in_the_cycle_after_it_is_there[narrow]"),
    Bug("slices/key_dealer.py", "held.eq(rest - count + more)", "held.eq(held + more)",
        "keys of a head that is over count for the next one",
        f"{_DEALER}random_rows[narrow-0.0-0.2]"),
    Bug("slices/key_dealer.py", "back = last & ~self.row.p.last_of_kv", "back = last",
        "all heads start at the same key", f"{_DEALER}random_rows[narrow-0.0-1.0]"),
    Bug("slices/key_dealer.py", "entry.address.eq(its)", "entry.address.eq(address)",
        "a key has the address of the one after it", f"{_DEALER}random_rows[one-0.0-1.0]"),
    Bug("slices/key_dealer.py", "turn.key[low:high] if high > low else 0", "0",
        "only the first part of a word of the mask is used",
        f"{_DEALER}random_rows[same-0.0-1.0]"),
    Bug("slices/key_dealer.py", "& turn.write &", "&", "keys of a masked query are scored",
        f"{_DEALER}random_rows[narrow-0.0-1.0]"),
    Bug("slices/key_dealer.py", "end = address == s.bank_depth - s.slices",
        "end = address == s.bank_depth - 1", "the ring does not start anew",
        f"{_DEALER}random_rows[narrow-0.0-1.0]"),
    # -- row_bounds
    Bug("slices/row_bounds.py", "Mux(place < parts, given, 0)", "given",
        "a short query goes on with what lies behind it", f"{_BOUNDS}random_rows[one-0.0]",
        quick=True),
    Bug("slices/row_bounds.py", "Mux(row.wide, 0, slices_skipped(p))", "0",
        "an 8-bit word starts with the slice of a longer one", f"{_BOUNDS}random_rows[one-0.0]"),
    Bug("slices/row_bounds.py", "(turn == self.reads - 1) &", "(turn == 0) &",
        "a query is given back after its first read", f"{_BOUNDS}random_rows[least-0.0]"),
    Bug("slices/row_bounds.py", "numbers.some & (jobs.some | ~first)", "jobs.some | ~first",
        "a row takes the number of one that is inside",
        f"{_BOUNDS}as_many_rows_as_there_are[narrow]"),
    Bug("slices/row_bounds.py", "numbers.some & (jobs.some | ~first)", "numbers.some",
        "a third job begins", f"{_BOUNDS}no_more_than_two_jobs[narrow]"),
    Bug("slices/row_bounds.py", "first.eq(self.row.p.last_of_job)", "first.eq(0)",
        "only the first of all jobs counts", f"{_BOUNDS}no_more_than_two_jobs[narrow]"),
    Bug("slices/row_bounds.py", "begin.eq(self.begins & ~self.hold)", "begin.eq(self.begins)",
        "a row begins while it is held", f"{_BOUNDS}rows_wait[one-held]"),
    Bug("slices/row_bounds.py", "end & self.row.p.last_of_head", "end",
        "every row takes a threshold", f"{_BOUNDS}random_rows[one-0.0]"),
    Bug("slices/row_bounds.py", "job.eq(job ^ row.last_of_job)", "job.eq(0)",
        "rows of two jobs are taken for one", f"{_BOUNDS}random_rows[one-0.0]"),
    Bug("slices/row_bounds.py", "complete.give.eq(active & last)",
        "complete.give.eq(active & (place == 0))", "a row leaves before its last bounds",
        f"{_BOUNDS}the_stated_latency[one]"),
]
