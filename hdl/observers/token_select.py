"""Cascade token pruning: the tokens that go on are those with the largest scores."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from attnsieve.hdl.control.job_lists import selection_layout
from attnsieve.hdl.lib.connect import connect
from attnsieve.hdl.lib.queue import Queue
from attnsieve.hdl.lib.ram import Ram
from attnsieve.hdl.observers.token_ages import TokenAges
from attnsieve.hdl.observers.token_scores import SCORE_BITS, token_rows
from attnsieve.hdl.params import CoreParams, check_params
from attnsieve.hdl.select.engines import top_k_engine
from attnsieve.hdl.select.keep import Keep
from attnsieve.hdl.select.top_k import TopKParams

__all__ = ["TokenSelect"]

_WORD = 32


class TokenSelect(wiring.Component):
    """Of the candidates, selects the ``keep`` tokens with the largest scores, pinned ones first.

    The scores are walked twice, ``token_lanes`` per cycle: for the top-k, and when it knows the
    threshold, to compare; in the second walk they decay. With ``age`` what is compared are scores
    over ages (`TokenAges`); what decays are the scores. Pinned tokens count with the largest score
    there is. Of equal scores the first tokens are taken.

    Latency: ``2 * ceil(keys / token_lanes)`` cycles, those of the top-k, and `extra_latency`; with
    ``age`` up to ``2 * ceil(keys / token_lanes) * TokenAges.row_latency`` more.

    Parameters
    ----------
    params : CoreParams
        The core.

    Members
    -------
    start : In(1), selection : In(selection_layout)
        Begin; the latter stays meanwhile.
    busy : Out(1)
    beat : Out, en : Out(1), candidate : In(token_lanes), value : In(32).array(token_lanes)
        Read port of the candidates and of `TokenScores`, one cycle; both stay.
    scan : Out(1), decay : Out(5), decays : Out(token_lanes)
        To `TokenScores`.
    word : In, next : Out(32)
        The selected tokens, 32 by 32; one cycle.
    """

    start: Signal
    selection: Any
    busy: Signal
    beat: Signal
    en: Signal
    candidate: Signal
    value: Any
    scan: Signal
    decay: Signal
    decays: Signal
    word: Signal
    next: Signal

    #: Cycles beside the walks and the top-k: the masks' memory, what is compared, flags, the last
    #: write.
    extra_latency = 4

    def __init__(self, *, params: CoreParams) -> None:
        check_params(params)
        self.params = p = params
        self.rows, self.ages = token_rows(p), TokenAges(params=p)
        self.top_k = TopKParams(
            lanes=p.token_lanes, value_bits=SCORE_BITS, max_values=self.rows * p.token_lanes
        )
        super().__init__(
            {
                "start": In(1),
                "selection": In(selection_layout(p)),
                "busy": Out(1),
                "beat": Out(range(self.rows)),
                "en": Out(1),
                "candidate": In(p.token_lanes),
                "value": In(SCORE_BITS).array(p.token_lanes),
                "scan": Out(1),
                "decay": Out(5),
                "decays": Out(p.token_lanes),
                "word": In(range(-(-p.max_keys // _WORD))),
                "next": Out(_WORD),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        # One row per layer: some cycles count less than buckets.
        m.submodules.engine = engine = top_k_engine(self.params.top_k, self.top_k, fraction=2)
        m.submodules.keep = keep = Keep(params=self.top_k, lanes=self.params.token_lanes)
        connect(m, engine.o, keep.threshold)
        second, move, last = Signal(), Signal(), Signal()
        done = self._written(m, keep)
        coming, row = self._walk(m, move, last)
        there, scores = self._weighted(m, coming, row, move)
        values, wanted, inside = self._values(m, row, scores)
        compared = self._compared(m, engine, keep)
        m.d.comb += [
            move.eq(there & compared.ready),
            self.decays.eq(Mux(second & move, inside, 0)),
            self.decay.eq(self.selection.decay),
            engine.i.p.k.eq(self.selection.keep),
            compared.valid.eq(there),
            compared.p.value.eq(values),
            compared.p.keep.eq(wanted),
            compared.p.last.eq(last),
            compared.p.second.eq(second),
        ]
        with m.If(move & last):
            m.d.sync += second.eq(~second)
        with m.If(self.start):
            m.d.sync += self.busy.eq(1)
        with m.Elif(done):
            m.d.sync += self.busy.eq(0)
        return m

    def _compared(self, m: Module, engine: Any, keep: Keep) -> Any:
        """Rows in front of the top-k and of the flags; whether these are ready ends here. Returns
        where rows enter."""
        lanes = self.params.token_lanes
        row = data.StructLayout(
            {"value": SCORE_BITS * lanes, "keep": lanes, "last": 1, "second": 1}
        )
        m.submodules.compared = compared = Queue(shape=row, depth=2)
        row, valid = compared.o.p, compared.o.valid
        m.d.comb += [
            compared.o.ready.eq(Mux(row.second, keep.i.ready, engine.i.ready)),
            engine.i.valid.eq(valid & ~row.second),
            keep.i.valid.eq(valid & row.second),
        ]
        for port in (engine.i, keep.i):
            m.d.comb += [
                port.p.value.as_value().eq(row.value),
                port.p.keep.eq(row.keep),
                port.p.last.eq(row.last),
            ]
        return compared.i

    def _walk(self, m: Module, move: Signal, last: Signal) -> tuple[Signal, Signal]:
        """Two walks over the rows: the candidates and scores of a row are read while the one before
        it leaves. Returns whether a row is there, and which."""
        reading, coming, walks = Signal(), Signal(), Signal(2)
        row = Signal(range(self.rows))
        end = Signal()
        rows = (self.selection.keys - 1) >> (self.params.token_lanes.bit_length() - 1)  # less one
        free = ~coming | move
        m.d.comb += [
            end.eq(self.beat == rows),
            self.en.eq(reading & free),
            self.scan.eq(self.start | reading | coming),
        ]
        with m.If(self.start):
            m.d.sync += [reading.eq(1), self.beat.eq(0), walks.eq(1)]
        with m.Elif(self.en):
            m.d.sync += self.beat.eq(self.beat + 1)
            with m.If(end):
                m.d.sync += [self.beat.eq(0), walks.eq(walks - 1), reading.eq(walks != 0)]
        with m.If(free):
            m.d.sync += [coming.eq(self.en), row.eq(self.beat), last.eq(end)]
        return coming, row

    def _weighted(
        self, m: Module, coming: Signal, row: Signal, move: Signal
    ) -> tuple[Signal, Any]:
        """Whether what a row is compared by is there, and that: its scores, or those over ages."""
        m.submodules.ages = ages = self.ages
        m.d.comb += [
            ages.age.eq(self.selection.age),
            ages.keys.eq(self.selection.keys),
            ages.base.eq(self.selection.age_base),
            ages.here.eq(coming),
            ages.row.eq(row),
            ages.leaves.eq(move),
        ]
        m.d.comb += [its.eq(value) for its, value in zip(ages.value, self.value, strict=True)]
        return ages.there, ages.o

    def _values(self, m: Module, row: Signal, scores: Any) -> tuple[Value, Value, Value]:
        """Scores of a row, the largest of all where a token is pinned; who is a candidate; which
        tokens the job has."""
        lanes, s = self.params.token_lanes, self.selection
        newest = Signal.like(s.keys)  # the first of those
        m.d.sync += newest.eq(Mux(s.newest >= s.keys, 0, s.keys - s.newest))
        values, wanted, inside = [], [], []
        for lane, value in enumerate(scores):
            token = Cat(Const(lane, (lanes - 1).bit_length()), row)
            inside.append(token < s.keys)
            pinned = (token < s.first) | (token >= newest)
            values.append(Mux(pinned, (1 << SCORE_BITS) - 1, value))
            wanted.append(inside[-1] & Mux(s.candidates, self.candidate[lane], 1))
        return Cat(values), Cat(wanted), Cat(inside)

    def _written(self, m: Module, keep: Keep) -> Value:
        """The flags into words of 32. Returns whether the last is written."""
        p, lanes = self.params, self.params.token_lanes
        parts = _WORD // lanes
        m.submodules.words = ram = Ram(
            shape=_WORD, depth=-(-p.max_keys // _WORD), granularity=lanes
        )
        place, flags = Signal(range(self.rows)), keep.o
        bits = (parts - 1).bit_length()
        first = flags.valid & (place[:bits] == 0)  # the rest of the word is cleared with it
        m.d.comb += [
            flags.ready.eq(1),
            ram.write.address.eq(place >> bits),
            ram.write.data.eq(
                Mux(first, flags.p.keep, flags.p.keep.replicate(parts))
            ),
            ram.write.en.eq(
                Mux(flags.valid, Mux(first, -1, Const(1, parts) << place[:bits]), 0)
            ),
            ram.read[0].address.eq(self.word),
            ram.read[0].en.eq(1),
            self.next.eq(ram.read[0].data),
        ]
        with m.If(flags.valid):
            m.d.sync += place.eq(Mux(flags.p.last, 0, place + 1))
        return flags.valid & flags.p.last
