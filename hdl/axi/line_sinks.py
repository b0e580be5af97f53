"""Lines of operands to the stores of Q, K and V."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from attnsieve.hdl.axi.chunker import Sink
from attnsieve.hdl.layouts import line_layout
from attnsieve.hdl.params import CoreParams

__all__ = ["LineSinks"]


class LineSinks(wiring.Component):
    """A register in front of queries and keys, and another one in front of values: the stores are
    spread over a whole device.

    Lines do not wait: who asks for them has made room. Latency: 1 cycle, of a value 2.

    Parameters
    ----------
    params : CoreParams
        The core.

    Members
    -------
    i : In(stream({line, tag}, always ready))
        Lines, with their `Sink`.
    q_line, k_line, v_line : Out(stream(line_layout))
        A sink takes each at once.
    delivered : Out(3)
        Which of them takes one.
    """

    i: stream.Interface
    q_line: stream.Interface
    k_line: stream.Interface
    v_line: stream.Interface
    delivered: Signal

    #: Cycles to a query or key line; a value line takes one more.
    latency = 1

    def __init__(self, *, params: CoreParams) -> None:
        line = line_layout(params)
        tagged = data.StructLayout({"line": line, "tag": 2})
        out = stream.Signature(line)
        super().__init__(
            {
                "i": In(stream.Signature(tagged, always_ready=True)),
                "q_line": Out(out),
                "k_line": Out(out),
                "v_line": Out(out),
                "delivered": Out(3),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        line, valid = self.i, Signal(3)
        near, far = (Signal.like(line.p.line, name=n, reset_less=True) for n in ("near", "far"))
        m.d.sync += [near.eq(line.p.line), far.eq(near), self.v_line.valid.eq(valid[Sink.VALUE])]
        m.d.sync += [bit.eq(line.valid & (line.p.tag == n)) for n, bit in enumerate(valid)]
        m.d.comb += [
            self.q_line.valid.eq(valid[Sink.QUERY]),
            self.k_line.valid.eq(valid[Sink.KEY]),
            self.q_line.payload.eq(near),
            self.k_line.payload.eq(near),
            self.v_line.payload.eq(far),
            self.delivered.eq(Cat(self.q_line.valid, self.k_line.valid, self.v_line.valid)),
        ]
        return m
