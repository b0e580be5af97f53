"""The job control with a memory of jobs beside it, as the register block has one."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from attnsieve.hdl.control.job_control import JobControl
from attnsieve.hdl.control.words import (
    address_words,
    extent_layout,
    fetch_signature,
    job_words,
    size_layout,
    store_signature,
)
from attnsieve.hdl.layouts import head_layout


def request_layout(params):
    """A job as software writes it: counts are wide enough to be wrong."""
    counts = ("heads", "kv_heads", "queries", "keys", "head_dim")
    flags = ("wide", "causal", "key_mask", "query_mask")
    addresses = [f"{t}_{kind}" for t in "qkvo" for kind in ("base", "stride")]
    return data.StructLayout(
        dict.fromkeys(counts, unsigned(16)) | dict.fromkeys(flags, unsigned(1))
        | dict.fromkeys(addresses, unsigned(params.addr_width)))


class JobMemoryHardware(wiring.Component):
    """A memory of requests with the ports of the real one; tables come from outside."""

    def __init__(self, *, params):
        self.params = params
        super().__init__({
            "request": In(request_layout(params)), "bank": In(params.bank_bits), "en": In(1),
            "fetch": In(fetch_signature(params)), "store": In(store_signature(params)),
            "table_data": In(head_layout(params)),
        })

    def elaborate(self, platform):
        m = Module()
        params, known = self.params, job_words(self.params)
        requests = Signal(data.ArrayLayout(request_layout(params), params.banks))
        widths = {"GROUP": params.head_bits, **{f"{t}_EXTENT": extent_layout(params).size
                  for t in ("Q", "KV")}, **{f"{t}_SIZE": size_layout(params).size
                                            for t in ("Q", "KV")}}
        derived = Signal(data.ArrayLayout(data.StructLayout(widths), params.banks))
        with m.If(self.en):
            m.d.sync += requests[self.bank].eq(self.request)
        request, fetch, store = requests[self.fetch.bank], self.fetch, self.store
        now = {name.upper(): request[name] for name in
               ("heads", "kv_heads", "queries", "keys", "head_dim")}
        now["MODE"] = Cat(request.wide, request.causal, request.key_mask, request.query_mask)
        for tensor in "qkvo":
            for kind in ("base", "stride"):
                name = f"{tensor}_{kind}"
                for place, word in enumerate(address_words(params, name.upper())):
                    now[word] = request[name][32 * place : 32 * (place + 1)]
        now |= {name: derived[fetch.bank][name] for name in widths}
        word = Signal(32)
        with m.Switch(fetch.index):
            for name, value in now.items():
                with m.Case(known[name]):
                    m.d.comb += word.eq(value)
        table, here = Signal(), Signal(32)
        m.d.sync += [here.eq(word), table.eq(fetch.table)]
        m.d.comb += [fetch.data.eq(Mux(table, self.table_data, here)), fetch.grant.eq(1),
                     store.grant.eq(1)]
        for name in widths:
            with m.If(store.en & (store.index == known[name])):
                m.d.sync += derived[store.bank][name].eq(store.data)
        return m


class Stored(wiring.Component):
    """`JobControl` whose ``job`` takes jobs while fewer than ``queue_depth + 1`` are unfinished.

    ``table_head`` is read with ``table_en``; ``table_data`` answers one cycle later.
    """

    def __init__(self, *, params):
        self.params, self.depth = params, params.queue_depth + 1
        self.inner = JobControl(params=params)
        members = dict(self.inner.signature.members)
        for name in ("fetch", "store", "jobs"):
            del members[name]
        super().__init__(members | {
            "job": In(stream.Signature(request_layout(params))), "jobs": Out(range(self.depth + 1)),
            "table_head": Out(params.head_bits), "table_en": Out(1),
            "table_data": In(head_layout(params))})

    def elaborate(self, platform):
        m = Module()
        m.submodules.inner = inner = self.inner
        m.submodules.memory = memory = JobMemoryHardware(params=self.params)
        for name, member in self.inner.signature.members.items():
            if name in ("fetch", "store", "jobs"):
                continue
            mine, other = getattr(self, name), getattr(inner, name)
            if member.is_signature:
                connect(m, other, flipped(mine))
            else:
                m.d.comb += other.eq(mine) if member.flow is wiring.In else mine.eq(other)
        connect(m, inner.fetch, memory.fetch)
        connect(m, inner.store, memory.store)
        newest = Signal(self.params.bank_bits)
        append, ends = self.job.valid & self.job.ready, inner.result.valid & inner.result.ready
        m.d.comb += [
            self.job.ready.eq(self.jobs != self.depth),
            inner.jobs.eq(self.jobs),
            memory.request.eq(self.job.p),
            memory.bank.eq(newest),
            memory.en.eq(append),
            memory.table_data.eq(self.table_data),
            self.table_head.eq(inner.fetch.index),
            self.table_en.eq(inner.fetch.en & inner.fetch.table),
        ]
        with m.If(append):
            m.d.sync += newest.eq(Mux(newest == self.params.banks - 1, 0, newest + 1))
        m.d.sync += self.jobs.eq(self.jobs + append - ends)
        return m
