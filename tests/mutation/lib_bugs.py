"""Bugs in ``hdl/lib``."""

from __future__ import annotations

from .bug import Bug

__all__ = ["LIB_BUGS"]

_QUEUE = "lib/test_queue.py::test_"
_RING = "lib/test_ring.py::test_"
_GEOMETRY = "lib/test_geometry.py::test_"
_MULTIPLIER = "lib/test_multiplier.py::test_"
_SERIAL = "lib/test_serial.py::test_"
_TABLES = "lib/test_tables.py::test_"

LIB_BUGS = [
    # -- credit
    Bug("lib/credit.py", "self.some.eq(left != 1)", "self.some.eq(left != 0)",
        "there is one when all are taken", "lib/test_credit.py::test_some_tells_whether_there"
        "_are_any[2-0]", quick=True),
    Bug("lib/credit.py", "with m.If(self.take & ~self.give):", "with m.If(self.take):",
        "one is lost as one is given back", "lib/test_credit.py::test_some_tells_whether_there"
        "_are_any"),
    Bug("lib/credit.py", "with m.If(self.give & ~self.take):", "with m.If(self.give):",
        "one is made as one is taken", "lib/test_credit.py::test_some_tells_whether_there_are_any"),
    # -- queue
    Bug("lib/queue.py", "ready.eq(level != self.depth - 1)", "ready.eq(level != self.depth)",
        "ready when full", f"{_QUEUE}order[stall3-5-lut_ram]", quick=True),
    Bug("lib/queue.py", "ready.eq(level != self.depth - 1)", "ready.eq(level != self.depth - 2)",
        "one place is never used", f"{_QUEUE}capacity_and_full_throughput_at_the_brim"),
    Bug("lib/queue.py", "with m.If(filled[n + 1]):", "with m.If(filled[n]):",
        "a payload takes the place of the one behind it", f"{_QUEUE}order"),
    Bug("lib/queue.py", "with m.If(leaves | ~filled[n]):", "with m.If(leaves | ~filled[0]):",
        "only the first payload is kept", f"{_QUEUE}order"),
    Bug("lib/queue.py", "with m.If(pop & ~push):\n            m.d.sync += filled",
        "with m.If(pop):\n            m.d.sync += filled",
        "a push as a payload is taken is forgotten", f"{_QUEUE}order"),
    Bug("lib/queue.py", "with m.If(pop & ~push):\n            m.d.sync += waiting",
        "with m.If(pop):\n            m.d.sync += waiting",
        "what is written as the last word leaves is forgotten", f"{_QUEUE}order"),
    Bug("lib/queue.py", "with m.If(waiting):\n                m.d.sync += first.eq(port.data)",
        "with m.If(waiting & ~push):\n                m.d.sync += first.eq(port.data)",
        "a payload overtakes those that wait", f"{_QUEUE}order"),
    Bug("lib/queue.py", "m.d.sync += head.eq(next_index(head, self.depth))",
        "m.d.sync += head.eq(head + 1)", "read pointer does not wrap at odd depths",
        f"{_QUEUE}order"),
    Bug("lib/queue.py", "m.d.sync += self.o.valid.eq(read)",
        "m.d.sync += self.o.valid.eq(read | self.o.valid)",
        "the last payload is delivered twice", f"{_QUEUE}proof"),
    Bug("lib/queue.py", "with m.If(pop & ~push):\n            m.d.sync += [level",
        "with m.If(pop):\n            m.d.sync += [level",
        "level is wrong after push and pop in one cycle", f"{_QUEUE}order"),
    Bug("lib/queue.py", "empty.bit_select(out, 1).eq(1)", "empty.bit_select(into, 1).eq(1)",
        "a register that takes turns is overwritten", f"{_QUEUE}proof {_QUEUE}order"),
    Bug("lib/queue.py", "self.o.valid.eq(~ready), ready.eq(1)", "self.o.valid.eq(0), ready.eq(1)",
        "of two payloads in turn, the second is lost", f"{_QUEUE}order"),
    Bug("lib/queue.py", "and bits < MEMORY_BITS", "and bits <= MEMORY_BITS",
        "registers instead of a block RAM", f"{_QUEUE}many_bits_are_in_memory"),
    # -- ring
    Bug("lib/ring.py", "ready.eq(self.space != 1)", "ready.eq(self.space != 0)",
        "ready when full", f"{_RING}a_full_ring_streams_behind_its_releases", quick=True),
    Bug("lib/ring.py", "self.oldest.eq(next_index(self.oldest, self.depth))",
        "self.oldest.eq(self.oldest + 1)", "oldest does not wrap at odd depths",
        f"{_RING}random_reads_and_releases"),
    Bug("lib/ring.py", "with m.If(self.release & ~self.append):",
        "with m.If(self.release):", "append and release in one cycle lose a line of space",
        f"{_RING}random_reads_and_releases {_RING}proof"),
    Bug("lib/ring.py", "inner.address.eq(port.address[bank])", "inner.address.eq(port.address[0])",
        "all banks read the first one's line", f"{_RING}random_reads_and_releases"),
    Bug("lib/ring.py", "Mux(total >= depth, total - depth, total)",
        "Mux(total > depth, total - depth, total)", "sum of indices is off at the wrap",
        f"{_RING}ring_sum"),
    # -- ram
    Bug("lib/ram.py", "with m.If(port.en):\n                m.d.sync += register",
        "with m.If(port.en | 1):\n                m.d.sync += register",
        "data do not stay until the next read", "lib/test_ram.py::test_random", quick=True),
    Bug("lib/ram.py", "write.en.eq(self.write.en)", "write.en.eq(1)",
        "words are written without enable", "lib/test_ram.py::test_random"),
    Bug("lib/ram.py", 'attrs: dict[str, int | str] = {"no_rw_check": 1}',
        "attrs: dict[str, int | str] = {}", "synthesis adds registers for collisions",
        "lib/test_ram.py::test_block_ram_without_registers"),
    # -- broadcast
    Bug("lib/broadcast.py", "room = room & queue.i.ready", "room = self.i.valid & queue.i.ready",
        "only the last receiver's room counts",
        "lib/test_broadcast.py::test_everyone_gets_its_fields[0.5-True-2]", quick=True),
    Bug("lib/broadcast.py", "queue.i.valid.eq(room)", "queue.i.valid.eq(self.i.valid)",
        "a receiver gets a payload again while another is full",
        "lib/test_broadcast.py::test_everyone_gets_its_fields"),
    Bug("lib/broadcast.py", "Queue(shape=self.layout(receiver), depth=self.depth,",
        "Queue(shape=self.layout(receiver), depth=max(1, self.depth - 1),",
        "receivers may be one payload less apart",
        "lib/test_broadcast.py::test_a_slow_receiver_holds_the_others_back_only_when_its_queue_"
        "is_full"),
    # -- geometry
    Bug("lib/geometry.py", "part == parts - 1)", "part == parts - 2)",
        "a key ends one part early", f"{_GEOMETRY}scorer_visits_every_segment_once", quick=True),
    Bug("lib/geometry.py", "part = turn * side_by_side + lane_group % side_by_side",
        "part = turn + lane_group % side_by_side", "passes overlap",
        f"{_GEOMETRY}prob_v_visits_every_segment_once"),
    Bug("lib/geometry.py", "result = Signal(range(largest + 1), name=name)",
        "result = Signal(range(largest), name=name)", "the largest value of a table is cut",
        f"{_GEOMETRY}lookup"),
    # -- reset
    Bug("lib/reset.py", "bit.eq(self.i | (bit & before))", "bit.eq(self.i)",
        "blocks come out of reset sooner", "lib/test_reset.py::test_together", quick=True),
    Bug("lib/reset.py", "init=(1 << count) - 1", "init=0",
        "blocks are not reset at first", "lib/test_reset.py::test_blocks_come_out_together"),
    Bug("lib/reset.py", "self.i | (bit & before)", "self.i | bit",
        "blocks stay in reset", "lib/test_reset.py::test_blocks_come_out_together"),
    # -- multiplier
    Bug("lib/multiplier.py", "a[-1], ~wide, b)", "a[-1], -wide, b)",
        "minus counts one too much", f"{_MULTIPLIER}fabric_is_a_product[widths0]", quick=True),
    Bug("lib/multiplier.py",
        "a, b, low, rest = (self._stage(m, v) for v in (a, b, low, rest))",
        "b, low, rest = (self._stage(m, v) for v in (b, low, rest))",
        "half of the bits are those of the next product", f"{_MULTIPLIER}random_and_extreme"),
    Bug("lib/multiplier.py", "total[1:].as_signed() if self.b_signed else total[1:]",
        "total[1:].as_signed()",
        "an unsigned operand is taken for a signed one", f"{_MULTIPLIER}random_and_extreme"),
    Bug("lib/multiplier.py", "(2 * self.b_most - 1).bit_length()", "self.b_most.bit_length()",
        "rows overflow", f"{_MULTIPLIER}fabric_is_a_product"),
    Bug("lib/multiplier.py", "with m.If(self.enable):", "with m.If(1):",
        "the pipeline moves without enable", f"{_MULTIPLIER}random_and_extreme"),
    # -- serial
    Bug("lib/serial.py", "if self.signed and number == self.step - 1:", "if 0:",
        "a negative digit counts as a positive one",
        "lib/test_serial.py::test_every_pair_of_small_operands[3-2-3-1]", quick=True),
    Bug("lib/serial.py", "m.d.sync += self.held.eq(self.init)", "m.d.sync += self.held.eq(0)",
        "what the product is added to is forgotten", f"{_SERIAL}random_and_extreme_operands"),
    Bug("lib/serial.py", "with m.Elif(self.en):", "with m.Else():",
        "a chunk counts in every cycle", f"{_SERIAL}every_pair_of_small_operands"),
    Bug("lib/serial.py", "Mux(self.turn == 0, window[0], onward)", "window[0]",
        "the carry between chunks is lost", f"{_SERIAL}shifted_and_rounded"),
    Bug("lib/serial.py", "self.over.eq(left | carry)", "self.over.eq(left)",
        "what is rounded up to the limit is not over it", f"{_SERIAL}shifted_and_rounded"),
    # -- pace
    Bug("lib/pace.py", "self.phase == self.cycles - 1)", "self.phase == self.cycles - 2)",
        "the pipeline moves a cycle early", "lib/test_pace.py::test_due_after_so_many_cycles[4]",
        quick=True),
    Bug("lib/pace.py", "m.d.sync += self.phase.eq(0)", "m.d.sync += self.phase.eq(self.phase)",
        "later moves need no wait", "lib/test_pace.py::test_due_after_so_many_cycles"),
    Bug("lib/pace.py", "& ~self.hold", "", "a cycle that is held counts",
        "lib/test_pace.py::test_due_after_so_many_cycles"),
    Bug("lib/pace.py", "with m.Elif(~self.due & ~self.hold):", "with m.Elif(~self.hold):",
        "a move that waits becomes undue", "lib/test_pace.py::test_due_after_so_many_cycles"),
    # -- tables
    Bug("lib/tables.py", "value - step - product[self.offset_bits - 1]", "value - step",
        "rounding half is missing", f"{_TABLES}lookups_interpolate_and_hold[6-values1]",
        quick=True),
    Bug("lib/tables.py", "<= power << degree", "< (power << degree) - (power << degree >> 12)",
        "values are not rounded to nearest",
        f"{_TABLES}the_exponential_table_is_rounded_to_nearest"),
    Bug("lib/tables.py", "port.en.eq(self.en)", "port.en.eq(1)",
        "the table's output does not wait", f"{_TABLES}lookups_interpolate_and_hold"),
    Bug("lib/tables.py", "port.en.eq(self.read)", "port.en.eq(1)",
        "the serial table's output does not stay", f"{_TABLES}serial_lookups_interpolate_and_hold"),
    Bug("lib/tables.py", "* size + size + i)", "* size)", "reciprocals are rounded down",
        f"{_TABLES}the_reciprocal_table_is_rounded_to_nearest"),
]
