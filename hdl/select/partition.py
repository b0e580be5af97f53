"""Splits a list at a pivot: the values below it and the values above it, packed."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from attnsieve.hdl.lib.connect import connect
from attnsieve.hdl.lib.gates import count_flags
from attnsieve.hdl.lib.packer import Packer
from attnsieve.hdl.lib.ragged import flagged_layout, ragged_layout
from attnsieve.hdl.lib.zero_eliminator import ZeroEliminator
from attnsieve.hdl.select.top_k import TopKParams

__all__ = ["Partition"]


class Partition(wiring.Component):
    """One round of quick-select (SpAtten, figure 9): two arrays of comparators, each before a zero
    eliminator and a packer.

    Latency: `latency` = 2 cycles from the last beat of a list to its counts; `list_latency` to the
    beats of ``below`` and ``above`` that it drives out. Throughput: one beat per cycle; lists
    that follow one another at once may wait as `Packer` has it.

    Parameters
    ----------
    params : TopKParams

    Members
    -------
    i : In(stream(flagged_layout))
        A list; lanes without ``keep`` are of no account.
    pivot : In
        Of the list; stable from its first beat to its last.
    below, above : Out(stream(ragged_layout))
        Values less and greater than the pivot; each list has at least one beat.
    counts : Out(stream({above, equal}, always ready))
        Values greater than the pivot and equal to it, once per list.
    """

    latency = 2

    def __init__(self, *, params: TopKParams) -> None:
        self.params = params
        shape, lanes = unsigned(params.value_bits), params.lanes
        counts = data.StructLayout(dict.fromkeys(("above", "equal"), unsigned(params.count_bits)))
        ragged = ragged_layout(shape=shape, lanes=lanes)
        flagged = flagged_layout(shape=shape, lanes=lanes)
        super().__init__(
            {
                "i": In(stream.Signature(flagged)),
                "pivot": In(params.value_bits),
                "below": Out(stream.Signature(ragged)),
                "above": Out(stream.Signature(ragged)),
                "counts": Out(stream.Signature(counts, always_ready=True)),
            }
        )
        self.sides = {
            side: (
                ZeroEliminator(shape=shape, lanes=lanes),
                Packer(shape=shape, lanes=lanes),
            )
            for side in ("below", "above")
        }

    @property
    def list_latency(self) -> int:
        """Cycles from a beat to the packed beats that it drives out."""
        return 1 + sum(block.latency for block in self.sides["below"])

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        i, lanes = self.i, range(self.params.lanes)
        keep = i.p.keep
        flags = {
            "below": Cat(keep[n] & (i.p.item[n] < self.pivot) for n in lanes),
            "above": Cat(keep[n] & (i.p.item[n] > self.pivot) for n in lanes),
        }
        equal = Signal(self.params.lanes)
        with m.If(i.ready):
            m.d.sync += equal.eq(Cat(keep[n] & (i.p.item[n] == self.pivot) for n in lanes))
        above = Signal(self.params.lanes)
        valid, go, first = Signal(), Signal(), Signal(init=1)
        beat = Signal(i.payload.shape())
        with m.If(i.ready):
            m.d.sync += [valid.eq(i.valid), beat.eq(i.payload)]
        m.d.comb += [
            i.ready.eq(~valid | go),
            go.eq(Cat(eliminator.i.ready for eliminator, _ in self.sides.values()).all()),
        ]
        for side, (eliminator, packer) in self.sides.items():
            m.submodules += eliminator, packer
            kept = Signal(self.params.lanes, name=f"kept_{side}")
            with m.If(i.ready):
                m.d.sync += kept.eq(flags[side])
            m.d.comb += [
                eliminator.i.valid.eq(valid & go),  # ready does not wait for valid
                eliminator.i.p.item.eq(beat.item),
                eliminator.i.p.keep.eq(kept),
                eliminator.i.p.last.eq(beat.last),
            ]
            connect(m, eliminator.o, packer.i)
            connect(m, packer.o, getattr(self, side))
        m.d.comb += above.eq(self.sides["above"][0].i.p.keep)
        m.d.sync += self.counts.valid.eq(valid & go & beat.last)
        with m.If(valid & go):
            m.d.sync += first.eq(beat.last)
            for name, ones in {"above": above, "equal": equal}.items():
                count = self.counts.p[name]
                m.d.sync += count.eq(Mux(first, 0, count) + count_flags(list(ones)))
        return m
