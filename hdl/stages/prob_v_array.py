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

    A pipeline that stands only while finished sums wait at ``o``: latency `latency` cycles, 2 with
    hardware multipliers and 3 without, one step per cycle. Whether it stands is known a cycle
    before, from ``soon``, and kept in a register for each lane group: what it enables is
    spread over a whole device. A multiplier is ``operand_bits`` by 17 bits, signed by unsigned.

    Parameters
    ----------
    params : CoreParams
        The core.

    Members
    -------
    i : In(stream(array_step_layout))
    advance : Out(groups)
        The same as ``i.ready``, a copy for each lane group.
    soon : In(1)
        What ``o.ready`` will be in the next cycle.
    o : Out(stream(pass_layout))
        With hardware multipliers the payload is not a register: valid together with the last
        addition.
    """

    i: stream.Interface
    advance: Signal
    soon: Signal
    o: stream.Interface

    def __init__(self, *, params: CoreParams) -> None:
        if not isinstance(params, CoreParams):
            raise TypeError(f"Params must be a CoreParams, not {params!r}")
        self.params = params
        self.style = _style(params)
        super().__init__(
            {
                "i": In(stream.Signature(array_step_layout(params))),
                "advance": Out(params.groups),
                "soon": In(1),
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
        flags: list[Value] = [
            Cat(self.i.valid, self.i.p.last, self.i.p.last_of_row, self.i.p.mask)
        ]
        for _ in range(self.latency):
            flags.append(self._later(m, flags[-1], advance))
        valid, last = flags[2][0], flags[2][1]  # of what is being added
        terms = self._terms(m)
        if self.style is MultiplierStyle.FABRIC:
            sums = self._sums_kept(m, terms, valid, last, advance)
        else:
            sums = self._sums_at_once(m, terms, valid, last)
        offered = flags[-1]
        m.d.comb += [
            self.i.ready.eq(advance),
            self.o.valid.eq(offered[0] & offered[1]),
            self.o.p.last.eq(offered[2]),
            self.o.p.mask.eq(offered[3:]),
        ]
        m.d.comb += [lane.eq(value) for lane, value in zip(self.o.p.lane, sums, strict=True)]
        for copy in (advance, *self.advance):
            self._stand(m, copy, flags[-2][0] & flags[-2][1])
        return m

    def _stand(self, m: Module, advance: Value, coming: Value) -> None:
        """The pipeline stands in the next cycle if sums are offered then and not taken."""
        stands = Signal()
        m.d.sync += stands.eq((stands | coming) & ~self.soon)
        m.d.comb += advance.eq(~stands)

    def _later(self, m: Module, value: Value, advance: Value) -> Signal:
        after = Signal(len(value))
        with m.If(advance):
            m.d.sync += after.eq(value)
        return after

    def _terms(self, m: Module) -> list[Value]:
        """Two cycles: what each lane adds in a step."""
        p = self.params
        terms: list[Value] = []
        for group in range(p.groups):
            term, advance = self.i.p.term[group], self.advance[group]
            exponent_class = self._later(m, term.exponent_class, advance)
            for lane in range(group * p.segment, (group + 1) * p.segment):
                product = self._product(m, lane, term.mantissa, advance)
                terms.append(self._align(m, product, exponent_class, advance))
        return terms

    def _accumulator(self, lane: int) -> Signal:
        return Signal(signed(self.params.acc_bits), name=f"accumulator_{lane}", reset_less=True)

    def _sums_at_once(
        self, m: Module, terms: list[Value], valid: Value, last: Value
    ) -> list[Value]:
        """Sums as they are added, not registers: no cycle more.

        They are cleared behind a pass, and between passes: no reset is spent on them.
        """
        within = Signal()
        with m.If(self.advance[0] & valid):
            m.d.sync += within.eq(~last)
        sums: list[Value] = []
        for lane, term in enumerate(terms):
            advance = self.advance[lane // self.params.segment]
            clear = advance & Mux(valid, last, ~within)
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
