"""Local value pruning: of a row's terms, the largest stay."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from attnsieve.hdl.layouts import term_beat_layout
from attnsieve.hdl.lib.connect import connect
from attnsieve.hdl.lib.queue import Queue
from attnsieve.hdl.lib.widener import Widener
from attnsieve.hdl.params import CoreParams, check_params
from attnsieve.hdl.select.engines import top_k_engine
from attnsieve.hdl.select.keep import Keep
from attnsieve.hdl.select.top_k import TopKParams

__all__ = ["ValueSelect", "value_row_layout", "value_top_k"]


def value_row_layout(p: CoreParams) -> data.StructLayout:
    """What the value select knows of a row."""
    return data.StructLayout({"values": p.key_bits})  # to keep; 0: all


def value_top_k(p: CoreParams) -> TopKParams:
    """The engine that ranks terms.

    A term ranks by ``mantissa + (max_class - class) * step``. In each class but the last a
    mantissa is at least 2**(16 - 5), and 2**16 at most: with ``step`` the difference of the two,
    ranks rise with the terms, also from class to class, and terms that are equal rank the same.
    """
    most = (1 << p.term_fraction) + p.max_class * rank_step(p)
    return TopKParams(
        lanes=p.value_lanes, value_bits=most.bit_length(), max_values=p.max_beats * p.groups
    )


def rank_step(p: CoreParams) -> int:
    """What a class counts in a term's rank."""
    return (1 << p.term_fraction) - (1 << p.term_fraction - p.class_step)


class ValueSelect(wiring.Component):
    """Of each row keeps the ``values`` largest terms; the mantissa of every other becomes zero.

    Terms rank as probabilities do (SpAtten, section III-C); of equal ones those that come first
    stay. Terms that are zero are never kept. Kept terms are not changed: what was dropped is not
    made up for.

    The row waits in a queue, which holds the longest and as long a one or 128 beats more, while a
    top-k engine of ``value_lanes`` values per beat finds its threshold. Latency: from a row's last
    beat to its first at the output the engine's (see `RadixSelect`), and `extra_latency` more.
    Throughput: one beat per cycle as long as the engine is not slower than rows come; it takes the
    larger of ``ceil(beats * groups / value_lanes)`` and the beats of its passes.

    Parameters
    ----------
    params : CoreParams
        The core.

    Members
    -------
    i : In(stream(term_beat_layout))
    row : In(stream(value_row_layout))
        One per row, taken with its last beat.
    o : Out(stream(term_beat_layout))
        The same beats.
    seen : Out(stream(term_beat_layout))
        For observers: the beats with all their terms, as they leave the queue.
    """

    i: stream.Interface
    row: stream.Interface
    o: stream.Interface
    seen: stream.Interface

    #: Cycles beside the engine's: widener, queue behind it, flags.
    extra_latency = Widener.latency + 1 + Keep.latency

    def __init__(self, *, params: CoreParams) -> None:
        check_params(params)
        if not params.value_lanes:
            raise ValueError("Value lanes must not be 0 to select values")
        self.params = params
        self.top_k = value_top_k(params)
        beat = stream.Signature(term_beat_layout(params))
        super().__init__(
            {
                "i": In(beat),
                "row": In(stream.Signature(value_row_layout(params))),
                "o": Out(beat),
                **({"seen": Out(beat)} if params.token_lanes else {}),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        p = self.params
        m.submodules.store = store = Queue(
            shape=term_beat_layout(p), depth=p.max_beats + max(p.max_beats, 128), lut_ram=False
        )
        m.submodules.engine = engine = top_k_engine(self.params.top_k, self.top_k)
        m.submodules.keep = keep = Keep(params=self.top_k, lanes=p.groups)
        # a block RAM is slow to answer: a beat waits in registers for its threshold
        m.submodules.waiting = waiting = Queue(shape=term_beat_layout(p), depth=2)
        self._rank(m, store.i, engine)
        connect(m, store.o, waiting.i)
        connect(m, engine.o, keep.threshold)
        m.submodules.terms = terms = Queue(shape=term_beat_layout(p), depth=4)  # as in `Keep`
        beat = waiting.o
        room = terms.i.ready & self._observe(m, beat)
        m.d.comb += [
            keep.i.valid.eq(beat.valid & room),
            beat.ready.eq(keep.i.ready & room),
            *self._ranks(keep.i.p, beat.p),
            terms.i.valid.eq(beat.valid & beat.ready),
            terms.i.p.eq(beat.p),
            self.o.valid.eq(keep.o.valid),
            self.o.p.last.eq(keep.o.p.last),
            keep.o.ready.eq(self.o.ready),
            terms.o.ready.eq(keep.o.valid & self.o.ready),
        ]
        for lane, term in enumerate(terms.o.p.term):
            m.d.comb += [
                self.o.p.term[lane].mantissa.eq(Mux(keep.o.p.keep[lane], term.mantissa, 0)),
                self.o.p.term[lane].exponent_class.eq(term.exponent_class),
            ]
        return m

    def _observe(self, m: Module, beat: Any) -> Value:
        """What gets its flags goes to observers too. Returns whether they take it."""
        if not self.params.token_lanes:
            return Const(1)
        m.submodules.seen = seen = Queue(shape=term_beat_layout(self.params), depth=4)
        connect(m, seen.o, self.seen)
        m.d.comb += [seen.i.valid.eq(beat.valid & beat.ready), seen.i.p.eq(beat.p)]
        return seen.i.ready

    def _rank(self, m: Module, store: Any, engine: Any) -> None:
        """Terms go into the store and to the engine at once."""
        p = self.params
        ratio = p.value_lanes // p.groups
        m.submodules.widener = widener = Widener(
            shape=self.top_k.value_bits, lanes=p.groups, ratio=ratio
        )
        m.submodules.wide = wide = Queue(shape=widener.o.p.shape(), depth=2)
        m.submodules.counts = counts = Queue(shape=p.key_bits, depth=3)
        connect(m, widener.o, wide.i)
        known = ~self.i.p.last | (self.row.valid & counts.i.ready)
        go = Signal()
        m.d.comb += [
            go.eq(self.i.valid & known & store.ready & widener.i.ready),
            self.i.ready.eq(known & store.ready & widener.i.ready),
            self.row.ready.eq(go & self.i.p.last),
            store.valid.eq(go),
            store.p.eq(self.i.p),
            counts.i.valid.eq(go & self.i.p.last),
            counts.i.payload.eq(self.row.p.values),
            widener.i.valid.eq(go),
            widener.i.p.last.eq(self.i.p.last),
            widener.i.p.keep.eq(Cat(term.mantissa != 0 for term in self.i.p.term)),
            *(item.eq(self._rank_of(term))
              for item, term in zip(widener.i.p.item, self.i.p.term, strict=True)),
            engine.i.valid.eq(wide.o.valid),
            wide.o.ready.eq(engine.i.ready),
            engine.i.p.value.eq(wide.o.p.item),
            engine.i.p.keep.eq(wide.o.p.keep),
            engine.i.p.last.eq(wide.o.p.last),
            engine.i.p.k.eq(Mux(counts.o.payload == 0, -1, counts.o.payload)),
            counts.o.ready.eq(engine.i.valid & engine.i.ready & engine.i.p.last),
        ]

    def _rank_of(self, term: Any) -> Value:
        p = self.params
        offsets = [(p.max_class - k) * rank_step(p) for k in range(p.max_class + 1)]
        return term.mantissa + Array(offsets)[term.exponent_class]

    def _ranks(self, values: Any, beat: Any) -> list[Any]:
        """What a beat's terms are to the flags."""
        return [
            values.last.eq(beat.last),
            values.keep.eq(Cat(term.mantissa != 0 for term in beat.term)),
            *(v.eq(self._rank_of(t)) for v, t in zip(values.value, beat.term, strict=True)),
        ]
