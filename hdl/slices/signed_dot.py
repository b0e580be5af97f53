"""Products of a query with small magnitudes, each added or, by its sign, subtracted."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Const, Module, Mux, Shape, Signal, Value, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from attnsieve.hdl.lib.checks import check_int
from attnsieve.hdl.slices.slice_params import SliceParams
from attnsieve.hdl.stages.scorer_array import sum_tree

__all__ = ["SignedDot"]


class SignedDot(wiring.Component):
    """``sum of value * magnitude``, each term negative where ``negative`` is set.

    No term is negated, which would take an adder: ``-v * m`` is ``~v * m + m``. So a negative one
    is the product of the inverted value, and its magnitude is added in a second, narrow sum.

    Latency: `latency` cycles, for products, a register behind every four terms, and both sums.
    Throughput: one sum per cycle. Nothing waits.

    Parameters
    ----------
    params : SliceParams
    bits : int
        Of a magnitude, 1 to 4.

    Members
    -------
    value : In(SliceParams.query_layout())
    magnitude : In(data.ArrayLayout(unsigned(bits), taps))
    negative : In(taps)
    o : Out(signed)
    """

    value: Any
    magnitude: Any
    negative: Signal
    o: Signal

    def __init__(self, *, params: SliceParams, bits: int) -> None:
        check_int("Bits", bits, 1, 4)
        self.params, self.bits = p, _ = params, bits
        most = (1 << bits) - 1 << p.query_bits - 1  # of a term
        self._term = Shape.cast(range(-most, most))
        super().__init__(
            {
                "value": In(p.query_layout()),
                "magnitude": In(data.ArrayLayout(unsigned(bits), p.taps)),
                "negative": In(p.taps),
                "o": Out(range(-most * p.taps, most * p.taps + 1)),
            }
        )

    @property
    def latency(self) -> int:
        """Cycles from values to their sum."""
        return 2 + self.params.sum_latency

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        p, products, rests = self.params, [], []
        for tap, (value, magnitude) in enumerate(zip(self.value, self.magnitude, strict=True)):
            negative = self.negative[tap]
            product = Signal(self._term, name=f"product{tap}", reset_less=True)
            rest = Signal(signed(self.bits + 1), name=f"rest{tap}", reset_less=True)
            turned = Mux(negative, ~value, value)
            m.d.sync += [
                product.eq(self._product(turned, magnitude)),
                rest.eq(Mux(negative, magnitude, 0)),
            ]
            products.append(product)
            rests.append(rest)
        total, more = (sum_tree(m, 1, terms, p.sum_terms) for terms in (products, rests))
        m.d.sync += self.o.eq(total + more)
        return m

    @staticmethod
    def _product(value: Value, magnitude: Value) -> Value:
        """A sum of shifted values, one per bit: written as a product it would take a multiplier."""
        terms = [Mux(bit, value, 0) << n for n, bit in enumerate(magnitude)]
        return sum(terms, start=Const(0, 1))
