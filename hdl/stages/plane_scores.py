"""Scores from products with one plane of K, or with both."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from attnsieve.hdl.layouts import product_beat_layout, row_layout, score_beat_layout
from attnsieve.hdl.lib.pointer import next_index
from attnsieve.hdl.lib.ram import Ram
from attnsieve.hdl.params import CoreParams, check_params

__all__ = ["PLANE_FIELDS", "PlaneScores", "plane_row_layout"]

#: What is known of a row where it may be computed again.
PLANE_FIELDS = ("progressive", "again", "place")


def plane_row_layout(p: CoreParams) -> data.StructLayout:
    """A row, or a row again."""
    return data.StructLayout({name: row_layout(p)[name].shape for name in PLANE_FIELDS})


class PlaneScores(wiring.Component):
    """Gives products their weight, and adds those of both planes of K.

    With ``l = lsb_bits``, K is ``2**l * msb + lsb`` (docs/reference/numbers.md). A progressive row
    comes with the products of its query with the MSB plane: its scores are ``2**l`` times those,
    which are kept. If it comes again, with the products of the LSB plane, these are added to what
    was kept: so no product is made twice, and no multiplier needs more than one plane's bits
    (SpAtten, section III-D, computes the row again from all bits). Products of other rows are their
    scores.

    Products are kept in a memory of ``held_beats``, from the row's ``place`` on; who gives places
    sees to it that they stay. Latency: `latency` = 3 cycles. Throughput: one beat per cycle.

    Parameters
    ----------
    params : CoreParams
        The core; with ``progressive``.

    Members
    -------
    i : In(stream(product_beat_layout))
    row : In(stream(plane_row_layout))
        One per row of beats, taken with its last one.
    o : Out(stream(score_beat_layout))
    again : Out(1)
        The beat at ``i`` is of a row that comes again.
    """

    i: stream.Interface
    row: stream.Interface
    o: stream.Interface
    again: Signal

    #: Cycles from a beat to its scores: the memory, what is added, the sum.
    latency = 3

    def __init__(self, *, params: CoreParams) -> None:
        check_params(params)
        if not params.progressive:
            raise ValueError("Params must be of a core with progressive")
        self.params = params
        super().__init__(
            {
                "i": In(stream.Signature(product_beat_layout(params))),
                "row": In(stream.Signature(plane_row_layout(params))),
                "o": Out(stream.Signature(score_beat_layout(params))),
                "again": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        p, beat = self.params, self.i.p
        move, take, valid = Signal(), Signal(), Signal()
        m.d.comb += [
            move.eq(~self.o.valid | self.o.ready),
            self.i.ready.eq(move & self.row.valid),
            take.eq(self.i.valid & self.i.ready),
            self.row.ready.eq(take & beat.last),
            self.again.eq(self.row.p.again),
        ]
        kept = self._memory(m, take, move)
        held, plain, shifted = (
            Signal.like(beat, name=name, reset_less=True) for name in ("held", "plain", "shifted")
        )
        adds, weighted, more = Signal(), Signal(), Signal()
        with m.If(move):
            m.d.sync += [
                valid.eq(take),
                held.eq(beat),
                more.eq(self.row.p.again),
                weighted.eq(self.row.p.progressive & ~self.row.p.again),
                adds.eq(valid),
                plain.valid.eq(held.valid),
                plain.last.eq(held.last),
                self.o.valid.eq(adds),
                self.o.p.valid.eq(plain.valid),
                self.o.p.last.eq(plain.last),
            ]
            for n, score in enumerate(self.o.p.score):
                product = held.score[n]
                high = Cat(Const(0, p.lsb_bits), shifted.score[n]).as_signed()
                m.d.sync += [
                    plain.score[n].eq(Mux(weighted, 0, product)),
                    shifted.score[n].eq(Mux(more, kept[n], Mux(weighted, product, 0))),
                    score.eq(high + plain.score[n]),
                ]
        return m

    def _memory(self, m: Module, take: Signal, move: Signal) -> Any:
        """First products are written, and read as second ones come."""
        p, row = self.params, self.row.p
        number, place = Signal(range(p.held_beats)), Signal(range(p.held_beats))
        started = Signal()
        m.submodules.memory = ram = Ram(
            shape=product_beat_layout(p)["score"].shape, depth=p.held_beats
        )
        m.d.comb += [
            place.eq(Mux(started, number, row.place)),
            ram.write.address.eq(place),
            ram.write.data.eq(self.i.p.score),
            ram.write.en.eq(take & row.progressive & ~row.again),
            ram.read[0].address.eq(place),
            ram.read[0].en.eq(move),
        ]
        with m.If(take):
            m.d.sync += [number.eq(next_index(place, p.held_beats)), started.eq(~self.i.p.last)]
        return ram.read[0].data
