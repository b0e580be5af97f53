"""Masks that software fills for the next job while the running ones read theirs."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal, unsigned
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from attnsieve.hdl.lib.checks import check_int, check_power_of_two
from attnsieve.hdl.lib.ram import Ram
from attnsieve.hdl.params import CoreParams

__all__ = ["MaskTable"]


def _index_bits(words: int) -> int:
    return (words - 1).bit_length()


class MaskTable(wiring.Component):
    """One bit per key or query, a set for each bank; read ``lanes`` bits at a time.

    Latency: ``data`` one cycle after ``en``, held while ``en`` is low. Bits beyond ``bits`` are
    anything.

    Parameters
    ----------
    params : CoreParams
        The core.
    bits : int
        Bits of a set.
    lanes : int
        Bits of a beat, a power of two.

    Members
    -------
    write_bank : In, write_word : In, write_data : In(32), write_strobe : In(4)
        A write of the bytes with a strobe; bit i of word w is bit 32 w + i of the set. It is held
        until ``written``.
    write_en : In(1), written : Out(1)
        There is a write; it is done in this cycle.
    bank : In, beat : In, masked : In(1), en : In(1), data : Out(lanes)
        Read port: bits ``lanes * beat`` and up; all ones if not ``masked``.
    """

    write_bank: Signal
    write_word: Signal
    write_data: Signal
    write_strobe: Signal

    latency = 1

    def __init__(self, *, params: CoreParams, bits: int, lanes: int) -> None:
        check_int("Bits", bits, 1)
        check_power_of_two("Lanes", lanes)
        self.params = params
        self.bits = bits
        self.lanes = lanes
        super().__init__(
            {
                "write_bank": In(params.bank_bits),
                "write_word": In(8),
                "write_data": In(32),
                "write_strobe": In(4),
                "write_en": In(1),
                "written": Out(1),
                "bank": In(params.bank_bits),
                "beat": In(max(1, _index_bits(-(-bits // lanes)))),
                "masked": In(1),
                "en": In(1),
                "data": Out(lanes),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        # Where memories are block RAMs of 16 bits, a word is written in two halves.
        width = 16 if not self.params.lut_ram and self.lanes <= 16 else 32
        columns = max(1, self.lanes // width)  # memories side by side
        words = -(-self.bits // width)
        rows = -(-words // columns)
        column_bits, row_bits = _index_bits(columns), _index_bits(rows)
        select_bits = _index_bits(max(1, width // self.lanes))  # of a beat in its word
        word, half = Signal(9), Signal(32 // width - 1)
        m.d.comb += [
            word.eq(Cat(half, self.write_word)),
            self.written.eq(self.write_en & ((half + 1) == 32 // width)),
        ]
        with m.If(self.write_en):
            m.d.sync += half.eq(~half)
        wide = []
        for column in range(columns):
            mem = Ram(
                shape=unsigned(width), depth=self.params.banks << row_bits, granularity=8
            )
            m.submodules[f"column{column}"] = mem
            write, (read,) = mem.write, mem.read
            here = self.write_en & (word[:column_bits] == column) & (word < words)
            row = word[column_bits : column_bits + row_bits]
            m.d.comb += [
                write.address.eq(Cat(row, self.write_bank)),
                write.data.eq(self.write_data.word_select(half, width)),
                write.en.eq(Mux(here, self.write_strobe.word_select(half, width // 8), 0)),
                read.address.eq(Cat(self.beat[select_bits : select_bits + row_bits], self.bank)),
                read.en.eq(self.en),
            ]
            wide.append(read.data)
        select, all_valid = Signal(select_bits), Signal()
        with m.If(self.en):
            m.d.sync += [select.eq(self.beat[:select_bits]), all_valid.eq(~self.masked)]
        bits = Cat(wide).word_select(select, self.lanes) if select_bits else Cat(wide)
        m.d.comb += self.data.eq(bits | all_valid.replicate(self.lanes))
        return m
