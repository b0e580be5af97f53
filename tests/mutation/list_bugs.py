"""Bugs in the blocks of ``hdl/control`` that build and walk lists, and count what they leave."""

from __future__ import annotations

from .bug import Bug

__all__ = ["LIST_BUGS"]

_VALUES = "control/test_value_tally.py::test_"
_LIST = "control/test_row_list.py::test_"
_LISTS = "control/test_job_lists.py::test_"
_ROWS = "control/test_listed_rows.py::test_"
_TOKENS = "control/test_token_registers.py::test_"

LIST_BUGS = [
    # -- job_lists: a refused job
    Bug("control/job_lists.py", 'fsm.ongoing("IDLE") & ~read', "1",
        "a job takes over the lists of a refused one",
        f"{_LISTS}a_job_behind_a_refused_one[0-small]"),
    # -- value_tally
    Bug("control/value_tally.py", "counts = beat & self.row.p.write",
        "counts = beat", "rows that are not written are counted",
        f"{_VALUES}values_of_each_job[0.0-0.0-tiny]", quick=True),
    Bug("control/value_tally.py", "tally.event.eq(counts | again)", "tally.event.eq(counts)",
        "rows that come again count only as a beat passes", f"{_VALUES}rows_that_come_again[0.0]"),
    Bug("control/value_tally.py", "Mux(counts, count_flags(list(kept)), 0)",
        "count_flags(list(kept))", "values are counted as a row comes again",
        f"{_VALUES}rows_that_come_again[0.0]"),
    Bug("control/value_tally.py", "count_flags(list(kept))", "kept[0]",
        "only the first row of V of a beat is counted",
        f"{_VALUES}values_of_each_job[0.0-0.0-small]"),
    Bug("control/value_tally.py", "beat & last & self.row.p.last_of_job",
        "beat & self.row.p.last_of_job", "a job ends with any beat of its last row",
        f"{_VALUES}values_of_each_job[0.0-0.0-tiny]"),
    Bug("control/value_tally.py", "self.row.ready.eq(beat & last)",
        "self.row.ready.eq(last)", "a row leaves between beats",
        f"{_VALUES}values_of_each_job[0.3-0.0-tiny]"),
    Bug("control/value_tally.py", "(p.max_heads * p.max_queries * p.max_keys).bit_length()",
        "(p.max_heads * p.max_queries * p.max_keys - 1).bit_length()",
        "the largest count does not fit", f"{_VALUES}the_largest_job_fits"),
    # -- row_list
    Bug("control/row_list.py", "inside.eq(within)", "inside.eq(-1)",
        "what lies beyond the mask is listed", f"{_LIST}any_mask[tiny]", quick=True),
    Bug("control/row_list.py", "Mux(empty, 1, packed.p.count)", "packed.p.count",
        "an entry that is there by force is not counted",
        f"{_LIST}an_empty_list_has_a_forced_entry[tiny]"),
    Bug("control/row_list.py", "Mux(empty, 0, packed.p.item.as_value())",
        "packed.p.item.as_value()", "the entry by force is any row",
        f"{_LIST}an_empty_list_has_a_forced_entry[reference]"),
    Bug("control/row_list.py", "number.eq(beat)", "number.eq(beat + 1)",
        "rows are listed one beat too high", f"{_LIST}any_mask[tiny]"),
    # -- job_lists
    Bug("control/job_lists.py", "queries.final + 1 + ahead", "queries.final + ahead",
        "the last query does not see its own place",
        f"{_LISTS}keys_end_with_the_last_one_that_is_seen", quick=True),
    Bug("control/job_lists.py", "Mux(queries.forced, 0, keys.count)", "keys.count",
        "keys are listed though no query is valid", f"{_LISTS}degenerate_jobs[0-small]"),
    Bug("control/job_lists.py", "there & ~self.job.valid", "there",
        "lists of the job before pass for those of the next",
        f"{_LISTS}lists_stay_until_the_next_job_is_offered"),
    Bug("control/job_lists.py", "queries.force.eq(1)", "queries.force.eq(0)",
        "a job without a valid query has no row", f"{_LISTS}degenerate_jobs[0-small]"),
    Bug("control/job_lists.py", "        with m.If(loader.en):\n", "        with m.If(1):\n",
        "the loader sees the other list a cycle later", f"{_LISTS}lists[1.0-small]"),
    Bug("control/job_lists.py", "keys.start.eq(~causal)", "keys.start.eq(0)",
        "keys are listed in causal jobs only", f"{_LISTS}lists[1.0-small]"),
    Bug("control/job_lists.py", "selection.decay.eq(word[8:])", "selection.decay.eq(word[3:])",
        "the decay is taken from other bits", f"{_LISTS}lists[1.0-small]"),
    Bug("control/job_lists.py", "saturated(word[16:], bits)", "saturated(word, bits)",
        "ages begin to differ at the flags", f"{_LISTS}lists[1.0-small]"),
    # -- listed_rows
    Bug("control/listed_rows.py", "s.ahead.eq(s.all_keys - s.all_queries)",
        "s.ahead.eq(s.all_keys - s.all_queries - 1)", "causal rows do not see their own place",
        f"{_ROWS}rows[0.0-1.0-1-tiny]", quick=True),
    Bug("control/listed_rows.py", "(entry.index <= limit) & (first + n < self.keys)",
        "(entry.index <= limit)", "what lies beyond the list of keys is seen",
        f"{_ROWS}rows[0.0-1.0-1-small]"),
    Bug("control/listed_rows.py", "row.last_of_kv.eq(s.final_query & (s.none | s.crossed))",
        "row.last_of_kv.eq(s.final_query)", "keys are released after the first head of a group",
        f"{_ROWS}rows[0.0-1.0-0-tiny]"),
    Bug("control/listed_rows.py", "Mux(end, 0, s.next_member + 1)", "s.next_member + 1",
        "groups after the first never end", f"{_ROWS}rows[0.0-1.0-0-tiny]"),
    Bug("control/listed_rows.py", "[s.rank.eq(0), s.line.eq(0)]", "[s.rank.eq(0)]",
        "the next head begins with the last line of keys", f"{_ROWS}rows[0.0-1.0-1-tiny]"),
    Bug("control/listed_rows.py", "row.write.eq(~self.forced)", "row.write.eq(1)",
        "a row by force is written", f"{_ROWS}degenerate_lists[0-tiny]"),
    Bug("control/listed_rows.py", "self.fetch.en.eq(self.scale.ready)", "self.fetch.en.eq(1)",
        "a scale is lost where there is no room", f"{_ROWS}no_scale_is_lost_for_want_of_room"),
    Bug("control/listed_rows.py", "with m.If(~whole):", "with m.If(1):",
        "no row sees more than a line of keys", f"{_ROWS}rows[0.0-1.0-1-small]"),
    # -- registers
    Bug("control/registers.py", "& write.payload.strobe.all())", ")",
        "bytes that are not written change a score",
        f"{_TOKENS}a_score_is_written_whole_or_not_at_all[0.0]"),
    Bug("control/registers.py", "m.d.sync += index.eq(index + 1)",
        "m.d.sync += index.eq(index)", "an access does not go on to the next token",
        f"{_TOKENS}scores_are_saved_and_restored[0.0-0.0-tiny]"),
    Bug("control/registers.py", "score & ~self._of_head & ~self.score_ready", "0",
        "a write of a score does not wait until it can be made",
        f"{_TOKENS}scores_are_saved_and_restored[0.3-0.7-tiny]"),
    Bug("control/registers.py", "~reads | (there & ~writes)",
        "~reads | there", "a read has the token of a write in the same cycle",
        f"{_TOKENS}a_read_and_a_write_of_scores_at_once[0]"),
    Bug("control/registers.py",
        "table.write_bank.eq(bank),\n            table.write_word.eq(word[:7])",
        "table.write_bank.eq(self.candidate_bank),\n            table.write_word.eq(word[:7])",
        "candidates go to the bank that is read",
        f"{_TOKENS}candidates_are_kept_for_each_job[tiny]"),
    Bug("control/registers.py", "address[7:] == window.offset >> 9",
        "address[8:] == window.offset >> 10",
        "words behind the query mask read as the next keys",
        f"{_TOKENS}words_of_windows_that_are_written_read_as_zero"),
]
