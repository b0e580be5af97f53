"""What a sum of slices of a key with signs and magnitudes must reach."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Array, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from attnsieve.hdl.lib.delay import delayed
from attnsieve.hdl.slices.slice_params import SliceParams

__all__ = ["ConcordantBound"]


class ConcordantBound(wiring.Component):
    """The bound of a key's slice, from the threshold of its row and the margin of the key.

    After slice n of K in sign and magnitude, ``R = left(n)`` bits of each magnitude are open. Only
    where the sign of an element of the key is that of the query's do they raise the score: to at
    most ``sum * 2**R + (2**R - 1) * C``, ``C`` being the sum of ``|q|`` over these elements (the
    concordant-sign margin; LeOPArd, section on early termination). So the bound is

        ceil((threshold + C) / 2**R) - C

    and exact, as that of `ExitBounds` is. It is computed as ``((threshold + C - 1) >> R) -
    (C - 1)``: ``C - 1`` is the complement of ``-C``, so neither rounding nor the one takes an
    adder. The bound of the last slice is the threshold, with the zeros of `SliceParams.pad` behind.

    Latency: `latency` cycles. Throughput: one bound per cycle. Nothing waits.

    Parameters
    ----------
    params : SliceParams

    Members
    -------
    threshold : In(signed(score_bits))
    margin : In(signed(margin_bits))
        ``-C``, 0 or less.
    number : In(range(slices))
        Of the slice.
    o : Out(signed(sum_bits + 1))
    """

    threshold: Signal
    margin: Signal
    number: Signal
    o: Signal

    #: Cycles from a slice to its bound.
    latency = 2

    def __init__(self, *, params: SliceParams) -> None:
        self.params = p = params
        super().__init__(
            {
                "threshold": In(signed(p.score_bits)),
                "margin": In(signed(p.margin_bits)),
                "number": In(range(p.slices)),
                "o": Out(signed(p.sum_bits + 1)),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        p = self.params
        reach = Signal(signed(p.score_bits + 1), reset_less=True)
        number, margin = delayed(m, self.number, 1), delayed(m, self.margin, 1)
        m.d.sync += reach.eq(self.threshold + ~self.margin)
        bound = Array(reach >> p.left(n) for n in range(p.slices))[number] - ~margin
        m.d.sync += self.o.eq(Mux(number == p.slices - 1, bound << p.pad, bound))
        return m
