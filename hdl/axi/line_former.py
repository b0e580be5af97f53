"""Turns memory words that are as wide as a line of 8-bit operands into lines."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["LineFormer", "format_layout"]


def format_layout() -> data.StructLayout:
    """How operands lie in memory and on chip."""
    return data.StructLayout(
        {
            "wide": unsigned(1),  # 1: operands of 12 bits, 0: of 8 bits
            "left": unsigned(1),  # left-aligned: value << (operand_bits - b)
        }
    )


class LineFormer(wiring.Component):
    """Words of ``lanes`` bytes to lines of ``lanes`` operands.

    A word is a line of 8-bit operands, sign-extended or left-aligned on its way. Three words are
    two lines of 12-bit operands: the format may change only between such groups.

    Latency: none from the word that completes a line. Throughput: a word per cycle. A word that
    completes a line is taken with it; ``i.ready`` depends on ``o.ready`` combinationally.

    Parameters
    ----------
    lanes : int
        Operands of a line, an even number.
    operand_bits : int
        Bits of an operand at ``o``: 8 or 12. If 8, ``wide`` and ``left`` are ignored.

    Members
    -------
    i : In(stream)
        ``data`` and ``format``.
    o : Out(stream(ArrayLayout(signed(operand_bits), lanes)))
        Lines, lane 0 lowest.
    """

    i: stream.Interface
    o: stream.Interface

    def __init__(self, *, lanes: int, operand_bits: int = 12) -> None:
        if lanes < 2 or lanes % 2:
            raise ValueError(f"Lanes must be even, not {lanes!r}")
        if operand_bits not in (8, 12):
            raise ValueError(f"Operand bits must be 8 or 12, not {operand_bits!r}")
        self.lanes, self.operand_bits = lanes, operand_bits
        word = data.StructLayout({"data": unsigned(8 * lanes), "format": format_layout()})
        super().__init__(
            {
                "i": In(stream.Signature(word)),
                "o": Out(stream.Signature(data.ArrayLayout(signed(operand_bits), lanes))),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        word, format_ = self.i.payload.data, self.i.payload.format
        if self.operand_bits == 8:
            m.d.comb += [
                self.o.valid.eq(self.i.valid),
                self.i.ready.eq(self.o.ready),
                Cat(self.o.payload).eq(word),
            ]
            return m
        wide_line, begins = self._wide(m)
        m.d.comb += [
            self.o.valid.eq(self.i.valid & ~begins),
            self.i.ready.eq(self.o.ready | begins),
        ]
        for lane, operand in enumerate(self.o.payload):
            byte = word.word_select(lane, 8)
            with m.If(format_.wide):
                m.d.comb += operand.eq(wide_line.word_select(lane, 12).as_signed())
            with m.Elif(format_.left):
                m.d.comb += operand.eq(Cat(Const(0, 4), byte).as_signed())
            with m.Else():
                m.d.comb += operand.eq(byte.as_signed())
        return m

    def _wide(self, m: Module) -> tuple[Signal, Signal]:
        """The line of 12-bit operands at hand, and whether the word only begins one.

        A line is the first word and half of the second, then the other half and the third.
        """
        half = 4 * self.lanes
        word = self.i.payload.data
        second, third = Signal(), Signal()  # of the three words, the one at hand
        kept = Signal(2 * half, reset_less=True)  # of the words before
        line, begins = Signal(3 * half), Signal()
        m.d.comb += [
            begins.eq(self.i.payload.format.wide & ~second & ~third),
            line.eq(Mux(third, Cat(kept[:half], word), Cat(kept, word[:half]))),
        ]
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [
                second.eq(begins),
                third.eq(second),
                kept[:half].eq(Mux(second, word[half:], word[:half])),
                kept[half:].eq(word[half:]),
            ]
        return line, begins
