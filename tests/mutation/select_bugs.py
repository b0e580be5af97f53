"""Bugs in ``hdl/select``."""

from __future__ import annotations

from .bug import Bug

__all__ = ["SELECT_BUGS"]

_HISTOGRAM = "select/test_histogram.py::test_"
_ORDER = "select/test_row_order.py::test_"
_RADIX = "select/test_radix_select.py::test_"
_QUICK = "select/test_quick_select.py::test_"
_TOP_K = "select/test_top_k.py::test_"

SELECT_BUGS = [
    # -- leading code
    Bug("select/leading_code.py", "Mux(exponent == 0, 0, exponent - 1)", "exponent",
        "a code leaves a bit too many open", "select/test_leading_code.py::test_every_value",
        quick=True),
    Bug("select/leading_code.py", "value[place - fraction : place]",
        "value[place - fraction : place][::-1]", "the bits after the leading one are turned around",
        "select/test_leading_code.py::test_every_value"),
    Bug("select/leading_code.py", "above | (value[place] & flag)", "value[place] & flag",
        "larger values do not reach a code", "select/test_leading_code.py::test_every_value"),
    Bug("select/leading_code.py", "code[:fraction], code[fraction:].any()",
        "code[:fraction], 1", "small values begin with a one",
        "select/test_leading_code.py::test_every_value"),
    # -- histogram
    Bug("select/histogram.py", "Mux(first, 0, o.p[bucket])", "o.p[bucket]",
        "a row is counted on top of the last one", f"{_HISTOGRAM}counts[0.0-5-3]", quick=True),
    Bug("select/histogram.py", "first.eq(last)", "first.eq(i.p.last)",
        "the last beat of a row counts for the next", f"{_HISTOGRAM}counts"),
    Bug("select/histogram.py", "o.valid.eq(valid & last)", "o.valid.eq(valid)",
        "every beat tells counts", f"{_HISTOGRAM}counts"),
    # -- bucket
    Bug("select/bucket_find.py", "i.p.count[b] >= i.p.k", "i.p.count[b] > i.p.k",
        "the bucket of the k-th is missed if it is the last there", f"{_HISTOGRAM}bucket",
        quick=True),
    Bug("select/bucket_find.py", "reached & ~(reached >> 1)", "reached & (reached >> 1)",
        "buckets below are taken too", f"{_HISTOGRAM}bucket"),
    Bug("select/bucket_find.py", "o.p.above.eq(either(above))", "o.p.above.eq(either(reaching))",
        "those in the bucket count as above it", f"{_HISTOGRAM}bucket"),
    # -- countdown
    Bug("select/countdown.py", "Mux(first, less, rest) - of_beat", "rest - of_beat",
        "a row is counted on from the last one", f"{_HISTOGRAM}countdown[0.0-5-3]", quick=True),
    Bug("select/countdown.py", "here = fails & rest[-1] if bucket else fails", "here = rest[-1]",
        "buckets below are taken too", f"{_HISTOGRAM}countdown"),
    Bug("select/countdown.py", "start.eq(less)", "start.eq(i.p.less)",
        "of the top bucket k is that of the next beat", f"{_HISTOGRAM}countdown"),
    Bug("select/countdown.py", "(self.o.p.less == 0) & own.all()", "own.all()",
        "the last of several is told to be single", f"{_HISTOGRAM}countdown"),
    # -- first digit
    Bug("select/first_digit.py", "row.none | row.every | (rest == 0)", "row.none | row.every",
        "a code of one value is searched further", f"{_RADIX}latency[16-8]"),
    Bug("select/first_digit.py", "k >= total", "k > total",
        "a row that is kept whole is searched", f"{_TOP_K}adversarial_rows", quick=True),
    Bug("select/first_digit.py", "row.less - bucket.p.above", "row.less",
        "those above the bucket are searched for in it",
        f"{_TOP_K}random_rows[3-12-100-0.0-radix]"),
    Bug("select/first_digit.py", " & (bucket.p.reaching == row.k)", "",
        "the largest of several candidates is told to be single",
        f"{_TOP_K}adversarial_rows[two values-15-radix]"),
    Bug("select/first_digit.py", "keep & Cat(lanes)", "Cat(lanes)",
        "lanes that do not take part are counted", f"{_TOP_K}random_rows[2-6-9-0.0-radix]"),
    Bug("select/first_digit.py", "delayed(m, i.p.last, late)", "i.p.last",
        "a wide row ends with the beat before its last", f"{_RADIX}latency[32-3]"),
    # -- refine
    Bug("select/refine.py", "bucket.p.less + 1", "bucket.p.less",
        "k counts from zero", f"{_TOP_K}adversarial_rows[two values-15-radix]", quick=True),
    Bug("select/refine.py", "Mux(wide, search.rest - self.digit_bits, 0)",
        "Mux(wide, search.rest - self.digit_bits, 1)", "the last bit is never looked at",
        f"{_TOP_K}adversarial_rows"),
    Bug("select/refine.py", "beat.keep[lane] & ~differs", "beat.keep[lane]",
        "every value is a candidate", f"{_TOP_K}random_rows[3-12-100-0.0-radix]"),
    Bug("select/refine.py", "self.search.ready.eq(free & ~again.valid & candidates.room)",
        "self.search.ready.eq(free & candidates.room)", "a search is lost as a row goes on",
        f"{_RADIX}rows_follow_one_another_without_a_gap"),
    Bug("select/refine.py", "shared.left.eq(bit + 1)", "shared.left.eq(bit)",
        "the highest bit that differs is taken for shared",
        f"{_RADIX}bits_that_all_candidates_share_take_no_pass"),
    Bug("select/refine.py", "again.valid.eq(bucket.valid & job.goes_on)",
        "again.valid.eq(bucket.valid & ~again.p.known)",
        "equal candidates stay in the queue", f"{_RADIX}equal_rows_follow_one_another"),
    Bug("select/refine.py", "shared.more.eq(~(differ & ~open_).any())",
        "shared.more.eq(~(differ | ~open_).any())",
        "bits that the candidates share are known too late", f"{_RADIX}latency"),
    Bug("select/refine.py", "old.eq(again.valid)", "old.eq(self.search.valid)",
        "candidates are taken for a row", f"{_RADIX}rows_follow_one_another_without_a_gap"),
    Bug("select/refine.py", "ended.eq(fetch & last & (old | goes_on))",
        "ended.eq(fetch & last & old)", "a list follows one that has another pass at once",
        f"{_TOP_K}lists_that_end_in_two_beats_at_once"),
    Bug("select/refine.py", "delayed(m, valid & last, 2)", "delayed(m, valid & last, 1)",
        "of a pass's last beat it is not known what it shares", f"{_RADIX}latency"),
    # -- partition
    Bug("select/partition.py", "i.p.item[n] > self.pivot", "i.p.item[n] >= self.pivot",
        "those that equal the pivot are above it too", f"{_QUICK}partition[0.0-3]", quick=True),
    Bug("select/partition.py", "Mux(first, 0, count)", "count",
        "a list is counted on top of the last one", f"{_QUICK}partition"),
    Bug("select/partition.py", "eliminator.i.valid.eq(valid & go)", "eliminator.i.valid.eq(valid)",
        "one side takes a beat twice while the other waits", f"{_QUICK}partition"),
    # -- quick select
    Bug("select/quick_select.py", "with m.If(k <= counts.above):", "with m.If(k < counts.above):",
        "the least of those above is not searched for", f"{_TOP_K}random_rows[3-12-100-0.0-quick]",
        quick=True),
    Bug("select/quick_select.py", "k.eq(k - reaching)", "k.eq(k - counts.above)",
        "those that equal the pivot are searched for again",
        f"{_TOP_K}random_rows[3-12-100-0.0-quick]"),
    Bug("select/quick_select.py", "return (dropped != 0) | flush", "return flush",
        "parts on their way come after a flush", f"{_TOP_K}random_rows[3-12-100-0.0-quick]"),
    Bug("select/quick_select.py", "chosen = ~have | begins | ((random & spread) == 0)",
        "chosen = ~have | begins", "the pivot is always of the first beat",
        f"{_QUICK}pivots_are_spread"),
    # -- row order
    Bug("select/row_order.py", "self.o.valid.eq(there.bit_select(oldest, 1))",
        "self.o.valid.eq(there.any())", "rows leave as they are found", f"{_ORDER}order",
        quick=True),
    Bug("select/row_order.py", "oldest.eq(oldest + taken)", "oldest.eq(oldest + self.o.valid)",
        "a row that is not taken is passed over", f"{_ORDER}order"),
    Bug("select/row_order.py", "with m.If(taken & (oldest == row)):", "with m.If(oldest == row):",
        "a row is forgotten before it is taken", f"{_ORDER}order"),
    # -- radix select
    Bug("select/radix_select.py", '"waiting": begun', '"waiting": taken',
        "searches have no place while a long row is dropped", f"{_RADIX}options[0-1-2]",
        quick=True),
    Bug("select/radix_select.py", "ended.eq(take & self.i.p.last)", "ended.eq(take)",
        "every beat counts as a row", f"{_RADIX}rows_follow_one_another_without_a_gap"),
    Bug("select/radix_select.py", "values.valid.eq(take)", "values.valid.eq(self.i.valid)",
        "beats that wait are kept too", f"{_TOP_K}random_rows[2-6-9-stall6-radix]"),
]
