"""The lists of the keys and queries that a job works on."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from attnsieve.hdl.axi.list_rows import list_read_signature, row_lanes
from attnsieve.hdl.control.row_list import RowList, entry_read_signature, mask_lanes
from attnsieve.hdl.control.words import WordReader, fetch_signature, saturated
from attnsieve.hdl.params import CoreParams

__all__ = ["JobLists", "selection_layout"]

_WORDS = (
    "QUERIES", "KEYS", "PIN_FIRST", "PIN_NEWEST", "KEEP_TOKENS", "KEEP_HEADS", "SCORING", "MODE",
)  # fmt: skip


def selection_layout(p: CoreParams) -> data.StructLayout:
    """Which tokens of a job go on, ``keep`` of the ``keys`` first ones; and how many heads; what it
    needs of the second plane of K."""
    planes = {"threshold": 16, "plane": 32}  # of probabilities; bytes to that plane
    return data.StructLayout(
        {
            "keys": p.key_bits,
            "keep": p.key_bits,
            "first": p.key_bits,  # so many of the first are pinned,
            "newest": p.key_bits,  # and so many of the last
            "heads": p.head_bits,
            "clear": 1,  # scores are zero at first
            "select": 1,  # tokens are selected at the end
            "candidates": 1,  # of the candidates; else of all keys
            "decay": 5,  # shift of what scores then lose; 0: nothing
            "age": 1,  # scores are compared per query that saw the token;
            "age_base": p.key_bits,  # all did that saw the first so many tokens
            **(planes if p.progressive else {}),
        }
    )


class JobLists(wiring.Component):
    """Builds both lists of a job from its masks, and keeps them until the next job.

    The list of queries has row 0 at least; it is ``forced`` if no query is valid, and then no key
    is listed. In a causal job the list of keys ends with the last one that the last query sees.
    Both are built at once, in a causal job one after the other: `RowList.latency` and a cycle for
    each beat of the masks.

    Parameters
    ----------
    params : CoreParams
        The core.

    Members
    -------
    job : In(stream(bank_bits))
        Banks of jobs, one after the other, checked or not. One waits while the lists of the job
        before are built, which may have been refused.
    fetch : Out(fetch_signature)
        Read port of the job memory.
    bank : Out(bank_bits)
        Of the job at hand.
    query_masked, key_masked : Out(1)
        Whether the masks apply.
    query_beat, query_en : Out, query_mask : In(lanes)
    key_beat, key_en : Out, key_mask : In(lanes)
        Read ports of the masks, one cycle.
    done : Out(1)
        The lists are there. Falls as a job is offered.
    queries, keys : Out
        How many are listed.
    forced : Out(1)
        No query is valid.
    list : In(list_read_signature)
        Of the loader.
    query_entry, key_entry : In(entry_read_signature)
        Of who walks the rows.
    key_beat_entry : In(entry_read_signature)
        The keys of a beat of scores.
    value_entry : In(entry_read_signature)
        Likewise, with ``value_demand``: of who lists the values.
    selection : Out(selection_layout)
        What is to be done with the scores of tokens.
    """

    job: stream.Interface
    fetch: Any
    bank: Signal
    query_masked: Signal
    key_masked: Signal
    query_beat: Signal
    query_en: Signal
    query_mask: Signal
    key_beat: Signal
    key_en: Signal
    key_mask: Signal
    done: Signal
    queries: Signal
    keys: Signal
    forced: Signal
    list: Any
    query_entry: Any
    key_entry: Any
    key_beat_entry: Any
    selection: Any

    def __init__(self, *, params: CoreParams) -> None:
        self.params = p = params
        line = row_lanes(p)
        self.query_list = RowList(params=p, rows=p.max_queries, reads=(line, line))
        wide = (p.groups,) * (1 + p.value_demand)
        self.key_list = RowList(params=p, rows=p.max_keys, reads=(line, line, *wide))
        lanes = mask_lanes(p)
        beat = entry_read_signature(p, p.max_keys, p.groups)
        super().__init__(
            {
                "job": In(stream.Signature(p.bank_bits)),
                "fetch": Out(fetch_signature(p)),
                "bank": Out(p.bank_bits),
                "query_masked": Out(1),
                "key_masked": Out(1),
                "query_beat": Out(len(self.query_list.mask_beat)),
                "query_en": Out(1),
                "query_mask": In(lanes),
                "key_beat": Out(len(self.key_list.mask_beat)),
                "key_en": Out(1),
                "key_mask": In(lanes),
                "done": Out(1),
                "queries": Out(p.query_bits),
                "keys": Out(p.key_bits),
                "forced": Out(1),
                "list": In(list_read_signature(p)),
                "query_entry": In(entry_read_signature(p, p.max_queries)),
                "key_entry": In(entry_read_signature(p, p.max_keys)),
                "key_beat_entry": In(beat),
                **({"value_entry": In(beat)} if p.value_demand else {}),
                "selection": Out(selection_layout(p)),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.queries = queries = self.query_list
        m.submodules.keys = keys = self.key_list
        causal, all_queries, all_keys = (
            Signal(),
            Signal.like(queries.rows),
            Signal.like(keys.rows),
        )
        read = self._read(m, causal, all_queries, all_keys)
        ahead = Signal.like(keys.rows)
        m.d.sync += ahead.eq(all_keys - all_queries)
        m.d.comb += [
            queries.force.eq(1),
            queries.rows.eq(all_queries),
            keys.rows.eq(Mux(causal, queries.final + 1 + ahead, all_keys)),
            self.queries.eq(queries.count),
            self.keys.eq(Mux(queries.forced, 0, keys.count)),
            self.forced.eq(queries.forced),
        ]
        there = Signal()
        m.d.comb += self.done.eq(there & ~self.job.valid)
        with m.If(self.job.valid):
            m.d.sync += there.eq(0)
        with m.FSM() as fsm:
            m.d.comb += self._free.eq(fsm.ongoing("IDLE") & ~read)
            with m.State("IDLE"):
                with m.If(read):
                    m.next = "START"
            with m.State("START"):
                m.d.comb += [queries.start.eq(1), keys.start.eq(~causal)]
                m.next = "QUERIES"
            with m.State("QUERIES"):
                with m.If(queries.done):
                    m.d.comb += keys.start.eq(causal)
                    m.next = "KEYS"
            with m.State("KEYS"):
                with m.If(keys.done):
                    m.d.sync += there.eq(1)
                    m.next = "IDLE"
        self._masks(m)
        self._ports(m)
        return m

    def _read(self, m: Module, causal: Signal, queries: Signal, keys: Signal) -> Signal:
        """Words of the job to their registers. Returns whether the last one has come."""
        planes = ("PRECISION", "K_PLANE") if self.params.progressive else ()
        words = (*planes, *_WORDS)
        m.submodules.reader = reader = WordReader(params=self.params, words=words)
        connect(m, reader.fetch, flipped(self.fetch))
        self._free = Signal()  # no lists are being built: those of a refused job may be
        m.d.comb += [
            reader.job.valid.eq(self.job.valid & self._free),
            reader.job.payload.eq(self.job.payload),
            self.job.ready.eq(reader.job.ready & self._free),
        ]
        word, read, selection = self.fetch.data, Signal(), self.selection
        scoring, bits = ("clear", "select", "candidates"), self.params.key_bits
        into = {
            "QUERIES": queries.eq(word),
            "KEYS": [keys.eq(word), selection.keys.eq(word)],
            "PIN_FIRST": selection.first.eq(saturated(word, bits)),
            "PIN_NEWEST": selection.newest.eq(saturated(word, bits)),
            "KEEP_TOKENS": selection.keep.eq(saturated(word, bits)),
            "KEEP_HEADS": selection.heads.eq(saturated(word, self.params.head_bits)),
            "SCORING": [
                *(selection[name].eq(word[n]) for n, name in enumerate(scoring)),
                selection.decay.eq(word[8:]),
                selection.age.eq(word[3]),
                selection.age_base.eq(saturated(word[16:], bits)),
            ],
            "MODE": [
                causal.eq(word[1]),
                self.key_masked.eq(word[2]),
                self.query_masked.eq(word[3]),
                self.bank.eq(self.job.payload),
            ],
        }
        if planes:
            into["PRECISION"] = selection.threshold.eq(word)
            into["K_PLANE"] = selection.plane.eq(word)
        for name, arrive in zip(words, reader.arrive, strict=True):
            with m.If(arrive):
                m.d.sync += into[name]
        m.d.sync += read.eq(reader.arrive[-1])
        return read

    def _masks(self, m: Module) -> None:
        m.d.comb += [
            self.query_beat.eq(self.query_list.mask_beat),
            self.query_en.eq(self.query_list.mask_en),
            self.query_list.mask.eq(self.query_mask),
            self.key_beat.eq(self.key_list.mask_beat),
            self.key_en.eq(self.key_list.mask_en),
            self.key_list.mask.eq(self.key_mask),
        ]

    def _ports(self, m: Module) -> None:
        """The loader reads either list."""
        loader, which = self.list, Signal()
        query_list, query = self.query_list.read0, self.query_list.read1
        key_list, key = self.key_list.read0, self.key_list.read1
        with m.If(loader.en):
            m.d.sync += which.eq(loader.query)
        m.d.comb += [
            query_list.line.eq(loader.line),
            query_list.en.eq(loader.en),
            key_list.line.eq(loader.line),
            key_list.en.eq(loader.en),
            loader.data.as_value().eq(
                Mux(which, query_list.data.as_value(), key_list.data.as_value())
            ),
        ]
        beat = self.key_list.read2
        readers = [(query, self.query_entry), (key, self.key_entry), (beat, self.key_beat_entry)]
        if self.params.value_demand:
            readers.append((self.key_list.read3, self.value_entry))
        for port, entry in readers:
            m.d.comb += [
                port.line.eq(entry.line),
                port.en.eq(entry.en),
                entry.data.eq(port.data),
            ]
