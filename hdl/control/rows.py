"""Turns a job into rows: one query of one head each, in the order in which they are computed."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from attnsieve.hdl.control.words import (
    FETCH_LATENCY,
    WordReader,
    fetch_signature,
    saturated,
    threshold_index,
)
from attnsieve.hdl.layouts import head_layout, row_layout
from attnsieve.hdl.params import CoreParams

__all__ = ["RowSequencer"]

_WORDS = ("HEADS", "QUERIES", "KEYS", "HEAD_DIM", "MODE", "GROUP")


def row_words(params: CoreParams) -> tuple[str, ...]:
    """Words of a job that its rows need."""
    return (
        *_WORDS,
        *(("KEEP_VALUES",) if params.value_lanes else ()),
        *(("FETCH",) if params.value_demand else ()),
        *(("PIN_FIRST", "PIN_NEWEST", "PIN_SELF") if params.slice_units else ()),
    )


class RowSequencer(wiring.Component):
    """Walks KV heads, the query heads of each, and the queries of each head.

    Query ``i`` sees the first ``i + keys - queries + 1`` keys of a causal job, all keys otherwise.
    A masked query sees none and is not written; only where it is the last row of a KV head does it
    see all keys, so that the rows of that head are released as always, and where V is read on
    demand, for which the rows of a KV head have the same keys.

    The key at a query's position is the last one that it sees in a causal job, and the one with the
    query's number otherwise.

    A job takes `job_cycles` cycles to read. A row takes one cycle, or two with a query mask; a head
    takes three more, and three again where heads have thresholds, and waits for room for its scale.

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
    scale : Out(stream(head_layout))
        The scale of each head, ahead of its rows. Ready stays until the transfer.
    o : Out(stream(row_layout))
        Rows.
    bank : Out(bank_bits)
        Bank of the job at hand.
    query : Out(query_bits), query_en : Out(1), query_valid : In(1)
        Query mask: the bit one cycle after ``query_en``.
    busy : Out(1)
        A job is at hand.
    """

    job: stream.Interface
    fetch: Any
    scale: stream.Interface
    o: stream.Interface
    bank: Signal
    query: Signal
    query_en: Signal
    query_valid: Signal
    busy: Signal

    def __init__(self, *, params: CoreParams) -> None:
        self.params = params
        self.words = row_words(params)
        super().__init__(
            {
                "job": In(stream.Signature(params.bank_bits)),
                "fetch": Out(fetch_signature(params)),
                "scale": Out(stream.Signature(head_layout(params))),
                "o": Out(stream.Signature(row_layout(params))),
                "bank": Out(params.bank_bits),
                "query": Out(params.query_bits),
                "query_en": Out(1),
                "query_valid": In(1),
                "busy": Out(1),
            }
        )

    @property
    def job_cycles(self) -> int:
        """Cycles from the offer of a job to its first head, if the memory is always granted."""
        return len(self.words) + 2

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        s = self._state()
        m.d.comb += self.query.eq(s.query)
        m.d.sync += [
            s.final_head.eq(s.head == s.last_head),
            s.final_member.eq(s.member == s.last_member),
            s.ahead.eq(s.keys - s.last_query),
            s.offset.eq(Mux(s.causal, s.keys - s.last_query - 1, 0)),
        ]
        reader = self._read(m, s)
        with m.FSM() as fsm:
            m.d.comb += self.busy.eq(~fsm.ongoing("IDLE"))
            with m.State("IDLE"):
                m.d.comb += reader.job.valid.eq(self.job.valid)
                m.d.sync += [s.head.eq(0), s.member.eq(0), self.bank.eq(self.job.payload)]
                with m.If(reader.job.ready):
                    m.next = self._first
            if self.params.threshold_bits:
                self._threshold(m, s)
            with m.State("TABLE"):
                m.d.comb += [
                    self.fetch.bank.eq(self.bank),
                    self.fetch.table.eq(1),
                    self.fetch.index.eq(s.head),
                    self.fetch.en.eq(self.scale.ready),
                ]
                m.d.sync += s.query.eq(0)
                with m.If(self.fetch.en & self.fetch.grant):
                    m.next = "ASK"
            with m.State("ASK"):  # the query mask and the head table need two cycles to answer
                m.d.comb += self.query_en.eq(1)
                m.next = "HEAD"
            with m.State("HEAD"):
                m.d.comb += self.scale.valid.eq(1)
                m.d.sync += s.valid.eq(self.query_valid)
                m.next = "ROW"
            with m.State("MASK"):
                m.d.sync += s.valid.eq(self.query_valid)
                m.next = "ROW"
            with m.State("ROW"):
                m.d.comb += [self.query.eq(s.query + 1), self.query_en.eq(1)]
                self._row(m, s)
                with m.If(self.o.ready):
                    self._advance(m, s)
        return m

    def _state(self) -> SimpleNamespace:
        """The job at hand, and the place in it."""
        p = self.params
        bits = {
            "last_head": p.head_bits,
            "last_member": p.head_bits,  # of the group of a KV head
            "last_query": p.query_bits,
            "keys": p.key_bits,
            "causal": 1,
            "query_mask": 1,
            "head": p.head_bits,
            "member": p.head_bits,
            "query": p.query_bits,
            # what follows from them a cycle later, long before it is used
            "final_head": 1,
            "final_member": 1,
            "ahead": p.key_bits,  # keys that the first query sees of a causal job
            "offset": p.key_bits,  # from a query to the key at its position
            "own": 1,  # that key is pinned
            "valid": 1,  # the query is
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
            Cat(self.scale.p.mantissa, self.scale.p.shift).eq(word),
        ]
        mode = [row.key_mask, s.query_mask]
        bits = self.params.key_bits
        slices = self.params.slice_units > 0
        wide = [row.wide.eq(word[0]), row.relative.eq(word[4])] if slices else []
        into = {
            "HEADS": s.last_head.eq(word - 1),
            "QUERIES": s.last_query.eq(word - 1),
            "KEYS": s.keys.eq(word),
            "HEAD_DIM": row.parts.eq(word >> (self.params.segment - 1).bit_length()),
            "MODE": [
                s.causal.eq(word[1]), *(bit.eq(word[2 + n]) for n, bit in enumerate(mode)), *wide,
            ],
            "GROUP": s.last_member.eq(word - 1),
        }
        if self.params.value_lanes:
            into["KEEP_VALUES"] = row.values.eq(saturated(word, bits))
        if self.params.value_demand:
            planar = [row.planar.eq(word[1])] if self.params.slice_demand else []
            into["FETCH"] = [row.demand.eq(word[0]), *planar]
        if slices:
            into["PIN_FIRST"] = row.pin_first.eq(saturated(word, bits))
            into["PIN_NEWEST"] = row.pin_newest.eq(saturated(word, bits))
            into["PIN_SELF"] = s.own.eq(word[0])
        for name, arrive in zip(self.words, reader.arrive, strict=True):
            with m.If(arrive):
                m.d.sync += into[name]
        return reader

    def _row(self, m: Module, s: SimpleNamespace) -> None:
        row = self.o.payload
        visible = Mux(s.causal, s.query + s.ahead, s.keys)
        last_query = s.query == s.last_query
        demand = row.demand if self.params.value_demand else 0
        m.d.comb += [
            self.o.valid.eq(1),
            row.last_of_head.eq(last_query),
            row.last_of_kv.eq(last_query & s.final_member),
            row.last_of_job.eq(last_query & s.final_head),
            row.write.eq(~s.query_mask | s.valid),
            row.keys.eq(Mux(row.write | row.last_of_kv | demand, visible, 0)),
            row.bank.eq(self.bank),
        ]
        if self.params.slice_units:
            own = s.query + s.offset
            none = ~s.own | own[self.params.key_bits :].any()
            m.d.comb += row.own.eq(Mux(none, -1, own))

    def _advance(self, m: Module, s: SimpleNamespace) -> None:
        row = self.o.payload
        m.d.sync += s.query.eq(s.query + 1)
        with m.If(~row.last_of_head):
            with m.If(s.query_mask):
                m.next = "MASK"
        with m.Elif(row.last_of_job):
            m.next = "IDLE"
        with m.Else():
            m.d.sync += [s.head.eq(s.head + 1), s.member.eq(Mux(row.last_of_kv, 0, s.member + 1))]
            m.next = self._first

    @property
    def _first(self) -> str:
        """State in which a head begins."""
        return "THRESHOLD" if self.params.threshold_bits else "TABLE"

    def _threshold(self, m: Module, s: SimpleNamespace) -> None:
        """The head's threshold, as the end of a score's range where it is beyond it."""
        bits, word = self.params.threshold_bits, self.fetch.data
        with m.State("THRESHOLD"):
            m.d.comb += [
                self.fetch.bank.eq(self.bank),
                self.fetch.table.eq(1),
                self.fetch.index.eq(threshold_index(s.head)),
                self.fetch.en.eq(1),
            ]
            with m.If(self.fetch.grant):
                m.next = "AWAIT0"
        for n in range(FETCH_LATENCY - 1):
            with m.State(f"AWAIT{n}"):
                m.next = f"AWAIT{n + 1}"
        with m.State(f"AWAIT{FETCH_LATENCY - 1}"):
            beyond = word[bits - 1 :] != word[bits - 1].replicate(len(word) - bits + 1)
            end = Cat((~word[-1]).replicate(bits - 1), word[-1])
            m.d.sync += self.scale.p.threshold.eq(Mux(beyond, end, word[:bits]))
            m.next = "TABLE"
