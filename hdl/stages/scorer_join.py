"""Joins the segments of a key, within a line and across lines, and lines scores up in beats."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from attnsieve.hdl.layouts import product_beat_layout
from attnsieve.hdl.lib.geometry import ScorerCell, legal_parts, lookup, scorer_cell
from attnsieve.hdl.params import CoreParams
from attnsieve.hdl.stages.scorer_issue import issue_layout

__all__ = ["SegmentJoin", "join_latency", "scan_levels"]


def scan_levels(params: CoreParams) -> int:
    """Levels of the scan: a key has at most ``max_parts`` segments in a line."""
    return (min(params.groups, params.max_parts) - 1).bit_length()


def join_latency(params: CoreParams) -> int:
    """Enabled cycles from the dot products of a line that completes a beat to the beat."""
    return scan_levels(params) + (1 if params.groups == 1 else 2)


class SegmentJoin(wiring.Component):
    """Scores from dot products of segments.

    A segmented scan adds up the segments of a key that are side by side in a line, in one cycle per
    doubling; what a key has from the line before is added in one more; with more than one lane
    group a last cycle puts the scores in their places in the beat. The latency in enabled
    cycles is `latency`; throughput is a line per cycle.

    Parameters
    ----------
    params : CoreParams
        The core.
    dot_bits : int
        Bits of a dot product.

    Members
    -------
    enable : In(1)
        The pipeline moves.
    valid : In(1), line : In(issue_layout(params))
        A line, one enabled cycle before its dot products.
    dot : In(data.ArrayLayout(signed(dot_bits), groups))
        Its dot products.
    o : Out(stream.Signature(product_beat_layout(params)))
        Beats. ``enable`` is low while a beat is not taken.
    """

    enable: Signal
    valid: Signal
    line: Any
    dot: Any
    o: stream.Interface

    def __init__(self, *, params: CoreParams, dot_bits: int) -> None:
        self.params, self.dot_bits = params, dot_bits
        super().__init__(
            {
                "enable": In(1),
                "valid": In(1),
                "line": In(issue_layout(params)),
                "dot": In(data.ArrayLayout(signed(dot_bits), params.groups)),
                "o": Out(stream.Signature(product_beat_layout(params))),
            }
        )

    @property
    def latency(self) -> int:
        """Enabled cycles from the dot products of a line that completes a beat to the beat."""
        return join_latency(self.params)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        p = self.params
        sums: list[Value] = [self.dot[g] for g in range(p.groups)]
        valid, line = self._register(m, self.valid, self.line, "dot")
        starts = self._starts(m)
        for level in range(scan_levels(p)):
            sums, starts = self._scan(m, level, sums, starts)
            valid, line = self._register(m, valid, line, f"scan{level}")
        totals = self._carry(m, valid, sums, starts)
        if p.groups == 1:
            m.d.comb += self.o.p.score[0].eq(totals[0])
        else:
            places = self._places(m, line)
            valid, line = self._register(m, valid, line, "total")
            self._collect(m, valid, totals, places)
        with m.If(self.enable):
            m.d.sync += [
                self.o.valid.eq(valid & line.beat),
                self.o.p.valid.eq(line.lanes),
                self.o.p.last.eq(line.last),
            ]
        return m

    def _register(self, m: Module, valid: Value, line: Any, name: str) -> tuple[Signal, Any]:
        """Take what goes beside the data one stage further."""
        next_valid = Signal(name=f"{name}_valid")
        next_line = Signal(issue_layout(self.params), name=f"{name}_line", reset_less=True)
        with m.If(self.enable):
            m.d.sync += [next_valid.eq(valid), next_line.eq(line)]
        return next_valid, next_line

    def _cells(self, group: int) -> dict[int, ScorerCell]:
        """The cells of a lane group by ``Cat(parts, line)``."""
        p = self.params
        return {
            parts | number << p.part_bits: scorer_cell(p, parts, number, group)
            for parts in legal_parts(p)
            for number in range(parts)
        }

    def _starts(self, m: Module) -> list[Value]:
        """Lane groups in which a key starts, beside the dot products."""
        starts = []
        for group in range(self.params.groups):
            start = Signal(name=f"start{group}", reset_less=True)
            table = {key: int(cell.part == 0) for key, cell in self._cells(group).items()}
            if self.params.groups == 1:
                now: Value = self.line.line == 0
            else:
                select = Cat(self.line.parts, self.line.line)
                now = lookup(m, select, table, name=f"start{group}_now")
            with m.If(self.enable):
                m.d.sync += start.eq(now)
            starts.append(start)
        return starts

    def _scan(
        self, m: Module, level: int, sums: list[Value], starts: list[Value]
    ) -> tuple[list[Value], list[Value]]:
        """Double the reach: add the sum from ``2**level`` lane groups before, of the same key."""
        reach = 1 << level
        next_sums, next_starts = [], []
        for group, (value, start) in enumerate(zip(sums, starts, strict=True)):
            joins = group >= reach and any(c.part >= reach for c in self._cells(group).values())
            bits = self._bits(2 * reach if joins else reach)
            grown, begun = Signal(signed(bits), reset_less=True), Signal(reset_less=True)
            with m.If(self.enable):
                if joins:
                    before = Mux(start, 0, sums[group - reach])
                    m.d.sync += [grown.eq(value + before), begun.eq(start | starts[group - reach])]
                else:
                    m.d.sync += [grown.eq(value), begun.eq(start)]
            next_sums.append(grown)
            next_starts.append(begun)
        return next_sums, next_starts

    def _bits(self, segments: int) -> int:
        """Bits of the sum of so many dot products."""
        return min(self.dot_bits + (segments - 1).bit_length(), self.params.product_bits)

    def _carry(
        self, m: Module, valid: Value, sums: list[Value], starts: list[Value]
    ) -> list[Signal]:
        """Add what the line before left of a key; the last total is that for the next line."""
        p = self.params
        totals = [
            Signal(signed(p.product_bits), name=f"total{g}", reset_less=True)
            for g in range(p.groups)
        ]
        for group, total in enumerate(totals):
            value = sums[group]
            if any(c.part > group for c in self._cells(group).values()):
                value = Mux(starts[group], value, value + totals[-1])
            with m.If(self.enable & valid):
                m.d.sync += total.eq(value)
        return totals

    def _places(self, m: Module, line: Any) -> list[tuple[list[int], Value, Value]]:
        """For each key of a beat: lane groups it may end in, which of them, and whether now."""
        p = self.params
        select = Cat(line.parts, line.line)
        places = []
        for slot in range(p.groups):
            ends = {parts: divmod((slot + 1) * parts - 1, p.groups) for parts in legal_parts(p)}
            groups = sorted({group for _, group in ends.values()})
            which = {parts: groups.index(group) for parts, (_, group) in ends.items()}
            now = {
                parts | number << p.part_bits: int(number == ends[parts][0])
                for parts in legal_parts(p)
                for number in range(parts)
            }
            chosen = lookup(m, line.parts, which, name=f"chosen{slot}")
            ended = lookup(m, select, now, name=f"ended{slot}")
            place, hit = Signal.like(chosen, name=f"place{slot}"), Signal(name=f"hit{slot}")
            with m.If(self.enable):
                m.d.sync += [place.eq(chosen), hit.eq(ended)]
            places.append((groups, place, hit))
        return places

    def _collect(
        self,
        m: Module,
        valid: Value,
        totals: list[Signal],
        places: list[tuple[list[int], Value, Value]],
    ) -> None:
        """Put the totals of the keys that end in a line in their places of the beat."""
        scores = Signal.like(self.o.p.score, name="scores", reset_less=True)
        m.d.comb += self.o.p.score.eq(scores)
        for score, (groups, place, hit) in zip(scores, places, strict=True):
            with m.If(self.enable & valid & hit), m.Switch(place):
                for number, group in enumerate(groups):
                    with m.Case(number) if number < len(groups) - 1 else m.Default():
                        m.d.sync += score.eq(totals[group])
