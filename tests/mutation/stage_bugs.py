"""Bugs in ``hdl/stages``."""

from __future__ import annotations

from .bug import Bug

__all__ = ["STAGE_BUGS"]

_SCORER = "stages/test_scorer.py::test_random_heads"
_BUFFER = "stages/test_row_buffer.py::test_"
_EXPONENTIAL = "stages/test_exponential.py::test_"
_RECIPROCAL = "stages/test_reciprocal.py::test_"
_PROB_V = "stages/test_prob_v.py::test_"
_NORMALISER = "stages/test_normaliser.py::test_"
_PROBABILITY = "stages/test_probability.py::test_"

STAGE_BUGS = [
    # -- query_store
    Bug("stages/query_store.py", "line_end = head_end | (place == p.groups - 1)",
        "line_end = place == p.groups - 1", "the rest of a head's last line is taken for a row",
        f"{_SCORER}[0-two groups]", quick=True),
    Bug("stages/query_store.py", "row_written.eq(take & cutter.row_end)",
        "row_written.eq(take)", "rows are read before they are complete",
        f"{_SCORER}[0.3-four groups] {_SCORER}[0.3-two groups]"),
    Bug("stages/query_store.py", "first.eq(first + self.read.parts)", "first.eq(first + 1)",
        "the next row starts in the middle of this one", _SCORER),
    Bug("stages/query_store.py", "free.eq(free - take + done)", "free.eq(free - take)",
        "places are never freed", _SCORER),
    Bug("stages/query_store.py", "m.d.sync += row.eq(0)", "m.d.sync += row.eq(row)",
        "rows are counted on from head to head", _SCORER),
    # -- scorer_issue
    Bug("stages/scorer_issue.py", "(few > lane) for lane in range(p.groups)",
        "(few >= lane) for lane in range(p.groups)", "a key too many is valid",
        f"{_SCORER}[0-two groups]", quick=True),
    Bug("stages/scorer_issue.py", "self.release.eq(self.read & last_of_kv)",
        "self.release.eq(self.read)", "lines are released by the first row", _SCORER),
    Bug("stages/scorer_issue.py", "key_valid = some | ~keys", "key_valid = some",
        "rows without a key wait for keys", _SCORER),
    Bug("stages/scorer_issue.py", "ahead.eq(self.level + self.append)", "ahead.eq(self.level)",
        "a line that arrives as a row ends is missed", _SCORER),
    Bug("stages/scorer_issue.py", "left.eq(left - p.groups)", "left.eq(left - 1)",
        "rows go on behind their keys", _SCORER),
    # -- scorer_array
    Bug("stages/scorer_array.py", "2 * p.operand_bits + (p.segment - 1).bit_length()",
        "2 * p.operand_bits", "sums of a segment overflow", f"{_SCORER}[0-two groups]",
        quick=True),
    Bug("stages/scorer_array.py",
        "with m.If(self.enable):\n                m.d.sync += key.eq(self.key)",
        "with m.If(1):\n                m.d.sync += key.eq(self.key)",
        "keys move on without enable", f"{_SCORER}[0.3-two groups]"),
    Bug("stages/scorer_array.py", "multiplier.enable.eq(self.enable)", "multiplier.enable.eq(1)",
        "products move on without enable", f"{_SCORER}[0.3-two groups]"),
    # -- scorer_join
    Bug("stages/scorer_join.py", "before = Mux(start, 0, sums[group - reach])",
        "before = sums[group - reach]", "sums run across keys", f"{_SCORER}[0-two groups]",
        quick=True),
    Bug("stages/scorer_join.py", "value = Mux(starts[group], value, value + totals[-1])",
        "value = value + 0", "a key that spans lines loses its first part", _SCORER),
    Bug("stages/scorer_join.py", "self.o.valid.eq(valid & line.beat)", "self.o.valid.eq(valid)",
        "unfinished beats are sent", _SCORER),
    Bug("stages/scorer_join.py", "with m.If(self.enable & valid):\n",
        "with m.If(self.enable):\n", "the carry is lost in a gap between lines", _SCORER),
    # -- row_buffer
    Bug("stages/row_buffer.py", "self.o.valid | ~known | (score > self.o.p)",
        "self.o.valid | (score > self.o.p)", "a maximum under that of an earlier row is missed",
        f"{_BUFFER}random_rows[0-tiny]", quick=True),
    Bug("stages/row_buffer.py", "y_valid & (~x_valid | (y > x))", "~x_valid | (y > x)",
        "scores that are not valid take part in the maximum",
        f"{_BUFFER}random_rows {_BUFFER}proof"),
    Bug("stages/row_buffer.py", "some.eq(left != 1)", "some.eq(left != 0)", "ready when full",
        f"{_BUFFER}random_rows"),
    Bug("stages/row_buffer.py", "m.d.sync += end.eq(seen + 1)", "m.d.sync += end.eq(seen)",
        "the last beat of a row is held back", f"{_BUFFER}random_rows"),
    Bug("stages/row_buffer.py", "known.eq(valid | (known & ~self.o.valid))",
        "known.eq(valid | known)", "an empty first beat keeps the maximum of the row before",
        f"{_BUFFER}random_rows {_BUFFER}proof"),
    # -- exponential
    Bug("stages/exponential.py", "rounded = (fine[: _U_BITS + 1] + 1)[1:]",
        "rounded = (fine[: _U_BITS + 1] + 0)[1:]", "rounding half is missing",
        f"{_EXPONENTIAL}terms_and_statistics_equal_the_golden_model[0.0-two groups]",
        quick=True),
    Bug("stages/exponential.py", "zero | fine[_U_BITS + 1 :].any() | rounded[_U_BITS]",
        "zero | rounded[_U_BITS]", "saturation of the argument is missing",
        f"{_EXPONENTIAL}terms_and_statistics_equal_the_golden_model"),
    Bug("stages/exponential.py", "zero | y[_U_BITS]", "zero",
        "the product with the scale wraps",
        f"{_EXPONENTIAL}terms_and_statistics_equal_the_golden_model"),
    Bug("stages/exponential.py", "self.o.valid.eq(valid & ~taken)", "self.o.valid.eq(valid)",
        "terms leave twice while statistics wait", f"{_EXPONENTIAL}either_output_may_wait_for"
        f"_long {_EXPONENTIAL}terms_and_statistics_equal_the_golden_model"),
    # -- row_sum
    Bug("stages/row_sum.py", "with m.If(last[-1]):", "with m.If(0):",
        "the sum is not cleared from row to row", f"{_RECIPROCAL}row_sums_are_exact[0.0-32]",
        quick=True),
    Bug("stages/row_sum.py", "bits += 1", "bits += 0", "sums of lanes overflow",
        f"{_RECIPROCAL}row_sums_are_exact"),
    Bug("stages/row_sum.py", "p.class_step * (p.max_class - k)",
        "(p.class_step - 1) * (p.max_class - k)", "classes are not aligned",
        f"{_RECIPROCAL}row_sums_are_exact"),
    # -- reciprocal
    Bug("stages/reciprocal.py", "for place in range(1, len(whole)):",
        "for place in range(1, len(whole) - 1):", "the largest exponent is never found",
        f"{_RECIPROCAL}reciprocals_equal_the_golden_model[0.0-dense]", quick=True),
    Bug("stages/reciprocal.py", "Mux(empty, 0, lookup.o)", "lookup.o",
        "an empty row has a reciprocal", f"{_RECIPROCAL}reciprocals_equal_the_golden_model"),
    Bug("stages/reciprocal.py", "normal.eq(low >> exponent)", "normal.eq(low >> 1)",
        "sums are not normalised", f"{_RECIPROCAL}reciprocals_equal_the_golden_model"),
    # -- prob_v_steps
    Bug("stages/prob_v_steps.py", "self.o.p.free.eq(through & s.last_pass)",
        "self.o.p.free.eq(through)", "terms are released in the first pass",
        f"{_PROB_V}terms_stay_until_the_last_pass", quick=True),
    Bug("stages/prob_v_steps.py", "Mux(s.last_of_kv & s.last_pass, size, 0)",
        "Mux(s.last_of_kv & s.last_pass, size + 1, 0)", "a line too many is released",
        f"{_PROB_V}every_head_dim"),
    Bug("stages/prob_v_steps.py", "Mux(leave, more - need, more)", "more",
        "lines of the next head count as there", f"{_PROB_V}rows_of_different_parts_back_to_back"),
    Bug("stages/prob_v_steps.py", "with m.If(read & ~self.term_append):", "with m.If(read):",
        "a beat that arrives as another is read is forgotten", f"{_PROB_V}every_head_dim"),
    Bug("stages/prob_v_steps.py", "s.have_lines.eq(arrived >= need)",
        "s.have_lines.eq(arrived != 0)", "steps do not wait for all their lines",
        f"{_PROB_V}rows_of_different_parts_back_to_back {_PROB_V}every_head_dim"),
    # -- prob_v_array
    Bug("stages/prob_v_array.py", "Mux(valid, last, ~within)", "Mux(valid, 0, ~within)",
        "accumulators are not cleared from pass to pass", f"{_PROB_V}every_head_dim[0.0-16]",
        quick=True),
    Bug("stages/prob_v_array.py", "Mux(within, accumulator + term, term)", "accumulator + term",
        "sums that are kept are not cleared from pass to pass",
        f"{_PROB_V}rows_of_different_parts_back_to_back"),
    Bug("stages/prob_v_array.py", "b_signed=False", "b_signed=True",
        "a term of one counts negative", f"{_PROB_V}every_head_dim"),
    Bug("stages/prob_v_array.py", "left = p.acc_fraction - p.term_fraction",
        "left = p.acc_fraction - p.term_fraction - 1", "classes are aligned one bit off",
        f"{_PROB_V}every_head_dim"),
    # -- prob_v_drain
    Bug("stages/prob_v_drain.py", "end.eq(left == 1)", "end.eq(end_of_part)",
        "only the first part of a pass leaves", f"{_PROB_V}every_head_dim[0.0-32]", quick=True),
    Bug("stages/prob_v_drain.py", "chosen.eq((group & mask) == part)", "chosen.eq(group == part)",
        "lane groups of the same part are not added", f"{_PROB_V}every_head_dim"),
    Bug("stages/prob_v_drain.py", "self.i.ready.eq(~active | (take & end))",
        "self.i.ready.eq(~active | end)", "a pass overwrites elements that wait",
        f"{_PROB_V}every_head_dim {_PROB_V}rows_of_different_parts_back_to_back"),
    # -- normaliser
    Bug("stages/normaliser.py", "stage(((shifted + 1) >> 1).as_signed())",
        "stage((shifted >> 1).as_signed())",
        "rounding half is missing", f"{_NORMALISER}elements_equal_the_golden_model[0.0-bytes]",
        quick=True),
    Bug("stages/normaliser.py", "Mux(element == lowest, lowest + 1, element)", "element",
        "the clamp is not symmetric", f"{_NORMALISER}outputs_are_symmetric_at_the_clamp"),
    Bug("stages/normaliser.py", "normal = self._later(m, _clamped(rounded, _NORMAL_BITS))",
        "normal = self._later(m, rounded[:_NORMAL_BITS].as_signed())", "saturation is missing",
        f"{_NORMALISER}elements_equal_the_golden_model"),
    # -- probability
    Bug("stages/probability.py", "rounded = Value.cast(shifted + 1)[1:]",
        "rounded = Value.cast(shifted)[1:]", "rounding half is missing",
        f"{_PROBABILITY}probabilities_equal_the_golden_model[0.0-dense]", quick=True),
    Bug("stages/probability.py", "Mux(over, (1 << p.p_bits) - 1, rounded[: p.p_bits])",
        "rounded[: p.p_bits]", "saturation is missing",
        f"{_PROBABILITY}probabilities_equal_the_golden_model"),
    Bug("stages/probability.py", "term.exponent_class * p.class_step + self.statistics.p.exponent",
        "term.exponent_class * p.class_step", "the exponent of the sum is ignored",
        f"{_PROBABILITY}probabilities_equal_the_golden_model"),
]
