"""What the rows of a job give to each token: probabilities with the tokens they belong to."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from attnsieve.hdl.control.row_list import entry_read_signature
from attnsieve.hdl.layouts import statistics_layout, term_beat_layout
from attnsieve.hdl.lib.connect import connect
from attnsieve.hdl.lib.queue import Queue
from attnsieve.hdl.observers.token_scores import share_layout, token_bits
from attnsieve.hdl.params import CoreParams, check_params
from attnsieve.hdl.stages.probability import Probability

__all__ = ["TokenShares"]


class TokenShares(wiring.Component):
    """Turns the terms of a row into probabilities, and looks up the token of each in the list.

    A beat's terms are those of consecutive places in the list of keys. Latency: that of
    `Probability`. Throughput: one beat per cycle.

    Parameters
    ----------
    params : CoreParams
        The core.

    Members
    -------
    i : In(stream(term_beat_layout))
        All terms of each row.
    statistics : In(stream(statistics_layout))
        One per row; its beats wait for it.
    row : In(stream({last_of_job}))
        One per row, taken with its last beat.
    entry : Out(entry_read_signature)
        Read port of the list of keys, a beat wide.
    o : Out(stream(share_layout))
    last : Out(1)
        The beat at ``o`` is the job's last.
    """

    i: stream.Interface
    statistics: stream.Interface
    row: stream.Interface
    entry: Any
    o: stream.Interface
    last: Signal

    #: Beats on their way through `Probability`, and one more.
    _depth = Probability.latency + 1

    def __init__(self, *, params: CoreParams) -> None:
        check_params(params)
        self.params = p = params
        row = data.StructLayout({"last_of_job": 1})
        super().__init__(
            {
                "i": In(stream.Signature(term_beat_layout(p))),
                "statistics": In(stream.Signature(statistics_layout(p))),
                "row": In(stream.Signature(row)),
                "entry": Out(entry_read_signature(p, p.max_keys, p.groups)),
                "o": Out(stream.Signature(share_layout(p))),
                "last": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        p = self.params
        m.submodules.probability = probability = Probability(params=p)
        ended = data.StructLayout(
            {"token": data.ArrayLayout(token_bits(p), p.groups), "last": 1}
        )
        m.submodules.tokens = tokens = Queue(shape=ended, depth=2 * self._depth)
        connect(m, self.statistics, probability.statistics)
        beat, take, read, last = Signal(range(p.max_beats)), Signal(), Signal(), Signal()
        known = ~self.i.p.last | self.row.valid
        room = tokens.level < self._depth  # one is on its way
        m.d.comb += [
            take.eq(self.i.valid & self.i.ready),
            probability.i.valid.eq(self.i.valid & known & room),
            probability.i.p.eq(self.i.p),
            self.i.ready.eq(probability.i.ready & known & room),
            self.row.ready.eq(take & self.i.p.last),
            self.entry.line.eq(beat),
            self.entry.en.eq(take),
            tokens.i.valid.eq(read),
            tokens.i.p.last.eq(last),
            *(token.eq(found.index)
              for token, found in zip(tokens.i.p.token, self.entry.data, strict=True)),
        ]
        m.d.sync += [read.eq(take), last.eq(self.i.p.last & self.row.p.last_of_job)]
        with m.If(take):
            m.d.sync += beat.eq(Mux(self.i.p.last, 0, beat + 1))
        m.d.comb += [
            self.o.valid.eq(probability.o.valid),
            probability.o.ready.eq(self.o.ready),
            tokens.o.ready.eq(self.o.valid & self.o.ready),
            self.o.p.token.eq(tokens.o.p.token),
            self.o.p.share.eq(probability.o.p.p),
            self.last.eq(tokens.o.p.last),
        ]
        return m
