"""Closes the gaps in a beat: prefix count and log-shifter."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Const, Module, Mux, Shape, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from attnsieve.hdl.lib.checks import check_int
from attnsieve.hdl.lib.ragged import flagged_layout, ragged_layout

__all__ = ["ZeroEliminator"]

#: Levels of either network between two registers.
LEVELS = 4


class ZeroEliminator(wiring.Component):
    """Moves the kept items of a beat to its lowest lanes, in order (SpAtten, figure 10).

    A parallel prefix network counts the items that are dropped below each lane; then level n of a
    shifter moves every item down by 2**n lanes whose count has bit n set. Low bits first: so two
    items never want the same lane. Counts need not move: an item that was above c gaps has moved
    over no more than c mod 2**n of them, so from bit n on the count of the lane where it is now is
    c too. Both networks have ``ceil(log2(lanes))`` levels, with a register after every 4 and after
    the last of each.

    Latency: `latency` = 2 · ceil(ceil(log2(lanes)) / 4) cycles, and 1 with one lane. Throughput:
    one beat per cycle. All registers share one enable, so a beat's flags and data stay together.

    Parameters
    ----------
    shape : ShapeLike
        Of an item.
    lanes : int
        Items of a beat, 1 to 128; not only powers of two.

    Members
    -------
    i : In(stream(flagged_layout))
    o : Out(stream(ragged_layout))
        As many beats as come in, empty ones too.
    """

    i: stream.Interface
    o: stream.Interface

    def __init__(self, *, shape: Any, lanes: int) -> None:
        check_int("Lanes", lanes, 1, 128)
        self.shape, self.lanes = shape, lanes
        super().__init__(
            {
                "i": In(stream.Signature(flagged_layout(shape=shape, lanes=lanes))),
                "o": Out(stream.Signature(ragged_layout(shape=shape, lanes=lanes))),
            }
        )

    @property
    def levels(self) -> int:
        """Levels of each network."""
        return (self.lanes - 1).bit_length()

    @property
    def latency(self) -> int:
        """Cycles from a beat's transfer until it is valid at the output."""
        return max(1, 2 * -(-self.levels // LEVELS))

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        advance = ~self.o.valid | self.o.ready
        bits = self.lanes.bit_length()
        layout = data.StructLayout(
            {
                "item": data.ArrayLayout(Shape.cast(self.shape).width, self.lanes),
                "keep": self.lanes,
                "gaps": data.ArrayLayout(bits, self.lanes + 1),  # below the lane, at last all
                "last": 1,
            }
        )
        first = Signal(layout)
        m.d.comb += [
            self.i.ready.eq(advance),
            first.item.eq(self.i.p.item),
            first.keep.eq(self.i.p.keep),
            first.last.eq(self.i.p.last),
            *(first.gaps[k + 1].eq(~keep) for k, keep in enumerate(self.i.p.keep)),
        ]
        valid: Value = self.i.valid
        beat = first
        for network in (self._count, self._shift):
            for level in range(self.levels):
                beat = self._level(m, network, beat, level)
                if level % LEVELS == LEVELS - 1 or level == self.levels - 1:
                    valid, beat = self._register(m, advance, valid, beat)
        if self.levels == 0:
            valid, beat = self._register(m, advance, valid, beat)
        m.d.comb += [
            self.o.valid.eq(valid),
            self.o.p.item.as_value().eq(beat.item),
            self.o.p.count.eq(self.lanes - beat.gaps[self.lanes]),
            self.o.p.last.eq(beat.last),
        ]
        return m

    def _level(self, m: Module, network: Any, beat: Any, level: int) -> Signal:
        """What one level of a network makes of a beat."""
        after = Signal(beat.shape(), name=f"{network.__name__.strip('_')}{level}")
        m.d.comb += [after.eq(beat), *network(beat, after, level)]
        return after

    def _count(self, beat: Any, after: Any, level: int) -> list[Any]:
        """Every count takes in the one 2**level lanes below."""
        step = 1 << level
        return [
            after.gaps[k].eq(beat.gaps[k] + beat.gaps[k - step])
            for k in range(step, self.lanes + 1)
        ]

    def _shift(self, beat: Any, after: Any, level: int) -> list[Any]:
        """Every item whose count has the bit moves down; what moves in goes before what stays."""
        step = 1 << level
        moves = [keep & beat.gaps[k][level] for k, keep in enumerate(beat.keep)]
        moved = []
        for k in range(self.lanes):
            above = k + step < self.lanes
            comes = moves[k + step] if above else Const(0)
            moved += [after.keep[k].eq(comes | (beat.keep[k] & ~moves[k]))]
            if above:
                moved += [after.item[k].eq(Mux(comes, beat.item[k + step], beat.item[k]))]
        return moved

    def _register(
        self, m: Module, advance: Value, valid: Value, beat: Any
    ) -> tuple[Signal, Signal]:
        after, after_valid = Signal(beat.shape()), Signal()
        with m.If(advance):
            m.d.sync += [after.eq(beat), after_valid.eq(valid)]
        return after_valid, after
