"""Turns a job into rows: one query of one head each, in the order in which they are computed."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from attnsieve.hdl.layouts import head_layout, job_layout, row_layout
from attnsieve.hdl.params import CoreParams

__all__ = ["RowSequencer"]


class RowSequencer(wiring.Component):
    """Walks KV heads, the query heads of each, and the queries of each head.

    Query ``i`` sees the first ``i + keys - queries + 1`` keys of a causal job, all keys otherwise.
    A masked query sees none and is not written; only where it is the last row of a KV head does it
    see all keys, so that the rows of that head are released as always.

    A row takes one cycle, or two with a query mask; a head takes three more.

    Parameters
    ----------
    params : CoreParams
        The core.

    Members
    -------
    job : In(stream(job_layout))
        Checked jobs.
    o : Out(stream(row_layout))
        Rows.
    bank : Out(bank_bits)
        Table bank of the job at hand.
    key_mask : Out(1)
        Whether the key mask applies to the job at hand.
    table_head : Out(head_bits), table_en : Out(1), table_data : In(head_layout)
        Head table: data one cycle after ``table_en``.
    query : Out(query_bits), query_en : Out(1), query_valid : In(1)
        Query mask: the bit one cycle after ``query_en``.
    busy : Out(1)
        A job is at hand.
    """

    def __init__(self, *, params: CoreParams) -> None:
        self.params = params
        super().__init__(
            {
                "job": In(stream.Signature(job_layout(params))),
                "o": Out(stream.Signature(row_layout(params))),
                "bank": Out(params.bank_bits),
                "table_head": Out(params.head_bits),
                "table_en": Out(1),
                "table_data": In(head_layout(params)),
                "query": Out(params.query_bits),
                "query_en": Out(1),
                "query_valid": In(1),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        self._state = {}
        job = Signal.like(self.job.p)
        head, member, query = (
            Signal(self.params.head_bits, name="head"),
            Signal(self.params.head_bits, name="member"),  # of the group of a KV head
            Signal(self.params.query_bits, name="query"),
        )
        last = {
            "query": query == job.queries - 1,
            "member": member == job.group - 1,
            "head": head == job.heads - 1,
        }
        m.d.comb += [self.bank.eq(job.bank), self.table_head.eq(head), self.query.eq(query)]
        with m.FSM() as fsm:
            m.d.comb += self.busy.eq(~fsm.ongoing("IDLE"))
            with m.State("IDLE"):
                m.d.comb += self.job.ready.eq(1)
                m.d.sync += [job.eq(self.job.p), head.eq(0), member.eq(0)]
                with m.If(self.job.valid):
                    m.next = "TABLE"
            with m.State("TABLE"):
                m.d.comb += self.table_en.eq(1)
                m.d.sync += query.eq(0)
                m.next = "HEAD"
            with m.State("HEAD"):
                self._start_head(m, job, head)
                m.next = "MASK"
            with m.State("MASK"):  # the query mask needs a cycle to answer
                m.d.comb += self.query_en.eq(1)
                m.next = "ROW"
            with m.State("ROW"):
                self._row(m, job, last)
                with m.If(self.o.ready):
                    self._advance(m, job, head, member, query, last)
        return m

    def _start_head(self, m, job, head) -> None:
        """Loads what changes from head to head; addresses step by strides, never by products."""
        base = Signal(self.params.addr_width, name="o_head")
        first = Mux(head == 0, job.o_base, base + job.o_stride)
        m.d.sync += [
            base.eq(first),
            self.o.p.o_address.eq(first),
            self.o.p.scale.eq(self.table_data),
            self.o.p.parts.eq(job.parts),
        ]

    def _row(self, m, job, last) -> None:
        row = self.o.p
        visible = Mux(job.causal, self.query + (job.keys - job.queries) + 1, job.keys)
        m.d.comb += [
            self.o.valid.eq(1),
            row.last_of_kv.eq(last["query"] & last["member"]),
            row.last_of_job.eq(last["query"] & last["head"]),
            row.write.eq(~job.query_mask | self.query_valid),
            row.keys.eq(Mux(row.write | row.last_of_kv, visible, 0)),
            row.key_mask.eq(job.key_mask),
            row.bank.eq(job.bank),
        ]

    def _advance(self, m, job, head, member, query, last) -> None:
        pitch = job.parts * (2 * self.params.segment)
        m.d.sync += [query.eq(query + 1), self.o.p.o_address.eq(self.o.p.o_address + pitch)]
        with m.If(~last["query"]):
            with m.If(job.query_mask):
                m.next = "MASK"
        with m.Elif(last["head"]):
            m.next = "IDLE"
        with m.Else():
            m.d.sync += [head.eq(head + 1), member.eq(Mux(last["member"], 0, member + 1))]
            m.next = "TABLE"
