"""Output elements: sums of prob·V divided by the row's sum of terms."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Mux, Signal, Value, signed
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from attnsieve.hdl.layouts import accumulator_layout, output_layout, statistics_layout
from attnsieve.hdl.params import CoreParams

__all__ = ["Normaliser"]

_NORMAL_BITS = 18
_OUTPUT_BITS = 16


class Normaliser(wiring.Component):
    """Scales each element by the reciprocal of the row's sum.

    ``z = clamp18((a + half) >> h)`` with ``h = exponent + acc_fraction - normal_fraction``, then
    ``clamp16((z * mantissa + 2**16) >> 17)``, symmetric (docs/reference/numbers.md). An empty
    row has the reciprocal 0 and gives zeros. One signed 18x18 multiplier per element.

    A pipeline with one enable: latency `latency` cycles, ``output_lanes`` elements each. A row's
    statistics are taken with its last elements; elements wait for them.

    Parameters
    ----------
    params : CoreParams
        The core.

    Members
    -------
    i : In(stream(accumulator_layout))
    statistics : In(stream(statistics_layout))
    o : Out(stream(output_layout))
    """

    i: stream.Interface
    statistics: stream.Interface
    o: stream.Interface

    #: Cycles: shift, rounding, clamp, product, rounding, clamp.
    latency = 6

    def __init__(self, *, params: CoreParams) -> None:
        if not isinstance(params, CoreParams):
            raise TypeError(f"Params must be a CoreParams, not {params!r}")
        self.params = params
        super().__init__(
            {
                "i": In(stream.Signature(accumulator_layout(params))),
                "statistics": In(stream.Signature(statistics_layout(params))),
                "o": Out(stream.Signature(output_layout(params))),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        advance = Signal()
        valid, last = Signal(self.latency), Signal(self.latency)
        m.d.comb += [
            advance.eq(~self.o.valid | self.o.ready),
            self.i.ready.eq(advance & self.statistics.valid),
            self.statistics.ready.eq(advance & self.i.valid & self.i.p.last),
            self.o.valid.eq(valid[-1]),
            self.o.p.last.eq(last[-1]),
        ]
        mantissa = self.statistics.p.mantissa
        waiting = [Signal.like(mantissa, name=f"mantissa_{n}") for n in range(3)]
        with m.If(advance):
            m.d.sync += [
                valid.eq(valid << 1 | (self.i.valid & self.statistics.valid)),
                last.eq(last << 1 | self.i.p.last),
            ]
            for before, after in zip([mantissa, *waiting], waiting, strict=False):
                m.d.sync += after.eq(before)
            for n in range(self.params.output_lanes):
                self._element(m, n, waiting[-1])
        return m

    def _element(self, m: Module, n: int, mantissa: Value) -> None:
        p = self.params
        # Cycle 1: all of the shift but its last bit.
        least = p.acc_fraction - p.normal_fraction - 1
        shifted = Signal(signed(p.acc_bits - least), name=f"shifted_{n}")
        m.d.sync += shifted.eq((self.i.p.element[n] >> least) >> self.statistics.p.exponent)
        # Cycle 2: rounded. Cycle 3: clamped.
        rounded = Signal(signed(p.acc_bits - least), name=f"rounded_{n}")
        normal = Signal(signed(_NORMAL_BITS), name=f"normal_{n}")
        m.d.sync += [rounded.eq((shifted + 1) >> 1), normal.eq(_clamped(rounded, _NORMAL_BITS))]
        # Cycle 4: product. Cycle 5: rounded.
        product = Signal(signed(_NORMAL_BITS + p.recip_fraction), name=f"product_{n}")
        m.d.sync += product.eq(normal * mantissa)
        out = Signal(signed(_NORMAL_BITS), name=f"out_{n}")
        m.d.sync += out.eq((product + (1 << p.recip_fraction)) >> p.recip_fraction + 1)
        # Cycle 6: clamped, symmetric.
        element = Value.cast(_clamped(out, _OUTPUT_BITS))
        lowest = element == -(1 << _OUTPUT_BITS - 1)
        m.d.sync += self.o.p.element[n].eq(Mux(lowest, 1 - (1 << _OUTPUT_BITS - 1), element))


def _clamped(value: Signal, bits: int) -> Value:
    """The signed value, saturated to ``bits``."""
    sign = value[-1]
    high = value[bits - 1 :]
    top = (1 << bits - 1) - 1
    return Mux(high.all() | ~high.any(), value[:bits].as_signed(), Mux(sign, ~top, top))
