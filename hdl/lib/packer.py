"""Makes full beats of ragged ones."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Mux, Shape, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from attnsieve.hdl.lib.checks import check_int
from attnsieve.hdl.lib.ragged import ragged_layout

__all__ = ["Packer"]

#: Levels of the rotator between two registers.
LEVELS = 4


class Packer(wiring.Component):
    """Collects the items of a group, in order, in as few beats as they need.

    A rotator moves the first item of a beat behind the last one that is held. A full beat goes out
    as the next item comes or the group ends, so that it is known to be the last or not. Only a
    group's last beat may have gaps at its top, and if the group has no item at all, nothing else.

    Latency: `latency` = ceil(ceil(log2(lanes)) / 4) + 1 cycles, at least 2, to the beat that an
    item drives out. Throughput: a beat per cycle in, as long as not more than one would have to
    come out: where a group's last beat gives two, a beat that gives one waits a cycle behind it.
    While a full beat waits to leave, one that drives none out is taken.

    Parameters
    ----------
    shape : ShapeLike
        Of an item.
    lanes : int
        Items of a beat, 1 to 128; not only powers of two.

    Members
    -------
    i : In(stream(ragged_layout))
    o : Out(stream(ragged_layout))
        For a group of n items, max(1, ceil(n / lanes)) beats.
    """

    i: stream.Interface
    o: stream.Interface

    def __init__(self, *, shape: Any, lanes: int) -> None:
        check_int("Lanes", lanes, 1, 128)
        self.shape, self.lanes = shape, lanes
        ragged = ragged_layout(shape=shape, lanes=lanes)
        super().__init__({"i": In(stream.Signature(ragged)), "o": Out(stream.Signature(ragged))})

    @property
    def levels(self) -> int:
        """Levels of the rotator."""
        return (self.lanes - 1).bit_length()

    @property
    def latency(self) -> int:
        """Cycles from the transfer that drives a beat out until that beat is valid."""
        return max(1, -(-self.levels // LEVELS)) + 1

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        take = Signal()
        m.d.comb += self.i.ready.eq(take)
        beat = self._placed(m, take)
        for level in range(self.levels):
            turned = Signal(beat.shape(), name=f"turned{level}")
            m.d.comb += [turned.eq(beat), turned.item.eq(self._rotated(beat, level))]
            beat = turned
            if level % LEVELS == LEVELS - 1 or level == self.levels - 1:
                beat = self._register(m, take, beat)
        if self.levels == 0:
            beat = self._register(m, take, beat)
        self._fill(m, take, beat)
        return m

    def _placed(self, m: Module, take: Signal) -> Signal:
        """The beat at the input, with the place of its first item."""
        layout = data.StructLayout(
            {
                "item": data.ArrayLayout(Shape.cast(self.shape).width, self.lanes),
                "place": range(self.lanes + 1),
                "total": (2 * self.lanes).bit_length(),  # items held and come
                "last": 1,
                "valid": 1,
            }
        )
        beat = Signal(layout)
        place = Signal(range(self.lanes + 1))
        m.d.comb += [
            beat.item.eq(self.i.p.item),
            beat.place.eq(place),
            beat.total.eq(place + self.i.p.count),
            beat.last.eq(self.i.p.last),
            beat.valid.eq(self.i.valid),
        ]
        over = beat.total - self.lanes
        with m.If(take & self.i.valid):
            m.d.sync += place.eq(
                Mux(self.i.p.last, 0, Mux(beat.total > self.lanes, over, beat.total))
            )
        return beat

    def _rotated(self, beat: Any, level: int) -> Value:
        """Every item 2**level lanes up, around the top, if the place has that bit."""
        step, whole = Shape.cast(self.shape).width << level, beat.item.as_value()
        return Mux(beat.place[level], whole.rotate_left(step), whole)

    def _register(self, m: Module, take: Signal, beat: Any) -> Signal:
        after = Signal(beat.shape())
        with m.If(take):
            m.d.sync += after.eq(beat)
        return after

    def _fill(self, m: Module, take: Signal, beat: Any) -> None:
        """Fill the held items up; give out what is full, or last."""
        lanes, o = self.lanes, self.o
        held = Signal(beat.item.shape())
        rest = Signal(range(lanes + 1))  # items held that have no beat behind them
        free = ~o.valid | o.ready
        full = beat.total > lanes
        gives = beat.valid & (full | beat.last)
        m.d.comb += take.eq(Mux(free, (rest == 0) | ~gives, (rest == 0) & ~gives))
        filled = Signal(beat.item.shape())
        for k in range(lanes):
            stays = Signal(name=f"stays{k}")
            m.d.comb += [
                stays.eq(beat.place > k),
                filled[k].eq(Mux(stays | (rest != 0), held[k], beat.item[k])),
            ]
            with m.If(take & beat.valid & (full | ~stays)):
                m.d.sync += held[k].eq(beat.item[k])
        with m.If(free):
            m.d.sync += [
                o.valid.eq((rest != 0) | gives),
                o.p.item.as_value().eq(filled),
                o.p.count.eq(Mux(rest != 0, rest, Mux(full, lanes, beat.total))),
                o.p.last.eq((rest != 0) | (beat.last & ~full)),
                rest.eq(Mux(gives & beat.last & full & (rest == 0), beat.total - lanes, 0)),
            ]
