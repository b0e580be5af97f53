"""The multipliers and accumulators of prob·V."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from attnsieve.hdl.layouts import line_layout, term_beat_layout
from attnsieve.hdl.lib.multiplier import Multiplier, MultiplierStyle
from attnsieve.hdl.params import CoreParams, check_params
from attnsieve.hdl.stages.prob_v_drain import pass_layout

__all__ = ["ValueArray", "array_step_layout"]


def array_step_layout(p: CoreParams) -> data.StructLayout:
    """Operands of a step, one term per lane group."""
    term = term_beat_layout(p)["term"].shape.elem_shape
    return data.StructLayout(
        {
            "value": line_layout(p),
            "term": data.ArrayLayout(term, p.groups),
            "mask": range(p.groups),  # P - 1
            "last": 1,  # step of the pass
            "last_of_row": 1,  # pass of the row
        }
    )


def _style(params: CoreParams) -> MultiplierStyle:
    """Targets without LUT RAM have no hardware multipliers either."""
    return MultiplierStyle.NATIVE if params.lut_ram else MultiplierStyle.FABRIC


class ValueArray(wiring.Component):
    """One multiplier and one accumulator per lane.

    Adds ``value * mantissa`` with ``acc_fraction`` fraction bits, rounded down where the class asks
    for it, over the steps of a pass. The sums leave with the last step, and the next pass starts
    in the next cycle. ``acc_bits`` hold ``max_keys`` products (docs/reference/numbers.md).

    A pipeline that never stands: latency `latency` = 3 cycles, one step per cycle. A multiplier is
    ``operand_bits`` by 17 bits, signed by unsigned.

    Parameters
    ----------
    params : CoreParams
        The core.

    Members
    -------
    i : In(stream(array_step_layout, always_ready))
    o : Out(pass_layout)
        With hardware multipliers ``lane`` is not a register: valid together with the last addition.
    leave : Out(groups)
        Sums leave: a register for each lane group, since it is spread over a whole device.
    """

    i: stream.Interface
    o: Any
    leave: Signal

    def __init__(self, *, params: CoreParams) -> None:
        check_params(params)
        self.params = params
        self.style = _style(params)
        super().__init__(
            {
                "i": In(stream.Signature(array_step_layout(params), always_ready=True)),
                "o": Out(pass_layout(params)),
                "leave": Out(params.groups),
            }
        )

    #: Cycles from a pass's last step at ``i`` until its sums leave.
    latency = 3

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        flags = [Cat(self.i.valid, self.i.p.last, self.i.p.last_of_row, self.i.p.mask)]
        for stage in range(self.latency):
            flag = Signal(len(flags[-1]), name=f"flags_{stage}")
            m.d.sync += flag.eq(flags[-1])
            flags.append(flag)
        valid, last = flags[-2][0], flags[-2][1]
        self._leave(m, valid & last)
        terms = self._terms(m)
        if self.style is MultiplierStyle.FABRIC:
            sums = self._sums_kept(m, terms, valid, last)
        else:
            sums = self._sums_at_once(m, terms, valid, last)
        m.d.comb += [self.o.last.eq(flags[-1][2]), self.o.mask.eq(flags[-1][3:])]
        m.d.comb += [lane.eq(value) for lane, value in zip(self.o.lane, sums, strict=True)]
        return m

    def _leave(self, m: Module, coming: Value) -> None:
        """Where a pass has several transfers, sums never leave in two cycles running: that keeps
        the copies apart in synthesis."""
        apart = self.params.segment > self.params.output_lanes
        for leave in self.leave:
            m.d.sync += leave.eq(coming & ~leave if apart else coming)

    def _later(self, m: Module, value: Value) -> Signal:
        after = Signal(len(value), reset_less=True)
        m.d.sync += after.eq(value)
        return after

    def _terms(self, m: Module) -> list[Value]:
        """What each lane adds in a step: products, then aligned. Between steps it is zero."""
        p = self.params
        terms: list[Value] = []
        for group in range(p.groups):
            term = self.i.p.term[group]
            exponent_class: Value = term.exponent_class
            for _ in range(Multiplier.latency_of(self.style)):
                exponent_class = self._later(m, exponent_class)
            mantissa: Value = term.mantissa
            if self.style is MultiplierStyle.NATIVE:
                mantissa = Mux(self.i.valid, mantissa, 0)
            for lane in range(group * p.segment, (group + 1) * p.segment):
                terms.append(self._align(m, self._product(m, lane, mantissa), exponent_class))
        return terms

    def _accumulator(self, lane: int) -> Signal:
        return Signal(signed(self.params.acc_bits), name=f"accumulator_{lane}", reset_less=True)

    def _sums_at_once(
        self, m: Module, terms: list[Value], valid: Value, last: Value
    ) -> list[Value]:
        """Sums as they are added, not registers: no cycle more.

        They are cleared as they leave and until the next pass begins. Between steps of a pass
        zeros are added: so nothing enables an accumulator, and one register clears it.
        """
        clear = [Signal(name=f"clear_{n}", init=1) for n in range(self.params.groups)]
        m.d.sync += [register.eq((valid & last) | (register & ~valid)) for register in clear]
        sums: list[Value] = []
        for lane, term in enumerate(terms):
            accumulator = self._accumulator(lane)
            total = Signal.like(accumulator, name=f"total_{lane}")
            m.d.comb += total.eq(accumulator + term)
            m.d.sync += accumulator.eq(total)
            with m.If(clear[lane // self.params.segment]):
                m.d.sync += accumulator.eq(0)
            sums.append(total)
        return sums

    def _sums_kept(self, m: Module, terms: list[Value], valid: Value, last: Value) -> list[Value]:
        """Sums from registers, a cycle later: these then share cells with the adders.

        The first addition of a pass passes the carry chain by, in the same lookup tables.
        """
        within = Signal()
        with m.If(valid):
            m.d.sync += within.eq(~last)
        sums: list[Value] = []
        for lane, term in enumerate(terms):
            accumulator = self._accumulator(lane)
            with m.If(valid):
                m.d.sync += accumulator.eq(Mux(within, accumulator + term, term))
            sums.append(accumulator)
        return sums

    def _product(self, m: Module, lane: int, mantissa: Value) -> Value:
        p = self.params
        m.submodules[f"multiplier_{lane}"] = multiplier = Multiplier(
            a_bits=p.operand_bits,
            b_bits=p.mantissa_bits,
            b_signed=False,
            b_most=1 << p.term_fraction,
            style=self.style,
        )
        m.d.comb += [
            multiplier.enable.eq(1),
            multiplier.a.eq(self.i.p.value[lane]),
            multiplier.b.eq(mantissa),
        ]
        return multiplier.o[: p.operand_bits + p.term_fraction].as_signed()

    def _align(self, m: Module, product: Value, exponent_class: Value) -> Signal:
        """One cycle: rounded down to ``acc_fraction`` fraction bits."""
        p = self.params
        left = p.acc_fraction - p.term_fraction
        aligned = Signal(signed(p.operand_bits + p.acc_fraction), reset_less=True)
        with m.Switch(exponent_class):
            for k in range(p.max_class + 1):
                with m.Case(k) if k < p.max_class else m.Default():
                    right = p.class_step * k - left
                    m.d.sync += aligned.eq(product >> right if right > 0 else product << -right)
        return aligned
