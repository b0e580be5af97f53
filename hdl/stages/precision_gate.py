"""Which rows need all bits of K: the decision of progressive quantisation."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from attnsieve.hdl.layouts import row_layout, statistics_layout, term_beat_layout
from attnsieve.hdl.lib.connect import connect
from attnsieve.hdl.lib.pointer import next_index
from attnsieve.hdl.lib.queue import Queue
from attnsieve.hdl.lib.ram import Ram
from attnsieve.hdl.params import CoreParams, check_params

__all__ = ["GATE_FIELDS", "PrecisionGate", "gate_row_layout"]

#: What is known of a row where it is decided upon.
GATE_FIELDS = ("progressive", "again", "place", "segment")


def gate_row_layout(p: CoreParams) -> data.StructLayout:
    """A row, or a row again."""
    return data.StructLayout({name: row_layout(p)[name].shape for name in GATE_FIELDS})


class PrecisionGate(wiring.Component):
    """Holds rows until their terms are final, and lets them go in order.

    The largest term of a row is one, so the row's largest probability is the reciprocal of its sum:
    ``mantissa >> exponent`` in units of 2**-16. A progressive row in which that is less than
    ``threshold`` is to be computed again (SpAtten, section III-D: its distribution is flat, and
    the error of few bits is large); its terms are dropped. Any other row, and one that was computed
    again, is final. A row without a key is final at once.

    Terms wait in a memory of ``held_beats``, from the row's ``place`` on, where they are written
    over if the row comes again; statistics under its ``segment``. Rows leave in the order in which
    they came first. Rows that are not progressive pass unchanged, a cycle after they came.
    Between the two kinds the gate must be empty.

    Latency: `verdict_latency` = 2 cycles from a row's statistics to its verdict. A final row that
    is the oldest leaves from `latency` = 5 cycles after its statistics on, a beat per
    cycle. Progressive rows never wait at ``i``.

    Parameters
    ----------
    params : CoreParams
        The core; with ``progressive``.

    Members
    -------
    threshold : In(16)
        UQ0.16.
    i : In(stream(term_beat_layout))
    statistics : In(stream(statistics_layout))
        Of each row, after its last beat.
    row : In(stream(gate_row_layout))
        One per row of beats, taken with its last one.
    o : Out(stream(term_beat_layout))
    o_statistics : Out(stream(statistics_layout))
        Of each row that leaves, at most three rows before its first beat: so many beats may wait
        at ``o``.
    verdict : Out(stream(1)), always ready
        Of each progressive row that came first, in order: it must come again.
    again : Out(1)
        That is the verdict on a row.
    release : Out(1)
        A row that was held has left.
    """

    threshold: Signal
    i: stream.Interface
    statistics: stream.Interface
    row: stream.Interface
    o: stream.Interface
    o_statistics: stream.Interface
    verdict: stream.Interface
    again: Signal
    release: Signal

    #: Cycles from a row's statistics to its verdict.
    verdict_latency = 2
    #: Cycles from the statistics of the oldest row, final, until it can leave.
    latency = 5
    #: Rows that may have left the exponential, and whose statistics may not.
    _passes = 32

    def __init__(self, *, params: CoreParams) -> None:
        check_params(params)
        if not params.progressive:
            raise ValueError("Params must be of a core with progressive")
        self.params = params
        # a block RAM is slow to answer, and who takes a beat is far away
        self.leaving = Queue(shape=term_beat_layout(params), depth=2)
        beat = stream.Signature(term_beat_layout(params))
        statistics = stream.Signature(statistics_layout(params))
        super().__init__(
            {
                "threshold": In(16),
                "i": In(beat),
                "statistics": In(statistics),
                "row": In(stream.Signature(gate_row_layout(params))),
                "o": Out(beat),
                "o_statistics": Out(statistics),
                "verdict": Out(stream.Signature(1, always_ready=True)),
                "again": Out(1),
                "release": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        p, layout = self.params, gate_row_layout(self.params)
        known = data.StructLayout({n: layout[n].shape for n in ("progressive", "again", "segment")})
        m.submodules.passes = passes = Queue(shape=known, depth=self._passes)
        held = data.StructLayout(
            {"place": layout["place"].shape, "segment": layout["segment"].shape,
             "beats": range(p.max_beats + 1)}
        )  # fmt: skip
        m.submodules.order = order = Queue(shape=held, depth=p.held_segments)
        m.submodules.terms = terms = Ram(shape=term_beat_layout(p), depth=p.held_beats)
        m.submodules.sums = sums = Ram(
            shape=statistics_layout(p), depth=p.held_segments, distributed=True
        )
        m.submodules.leaving = self.leaving
        self._out = self.leaving.i
        connect(m, self.leaving.o, self.o)
        final = Signal(p.held_segments)
        self._row, self._there = Signal(held), Signal()  # the oldest one
        begin, fetched = Signal(), Signal()  # the oldest row leaves; a beat was read
        pass_on = self._enter(m, passes, order, terms, fetched)
        direct = self._judge(m, passes, sums, final)
        beat = self._leave(m, order, terms, final, begin, fetched)
        self._show(m, pass_on, beat, fetched)
        self._tell(m, direct, sums, self._row.segment, begin)
        return m

    def _enter(
        self, m: Module, passes: Queue, order: Queue, terms: Ram, fetched: Signal
    ) -> Value:
        """Beats of progressive rows into the memory; what is known of a row behind its last.
        Returns whether the beat at hand may pass."""
        p, row = self.params, self.row.p
        number, place = Signal(range(p.held_beats)), Signal(range(p.held_beats))
        beats, take, pass_on = Signal(range(p.max_beats + 1)), Signal(), Signal()
        room = self.row.valid & passes.i.ready & (order.i.ready | row.again)
        m.d.comb += [
            pass_on.eq(room & ~row.progressive & ~order.o.valid & ~self._there & ~fetched),
            self.i.ready.eq(Mux(row.progressive, room, pass_on & self._out.ready)),
            take.eq(self.i.valid & self.i.ready),
            self.row.ready.eq(take & self.i.p.last),
            passes.i.valid.eq(self.row.ready),
            *(passes.i.p[name].eq(row[name]) for name, _ in passes.shape),
            order.i.valid.eq(self.row.ready & row.progressive & ~row.again),
            order.i.p.place.eq(row.place),
            order.i.p.segment.eq(row.segment),
            order.i.p.beats.eq(beats + 1),
            place.eq(Mux(beats == 0, row.place, number)),
            terms.write.address.eq(place),
            terms.write.data.eq(self.i.p),
            terms.write.en.eq(take & row.progressive),
        ]
        with m.If(take):
            m.d.sync += number.eq(next_index(place, p.held_beats))
            m.d.sync += beats.eq(Mux(self.i.p.last, 0, beats + 1))
        return pass_on

    def _judge(self, m: Module, passes: Queue, sums: Ram, final: Signal) -> Value:
        """Statistics of progressive rows: a verdict, or the row is final. Returns whether those at
        hand may pass."""
        come, row = self.statistics, passes.o.p
        valid, found = Signal(), Signal.like(come.p, reset_less=True)
        judged, again = Signal.like(row, reset_less=True), Signal()
        largest = found.mantissa >> found.exponent
        m.d.comb += [
            come.ready.eq(passes.o.valid & (row.progressive | self.o_statistics.ready)),
            passes.o.ready.eq(come.valid & come.ready),
            again.eq(~judged.again & ~found.empty & (largest < self.threshold)),
            self.again.eq(self.verdict.valid & self.verdict.payload),
            sums.write.address.eq(judged.segment),
            sums.write.data.eq(found),
            sums.write.en.eq(valid & ~again),
        ]
        m.d.sync += [valid.eq(come.valid & passes.o.valid & row.progressive), found.eq(come.p)]
        m.d.sync += [
            judged.eq(row),
            self.verdict.valid.eq(valid & ~judged.again),
            self.verdict.payload.eq(again),
        ]
        with m.If(sums.write.en):
            m.d.sync += final.bit_select(judged.segment, 1).eq(1)
        return come.valid & passes.o.valid & ~row.progressive

    def _leave(
        self, m: Module, order: Queue, terms: Ram, final: Signal, begin: Signal, fetched: Signal
    ) -> Any:
        """The oldest row, once it is final and the statistics of the one before are told, a beat
        per cycle. Returns what was read."""
        p, row = self.params, self._row
        left, number = Signal(range(p.max_beats + 1)), Signal(range(p.held_beats))
        place, read, free, going = Signal.like(number), Signal(), Signal(), left != 0
        gone = Signal()  # its last beat is read
        ready = self._oldest(m, order.o, final, gone)
        told = ~self.o_statistics.valid | self.o_statistics.ready
        m.d.comb += [
            free.eq(~fetched | self._out.ready),
            begin.eq(ready & told & free & ~going),
            read.eq(begin | (going & free)),
            place.eq(Mux(going, number, row.place)),
            terms.read[0].address.eq(place),
            terms.read[0].en.eq(read),
            gone.eq(read & (Mux(going, left, row.beats) == 1)),
        ]
        m.d.sync += self.release.eq(gone)
        with m.If(read):
            m.d.sync += left.eq(Mux(going, left, row.beats) - 1)
            m.d.sync += number.eq(next_index(place, p.held_beats))
        with m.If(free):
            m.d.sync += fetched.eq(read)
        with m.If(gone):
            m.d.sync += final.bit_select(row.segment, 1).eq(0)
        return terms.read[0].data

    def _oldest(self, m: Module, order: Any, final: Signal, gone: Signal) -> Signal:
        """The oldest row to a register, and whether it is final to another one: known of the next
        row as the one before goes."""
        ready, take = Signal(), Signal()
        m.d.comb += [take.eq(~self._there | gone), order.ready.eq(take)]
        next_is, this_is = (final.bit_select(row.segment, 1) for row in (order.p, self._row))
        m.d.sync += ready.eq(Mux(take, order.valid & next_is, this_is))
        with m.If(take):
            m.d.sync += [self._row.eq(order.p), self._there.eq(order.valid)]
        return ready

    def _show(self, m: Module, pass_on: Value, beat: Any, fetched: Signal) -> None:
        """A beat that was held, or the one at hand."""
        m.d.comb += [
            self._out.valid.eq(fetched | (pass_on & self.i.valid)),
            self._out.p.as_value().eq(Mux(fetched, Value.cast(beat), self.i.p.as_value())),
        ]

    def _tell(self, m: Module, direct: Value, sums: Ram, segment: Value, begin: Signal) -> None:
        """Statistics that were held, of the row that begins, or those at hand."""
        held, out = Signal(), self.o_statistics
        m.d.comb += [
            sums.read[0].address.eq(segment),
            sums.read[0].en.eq(begin),
            out.valid.eq(held | direct),
            out.p.as_value().eq(
                Mux(held, Value.cast(sums.read[0].data), self.statistics.p.as_value())
            ),
        ]
        m.d.sync += held.eq(begin | (held & ~out.ready))
