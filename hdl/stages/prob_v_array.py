"""The multipliers and accumulators of prob·V."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Module, Signal, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from attnsieve.hdl.layouts import line_layout, term_beat_layout
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


class ValueArray(wiring.Component):
    """One multiplier and one accumulator per lane.

    Adds ``value * mantissa`` with ``acc_fraction`` fraction bits, rounded down where the class asks
    for it, over the steps of a pass. The sums leave with the last step, and the next pass starts
    in the next cycle. ``acc_bits`` hold ``max_keys`` products (docs/reference/numbers.md).

    A pipeline with one enable, which falls only while finished sums wait at ``o``: latency
    `latency` cycles, one step per cycle. A multiplier is ``operand_bits`` by 18 bits, signed.

    Parameters
    ----------
    params : CoreParams
        The core.

    Members
    -------
    i : In(stream(array_step_layout))
    o : Out(stream(pass_layout))
        Valid together with the last addition: the payload is not a register.
    """

    i: stream.Interface
    o: stream.Interface

    #: Cycles from a pass's last step at ``i`` until its sums are offered at ``o``.
    latency = 2

    def __init__(self, *, params: CoreParams) -> None:
        if not isinstance(params, CoreParams):
            raise TypeError(f"Params must be a CoreParams, not {params!r}")
        self.params = params
        super().__init__(
            {
                "i": In(stream.Signature(array_step_layout(params))),
                "o": Out(stream.Signature(pass_layout(params))),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        p = self.params
        advance = Signal()
        flags = Cat(self.i.valid, self.i.p.last, self.i.p.last_of_row, self.i.p.mask)
        early, late = Signal.like(flags, name="early"), Signal.like(flags, name="late")
        valid, last = late[0], late[1]
        m.d.comb += [
            advance.eq(~(valid & last) | self.o.ready),
            self.i.ready.eq(advance),
            self.o.valid.eq(valid & last),
            self.o.p.last.eq(late[2]),
            self.o.p.mask.eq(late[3:]),
        ]
        with m.If(advance):
            m.d.sync += [early.eq(flags), late.eq(early)]
        for group in range(p.groups):
            term = self.i.p.term[group]
            exponent_class = Signal(p.class_bits, name=f"class_{group}")
            with m.If(advance):
                m.d.sync += exponent_class.eq(term.exponent_class)
            for lane in range(group * p.segment, (group + 1) * p.segment):
                self._lane(m, lane, term.mantissa, exponent_class, advance, valid & last, valid)
        return m

    def _lane(
        self,
        m: Module,
        lane: int,
        mantissa: Value,
        exponent_class: Value,
        advance: Value,
        clear: Value,
        valid: Value,
    ) -> None:
        p = self.params
        left = p.acc_fraction - p.term_fraction
        product = Signal(signed(p.operand_bits + p.term_fraction), name=f"product_{lane}")
        shifted = [
            product << left if k == 0 else product >> p.class_step * k - left
            for k in range(p.max_class + 1)
        ]
        aligned = Signal(signed(p.operand_bits + p.acc_fraction), name=f"aligned_{lane}")
        accumulator = Signal(signed(p.acc_bits), name=f"accumulator_{lane}")
        total = Signal(signed(p.acc_bits), name=f"total_{lane}")
        m.d.comb += [total.eq(accumulator + aligned), self.o.p.lane[lane].eq(total)]
        with m.If(advance):
            # Cycle 1: product. Cycle 2: class. Cycle 3: sum.
            m.d.sync += product.eq(self.i.p.value[lane] * mantissa)
            with m.Switch(exponent_class):
                for k, value in enumerate(shifted):
                    with m.Case(k):
                        m.d.sync += aligned.eq(value)
            with m.If(valid):
                m.d.sync += accumulator.eq(total)
            with m.If(clear):
                m.d.sync += accumulator.eq(0)
