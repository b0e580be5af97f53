"""Output elements: sums of prob·V divided by the row's sum of terms."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from attnsieve.hdl.layouts import accumulator_layout, output_layout, statistics_layout
from attnsieve.hdl.lib.pace import Pace
from attnsieve.hdl.lib.serial import SerialMultiplier
from attnsieve.hdl.params import CoreParams

__all__ = ["Normaliser"]

_NORMAL_BITS = 18
_OUTPUT_BITS = 16


class Normaliser(wiring.Component):
    """Scales each element by the reciprocal of the row's sum.

    ``z = clamp18((a + half) >> h)`` with ``h = exponent + acc_fraction - normal_fraction``, then
    ``clamp16((z * mantissa + 2**16) >> 17)``, symmetric (docs/reference/numbers.md). An empty
    row has the reciprocal 0 and gives zeros. One signed 18x18 multiplier per element.

    A pipeline with one enable, which moves every `pace` cycles at most: every cycle, but every 5
    without hardware multipliers. ``output_lanes`` elements enter per move; latency is `latency`
    cycles. A row's statistics are taken with its last elements; elements wait for them.

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

    def __init__(self, *, params: CoreParams) -> None:
        if not isinstance(params, CoreParams):
            raise TypeError(f"Params must be a CoreParams, not {params!r}")
        self.params = params
        self.pace = 1 if params.lut_ram else 5
        super().__init__(
            {
                "i": In(stream.Signature(accumulator_layout(params))),
                "statistics": In(stream.Signature(statistics_layout(params))),
                "o": Out(stream.Signature(output_layout(params))),
            }
        )

    @property
    def moves(self) -> int:
        """Shift, rounding, clamp, product, rounding, clamp; only every third where it is serial."""
        return 6 if self.pace == 1 else 2

    @property
    def latency(self) -> int:
        """Cycles from ``i`` to ``o``: 6; 10 at a pace of 5."""
        return self.moves * self.pace

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        advance = Signal()
        valid, last = Signal(self.moves), Signal(self.moves)
        m.submodules.pace = self._pace = pace = Pace(cycles=self.pace)
        m.d.comb += [
            pace.advance.eq(advance),
            advance.eq(pace.due & (~valid[-1] | self.o.ready)),
            self.i.ready.eq(advance & self.statistics.valid),
            self.statistics.ready.eq(advance & self.i.valid & self.i.p.last),
            self.o.valid.eq(pace.due & valid[-1]),
            self.o.p.last.eq(last[-1]),
        ]
        with m.If(advance):
            m.d.sync += [
                valid.eq(valid << 1 | (self.i.valid & self.statistics.valid)),
                last.eq(last << 1 | self.i.p.last),
            ]
        self._advance = advance
        mantissa = self._later(m, self.statistics.p.mantissa)
        if self.pace == 1:
            mantissa = self._later(m, self._later(m, mantissa))
        for n in range(self.params.output_lanes):
            self._element(m, n, mantissa)
        return m

    def _later(self, m: Module, value: Value) -> Signal:
        after = Signal(value.shape())
        with m.If(self._advance):
            m.d.sync += after.eq(value)
        return after

    def _element(self, m: Module, n: int, mantissa: Value) -> None:
        p = self.params
        stage = (lambda value: self._later(m, value)) if self.pace == 1 else (lambda value: value)
        # Cycle 1: all of the shift but its last bit. Cycle 2: rounded. Cycle 3: clamped.
        least = p.acc_fraction - p.normal_fraction - 1
        shifted = stage((self.i.p.element[n] >> least) >> self.statistics.p.exponent)
        rounded = stage(((shifted + 1) >> 1).as_signed())
        normal = self._later(m, _clamped(rounded, _NORMAL_BITS))
        # Cycle 4: product. Cycle 5: rounded. Cycle 6: clamped, symmetric.
        product = self._product(m, n, normal, mantissa)
        fraction = p.recip_fraction + 1
        rounded = stage(((product + (1 << fraction - 1)) >> fraction)[:_NORMAL_BITS].as_signed())
        element = Value.cast(_clamped(rounded, _OUTPUT_BITS))
        lowest = -(1 << _OUTPUT_BITS - 1)
        with m.If(self._advance):
            m.d.sync += self.o.p.element[n].eq(Mux(element == lowest, lowest + 1, element))

    def _product(self, m: Module, n: int, normal: Value, mantissa: Value) -> Value:
        if self.pace == 1:
            return self._later(m, normal * mantissa)
        m.submodules[f"multiplier_{n}"] = multiplier = SerialMultiplier(
            a_bits=_NORMAL_BITS, b_bits=self.params.recip_bits, cycles=self.pace, a_signed=True
        )
        m.d.comb += [
            multiplier.restart.eq(self._advance),
            multiplier.phase.eq(self._pace.phase),
            multiplier.a.eq(normal),
            multiplier.b.eq(mantissa),
        ]
        return multiplier.o


def _clamped(value: Value, bits: int) -> Value:
    """The signed value, saturated to ``bits``."""
    sign = value[-1]
    high = value[bits - 1 :]
    top = (1 << bits - 1) - 1
    return Mux(high.all() | ~high.any(), value[:bits].as_signed(), Mux(sign, ~top, top))
