"""Output elements: sums of prob·V divided by the row's sum of terms."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from attnsieve.hdl.layouts import accumulator_layout, output_layout, statistics_layout
from attnsieve.hdl.lib.connect import connect
from attnsieve.hdl.lib.credit import Credit
from attnsieve.hdl.lib.pace import Pace
from attnsieve.hdl.lib.queue import Queue
from attnsieve.hdl.lib.serial import SerialMultiplier, SerialShifter
from attnsieve.hdl.params import CoreParams, check_params

__all__ = ["Normaliser"]

_NORMAL_BITS = 18
_OUTPUT_BITS = 16


class Normaliser(wiring.Component):
    """Scales each element by the reciprocal of the row's sum.

    ``z = clamp18((a + half) >> h)`` with ``h = exponent + acc_fraction - normal_fraction``, then
    ``clamp16((z * mantissa + 2**16) >> 17)``, symmetric (docs/reference/numbers.md). An empty
    row has the reciprocal 0 and gives zeros. One signed 18x18 multiplier per element.

    A pipeline that never stands: ``output_lanes`` elements enter per cycle while there is room for
    them in the queue behind it, and leave `latency` cycles later. A row's statistics are taken with
    its last elements; elements wait for them.

    Without hardware multipliers elements stay at the input for `pace` cycles, in which they are
    shifted and multiplied in four chunks, and are at the output in the cycle behind.

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

    _moves = 6

    def __init__(self, *, params: CoreParams) -> None:
        check_params(params)
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
    def latency(self) -> int:
        """Cycles from a transfer at ``i`` to ``o``: shift, rounding, clamp, product, …; or 1."""
        return self._moves + 1 if self.pace == 1 else 1

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        if self.pace == 1:
            self._pipeline(m)
        else:
            self._serial(m)
        return m

    def _pipeline(self, m: Module) -> None:
        valid, last = Signal(self._moves), Signal(self._moves)
        depth = 1 << (self.latency + 2 - 1).bit_length()
        m.submodules.outputs = outputs = Queue(shape=self.o.p.shape(), depth=depth)
        m.submodules.credit = credit = Credit(count=depth)
        connect(m, outputs.o, self.o)
        go = self.statistics.valid & credit.some
        m.d.comb += [
            self.i.ready.eq(go),
            self.statistics.ready.eq(self.i.valid & self.i.p.last & credit.some),
            outputs.i.valid.eq(valid[-1]),
            outputs.i.p.last.eq(last[-1]),
            credit.take.eq(self.i.valid & go),
            credit.give.eq(self.o.valid & self.o.ready),
        ]
        m.d.sync += [
            valid.eq(valid << 1 | (self.i.valid & go)),
            last.eq(last << 1 | self.i.p.last),
        ]
        mantissa = self.statistics.p.mantissa
        for _ in range(3):
            mantissa = self._later(m, mantissa)
        for n in range(self.params.output_lanes):
            m.d.comb += outputs.i.p.element[n].eq(self._element(m, n, mantissa))

    def _later(self, m: Module, value: Value) -> Signal:
        after = Signal(value.shape(), reset_less=True)
        m.d.sync += after.eq(value)
        return after

    def _element(self, m: Module, n: int, mantissa: Value) -> Value:
        """An element, ``_moves`` cycles later."""
        p = self.params
        # Cycle 1: all of the shift but its last bit. Cycle 2: rounded. Cycle 3: clamped.
        shifted = self._later(m, (self.i.p.element[n] >> self._least) >> self.statistics.p.exponent)
        rounded = self._later(m, ((shifted + 1) >> 1).as_signed())
        normal = self._later(m, _clamped(rounded, _NORMAL_BITS))
        # Cycle 4: product. Cycle 5: rounded. Cycle 6: clamped, symmetric.
        product = self._later(m, normal * mantissa)
        fraction = p.recip_fraction + 1
        rounded = ((product + (1 << fraction - 1)) >> fraction)[:_NORMAL_BITS].as_signed()
        return self._later(m, _clamped_symmetric(self._later(m, rounded)))

    @property
    def _least(self) -> int:
        """Bits of a sum below the rounding bit of the smallest shift."""
        return self.params.acc_fraction - self.params.normal_fraction - 1

    def _serial(self, m: Module) -> None:
        """Chunks are cut in the cycles 0 to 3 and multiplied in the cycles 1 to 4."""
        m.submodules.pace = pace = Pace(cycles=self.pace)
        first, full = Signal(), Signal()
        free = ~full | self.o.ready
        m.d.comb += [
            first.eq(pace.phase == 0),
            pace.advance.eq(pace.due),
            pace.hold.eq(first & ~(self.i.valid & self.statistics.valid & free)),
            self.i.ready.eq(pace.due),
            self.statistics.ready.eq(pace.due & self.i.p.last),
            self.o.valid.eq(first & full),
        ]
        with m.If(pace.due):
            m.d.sync += [full.eq(1), self.o.p.last.eq(self.i.p.last)]
        with m.Elif(first & self.o.ready):
            m.d.sync += full.eq(0)
        for n in range(self.params.output_lanes):
            self._serial_element(m, n, pace)

    def _serial_element(self, m: Module, n: int, pace: Pace) -> None:
        p = self.params
        element, fraction = self.i.p.element[n], p.recip_fraction + 1
        m.submodules[f"shifter_{n}"] = shifter = SerialShifter(
            shape=signed(len(element) - self._least), shift_bits=p.exponent_bits, step=5,
            turns=self.pace - 1,
        )  # fmt: skip
        m.submodules[f"multiplier_{n}"] = multiplier = SerialMultiplier(
            a_bits=p.recip_bits, step=shifter.step, init=1 << (fraction - 1), signed=True
        )
        first = pace.phase == 0
        m.d.comb += [
            shifter.en.eq(~pace.due & ~pace.hold),
            shifter.turn.eq(pace.phase),
            shifter.value.eq(element >> self._least),
            shifter.shift.eq(self.statistics.p.exponent),
            multiplier.restart.eq(first & ~pace.hold),
            multiplier.en.eq(~first),
            multiplier.a.eq(self.statistics.p.mantissa),
            multiplier.chunk.eq(shifter.chunk),
        ]
        # Where 18 bits do not hold the normalised sum, a reciprocal of 1/2 or more clamps.
        low, over, sign = Signal(shifter.step * (self.pace - 1) - fraction), Signal(), Signal()
        above = element[self._least + _NORMAL_BITS : -1]
        above = above ^ element[-1].replicate(len(above))
        with m.If(pace.due):
            m.d.sync += [
                low.eq(multiplier.o[fraction - shifter.step * (self.pace - 2) :]),
                over.eq((above >> self.statistics.p.exponent).any() & ~self.statistics.p.empty),
                sign.eq(element[-1]),
            ]
        quotient = Cat(low, multiplier.held)[:_NORMAL_BITS].as_signed()
        element = Mux(over, _limit(sign), _clamped_symmetric(quotient))
        m.d.comb += self.o.p.element[n].eq(element)


def _limit(sign: Value) -> Value:
    top = (1 << _OUTPUT_BITS - 1) - 1
    return Mux(sign, -top, top)


def _clamped_symmetric(value: Value) -> Value:
    """The signed value, saturated to the range of an output."""
    element = Value.cast(_clamped(value, _OUTPUT_BITS))
    lowest = -(1 << _OUTPUT_BITS - 1)
    return Mux(element == lowest, lowest + 1, element)


def _clamped(value: Value, bits: int) -> Value:
    """The signed value, saturated to ``bits``."""
    sign = value[-1]
    high = value[bits - 1 :]
    top = (1 << bits - 1) - 1
    return Mux(high.all() | ~high.any(), value[:bits].as_signed(), Mux(sign, ~top, top))
