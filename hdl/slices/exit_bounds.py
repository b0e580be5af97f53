"""What a sum of slices must reach for the score to be still able to reach the threshold."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from attnsieve.hdl.lib.delay import delayed
from attnsieve.hdl.slices.slice_params import SliceParams
from attnsieve.hdl.stages.scorer_array import sum_tree

__all__ = ["ExitBounds"]


class ExitBounds(wiring.Component):
    """A query and a threshold in; a bound for each slice out.

    After slice n of K in two's complement, ``R = left(n)`` bits of each word are open: they add
    from 0 to 2**R - 1 to it. So the score is at most ``sum * 2**R + (2**R - 1) * C`` with
    ``C = sum of max(q, 0)`` over the query, whatever the bits: it cannot reach the threshold if

        sum < ceil((threshold + C) / 2**R) - C

    which is the bound. That of the last slice is the threshold itself, with the zeros of `pad`
    behind it. Bounds are exact: with some key the score reaches the threshold if the sum reaches
    its bound (the interval margin, of this project).

    Words with a sign and a magnitude have other bounds for each key (`ConcordantBound`), which
    follow from the threshold: it is all that comes out here.

    Latency: `latency` cycles, a register behind every four terms of the sum, and two; or one in
    all for the threshold alone. Throughput: one query per cycle. Nothing waits.

    Parameters
    ----------
    params : SliceParams

    Members
    -------
    i : In(stream({query, threshold}, always ready))
    o : Out(stream(SliceParams.bounds_layout(), always ready))
    most : Out
        Beside it: C; with a sign and a magnitude nothing, which is not used.
    """

    i: stream.Interface
    o: stream.Interface
    most: Signal

    def __init__(self, *, params: SliceParams) -> None:
        self.params = params
        given = data.StructLayout(
            {"query": params.query_layout(), "threshold": signed(params.score_bits)}
        )
        super().__init__(
            {
                "i": In(stream.Signature(given, always_ready=True)),
                "o": Out(stream.Signature(params.bounds_layout(), always_ready=True)),
                "most": Out(params.score_bits),
            }
        )

    @property
    def latency(self) -> int:
        """Cycles from a query to its bounds."""
        return 1 if self.params.sign_magnitude else 2 + self.params.sum_latency

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        threshold = delayed(m, self.i.p.threshold, self.latency - 1)
        m.d.sync += self.o.valid.eq(delayed(m, self.i.valid, self.latency - 1))
        if self.params.sign_magnitude:
            m.d.sync += self.o.p[0].eq(threshold)
        else:
            self._bounds(m, threshold)
        return m

    def _bounds(self, m: Module, threshold: Value) -> None:
        """Of each slice that of the query, whatever the key."""
        p = self.params
        positive = []
        for tap, value in enumerate(self.i.p.query):
            term = Signal(signed(p.query_bits), name=f"positive{tap}", reset_less=True)
            m.d.sync += term.eq(Mux(value < 0, 0, value))
            positive.append(term)
        most = sum_tree(m, 1, positive, p.sum_terms)
        m.d.sync += self.most.eq(most)
        for number, bound in enumerate(self.o.p):
            left = p.left(number)
            round_up = (1 << left) - 1
            reach = ((threshold + most + round_up) >> left) - most
            m.d.sync += bound.eq(threshold << p.pad if number == p.slices - 1 else reach)
