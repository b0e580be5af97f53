"""The largest score so far of each row inside."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from attnsieve.hdl.params import CoreParams, check_params
from attnsieve.hdl.slices.bit_serial_dot import survivor_layout
from attnsieve.hdl.slices.slice_params import slice_params, survivor_ways

__all__ = ["RowMaxima", "maximum_signature"]


def maximum_signature(p: CoreParams) -> wiring.Signature:
    """Read port of the maxima.

    Members
    -------
    row : Out
        Which one.
    known : In(1), score : In(signed)
        A cycle later: whether the row has a score, and its largest.
    """
    s = slice_params(p)
    return wiring.Signature(
        {"row": Out(range(s.rows)), "known": In(1), "score": In(signed(s.score_bits))}
    )


class RowMaxima(wiring.Component):
    """Compares scores as they are stored.

    Latency: a score is in what is read from the cycle after it on. Throughput: a score per way and
    cycle.

    Parameters
    ----------
    params : CoreParams
        The core.

    Members
    -------
    i : In(stream(survivor_layout, always ready)).array(ways)
        Scores as they are stored.
    free : In(1), freed : In(range(rows))
        This row begins anew.
    read : In(maximum_signature).array(2)
    """

    i: Any
    free: Signal
    freed: Signal
    read: Any

    def __init__(self, *, params: CoreParams) -> None:
        check_params(params)
        self.params, self.slices = p, s = params, slice_params(params)
        score = stream.Signature(survivor_layout(s), always_ready=True)
        super().__init__(
            {
                "i": In(score).array(survivor_ways(p)),
                "free": In(1),
                "freed": In(range(s.rows)),
                "read": In(maximum_signature(p)).array(2),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        best = [self._way(m, n, port) for n, port in enumerate(self.i)]
        for number, port in enumerate(self.read):
            found = []
            for way, rows in enumerate(best):
                one = Signal(rows.shape().elem_shape, name=f"found{number}_{way}")
                m.d.sync += one.eq(rows[port.row])
                found.append(one)
            largest = self._larger(found[0], found[-1])
            m.d.comb += [port.known.eq(largest[0]), port.score.eq(largest[1])]
        return m

    def _way(self, m: Module, way: int, port: Any) -> Any:
        """Of each row the largest score that came this way."""
        one = data.StructLayout({"known": 1, "score": signed(self.slices.score_bits)})
        rows = Signal(data.ArrayLayout(one, self.slices.rows), name=f"best{way}")
        for n, best in enumerate(rows):
            with m.If(port.valid & (port.p.row == n)):
                m.d.sync += best.known.eq(1)
                with m.If(~best.known | (port.p.score > best.score)):
                    m.d.sync += best.score.eq(port.p.score)
            with m.If(self.free & (self.freed == n)):
                m.d.sync += best.known.eq(0)
        return rows

    @staticmethod
    def _larger(a: Any, b: Any) -> tuple[Value, Value]:
        """Of two scores, if there are, the larger one."""
        other = b.known & (~a.known | (b.score > a.score))
        return a.known | b.known, Mux(other, b.score, a.score)
