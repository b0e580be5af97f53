"""The multipliers and accumulators of prob·V."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from attnsieve.hdl.layouts import line_layout, term_beat_layout
from attnsieve.hdl.lib.multiplier import Multiplier, MultiplierStyle
from attnsieve.hdl.params import CoreParams
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

    A pipeline with one enable, which falls only while finished sums wait at ``o``: latency
    `latency` cycles, 2 with hardware multipliers and 3 without, one step per cycle. A multiplier
    is ``operand_bits`` by 17 bits, signed by unsigned.

    Parameters
    ----------
    params : CoreParams
        The core.

    Members
    -------
    i : In(stream(array_step_layout))
    o : Out(stream(pass_layout))
        With hardware multipliers the payload is not a register: valid together with the last
        addition.
    """

    i: stream.Interface
    o: stream.Interface

    def __init__(self, *, params: CoreParams) -> None:
        if not isinstance(params, CoreParams):
            raise TypeError(f"Params must be a CoreParams, not {params!r}")
        self.params = params
        self.style = _style(params)
        super().__init__(
            {
                "i": In(stream.Signature(array_step_layout(params))),
                "o": Out(stream.Signature(pass_layout(params))),
            }
        )

    @staticmethod
    def latency_of(params: CoreParams) -> int:
        """Cycles from a pass's last step at ``i`` until its sums are offered at ``o``."""
        return 2 if _style(params) is MultiplierStyle.NATIVE else 3

    @property
    def latency(self) -> int:
        """Cycles from a pass's last step at ``i`` until its sums are offered at ``o``."""
        return self.latency_of(self.params)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        advance = Signal()
        flags: Value = Cat(self.i.valid, self.i.p.last, self.i.p.last_of_row, self.i.p.mask)
        for _ in range(2):
            flags = self._later(m, flags, advance)
        add = self._sums_kept if self.style is MultiplierStyle.FABRIC else self._sums_at_once
        sums = add(m, self._terms(m, advance), flags[0], flags[1], advance)
        if self.style is MultiplierStyle.FABRIC:
            flags = self._later(m, flags, advance)
        valid, last = flags[0], flags[1]
        m.d.comb += [
            advance.eq(~(valid & last) | self.o.ready),
            self.i.ready.eq(advance),
            self.o.valid.eq(valid & last),
            self.o.p.last.eq(flags[2]),
            self.o.p.mask.eq(flags[3:]),
        ]
        m.d.comb += [lane.eq(value) for lane, value in zip(self.o.p.lane, sums, strict=True)]
        return m

    def _later(self, m: Module, value: Value, advance: Value) -> Signal:
        after = Signal(len(value))
        with m.If(advance):
            m.d.sync += after.eq(value)
        return after

    def _terms(self, m: Module, advance: Value) -> list[Value]:
        """Two cycles: what each lane adds in a step."""
        p = self.params
        terms: list[Value] = []
        for group in range(p.groups):
            term = self.i.p.term[group]
            exponent_class = self._later(m, term.exponent_class, advance)
            for lane in range(group * p.segment, (group + 1) * p.segment):
                product = self._product(m, lane, term.mantissa, advance)
                terms.append(self._align(m, product, exponent_class, advance))
        return terms

    def _accumulator(self, lane: int) -> Signal:
        return Signal(signed(self.params.acc_bits), name=f"accumulator_{lane}", reset_less=True)

    def _sums_at_once(
        self, m: Module, terms: list[Value], valid: Value, last: Value, advance: Value
    ) -> list[Value]:
        """Sums as they are added, not registers: no cycle more.

        They are cleared behind a pass, and between passes: no reset is spent on them.
        """
        within, clear = Signal(), Signal()
        with m.If(advance & valid):
            m.d.sync += within.eq(~last)
        m.d.comb += clear.eq(advance & Mux(valid, last, ~within))
        sums: list[Value] = []
        for lane, term in enumerate(terms):
            accumulator = self._accumulator(lane)
            total = Signal.like(accumulator, name=f"total_{lane}")
            m.d.comb += total.eq(accumulator + term)
            with m.If(clear):
                m.d.sync += accumulator.eq(0)
            with m.Elif(advance & valid):
                m.d.sync += accumulator.eq(total)
            sums.append(total)
        return sums

    def _sums_kept(
        self, m: Module, terms: list[Value], valid: Value, last: Value, advance: Value
    ) -> list[Value]:
        """Sums from registers, a cycle later: these then share cells with the adders.

        The first addition of a pass passes the carry chain by, in the same lookup tables.
        """
        within = Signal()
        with m.If(advance & valid):
            m.d.sync += within.eq(~last)
        sums: list[Value] = []
        for lane, term in enumerate(terms):
            accumulator = self._accumulator(lane)
            with m.If(advance & valid):
                m.d.sync += accumulator.eq(Mux(within, accumulator + term, term))
            sums.append(accumulator)
        return sums

    def _product(self, m: Module, lane: int, mantissa: Value, advance: Value) -> Value:
        p = self.params
        m.submodules[f"multiplier_{lane}"] = multiplier = Multiplier(
            a_bits=p.operand_bits,
            b_bits=p.mantissa_bits,
            b_signed=False,
            b_most=1 << p.term_fraction,
            style=self.style,
        )
        m.d.comb += [
            multiplier.enable.eq(advance),
            multiplier.a.eq(self.i.p.value[lane]),
            multiplier.b.eq(mantissa),
        ]
        return multiplier.o[: p.operand_bits + p.term_fraction].as_signed()

    def _align(self, m: Module, product: Value, exponent_class: Value, advance: Value) -> Signal:
        """One cycle: rounded down to ``acc_fraction`` fraction bits."""
        p = self.params
        left = p.acc_fraction - p.term_fraction
        aligned = Signal(signed(p.operand_bits + p.acc_fraction))
        with m.If(advance), m.Switch(exponent_class):
            for k in range(p.max_class + 1):
                with m.Case(k) if k < p.max_class else m.Default():
                    right = p.class_step * k - left
                    m.d.sync += aligned.eq(product >> right if right > 0 else product << -right)
        return aligned
