"""Splits pieces of memory into AXI4 bursts."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from attnsieve.hdl.axi.signature import BOUNDARY
from attnsieve.hdl.lib.checks import check_int, check_power_of_two

__all__ = ["BurstSplitter", "burst_layout", "whole_burst"]


def burst_layout(addr_width: int) -> data.StructLayout:
    """A burst: address in bytes, beats - 1 as AxLEN, and whether it ends its piece."""
    return data.StructLayout(
        {"address": unsigned(addr_width), "len": unsigned(8), "last": unsigned(1)}
    )


def whole_burst(*, burst_beats: int, data_width: int) -> int:
    """Beats of a whole burst: a power of two, at most ``burst_beats`` and 4096 bytes."""
    return min(1 << (burst_beats.bit_length() - 1), BOUNDARY * 8 // data_width)


class BurstSplitter(wiring.Component):
    """Contiguous pieces of memory to INCR bursts of full-width beats.

    Bursts end at multiples of :attr:`burst` beats, the largest power of two that is at most
    ``burst_beats`` and whose bytes fit 4096. So no burst crosses 4 KB, and all but the first and
    the last of a piece are whole and aligned, which memory controllers like. A piece has at least
    one beat.

    Latency: 1 cycle from piece to first burst. Throughput: one burst per cycle; a piece is taken in
    the cycle after the last burst of the one before, so that ``i.ready`` is a register.

    Parameters
    ----------
    addr_width : int
        Address bits.
    data_width : int
        Bits of a beat, a power of two of at least 8.
    burst_beats : int
        Most beats of a burst, 1 to 256.
    max_beats : int
        Most beats of a piece.

    Members
    -------
    i : In(stream)
        ``address`` (in bytes, a multiple of the beat) and ``beats`` (1 … max_beats).
    o : Out(stream)
        ``address``, ``len`` (beats − 1, as AxLEN), ``last`` (last burst of its piece).
    """

    i: stream.Interface
    o: stream.Interface
    latency = 1

    def __init__(
        self, *, addr_width: int, data_width: int, burst_beats: int, max_beats: int
    ) -> None:
        check_int("Address width", addr_width, 12, 64)
        check_power_of_two("Data width", data_width, 8, 1024)
        check_int("Burst beats", burst_beats, 1, 256)
        check_int("Max beats", max_beats, 1, 1 << 32)
        self.addr_width = addr_width
        self.data_width = data_width
        self.burst_beats = burst_beats
        self.max_beats = max_beats
        super().__init__(
            {
                "i": In(
                    stream.Signature(
                        data.StructLayout(
                            {
                                "address": unsigned(addr_width),
                                "beats": unsigned(max_beats.bit_length()),
                            }
                        )
                    )
                ),
                "o": Out(stream.Signature(burst_layout(addr_width))),
            }
        )

    @property
    def burst(self) -> int:
        """Beats of a whole burst: a power of two."""
        return whole_burst(burst_beats=self.burst_beats, data_width=self.data_width)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        offset_bits = (self.data_width // 8).bit_length() - 1
        burst = self.burst
        index_bits = burst.bit_length() - 1  # of a beat in its aligned burst

        index = Signal(self.addr_width - offset_bits)  # of the next beat in memory
        left = Signal(self.max_beats.bit_length())
        room = Signal(range(burst + 1), init=burst)  # beats to the next multiple of burst
        valid = Signal()
        last = Signal()
        count = Signal(range(burst + 1))
        m.d.comb += [
            count.eq(Mux(last, left, room)),
            self.o.valid.eq(valid),
            self.o.payload.address.eq(Cat(Const(0, offset_bits), index)),
            self.o.payload.len.eq(count - 1),
            self.o.payload.last.eq(last),
            self.i.ready.eq(~valid),
        ]
        with m.If(self.o.ready):
            m.d.sync += [
                valid.eq(~last),
                last.eq(left - room <= burst),
                index.eq(Cat(Const(0, index_bits), index[index_bits:] + 1)),
                left.eq(left - room),
                room.eq(burst),
            ]
        with m.If(~valid):
            begin, beats = self.i.payload.address[offset_bits:], self.i.payload.beats
            m.d.sync += [
                last.eq(beats + begin[:index_bits] <= burst),
                valid.eq(self.i.valid),
                index.eq(begin),
                left.eq(beats),
                room.eq(burst - begin[:index_bits]),
            ]
        return m
