"""Bugs in the blocks that fetch rows of V only if they are kept, and in what all lists share."""

from __future__ import annotations

from .bug import Bug

__all__ = ["DEMAND_BUGS"]

_DEMAND = "stages/test_value_demand.py::test_"
_LISTS = "axi/test_value_lists.py::test_"
_REQUESTS = "axi/test_value_requests.py::test_"
_WHOLE = "axi/test_whole_list.py::test_"
_ROW_LIST = "control/test_row_list.py::test_"

DEMAND_BUGS = [
    # -- key_unions
    Bug("stages/key_unions.py", "Mux(again, written, found)", "found",
        "of rows of one beat the flags of the row before are lost",
        f"{_DEMAND}rows_of_one_beat[two]", quick=True),
    Bug("stages/key_unions.py", "Mux(beat.first_row, 0,", "Mux(0, 0,",
        "the flags of an earlier KV head stay", f"{_DEMAND}heads_that_fill_the_memory[0.0]"),
    Bug("stages/key_unions.py", "free.give.eq(self.free)", "free.give.eq(1)",
        "a union is overwritten before its rows have left",
        f"{_DEMAND}heads_of_any_sort[four-stall2]"),
    Bug("stages/key_unions.py", "Mux(self.o.p.last, 0, after)", "after",
        "keys of an earlier KV head are counted", f"{_DEMAND}heads_that_fill_the_memory[0.0]"),
    Bug("stages/key_unions.py", "self.o.valid.eq(there & beat.last_row)",
        "self.o.valid.eq(there & beat.first_row)", "the flags are those of the first row",
        f"{_DEMAND}a_key_that_one_row_keeps_stays_in_all"),
    Bug("stages/key_unions.py", "self.read & self.read_end", "self.read & self.read_last",
        "a KV head has left with its first row",
        f"{_DEMAND}heads_that_fill_the_memory[0.0]"),
    # -- value_demand
    Bug("stages/value_demand.py", "(unions.there | ~row.demand)", "1",
        "rows leave before their union is known",
        f"{_DEMAND}a_key_that_one_row_keeps_stays_in_all", quick=True),
    Bug("stages/value_demand.py", "Mux(demand, unions.keep, -1)", "unions.keep",
        "rows without demand are packed", f"{_DEMAND}latency[0-four]"),
    Bug("stages/value_demand.py", "Mux(lane < packed.p.count, item.mantissa, 0)",
        "item.mantissa", "what lies behind the last term counts",
        f"{_DEMAND}heads_that_fill_the_memory[0.0]"),
    Bug("stages/value_demand.py", "Mux(row.demand, unions.size, row.keys)", "row.keys",
        "a packed row has all its keys", f"{_DEMAND}a_key_that_one_row_keeps_stays_in_all"),
    Bug("stages/value_demand.py", "(unions.room | ~(row.demand & opens & begins))", "1",
        "a third KV head enters", f"{_DEMAND}heads_of_any_sort[four-stall2]"),
    Bug("stages/value_demand.py", "(credit.some | ~ends)", "1",
        "flags that find no place are lost", f"{_DEMAND}heads_of_any_sort[one-stall4]"),
    Bug("stages/value_demand.py", "leaving.i.valid.eq(move & begins)",
        "leaving.i.valid.eq(move & store.p.last)", "a row comes behind its first beats",
        f"{_DEMAND}a_row_is_there_with_its_first_beat[two]"),
    Bug("stages/value_demand.py", "with m.If(beat.last & row.demand):", "with m.If(beat.last):",
        "rows without demand count among those of a KV head",
        f"{_DEMAND}rows_between_those_of_a_head"),
    # -- value_lists
    Bug("axi/value_lists.py", "halves.some | ~begins", "1",
        "a list is written over one that is read",
        f"{_LISTS}a_third_list_waits_until_the_first_is_free", quick=True),
    Bug("axi/value_lists.py", "port.line + Mux(port.half, p.max_beats * ram.lines, 0)",
        "port.line", "only the first half is read", f"{_LISTS}any_list[four-0.0-0.9]"),
    Bug("axi/value_lists.py", "place + Mux(half, p.max_beats, 0)", "place",
        "both halves are one", f"{_LISTS}any_list[four-0.0-0.9]"),
    Bug("axi/value_lists.py", "line.eq(Mux(last, 0, line + 1))", "line.eq(line + 1)",
        "the second list begins where the first ended", f"{_LISTS}any_list[four-0.0-0.0]"),
    Bug("axi/value_lists.py", "count.eq(Mux(last, 0, after))", "count.eq(after)",
        "entries of an earlier list are counted", f"{_LISTS}any_list[four-0.0-0.0]"),
    # -- neighbours
    Bug("axi/neighbours.py", "self.i.p.keep[0] & ~held.last", "self.i.p.keep[0]",
        "the next list's first row is a neighbour", f"{_LISTS}neighbours[3-0.0]", quick=True),
    Bug("axi/neighbours.py", "full & held.keep[-1] & ~held.last", "full & held.keep[-1]",
        "the list before has the first row's neighbour",
        f"{_LISTS}neighbours[3-0.0] {_ROW_LIST}any_mask[reference]"),
    Bug("axi/neighbours.py", "self.o.valid.eq(full & (held.last | self.i.valid))",
        "self.o.valid.eq(full)", "a beat leaves before its neighbour is known",
        f"{_LISTS}neighbours[3-0.4]"),
    Bug("axi/neighbours.py", "row.after & kept[lane + 2]", "row.after & kept[lane + 1]",
        "a row is its own neighbour", f"{_ROW_LIST}any_mask[reference]"),
    # -- list_ram
    Bug("axi/list_ram.py", "with m.If(self.en):", "with m.If(1):",
        "a line changes before the next one is read", f"{_ROW_LIST}any_mask[reference]",
        quick=True),
    Bug("axi/list_ram.py", "which.eq(self.line[:bits])", "which.eq(0)",
        "only the first line of a beat is read", f"{_ROW_LIST}any_mask[reference]"),
    Bug("axi/list_ram.py", "ram.read[0].en.eq(self.en)", "ram.read[0].en.eq(1)",
        "a beat changes before the next one is read", f"{_ROW_LIST}any_mask[tiny]"),
    # -- value_requests
    Bug("axi/value_requests.py", "(some | (reading == 0))", "1",
        "an empty list is free before the one that is being read",
        f"{_REQUESTS}each_region_asks_for_its_list[mixed-0.05-0.0]", quick=True),
    Bug("axi/value_requests.py", "half.eq(half ^ ask)", "half.eq(half ^ (ask & some))",
        "empty lists have no half", f"{_REQUESTS}each_region_asks_for_its_list[mixed-0.7-0.0]"),
    Bug("axi/value_requests.py", "self.end | (ask & ~some)", "self.end",
        "an empty list is never free", f"{_REQUESTS}each_region_asks_for_its_list[empty-0.7-0.0]"),
    Bug("axi/value_requests.py", "self.o.valid & self.o.ready & self.i.p.demand",
        "self.o.valid & self.o.ready", "a region without demand takes a list",
        f"{_REQUESTS}a_region_with_demand_among_others[0.0]"),
    Bug("axi/value_requests.py", "with m.If(self.i.p.demand):", "with m.If(1):",
        "a region without demand asks for the rows of a list",
        f"{_REQUESTS}a_region_with_demand_among_others[0.0]"),
    # -- whole_list
    Bug("axi/whole_list.py", "with m.If(self.read.en):", "with m.If(1):",
        "a line changes before the next one is read", f"{_WHOLE}entry_n_is_row_n[lines]",
        quick=True),
    Bug("axi/whole_list.py", "Const(lane, (len(found) - 1).bit_length())",
        "Const(0, (len(found) - 1).bit_length())", "a line has one row",
        f"{_WHOLE}entry_n_is_row_n[lines]"),
    Bug("axi/whole_list.py", "entry.after.eq(1)", "entry.after.eq(0)",
        "no row has one behind it", f"{_WHOLE}entry_n_is_row_n[lines]"),
]
