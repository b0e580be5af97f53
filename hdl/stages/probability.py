"""Probabilities as observers see them."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from attnsieve.hdl.layouts import probability_beat_layout, statistics_layout, term_beat_layout
from attnsieve.hdl.params import CoreParams, check_params

__all__ = ["Probability"]


class Probability(wiring.Component):
    """Multiplies terms by the reciprocal of their row's sum.

    ``p = (mantissa_t * mantissa + half) >> (32 + 5 * class + exponent - p_bits)``, saturated to
    ``2**p_bits - 1`` (docs/reference/numbers.md).

    A 12-bit ``p`` is at most one last bit, 2**-12, from the exact softmax of the integer scores at
    the scale that the (mantissa, shift) pair stands for; wider ones are at most as far. A term is
    ``2**-(d * c) * (1 + e)``, that of the maximum is exact, so a row's ``p`` changes by at most
    ``p * (1 - p) * e`` through its terms, and by ``p * r`` through a relative error ``r`` of the
    reciprocal:

    - the argument: 2**-14 on ``u``, doubled by a mantissa near two, and 2**-14 on ``y``, are
      ``ln 2 * 3 * 2**-14`` = 1.27e-4 of the term;
    - the tables and the rounding of a mantissa of at least 2**11: under 2.63e-4 of the term;
    - the reciprocal, with the bits of the sum that it leaves out: ``r`` under 3.2e-5;
    - mantissas under 2**11, which only the last class has: each wrong by at most
      ``2**-(17 + 5 * max_class)``, ``max_keys`` of them move the sum by less than 2**-17;
    - zeros for arguments of 32 and more: less than ``max_keys * 2**-32``.

    That is less than half of 2**-12, largest at ``p`` = 0.5; rounding ``p`` is the other half, and
    saturation costs one bit only where ``p`` is one. Against a real scale that the mantissa itself
    rounds (2**-16 of it), the tests take the worst rows, one maximum and up to 4095 equal others,
    and find less than one bit too.

    A pipeline with one enable: latency `latency` cycles, one beat per cycle. A row's statistics are
    taken with its last beat; beats wait for them. One 17x17 multiplier per lane.

    Parameters
    ----------
    params : CoreParams
        The core.

    Members
    -------
    i : In(stream(term_beat_layout))
    statistics : In(stream(statistics_layout))
    o : Out(stream(probability_beat_layout))
    """

    i: stream.Interface
    statistics: stream.Interface
    o: stream.Interface

    #: Cycles: product, shift, rounding.
    latency = 3

    def __init__(self, *, params: CoreParams) -> None:
        check_params(params)
        self.params = params
        super().__init__(
            {
                "i": In(stream.Signature(term_beat_layout(params))),
                "statistics": In(stream.Signature(statistics_layout(params))),
                "o": Out(stream.Signature(probability_beat_layout(params))),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        p = self.params
        advance = Signal()
        valid, last = Signal(self.latency), Signal(self.latency)
        m.d.comb += [
            advance.eq(~self.o.valid | self.o.ready),
            self.i.ready.eq(advance & self.statistics.valid),
            self.statistics.ready.eq(advance & self.i.valid & self.i.p.last),
            self.o.valid.eq(valid[-1]),
            self.o.p.last.eq(last[-1]),
        ]
        with m.If(advance):
            m.d.sync += [
                valid.eq(valid << 1 | (self.i.valid & self.statistics.valid)),
                last.eq(last << 1 | self.i.p.last),
            ]
            for n in range(p.groups):
                self._lane(m, n)
        return m

    def _lane(self, m: Module, n: int) -> None:
        p = self.params
        term = self.i.p.term[n]
        # Cycle 1: product, and how far its class and the sum's exponent shift it.
        product = Signal(p.mantissa_bits + p.recip_bits, name=f"product_{n}")
        most = p.class_step * p.max_class + p.max_keys.bit_length()
        shift = Signal(range(most + 1), name=f"shift_{n}")
        m.d.sync += [
            product.eq(term.mantissa * self.statistics.p.mantissa),
            shift.eq(term.exponent_class * p.class_step + self.statistics.p.exponent),
        ]
        # Cycle 2: all of the shift but its last bit.
        least = p.term_fraction + p.recip_fraction - p.p_bits - 1
        shifted = Signal(p.mantissa_bits + p.recip_bits - least, name=f"shifted_{n}")
        m.d.sync += shifted.eq((product >> least) >> shift)
        # Cycle 3: rounded and saturated.
        rounded = Value.cast(shifted + 1)[1:]
        over = rounded[p.p_bits :].any()
        m.d.sync += self.o.p.p[n].eq(Mux(over, (1 << p.p_bits) - 1, rounded[: p.p_bits]))
