"""The multipliers of the scorer: dot products of segments."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from attnsieve.hdl.layouts import line_layout
from attnsieve.hdl.lib.multiplier import Multiplier, MultiplierStyle
from attnsieve.hdl.params import CoreParams

__all__ = [
    "SegmentDots",
    "dots_latency",
    "multiplier_style",
    "query_delay",
    "stage_terms",
    "sum_tree",
    "tree_latency",
]


def multiplier_style(params: CoreParams) -> MultiplierStyle:
    """Targets without LUT RAM have no hardware multipliers either."""
    return MultiplierStyle.NATIVE if params.lut_ram else MultiplierStyle.FABRIC


def stage_terms(params: CoreParams) -> int:
    """Terms that are added between registers of a tree.

    Adders of lookup tables come with registers; where registers do not come for nothing, two
    levels of adders share one.
    """
    return 4 if multiplier_style(params) is MultiplierStyle.NATIVE else 2


def tree_latency(params: CoreParams) -> int:
    """Registers in the tree of adders of a segment."""
    levels = (params.segment - 1).bit_length()
    return -(-levels // (stage_terms(params) - 1).bit_length())


def sum_tree(m: Module, enable: Any, terms: list[Any], size: int) -> Any:
    """Sum of signed terms of one width, ``size`` of them at a time, a register after each sum."""
    while len(terms) > 1:
        sums = []
        for start in range(0, len(terms), size):
            some = terms[start : start + size]
            width = len(some[0]) + (len(some) - 1).bit_length()
            register = Signal(signed(width), name="sum", reset_less=True)
            with m.If(enable):
                m.d.sync += register.eq(sum(some[1:], start=some[0]))
            sums.append(register)
        terms = sums
    return terms[0]


def query_delay(params: CoreParams) -> int:
    """Enabled cycles by which query parts come after key parts."""
    return 1 if multiplier_style(params) is MultiplierStyle.NATIVE else 0


def dots_latency(params: CoreParams) -> int:
    """Enabled cycles from key parts to dot products."""
    return (
        query_delay(params) + Multiplier.latency_of(multiplier_style(params)) + tree_latency(params)
    )


class SegmentDots(wiring.Component):
    """Dot product of every segment of a line of keys with the query parts beside it.

    A pipeline that moves in the cycles in which ``enable`` is high. Its latency counts from
    ``key``; with hardware multipliers ``query`` comes one enabled cycle after ``key``, which is
    held in a register of its own here, since block RAM answers late in the cycle.

    Parameters
    ----------
    params : CoreParams
        The core.

    Members
    -------
    enable : In(1)
    key, query : In(line_layout)
        Operands.
    o : Out(data.ArrayLayout(signed(dot_bits), groups))
        Dot products, `latency` enabled cycles after ``key``.
    """

    enable: Signal
    key: Any
    query: Any
    o: Any

    def __init__(self, *, params: CoreParams) -> None:
        self.params = p = params
        self.style = multiplier_style(p)
        self.dot_bits = 2 * p.operand_bits + (p.segment - 1).bit_length()
        super().__init__(
            {
                "enable": In(1),
                "key": In(line_layout(p)),
                "query": In(line_layout(p)),
                "o": Out(data.ArrayLayout(signed(self.dot_bits), p.groups)),
            }
        )

    @property
    def query_delay(self) -> int:
        """Enabled cycles by which ``query`` comes after ``key``."""
        return query_delay(self.params)

    @property
    def latency(self) -> int:
        """Enabled cycles from ``key`` to the dot products."""
        return dots_latency(self.params)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        p = self.params
        key = self.key
        if self.query_delay:
            key = Signal.like(self.key, reset_less=True)
            with m.If(self.enable):
                m.d.sync += key.eq(self.key)
        products = []
        for lane in range(p.lanes):
            m.submodules[f"multiplier{lane}"] = multiplier = Multiplier(
                a_bits=p.operand_bits, b_bits=p.operand_bits, style=self.style
            )
            m.d.comb += [
                multiplier.enable.eq(self.enable),
                multiplier.a.eq(key[lane]),
                multiplier.b.eq(self.query[lane]),
            ]
            products.append(multiplier.o)
        for group in range(p.groups):
            terms = products[group * p.segment : (group + 1) * p.segment]
            m.d.comb += self.o[group].eq(sum_tree(m, self.enable, terms, stage_terms(p)))
        return m
