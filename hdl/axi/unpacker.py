"""Turns wide memory words into lines of operands."""

from __future__ import annotations

from math import gcd

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from attnsieve.hdl.lib.checks import check_int, check_power_of_two

__all__ = ["Unpacker", "chunk_layout"]


#: What widths operands may have in memory.
WIDTHS = ((8,), (8, 12), (4, 6, 8, 10, 12))


def chunk_layout(*, max_lines: int, widths: tuple[int, ...]) -> data.StructLayout:
    """What the unpacker must know of a chunk."""
    return data.StructLayout(
        {
            "lines": unsigned((max_lines - 1).bit_length()),  # lines - 1
            "width": unsigned((len(widths) - 1).bit_length()),  # of operands: index into widths
            "left": unsigned(1),  # left-aligned: value << (operand_bits - b)
        }
    )


class Unpacker(wiring.Component):
    """Wide words to lines of ``lanes`` operands, chunk by chunk.

    A chunk is a run of bytes, packed little-endian: operands of one of the ``widths``, element 0
    in the lowest bits. At ``o`` all have the bits of the widest: they are sign-extended, or
    left-aligned. Its first line begins in byte 0 of its first word. The word that holds the end
    of its last line is marked ``last``; what that line lacks is undefined, and so is the rest of
    the word ignored. Nothing is kept from chunk to chunk, and each may be of another width.

    Words and lines may be of any size relative to each other, but with five widths a word must be
    at least as long as an 8-bit line. If it is, each line is picked from the last ``lanes`` bytes
    of the word before and from the word at hand; else words are collected in the line.

    Latency: `latency` cycles from the word that completes a line to the line: 2 where lines are
    picked, else 1. Throughput: in every cycle a line is made or a word is taken, both if the line
    uses the word up: so one word per cycle where lines are not shorter, and one line per cycle
    where they are. Lines do not wait.

    Parameters
    ----------
    lanes : int
        Operands of a line, a power of two from 2 to 1024.
    wide_bytes : int
        Bytes of a word, a power of two from 4 to 2048; at least ``lanes`` with five widths.
    widths : tuple of int
        Bits that an operand may have in memory: (8,), (8, 12) or (4, 6, 8, 10, 12).
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
        widths: tuple[int, ...] = (8, 12),
        max_lines: int,
        tag_bits: int = 0,
    ) -> None:
        check_power_of_two("Lanes", lanes, 2, 1024)
        check_power_of_two("Wide bytes", wide_bytes, 4, 2048)
        if widths not in WIDTHS:
            allowed = ", ".join(str(known) for known in WIDTHS)
            raise ValueError(f"Widths must be one of {allowed}, not {widths!r}")
        if len(widths) > 2 and wide_bytes < lanes:
            raise ValueError(
                f"Wide bytes must be at least lanes ({lanes}) with {len(widths)} widths, "
                f"not {wide_bytes!r}"
            )
        check_int("Max lines", max_lines, 1)
        self.lanes, self.wide_bytes, self.widths = lanes, wide_bytes, widths
        self.max_lines, self.tag_bits = max_lines, tag_bits
        super().__init__(
            {
                "i": In(
                    stream.Signature(
                        data.StructLayout(
                            {
                                "data": unsigned(8 * wide_bytes),
                                "last": unsigned(1),
                                "chunk": chunk_layout(max_lines=max_lines, widths=widths),
                                "tag": unsigned(tag_bits),
                            }
                        )
                    )
                ),
                "o": Out(
                    stream.Signature(
                        data.StructLayout(
                            {
                                "line": data.ArrayLayout(signed(max(widths)), lanes),
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
    def operand_bits(self) -> int:
        """Bits of an operand at ``o``."""
        return max(self.widths)

    @property
    def unit_bits(self) -> int:
        """What lines are picked in: halves of an 8-bit line, or quarters with five widths."""
        return self.lanes * gcd(4, *self.widths)

    @property
    def sizes(self) -> list[int]:
        """Units of a line of each width."""
        return [self.lanes * width // self.unit_bits for width in self.widths]

    def elaborate(self, platform: object) -> Module:
        m = Module()
        chunk = self.i.payload.chunk
        raw = Signal(self.lanes * self.operand_bits, reset_less=True)  # line as it lies in memory
        width, left = Signal.like(chunk.width), Signal()  # of the line in raw
        made = Signal()  # a line is completed in this cycle
        line = Cat(made, chunk.width, chunk.left, self.i.payload.tag)
        if self.picks:
            self._pick(m, raw, made)
            decided = Signal.like(line)
            m.d.sync += decided.eq(line)
            line = decided
        else:
            self._collect(m, raw, made)
        m.d.sync += Cat(self.o.valid, width, left, self.o.payload.tag).eq(line)
        self._operands(m, raw, width, left)
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
        """Lines from the word and the end of the one before.

        ``begin`` counts units from an 8-bit line before the word on. No line begins earlier: of
        those longer than that, one of 10 bits has 5 quarters, at most 4 of them before the word,
        and one of 12 bits begins at an even quarter. Where a line begins is decided a cycle
        before it is picked.
        """
        kept = self.lanes * 8 // self.unit_bits
        count = self.wide_bytes * 8 // self.unit_bits  # units of a word
        begin = Signal(range(count + kept), init=kept)
        size = self._by_width(self.sizes)
        after = Signal(range(count + kept + max(self.sizes) + 1))
        used_up = Signal()  # no whole line is left in the word
        whole = Signal()
        m.d.comb += [
            after.eq(begin + size),
            whole.eq(after <= count + kept),
            used_up.eq(after + size > count + kept),
            made.eq(self.i.valid & (whole | self.i.payload.last)),
        ]
        last_line = self._last_line(m, made)
        end = self.i.payload.last & last_line
        # a word that is no longer than the shortest line ends no two lines
        on = Const(1) if count == min(self.sizes) else ~whole | used_up
        m.d.comb += self.i.ready.eq(Mux(self.i.payload.last, last_line, on))
        position = Mux(whole, after, begin)  # of the next line
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += begin.eq(Mux(end, kept, position - count))
        with m.Elif(made):
            m.d.sync += begin.eq(after)
        self._window(m, raw, begin, kept)

    def _window(self, m: Module, raw: Signal, begin: Signal, kept: int) -> None:
        """The line that was found to begin at a unit, from the end of the word before on."""
        unit = self.unit_bits
        at, valid = Signal.like(begin), Signal()  # of the word that lines are picked from
        word = Signal.like(self.i.payload.data, reset_less=True)
        m.d.sync += [word.eq(self.i.payload.data), valid.eq(self.i.valid), at.eq(begin)]
        before: Value = Const(0, kept * unit)
        if len(self.widths) > 1:
            before = Signal(kept * unit, reset_less=True)
            with m.If(valid):  # what follows in the same word needs no more of it
                m.d.sync += before.eq(word[-kept * unit :])
        text = Cat(before, word)
        units = [text[k : k + unit] for k in range(0, len(text), unit)]
        step = gcd(*self.sizes)  # lines begin at none between
        for k in range(len(raw) // unit):
            picked = [units[min(n + k, len(units) - 1)] for n in range(0, len(units), step)]
            m.d.sync += raw[k * unit : (k + 1) * unit].eq(
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
        counts = [self.lanes * width // word for width in self.widths]
        slot = Signal(range(max(counts)))
        final = self._by_width([count - 1 for count in counts])
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

    def _by_width(self, numbers: list[int]) -> Value:
        """The number of the chunk's width."""
        return self._choose(self.i.payload.chunk.width, [Const(number) for number in numbers])

    def _operands(self, m: Module, raw: Signal, width: Signal, left: Signal) -> None:
        """The line register to signed operands."""
        for lane, operand in enumerate(self.o.payload.line):
            choices = []
            for bits in self.widths:
                lacks = self.operand_bits - bits
                value = raw[bits * lane : bits * (lane + 1)].as_signed()
                if lacks:
                    value = Mux(left, Cat(Const(0, lacks), value).as_signed(), value)
                choices.append(value)
            m.d.comb += operand.eq(self._choose(width, choices))
