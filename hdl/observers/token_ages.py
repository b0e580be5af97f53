"""Importance of tokens for the queries that saw them: scores over ages."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

from attnsieve.hdl.lib.delay import delayed
from attnsieve.hdl.lib.multiplier import Multiplier, MultiplierStyle
from attnsieve.hdl.observers.token_scores import SCORE_BITS, token_rows
from attnsieve.hdl.params import CoreParams, check_params

__all__ = ["AGE_FRACTION", "TokenAges"]

#: Fraction bits of the reciprocal of an age.
AGE_FRACTION = 20
#: Cycles from a lane to its product: its age, the table, the multiplier.
_PRODUCT = 2 + Multiplier.latency_of(MultiplierStyle.NATIVE)


class TokenAges(wiring.Component):
    """Scores of a row of tokens, with ``age`` divided by how many queries saw each token.

    With ``age``, of ``keys`` tokens the one numbered j has the age ``keys - max(j, base)``, at
    least one, and ``o = value * (2**20 // age) >> 20``. Reciprocals come from a table of
    ``max_keys`` entries, and one multiplier works for all lanes. Without it ``o = value``.

    Latency: none without ``age``; with it a row is ``there`` after `row_latency` cycles, of which
    ``token_lanes`` are those of the products. Throughput: a row per ``row_latency + 1`` cycles.

    Parameters
    ----------
    params : CoreParams
        The core.

    Members
    -------
    age : In(1), keys : In(key_bits), base : In(key_bits)
        They stay while rows come.
    here : In(1), row : In, value : In(32).array(token_lanes)
        A row is here; it stays until it leaves.
    there : Out(1), o : Out(32).array(token_lanes)
        The row is complete.
    leaves : In(1)
        It leaves, with this cycle; only a row that is complete does.
    """

    age: Signal
    keys: Signal
    base: Signal
    here: Signal
    row: Signal
    value: Any
    there: Signal
    o: Any
    leaves: Signal

    def __init__(self, *, params: CoreParams) -> None:
        check_params(params)
        self.params = p = params
        super().__init__(
            {
                "age": In(1),
                "keys": In(p.key_bits),
                "base": In(p.key_bits),
                "here": In(1),
                "row": In(range(token_rows(p))),
                "value": In(SCORE_BITS).array(p.token_lanes),
                "there": Out(1),
                "o": Out(SCORE_BITS).array(p.token_lanes),
                "leaves": In(1),
            }
        )

    @property
    def row_latency(self) -> int:
        """Cycles from a row until it is complete, with ``age``: its lanes one by one, and from the
        last one to its product."""
        return self.params.token_lanes + _PRODUCT

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        lanes = self.params.token_lanes
        lane, complete = Signal(range(lanes + 1)), Signal()
        issue = Signal()
        product = self._product(m, lane)
        comes, last = (delayed(m, f, _PRODUCT) for f in (issue, lane == lanes - 1))
        products = Signal(SCORE_BITS * lanes, reset_less=True)
        m.d.comb += [
            issue.eq(self.here & self.age & (lane != lanes)),
            self.there.eq(self.here & (complete | ~self.age)),
        ]
        with m.If(issue):
            m.d.sync += lane.eq(lane + 1)
        with m.If(comes):
            m.d.sync += [
                products.eq(Cat(products, product)[SCORE_BITS:]),  # the first lane sinks lowest
                complete.eq(last),
            ]
        with m.If(self.leaves):
            m.d.sync += [lane.eq(0), complete.eq(0)]
        for number, (o, value) in enumerate(zip(self.o, self.value, strict=True)):
            weighted = products.word_select(number, SCORE_BITS)
            m.d.comb += o.eq(Mux(self.age, weighted, value))
        return m

    def _product(self, m: Module, lane: Signal) -> Value:
        """A lane's score times the reciprocal of its age, two cycles and the multiplier's later."""
        p = self.params
        select = lane[: (p.token_lanes - 1).bit_length()]
        index = Signal(range(p.max_keys), reset_less=True)  # the age less one
        token, newest = Cat(select, self.row), self.keys - 1
        since = Mux(token > self.base, token, self.base)
        reciprocals = [(1 << AGE_FRACTION) // (n + 1) for n in range(p.max_keys)]
        m.submodules.reciprocals = table = memory.Memory(
            shape=AGE_FRACTION + 1, depth=p.max_keys, init=reciprocals
        )
        port = table.read_port()
        m.submodules.multiplier = multiplier = Multiplier(
            a_bits=AGE_FRACTION + 2, b_bits=SCORE_BITS, b_signed=False
        )
        score, chosen = Signal(SCORE_BITS, reset_less=True), delayed(m, select, 1)
        m.d.sync += [
            index.eq(Mux(since >= self.keys, 0, newest - since)),
            score.eq(Cat(self.value).word_select(chosen, SCORE_BITS)),
        ]
        m.d.comb += [
            port.addr.eq(index),
            port.en.eq(1),
            multiplier.enable.eq(1),
            multiplier.a.eq(port.data),
            multiplier.b.eq(score),
        ]
        return multiplier.o[AGE_FRACTION : AGE_FRACTION + SCORE_BITS]
