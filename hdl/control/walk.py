"""Walking the rows of a job by lists; what walking needs of masks and lists."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Member, Out, connect, flipped

from attnsieve.hdl.axi.list_rows import list_read_signature
from attnsieve.hdl.control.job_lists import JobLists, selection_layout
from attnsieve.hdl.control.listed_rows import ListedRowSequencer
from attnsieve.hdl.control.row_list import entry_read_signature, mask_lanes
from attnsieve.hdl.control.words import fetch_signature
from attnsieve.hdl.layouts import head_layout, row_layout
from attnsieve.hdl.params import CoreParams

__all__ = ["ListWalk", "forward_walk", "walk_members"]


def walk_members(p: CoreParams) -> dict[str, Member]:
    """Read port of the query mask, the bits one cycle after ``query_en``; with lists also that of
    the key mask, the read ports of the lists, whether they are there and how long they are, what is
    to be done with scores, and which heads live."""
    lanes = mask_lanes(p) if p.token_lanes else 1
    members = {
        "query_bank": Out(p.bank_bits),
        "query_index": Out(range(-(-p.max_queries // lanes) + 1)),
        "query_masked": Out(1),
        "query_en": Out(1),
        "query_valid": In(lanes),
    }
    if not p.token_lanes:
        return members
    return members | {
        "key_bank": Out(p.bank_bits),
        "key_beat": Out(range(-(-p.max_keys // lanes) + 1)),
        "key_masked": Out(1),
        "key_en": Out(1),
        "key_valid": In(lanes),
        "list": In(list_read_signature(p)),
        "key_beat_entry": In(entry_read_signature(p, p.max_keys, p.groups)),
        **({"value_entry": In(entry_read_signature(p, p.max_keys, p.groups))}
           if p.value_demand else {}),
        "selection": Out(selection_layout(p)),
        "alive": Out(p.max_heads),
        "listed": Out(1),
        "listed_queries": Out(p.query_bits),
        "listed_keys": Out(p.key_bits),
    }


def forward_walk(m: Module, inner: Any, outer: Any) -> None:
    """Pass the members of `walk_members` of a submodule on."""
    for name, member in walk_members(inner.params).items():
        its, own = getattr(inner, name), getattr(outer, name)
        if member.is_signature:
            connect(m, its, flipped(own))
        else:
            m.d.comb += own.eq(its) if member.flow is Out else its.eq(own)


class ListWalk(wiring.Component):
    """Only listed queries are rows, and only listed keys are seen: `JobLists`, and
    `ListedRowSequencer`.

    Parameters
    ----------
    params : CoreParams
        The core.

    Members
    -------
    job, fetch, scale, o, busy
        See `ListedRowSequencer`.
    lists : In(stream(bank_bits)), list_fetch : Out(fetch_signature)
        Jobs for the lists, and their read port of the job memory.
    (masks, lists) : see `walk_members`
    """

    def __init__(self, *, params: CoreParams) -> None:
        self.params = params
        super().__init__(
            {
                "job": In(stream.Signature(params.bank_bits)),
                "fetch": Out(fetch_signature(params)),
                "scale": Out(stream.Signature(head_layout(params))),
                "o": Out(stream.Signature(row_layout(params))),
                "busy": Out(1),
                **walk_members(params),
                "lists": In(stream.Signature(params.bank_bits)),
                "list_fetch": Out(fetch_signature(params)),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.lists = lists = JobLists(params=self.params)
        m.submodules.rows = rows = ListedRowSequencer(params=self.params)
        connect(m, rows.fetch, flipped(self.fetch))
        connect(m, lists.fetch, flipped(self.list_fetch))
        connect(m, flipped(self.lists), lists.job)
        connect(m, flipped(self.list), lists.list)
        connect(m, rows.query_entry, lists.query_entry)
        connect(m, rows.key_entry, lists.key_entry)
        connect(m, flipped(self.key_beat_entry), lists.key_beat_entry)
        if self.params.value_demand:
            connect(m, flipped(self.value_entry), lists.value_entry)
        connect(m, flipped(self.job), rows.job)
        connect(m, rows.scale, flipped(self.scale))
        connect(m, rows.o, flipped(self.o))
        m.d.comb += [
            self.busy.eq(rows.busy),
            self.alive.eq(rows.alive),
            rows.listed.eq(lists.done),
            rows.queries.eq(lists.queries),
            rows.keys.eq(lists.keys),
            rows.forced.eq(lists.forced),
            self.selection.eq(lists.selection),
            self.listed.eq(lists.done),
            self.listed_queries.eq(lists.queries),
            self.listed_keys.eq(lists.keys),
            self.query_bank.eq(lists.bank),
            self.query_index.eq(lists.query_beat),
            self.query_masked.eq(lists.query_masked),
            self.query_en.eq(lists.query_en),
            lists.query_mask.eq(self.query_valid),
            self.key_bank.eq(lists.bank),
            self.key_beat.eq(lists.key_beat),
            self.key_masked.eq(lists.key_masked),
            self.key_en.eq(lists.key_en),
            lists.key_mask.eq(self.key_valid),
        ]
        return m
