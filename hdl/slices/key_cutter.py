"""Takes keys out of lines: of each line what belongs to one key, in its place."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Const, Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from attnsieve.hdl.layouts import line_layout
from attnsieve.hdl.params import CoreParams

__all__ = ["KeyCutter", "key_head_layout", "key_piece_layout"]


def key_head_layout(p: CoreParams) -> data.StructLayout:
    """What must be known of a KV head before its lines come."""
    return data.StructLayout(
        {"parts": unsigned(p.part_bits), "keys": unsigned(p.key_bits), "wide": unsigned(1)}
    )


def key_piece_layout(p: CoreParams) -> data.StructLayout:
    """Some segments of a key, each at its place."""
    return data.StructLayout(
        {
            "segments": data.ArrayLayout(unsigned(p.segment * p.operand_bits), p.max_parts),
            "write": unsigned(p.max_parts),  # which of them are there
            "end": unsigned(1),  # the key's last ones are
            "wide": unsigned(1),  # 0: words have 8 bits
        }
    )


class KeyCutter(wiring.Component):
    """Cuts lines of keys, which lie in them back to back, into pieces of one key each.

    A head starts in a new line; what follows its last key in its last line is dropped. A piece has
    all that a line holds of a key: one per cycle. So keys of a whole number of lines, or of a line
    each, come at one line per cycle, and shorter ones at one key per cycle. Latency: one cycle.

    Parameters
    ----------
    params : CoreParams

    Members
    -------
    head : In(stream(key_head_layout))
        One for each KV head, in the order of the lines.
    i : In(stream(line_layout))
    o : Out(stream(key_piece_layout))
    """

    head: stream.Interface
    i: stream.Interface
    o: stream.Interface

    def __init__(self, *, params: CoreParams) -> None:
        self.params = params
        super().__init__(
            {
                "head": In(stream.Signature(key_head_layout(params))),
                "i": In(stream.Signature(line_layout(params))),
                "o": Out(stream.Signature(key_piece_layout(params))),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        p = self.params
        group = Signal(range(p.groups))  # where the piece starts in the line
        part = Signal(range(p.max_parts))  # and in the key
        key = Signal(p.key_bits, init=1)  # of the head, counted from 1
        in_line, in_key, size = (Signal(range(max(p.groups, p.max_parts) + 1)) for _ in range(3))
        line_end, key_end, head_end, move = Signal(), Signal(), Signal(), Signal()
        head = self.head.p
        m.d.comb += [
            in_line.eq(p.groups - group),
            in_key.eq(head.parts - part),
            size.eq(Mux(in_line < in_key, in_line, in_key)),
            key_end.eq(in_key <= in_line),
            head_end.eq(key_end & (key == head.keys)),
            line_end.eq((in_line <= in_key) | head_end),
            move.eq(self.i.valid & self.head.valid & (~self.o.valid | self.o.ready)),
            self.i.ready.eq(move & line_end),
            self.head.ready.eq(move & head_end),
        ]
        with m.If(move):
            m.d.sync += [group.eq(group + size), part.eq(part + size)]
            with m.If(line_end):
                m.d.sync += group.eq(0)
            with m.If(key_end):
                m.d.sync += [part.eq(0), key.eq(Mux(head_end, 1, key + 1))]
        with m.If(~self.o.valid | self.o.ready):
            m.d.sync += self.o.valid.eq(move)
            m.d.sync += [self.o.p.end.eq(key_end), self.o.p.wide.eq(head.wide)]
            m.d.sync += self._piece(group, part, size)
        return m

    def _piece(self, group: Signal, part: Signal, size: Signal) -> list[Any]:
        """The segments from ``group`` on, at the places from ``part`` on."""
        p = self.params
        width = p.segment * p.operand_bits
        line, bits = Value.cast(self.i.payload), (p.groups - 1).bit_length()
        return [
            statement
            for place in range(p.max_parts)
            for statement in (
                self.o.p.segments[place].eq(
                    line.word_select((group - part + place)[:bits] if bits else 0, width)
                ),
                self.o.p.write[place].eq(
                    (Const(1) if place == p.max_parts - 1 else part <= place)
                    & (part + size > place)
                ),
            )
        ]
