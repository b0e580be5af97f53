"""Bounds of rows whose threshold lies a margin below the largest score so far."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from attnsieve.hdl.params import CoreParams, check_params
from attnsieve.hdl.slices.bit_serial_dot import bound_layout
from attnsieve.hdl.slices.row_maxima import maximum_signature
from attnsieve.hdl.slices.slice_params import slice_params

__all__ = ["RelativeBounds", "row_margin_layout"]


def row_margin_layout(p: CoreParams) -> data.StructLayout:
    """What the bounds of a row are made of, beside its maximum."""
    s = slice_params(p)
    return data.StructLayout(
        {
            "row": range(s.rows),
            "margin": unsigned(s.score_bits),
            "most": unsigned(s.score_bits),  # sum of max(q, 0); see `ExitBounds`
        }
    )


class RelativeBounds(wiring.Component):
    """Writes the bounds of a row anew when all keys that were dealt of it are decided.

    The threshold is the largest score so far minus the row's margin, at least the least score. It
    never exceeds that of the whole row: no key is dropped that is within the margin of the maximum
    (project; the paper's thresholds are constant). A row without a score so far keeps its bounds.

    Throughput: a row in ``SliceParams.bounds + 6`` cycles, more where ``bound`` is not ready; in 5
    without a score.

    Parameters
    ----------
    params : CoreParams
        The core.

    Members
    -------
    row : In(stream(row_margin_layout, always ready))
        Of each row, before its first key.
    quiet : In(rows)
        Rows that wait for their bounds.
    maximum : Out(maximum_signature)
    bound : Out(stream(bound_layout))
        To the units.
    renewed : Out(1), renewed_row : Out(range(rows))
        All bounds of this row are written; it is not quiet any more in the cycle after.
    """

    row: stream.Interface
    quiet: Signal
    maximum: Any
    bound: stream.Interface
    renewed: Signal
    renewed_row: Signal

    def __init__(self, *, params: CoreParams) -> None:
        check_params(params)
        self.params, self.slices = p, s = params, slice_params(params)
        super().__init__(
            {
                "row": In(stream.Signature(row_margin_layout(p), always_ready=True)),
                "quiet": In(s.rows),
                "maximum": Out(maximum_signature(p)),
                "bound": Out(stream.Signature(bound_layout(s))),
                "renewed": Out(1),
                "renewed_row": Out(range(s.rows)),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m, s = Module(), self.slices
        row, number = Signal(range(s.rows)), Signal(range(s.bounds))
        threshold, reach = Signal(signed(s.score_bits)), Signal(signed(s.score_bits + 1))
        margin, most = self._margins(m, row)
        below = Signal(signed(s.score_bits + 2))
        limited = Signal.like(threshold)
        least = -(1 << s.score_bits - 1)
        m.d.comb += [
            self.maximum.row.eq(row),
            self.renewed_row.eq(row),
            self.bound.p.row.eq(row),
            self.bound.p.number.eq(number),
            self.bound.p.bound.eq(self._bound(m, number, threshold, reach, most)),
            limited.eq(Mux(below < least, least, below)),
        ]
        with m.FSM():
            with m.State("WAIT"):
                for n in reversed(range(s.rows)):
                    with m.If(self.quiet[n]):
                        m.d.sync += row.eq(n)
                        m.next = "READ"
            with m.State("READ"):
                m.next = "KNOW"
            with m.State("KNOW"):
                m.d.sync += below.eq(self.maximum.score - margin)
                m.next = "REACH"
                with m.If(~self.maximum.known):
                    m.next = "END"
            with m.State("REACH"):
                m.d.sync += [threshold.eq(limited), reach.eq(limited + most)]
                m.next = "WRITE"
            with m.State("WRITE"):
                m.d.comb += self.bound.valid.eq(1)
                with m.If(self.bound.ready):
                    m.d.sync += number.eq(number + 1)
                    with m.If(number == s.bounds - 1):
                        m.d.sync += number.eq(0)
                        m.next = "END"
            with m.State("END"):
                m.d.comb += self.renewed.eq(1)
                m.next = "GAP"
            with m.State("GAP"):  # the row is quiet until now
                m.next = "WAIT"
        return m

    def _margins(self, m: Module, row: Value) -> tuple[Value, Value]:
        """Of the row at hand its margin, and the sum of max(q, 0)."""
        rows = Signal(data.ArrayLayout(row_margin_layout(self.params), self.slices.rows))
        at = Signal(row_margin_layout(self.params))
        with m.If(self.row.valid):
            m.d.sync += rows[self.row.p.row].eq(self.row.p)
        m.d.sync += at.eq(rows[row])
        return at.margin, at.most

    def _bound(
        self, m: Module, number: Value, threshold: Value, reach: Value, most: Value
    ) -> Value:
        """As in `ExitBounds`, one at a time; ``reach`` is ``threshold + most``."""
        s = self.slices
        if s.sign_magnitude:
            return threshold
        bound = Signal(signed(s.sum_bits + 1))
        with m.Switch(number):
            for n in range(s.slices):
                left = s.left(n)
                with m.Case(n):
                    m.d.comb += bound.eq(
                        threshold << s.pad if n == s.slices - 1
                        else ((reach + (1 << left) - 1) >> left) - most
                    )  # fmt: skip
        return bound
