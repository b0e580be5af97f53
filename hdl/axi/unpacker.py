"""Turns wide memory words into lines of operands."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from attnsieve.hdl.lib.checks import check_int, check_power_of_two

__all__ = ["Unpacker", "chunk_layout"]


def chunk_layout(*, max_lines: int) -> data.StructLayout:
    """What the unpacker must know of a chunk."""
    return data.StructLayout(
        {
            "lines": unsigned((max_lines - 1).bit_length()),  # lines - 1
            "wide": unsigned(1),  # 1: operands of 12 bits, 0: of 8 bits
            "left": unsigned(1),  # left-aligned: value << (operand_bits - b)
        }
    )


class Unpacker(wiring.Component):
    """Wide words to lines of ``lanes`` operands, chunk by chunk.

    A chunk is a run of bytes, packed little-endian: 8-bit operands (sign-extended on their way) or
    12-bit ones. Its first line begins in byte 0 of its first word. The word that holds the end
    of its last line is marked ``last``; what that line lacks is undefined, and so is the rest of
    the word ignored. Nothing is kept from chunk to chunk.

    Words and lines may be of any size relative to each other. If a word is at least as long as
    an 8-bit line, each line is picked from the last ``lanes`` bytes of the word before and from
    the word at hand; else words are collected in the line.

    Latency: `latency` cycles from the word that completes a line to the line: 2 where lines are
    picked, else 1. Throughput: in every cycle a
    line is made or a word is taken, both if the line uses the word up: so one word per cycle
    where lines are not shorter, and one line per cycle where they are. Lines do not wait.

    Parameters
    ----------
    lanes : int
        Operands of a line, a power of two from 2 to 1024.
    wide_bytes : int
        Bytes of a word, a power of two from 4 to 2048.
    operand_bits : int
        Bits of an operand at ``o``: 8 or 12. If 8, there is no 12-bit mode.
    max_lines : int
        Most lines of a chunk.
    tag_bits : int
        Bits of a tag that goes with the chunk to its lines.

    Members
    -------
    i : In(stream)
        ``data``, ``last`` (last word of the chunk), ``chunk`` (chunk_layout; the same in all
        words of a chunk), ``tag``.
    o : Out(stream), always ready
        ``line``: array of signed operands, lane 0 lowest; ``tag``.
    """

    i: stream.Interface
    o: stream.Interface

    def __init__(
        self,
        *,
        lanes: int,
        wide_bytes: int,
        operand_bits: int = 12,
        max_lines: int,
        tag_bits: int = 0,
    ) -> None:
        check_power_of_two("Lanes", lanes, 2, 1024)
        check_power_of_two("Wide bytes", wide_bytes, 4, 2048)
        if operand_bits not in (8, 12):
            raise ValueError(f"Operand bits must be 8 or 12, not {operand_bits!r}")
        check_int("Max lines", max_lines, 1)
        self.lanes, self.wide_bytes, self.operand_bits = lanes, wide_bytes, operand_bits
        self.max_lines, self.tag_bits = max_lines, tag_bits
        super().__init__(
            {
                "i": In(
                    stream.Signature(
                        data.StructLayout(
                            {
                                "data": unsigned(8 * wide_bytes),
                                "last": unsigned(1),
                                "chunk": chunk_layout(max_lines=max_lines),
                                "tag": unsigned(tag_bits),
                            }
                        )
                    )
                ),
                "o": Out(
                    stream.Signature(
                        data.StructLayout(
                            {
                                "line": data.ArrayLayout(signed(operand_bits), lanes),
                                "tag": unsigned(tag_bits),
                            }
                        ),
                        always_ready=True,
                    )
                ),
            }
        )

    @property
    def picks(self) -> bool:
        """Whether lines are picked from words, and not collected from them."""
        return self.wide_bytes >= self.lanes

    @property
    def latency(self) -> int:
        """Cycles from the word that completes a line to the line."""
        return 2 if self.picks else 1

    @property
    def both(self) -> bool:
        """Whether there is a 12-bit mode beside the 8-bit one."""
        return self.operand_bits == 12

    def elaborate(self, platform: object) -> Module:
        m = Module()
        chunk = self.i.payload.chunk
        raw = Signal(self.lanes * self.operand_bits, reset_less=True)  # line as it lies in memory
        wide, left = Signal(), Signal()  # of the line in raw
        made = Signal()  # a line is completed in this cycle
        line = Cat(made, chunk.wide, chunk.left, self.i.payload.tag)
        if self.picks:
            self._pick(m, raw, made)
            decided = Signal.like(line)
            m.d.sync += decided.eq(line)
            line = decided
        else:
            self._collect(m, raw, made)
        m.d.sync += Cat(self.o.valid, wide, left, self.o.payload.tag).eq(line)
        self._operands(m, raw, wide, left)
        return m

    def _last_line(self, m: Module, made: Signal) -> Value:
        """Whether the line at hand is its chunk's last; what follows its first is counted."""
        lines = self.i.payload.chunk.lines
        begun, ends = Signal(), Signal()  # a line of the chunk was made; the next one is the last
        left = Signal(lines.shape())  # lines after the next one
        last_line = Mux(begun, ends, lines == 0)
        with m.If(made):
            m.d.sync += begun.eq(~last_line)
            with m.If(begun):
                m.d.sync += [left.eq(left - 1), ends.eq(left == 1)]
            with m.Else():
                m.d.sync += [left.eq(lines - 1), ends.eq(lines == 1)]
        return last_line

    def _pick(self, m: Module, raw: Signal, made: Signal) -> None:
        """Lines from the word and the end of the one before, in half lines of 8-bit operands.

        ``begin`` counts half lines from two before the word. A line is two halves, or three at
        12 bits. Where a line begins is decided a cycle before it is picked.
        """
        half = self.lanes * 4
        count = self.wide_bytes * 8 // half  # halves of a word
        begin = Signal(range(count + 2), init=2)
        size = Mux(self.i.payload.chunk.wide, 3, 2) if self.both else Const(2)
        after = Signal(range(count + 6))
        used_up = Signal()  # no whole line is left in the word
        whole = Signal()
        m.d.comb += [
            after.eq(begin + size),
            whole.eq(after <= count + 2),
            used_up.eq(after + size > count + 2),
            made.eq(self.i.valid & (whole | self.i.payload.last)),
        ]
        last_line = self._last_line(m, made)
        end = self.i.payload.last & last_line
        # a word that is no longer than a line of 8-bit operands ends no two lines of it
        on = Const(1) if count == 2 else ~whole | used_up
        m.d.comb += self.i.ready.eq(Mux(self.i.payload.last, last_line, on))
        position = Mux(whole, after, begin)  # of the next line
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += begin.eq(Mux(end, 2, position - count))
        with m.Elif(made):
            m.d.sync += begin.eq(after)

        at, valid = Signal.like(begin), Signal()  # of the word that lines are picked from
        word = Signal.like(self.i.payload.data, reset_less=True)
        m.d.sync += [word.eq(self.i.payload.data), valid.eq(self.i.valid), at.eq(begin)]
        halves = [word[k * half : (k + 1) * half] for k in range(count)]
        if self.both:
            before = Signal(2 * half, reset_less=True)
            with m.If(valid):  # what follows in the same word needs no more of it
                m.d.sync += before.eq(word[-2 * half :])
            halves = [before[:half], before[half:], *halves]
        else:
            halves = [Const(0, half), Const(0, half), *halves]
        step = 1 if self.both else 2
        for k in range(len(raw) // half):
            picked: list[Value] = [halves[min(n + k, count + 1)] for n in range(0, count + 2, step)]
            m.d.sync += raw[k * half : (k + 1) * half].eq(
                self._choose(at[step - 1 :], picked)
            )

    def _choose(self, number: Value, choices: list[Value]) -> Value:
        """A tree of multiplexers, each driven by a bit of the number: nothing is decoded."""
        choices = choices + choices[-1:] * ((1 << len(number)) - len(choices))
        for bit in number:
            pairs = zip(choices[::2], choices[1::2], strict=True)
            choices = [a if a is b else Mux(bit, b, a) for a, b in pairs]
        return choices[0]

    def _collect(self, m: Module, raw: Signal, made: Signal) -> None:
        """Several words make a line: each goes to its place in the line register."""
        word = self.wide_bytes * 8
        count8, count12 = self.lanes * 8 // word, self.lanes * 12 // word
        slot = Signal(range(count12 if self.both else count8))
        final = Mux(self.i.payload.chunk.wide, count12 - 1, count8 - 1) if self.both else count8 - 1
        m.d.comb += [
            self.i.ready.eq(1),
            made.eq(self.i.valid & ((slot == final) | self.i.payload.last)),
        ]
        with m.If(self.i.valid):
            m.d.sync += slot.eq(Mux(made, 0, slot + 1))
            with m.Switch(slot):
                for k in range(len(raw) // word):
                    with m.Case(k):
                        m.d.sync += raw[k * word : (k + 1) * word].eq(self.i.payload.data)

    def _operands(self, m: Module, raw: Signal, wide: Signal, left: Signal) -> None:
        """The line register to signed operands."""
        for lane, operand in enumerate(self.o.payload.line):
            byte = raw[8 * lane : 8 * lane + 8]
            if not self.both:
                m.d.comb += operand.eq(byte.as_signed())
                continue
            with m.If(wide):
                m.d.comb += operand.eq(raw[12 * lane : 12 * lane + 12].as_signed())
            with m.Elif(left):
                m.d.comb += operand.eq(Cat(Const(0, 4), byte).as_signed())
            with m.Else():
                m.d.comb += operand.eq(byte.as_signed())
