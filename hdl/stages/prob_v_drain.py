"""Sums of a pass of prob·V, taken out of the array while the next pass runs."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from attnsieve.hdl.layouts import accumulator_layout
from attnsieve.hdl.lib.connect import connect
from attnsieve.hdl.lib.queue import Queue
from attnsieve.hdl.params import CoreParams, check_params
from attnsieve.hdl.stages.prob_v_room import PassRoom

__all__ = ["PassDrain", "pass_layout"]


def pass_layout(p: CoreParams) -> data.StructLayout:
    """The accumulators of all lanes at the end of a pass with ``P`` parts side by side."""
    return data.StructLayout(
        {
            "lane": data.ArrayLayout(signed(p.acc_bits), p.lanes),
            "mask": range(p.groups),  # P - 1
            "last": 1,  # pass of the row
        }
    )


class PassDrain(wiring.Component):
    """Takes the accumulators of a pass and sends out its ``segment * P`` elements in order.

    Lane group ``L`` holds a sum of part ``L mod P``: the ``groups / P`` lane groups of a part are
    added by a pipelined tree, so that ``output_lanes`` elements leave per cycle.

    A pass takes ``segment * P / output_lanes`` cycles. Sums cannot wait: a pass may end only while
    there is ``room``, and its sums come a fixed time later. Latency `latency` cycles.

    Parameters
    ----------
    params : CoreParams
        The core.

    Members
    -------
    end : In(1), end_mask : In(range(groups))
        A pass ends, and its P - 1.
    room : Out(1)
        A pass may end. A register.
    i : In(pass_layout)
        Sums.
    load : In(groups)
        They are there: a copy for each lane group.
    o : Out(stream(accumulator_layout))
    """

    end: Signal
    end_mask: Signal
    room: Signal
    i: Any
    load: Signal
    o: stream.Interface

    def __init__(self, *, params: CoreParams) -> None:
        check_params(params)
        self.params = params
        self.levels = self._levels(params)
        super().__init__(
            {
                "end": In(1),
                "end_mask": In(range(params.groups)),
                "room": Out(1),
                "i": In(pass_layout(params)),
                "load": In(params.groups),
                "o": Out(stream.Signature(accumulator_layout(params))),
            }
        )

    @staticmethod
    def _levels(params: CoreParams) -> int:
        return (params.groups - 1).bit_length()

    @property
    def depth(self) -> int:
        """Transfers for which there is room behind the drain: those of two of the longest
        passes."""
        return 2 * self.params.groups * self.params.segment // self.params.output_lanes

    @classmethod
    def latency_of(cls, params: CoreParams) -> int:
        """Cycles from a pass to its first elements: 1, or 1 + log2(groups) and the queue's."""
        levels = cls._levels(params)
        return 1 if levels == 0 else 1 + levels + (1 if params.lut_ram else 2)

    @property
    def latency(self) -> int:
        """Cycles from a pass to its first elements."""
        return self.latency_of(self.params)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        p = self.params
        m.submodules.room = room = PassRoom(params=p, depth=self.depth)
        chunks = p.segment // p.output_lanes
        left = Signal(range(chunks * p.groups))  # transfers behind this one
        part, mask = Signal(range(p.groups)), Signal(range(p.groups))
        active, last_of_row, end, take = Signal(), Signal(), Signal(), Signal()
        end_of_part = left[: (chunks - 1).bit_length()] == 0
        m.d.comb += [
            room.end.eq(self.end),
            room.mask.eq(self.end_mask),
            self.room.eq(room.some),
        ]
        with m.If(self.load[0]):
            transfers = Cat(Const(chunks - 1, (chunks - 1).bit_length()), self.i.mask)
            m.d.sync += [
                active.eq(1),
                mask.eq(self.i.mask),
                last_of_row.eq(self.i.last),
                part.eq(0),
                left.eq(transfers),
                end.eq(transfers == 0),
            ]
        with m.Elif(take):
            m.d.sync += [
                active.eq(~end),
                left.eq(left - 1),
                end.eq(left == 1),
                part.eq(part + end_of_part),
            ]
        heads = self._shift(m, part, mask, take)
        if self.levels == 0:
            m.d.comb += [
                self.o.valid.eq(active),
                self.o.p.element.eq(Value.cast(heads[0])),
                self.o.p.last.eq(end & last_of_row),
                take.eq(active & self.o.ready),
                room.left.eq(take & end),
            ]
        else:
            m.d.comb += [take.eq(active), room.left.eq(self.o.valid & self.o.ready)]
            self._tree(m, heads, active, end & last_of_row)
        return m

    def _shift(self, m: Module, part: Signal, mask: Signal, take: Signal) -> list[Value]:
        """A shift register per lane group; what it holds next, where its part is being sent."""
        p = self.params
        step = p.output_lanes * p.acc_bits
        heads = []
        for group in range(p.groups):
            held = Signal(p.segment * p.acc_bits, name=f"held_{group}", reset_less=True)
            chosen = Signal(name=f"chosen_{group}")
            m.d.comb += chosen.eq((group & mask) == part)
            lanes = [self.i.lane[group * p.segment + n] for n in range(p.segment)]
            with m.If(self.load[group]):
                m.d.sync += held.eq(Cat(lanes))
            with m.Elif(take & chosen):
                m.d.sync += held[:-step].eq(held[step:])  # what follows the last counts nowhere
            heads.append(Mux(chosen, held[:step], 0))
        return heads

    def _tree(self, m: Module, heads: list, active: Signal, last: Value) -> None:
        """Add the lane groups. The queue has room for all that comes."""
        p = self.params
        layout = data.ArrayLayout(signed(p.acc_bits), p.output_lanes)
        m.submodules.queue = queue = Queue(
            shape=accumulator_layout(p), depth=self.depth, lut_ram=p.lut_ram
        )
        connect(m, queue.o, self.o)
        valid, ends = Signal(self.levels), Signal(self.levels)
        m.d.comb += [queue.i.valid.eq(valid[-1]), queue.i.p.last.eq(ends[-1])]
        m.d.sync += [valid.eq(valid << 1 | active), ends.eq(ends << 1 | last)]
        values = [layout(head) for head in heads]
        for level in range(self.levels):
            sums = [
                Signal(layout, name=f"tree_{level}_{n}", reset_less=True)
                for n in range(len(values) // 2)
            ]
            for n, total in enumerate(sums):
                for lane in range(p.output_lanes):
                    m.d.sync += total[lane].eq(values[2 * n][lane] + values[2 * n + 1][lane])
            values = sums
        m.d.comb += queue.i.p.element.eq(values[0])
