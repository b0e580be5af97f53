"""Turns of parts of rows: which keys are dealt together."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Mux, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from attnsieve.hdl.lib.connect import connect
from attnsieve.hdl.lib.queue import Queue
from attnsieve.hdl.params import CoreParams, check_params
from attnsieve.hdl.slices.row_parts import keys_dealt, row_part_layout

__all__ = ["KeyTurns", "key_turn_layout"]


def key_turn_layout(p: CoreParams) -> data.StructLayout:
    """Consecutive keys of a row."""
    part = row_part_layout(p).members
    names = (
        "row", "number", "key_mask", "bank", "write", "pin_first", "pin_from", "own", "base",
        "start", "opens",
    )  # fmt: skip
    return data.StructLayout(
        {
            **{name: part[name] for name in names},
            "key": range(p.max_keys),  # the first
            "count": range(keys_dealt(p) + 1),
            "end_of_part": unsigned(1),
            "end_of_row": unsigned(1),
        }
    )


class KeyTurns(wiring.Component):
    """Walks over the turns of each part. A row without a key has one turn. Whether a turn is taken
    is known late: two may be there, so that the next part does not depend on it.

    Throughput: a turn per cycle, from part to part too. Latency: one cycle.

    Parameters
    ----------
    params : CoreParams
        The core.

    Members
    -------
    part : In(stream(row_part_layout))
    o : Out(stream(key_turn_layout))
    """

    part: stream.Interface
    o: stream.Interface

    def __init__(self, *, params: CoreParams) -> None:
        check_params(params)
        self.params = params
        super().__init__(
            {
                "part": In(stream.Signature(row_part_layout(params))),
                "o": Out(stream.Signature(key_turn_layout(params))),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m, lanes = Module(), keys_dealt(self.params)
        m.submodules.turns = turns = Queue(shape=self.o.p.shape(), depth=2)
        part, o = self.part.p, turns.i
        within, turn, place = Signal(), Signal.like(part.first), Signal.like(part.first)
        key, left, end = Signal(range(self.params.max_keys)), Signal.like(part.keys), Signal()
        m.d.comb += [
            turn.eq(Mux(within, place, part.first)),
            key.eq(Mux(part.down & turn.any(), part.turns - turn, turn) * lanes),
            left.eq(part.keys - key),
            end.eq(turn + 1 >= part.end),
            self.part.ready.eq(self.part.valid & o.ready & end),
            o.valid.eq(self.part.valid),
            *(o.p[name].eq(part[name]) for name, _ in o.p.shape() if name in
              part.shape().members),
            o.p.key.eq(key),
            o.p.count.eq(Mux(left < lanes, left, lanes)),
            o.p.end_of_part.eq(end),
            o.p.end_of_row.eq(end & part.last),
        ]
        with m.If(o.valid & o.ready):
            m.d.sync += [within.eq(~end), place.eq(turn + 1)]
        connect(m, turns.o, self.o)
        return m
