"""Turns a job with lists into rows: one listed query of one head each."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from attnsieve.hdl.axi.list_rows import row_lanes
from attnsieve.hdl.control.row_list import entry_read_signature
from attnsieve.hdl.control.words import WordReader, fetch_signature, head_words, saturated
from attnsieve.hdl.layouts import head_layout, row_layout
from attnsieve.hdl.lib.gates import count_flags
from attnsieve.hdl.params import CoreParams

__all__ = ["ListedRowSequencer"]

_WORDS = ("HEADS", "QUERIES", "KEYS", "HEAD_DIM", "MODE", "GROUP")


class ListedRowSequencer(wiring.Component):
    """Walks KV heads, the living query heads of each, and the listed queries of each head.

    A row sees the listed keys up to its own place in a causal job, all listed keys otherwise; keys
    count by their places in the list. A forced query (`JobLists`) sees none and is not written.

    A row takes two cycles, in a causal job three, and two more for every line of the list of keys
    that it looks at beyond the row before. A head's first row comes 4 cycles after the last one of
    the head before; the next living head is looked for while rows go out, a cycle for each, and the
    last row waits for that.

    Parameters
    ----------
    params : CoreParams
        The core.

    Members
    -------
    job : In(stream(bank_bits))
        Banks of checked jobs.
    fetch : Out(fetch_signature)
        Read port of the job memory.
    listed, queries, keys, forced : In
        ``done`` and counts of `JobLists`.
    query_entry, key_entry : Out(entry_read_signature)
        Its read ports.
    scale : Out(stream(head_layout))
        The scale of each head, ahead of its rows. Ready stays until the transfer.
    o : Out(stream(row_layout))
        Rows.
    alive : Out(max_heads)
        Heads of the job at hand that live.
    busy : Out(1)
        A job is at hand.
    """

    job: stream.Interface
    fetch: Any
    listed: Signal
    queries: Signal
    keys: Signal
    forced: Signal
    query_entry: Any
    key_entry: Any
    scale: stream.Interface
    o: stream.Interface
    alive: Signal
    busy: Signal

    def __init__(self, *, params: CoreParams) -> None:
        self.params = p = params
        values = ("KEEP_VALUES",) if p.value_lanes else ()
        demand = ("FETCH",) if p.value_demand else ()
        self.words = (*_WORDS, *values, *demand, *head_words(p))
        super().__init__(
            {
                "job": In(stream.Signature(p.bank_bits)),
                "fetch": Out(fetch_signature(p)),
                "listed": In(1),
                "queries": In(p.query_bits),
                "keys": In(p.key_bits),
                "forced": In(1),
                "query_entry": Out(entry_read_signature(p, p.max_queries)),
                "key_entry": Out(entry_read_signature(p, p.max_keys)),
                "scale": Out(stream.Signature(head_layout(p))),
                "o": Out(stream.Signature(row_layout(p))),
                "alive": Out(p.max_heads),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        s = self._state()
        m.d.sync += s.final_query.eq(s.rank + 1 == self.queries)
        reader = self._read(m, s)
        self._look(m, s)
        visible, whole = self._visible(m, s)
        self._row(m, s, visible)
        with m.FSM() as fsm:
            m.d.comb += self.busy.eq(~fsm.ongoing("IDLE"))
            with m.State("IDLE"):
                m.d.comb += reader.job.valid.eq(self.job.valid)
                m.d.sync += s.bank.eq(self.job.payload)
                with m.If(reader.job.ready):
                    m.next = "LOOK"
            with m.State("LOOK"):
                m.d.comb += s.restart.eq(1)
                m.next = "LISTS"
            with m.State("LISTS"):
                with m.If(self.listed & s.found):
                    m.next = "TABLE"
            with m.State("TABLE"):
                m.d.comb += [
                    self.fetch.bank.eq(s.bank),
                    self.fetch.table.eq(1),
                    self.fetch.index.eq(s.next_head),
                    self.fetch.en.eq(self.scale.ready),
                    self.query_entry.en.eq(1),
                    self.key_entry.en.eq(1),
                ]
                with m.If(self.fetch.en & self.fetch.grant):
                    m.next = "ASK"
            with m.State("ASK"):  # the head table needs two cycles to answer
                m.d.comb += s.go_on.eq(1)
                m.next = "HEAD"
            with m.State("HEAD"):
                m.d.comb += self.scale.valid.eq(1)
                m.next = "ROW"
            with m.State("ROW"):
                with m.If(~whole):
                    m.d.comb += self.o.valid.eq(~s.final_query | s.found | s.none)
                    with m.If(self.o.valid & self.o.ready):
                        self._advance(m, s)
                with m.Else():  # another line of keys is seen
                    m.d.sync += s.line.eq(s.line + 1)
                    m.next = "LINE"
            with m.State("LINE"):
                m.d.comb += self.key_entry.en.eq(1)
                m.next = "ROW"
            with m.State("QUERY"):
                m.d.comb += self.query_entry.en.eq(1)
                m.next = "ROW"
                with m.If(s.causal):
                    m.next = "LIMIT"
            with m.State("LIMIT"):  # what it sees is known a cycle later
                m.next = "ROW"
        return m

    def _state(self) -> SimpleNamespace:
        """The job at hand, and the place in it."""
        p = self.params
        bits = {
            "heads": p.head_bits,
            "unpruned": p.max_heads,
            "last_member": p.head_bits,  # of the group of a KV head
            "all_queries": p.query_bits,
            "all_keys": p.key_bits,
            "causal": 1,
            "bank": p.bank_bits,
            "head": p.head_bits,
            # the next head: looked at, of its group, living or not; whether it is of another group
            "next_head": p.head_bits,
            "next_member": p.head_bits,
            "next_alive": p.max_heads,
            "crossed": 1,
            "found": 1,  # it lives
            "none": 1,  # there is none
            "restart": 1,
            "go_on": 1,  # to it
            "rank": p.query_bits,  # of the query in its list
            "line": len(self.key_entry.line),  # of keys, the last one that the row sees any of
            "ahead": p.key_bits,  # keys before that of the first query
            # what follows from them a cycle later, long before it is used
            "final_query": 1,
        }
        return SimpleNamespace(**{name: Signal(n, name=name) for name, n in bits.items()})

    def _read(self, m: Module, s: SimpleNamespace) -> WordReader:
        """Words of the job to their registers, while no table is read."""
        m.submodules.reader = reader = WordReader(params=self.params, words=self.words)
        word, row = self.fetch.data, self.o.payload
        m.d.comb += [
            reader.job.payload.eq(self.job.payload),
            self.job.ready.eq(reader.job.ready),
            reader.fetch.data.eq(word),
            reader.fetch.grant.eq(self.fetch.grant),
            self.fetch.bank.eq(reader.fetch.bank),
            self.fetch.index.eq(reader.fetch.index),
            self.fetch.en.eq(reader.fetch.en),
            self.scale.payload.eq(word),
            self.scale.payload.head.eq(s.head),
        ]
        m.d.sync += [
            s.ahead.eq(s.all_keys - s.all_queries),
            self.alive.eq(
                Cat(bit & (n < s.heads) for n, bit in enumerate(s.unpruned))
            ),
        ]
        into = {
            "HEADS": s.heads.eq(word),
            "QUERIES": s.all_queries.eq(word),
            "KEYS": s.all_keys.eq(word),
            "HEAD_DIM": row.parts.eq(word >> (self.params.segment - 1).bit_length()),
            "MODE": s.causal.eq(word[1]),
            "GROUP": s.last_member.eq(word - 1),
        }
        if self.params.value_lanes:
            into["KEEP_VALUES"] = row.values.eq(saturated(word, self.params.key_bits))
        if self.params.value_demand:
            into["FETCH"] = row.demand.eq(word[0])
        for n, name in enumerate(head_words(self.params)):
            into[name] = s.unpruned[32 * n : 32 * (n + 1)].eq(~word)
        for name, arrive in zip(self.words, reader.arrive, strict=True):
            with m.If(arrive):
                m.d.sync += into[name]
        return reader

    def _look(self, m: Module, s: SimpleNamespace) -> None:
        """Look for the next living head, one per cycle."""
        lives = s.next_alive[0]
        m.d.comb += [
            s.none.eq(s.next_head == s.heads),
            s.found.eq(lives & ~s.none),
        ]
        with m.If(s.restart):
            m.d.sync += [
                s.next_head.eq(0),
                s.next_member.eq(0),
                s.crossed.eq(0),
                s.next_alive.eq(s.unpruned),
            ]
        with m.Elif(s.go_on | ~(s.found | s.none)):
            end = s.next_member == s.last_member
            m.d.sync += [
                s.next_head.eq(s.next_head + 1),
                s.next_alive.eq(s.next_alive >> 1),
                s.next_member.eq(Mux(end, 0, s.next_member + 1)),
                s.crossed.eq(end | (s.crossed & ~s.go_on)),
            ]
        with m.If(s.go_on):
            m.d.sync += s.head.eq(s.next_head)

    def _visible(self, m: Module, s: SimpleNamespace) -> tuple[Signal, Signal]:
        """Keys that the row sees, by what is known of the line at hand; and whether it may see
        some of the next line too."""
        lanes, line = row_lanes(self.params), self.key_entry.data
        limit = Signal(range(2 * self.params.max_keys))
        first, visible, whole = Signal(self.params.key_bits), Signal(self.params.key_bits), Signal()
        seen = Signal(lanes)
        m.d.sync += limit.eq(self.o.p.query + s.ahead)
        m.d.comb += [
            first.eq(s.line * lanes),
            *(bit.eq((entry.index <= limit) & (first + n < self.keys))
              for n, (bit, entry) in enumerate(zip(seen, line, strict=True))),
            visible.eq(Mux(s.causal, first + count_flags(seen), self.keys)),
            whole.eq(s.causal & seen.all() & (first + lanes < self.keys)),
            self.key_entry.line.eq(s.line),
        ]
        return visible, whole

    def _row(self, m: Module, s: SimpleNamespace, visible: Signal) -> None:
        row, lanes = self.o.payload, row_lanes(self.params)
        bits = (lanes - 1).bit_length()
        entry = self.query_entry
        indices = Cat(found.index for found in entry.data)
        m.d.comb += [
            entry.line.eq(s.rank >> bits),
            row.query.eq(indices.word_select(s.rank[:bits], len(entry.data[0].index))),
            row.last_of_head.eq(s.final_query),
            row.last_of_kv.eq(s.final_query & (s.none | s.crossed)),
            row.last_of_job.eq(s.final_query & s.none),
            row.write.eq(~self.forced),
            row.keys.eq(Mux(self.forced, 0, visible)),
            row.bank.eq(s.bank),
        ]

    def _advance(self, m: Module, s: SimpleNamespace) -> None:
        row = self.o.payload
        m.d.sync += s.rank.eq(s.rank + 1)
        m.next = "QUERY"
        with m.If(row.last_of_head):
            m.d.sync += [s.rank.eq(0), s.line.eq(0)]
            with m.If(row.last_of_job):
                m.next = "IDLE"
            with m.Else():
                m.next = "TABLE"
