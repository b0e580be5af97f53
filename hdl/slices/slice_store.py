"""Keys on chip, cut into slices that lie in banks."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from attnsieve.hdl.lib.pointer import next_index
from attnsieve.hdl.lib.ram import Ram
from attnsieve.hdl.params import CoreParams, check_params
from attnsieve.hdl.slices.bit_serial_dot import slice_read_signature
from attnsieve.hdl.slices.key_cutter import key_piece_layout
from attnsieve.hdl.slices.slice_params import slice_params

__all__ = ["SliceStore"]


class SliceStore(wiring.Component):
    """A ring of keys. Slice n of key j is in bank `SliceParams.bank`, at address
    ``(j div units) * slices + n``, with j counted on from head to head.

    All slices of a piece are written at once if there are no more of them than banks, so one piece
    per cycle; else they take `SliceParams.turns` cycles. Room is counted in keys: there is
    some for ``groups * units``.

    Keys come in two's complement. With `SliceParams.sign_magnitude` their words are cut as a sign
    and a magnitude; the least one, which has none, becomes the next larger one.

    Latency: a key may be read in the cycle after ``append``, which is `latency` cycles after its
    last piece was taken. Reads answer after `read_latency` cycles.

    Parameters
    ----------
    params : CoreParams
        The core.

    Members
    -------
    i : In(stream(key_piece_layout))
    append : Out(1)
        A key is complete.
    release : In(range(max_keys + 1))
        So many of the oldest keys are not needed any more.
    read : In(slice_read_signature).array(units)
        The banks.
    """

    i: stream.Interface
    append: Signal
    release: Signal
    read: Any

    #: Cycles from the transfer of a key's last piece to ``append``.
    latency = 3
    #: Cycles from a read to its data.
    read_latency = 2

    def __init__(self, *, params: CoreParams) -> None:
        check_params(params)
        self.params, self.slices = params, slice_params(params)
        super().__init__(
            {
                "i": In(stream.Signature(key_piece_layout(params))),
                "append": Out(1),
                "release": In(range(params.max_keys + 1)),
                "read": In(slice_read_signature(self.slices)).array(self.slices.units),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        s = self.slices
        turns = s.turns
        turn, last_turn = Signal(range(turns)), Signal()
        key, group = Signal(range(s.units)), Signal(range(s.groups))  # where the piece's key is
        base = Signal(range(s.bank_depth))  # of its group
        take, complete = Signal(), Signal()
        m.d.comb += [
            last_turn.eq(turn == turns - 1),
            take.eq(self.i.valid & self._room(m)),
            self.i.ready.eq(take & last_turn),
            complete.eq(self.i.ready & self.i.p.end),
        ]
        with m.If(take):
            m.d.sync += turn.eq(next_index(turn, turns))
        with m.If(complete):
            m.d.sync += key.eq(next_index(key, s.units))
            with m.If(key == s.units - 1):
                last_group = group == s.groups - 1
                m.d.sync += [
                    group.eq(Mux(last_group, 0, group + 1)),
                    base.eq(Mux(last_group, 0, base + s.slices)),
                ]
        self._banks(m, take, key, turn, base)
        written = Signal(self.latency - 1)
        m.d.sync += [written.eq(Cat(complete, written)), self.append.eq(written[-1])]
        return m

    def _room(self, m: Module) -> Value:
        """Whether the key that comes has a place."""
        s = self.slices
        held, room = Signal(range(s.groups * s.units + 1)), Signal(init=1)
        end = self.i.valid & self.i.ready & self.i.p.end
        after = Signal(range(s.groups * s.units + 1))
        m.d.comb += after.eq(held + end - self.release)
        m.d.sync += [held.eq(after), room.eq(after != s.groups * s.units)]
        return room

    def _banks(self, m: Module, take: Value, key: Value, turn: Value, base: Value) -> None:
        """A register with the slices of a piece, one with what each bank gets of them, and the
        memories."""
        s = self.slices
        pieces = self._slices()
        cut = Signal(data.ArrayLayout(len(pieces[0]), s.slices), reset_less=True)
        valid, at, its_turn = Signal(), Signal.like(key), Signal.like(turn)
        there, first = Signal.like(self.i.p.write), Signal.like(base)
        m.d.sync += [valid.eq(take), at.eq(key), its_turn.eq(turn), first.eq(base)]
        m.d.sync += [there.eq(self.i.p.write), *(c.eq(p) for c, p in zip(cut, pieces, strict=True))]
        for bank in range(s.units):
            m.submodules[f"bank{bank}"] = ram = Ram(
                shape=s.slice_layout().size, depth=s.bank_depth,
                granularity=self.params.segment * s.slice_bits,
            )  # fmt: skip
            enable = Signal(len(ram.write.en), name=f"enable{bank}")
            address = Signal.like(ram.write.address, name=f"address{bank}", reset_less=True)
            value = Signal(len(ram.write.data), name=f"slice{bank}", reset_less=True)
            m.d.sync += enable.eq(0)
            with m.Switch(Cat(at, its_turn)):
                for case in range(s.units * s.turns):
                    mine = divmod(case, s.units)
                    number = self._number(bank, *mine)
                    if number is not None:
                        with m.Case(mine[1] | mine[0] << len(at)):
                            m.d.sync += enable.eq(Mux(valid, there, 0))
                            m.d.sync += [address.eq(first + number), value.eq(cut[number])]
            m.d.comb += [
                ram.write.en.eq(enable),
                ram.write.address.eq(address),
                ram.write.data.eq(value),
            ]
            self._reader(m, ram, self.read[bank])

    def _number(self, bank: int, turn: int, key: int) -> int | None:
        """The slice of a key that a bank gets in a turn, if any."""
        s = self.slices
        if s.static:
            return turn if s.bank(key, turn) == bank else None
        number = (bank - key) % s.units + turn * s.units
        return number if number < s.slices else None

    def _slices(self) -> list[Value]:
        """Of each slice the bits of all elements, most significant slice first; what 8-bit words
        lack is behind them."""
        s, p = self.slices, self.params
        found: list[list[Value]] = [[] for _ in range(s.slices)]
        for segment in self.i.p.segments:
            for place in range(p.segment):
                word = segment.word_select(place, p.operand_bits)
                if p.operand_bits > 8:
                    word = Mux(self.i.p.wide, word, word << p.operand_bits - 8)
                word = word[: p.operand_bits]
                if s.sign_magnitude:
                    word = _sign_magnitude(word)
                padded = Cat(Const(0, s.pad), word)
                for n, elements in enumerate(found):
                    low = (s.slices - 1 - n) * s.slice_bits
                    elements.append(padded[low : low + s.slice_bits])
        return [Cat(*elements) for elements in found]

    def _reader(self, m: Module, ram: Any, port: Any) -> None:
        """Block RAM answers late in the cycle: a register behind it."""
        m.d.comb += [ram.read[0].address.eq(port.address), ram.read[0].en.eq(1)]
        m.d.sync += Value.cast(port.data).eq(ram.read[0].data)


def _sign_magnitude(word: Value) -> Value:
    """A word in two's complement as its sign and, below, its magnitude: all ones of the least
    word, which is inverted and not counted on."""
    negative, rest = word[-1], word[:-1]
    magnitude = (rest ^ negative.replicate(len(rest))) + (negative & rest.any())
    return Cat(magnitude[: len(rest)], negative)
