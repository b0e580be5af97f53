"""A ring of lines: appended by one side, read at any place and released in order by the other."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Shape, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from attnsieve.hdl.lib.checks import check_int
from attnsieve.hdl.lib.pointer import next_index
from attnsieve.hdl.lib.ram import Ram

__all__ = ["Ring", "ring_read_signature", "ring_sum"]


def ring_read_signature(*, shape: Any, depth: int, split: int = 1) -> wiring.Signature:
    """A read port of a ring, as the consumer sees it.

    Members
    -------
    address : Out(data.ArrayLayout(range(depth), split))
        Index of the line to read, one per bank.
    en : Out(1)
        Read in this cycle.
    data : In(shape)
        What was read: one cycle after ``en``, and kept until the next ``en``.
    """
    return wiring.Signature(
        {
            "address": Out(data.ArrayLayout(Shape.cast(range(depth)), split)),
            "en": Out(1),
            "data": In(shape),
        }
    )


def ring_sum(index: Value, offset: Value, depth: int) -> Value:
    """``(index + offset) mod depth`` for an index below, and an offset up to ``depth``."""
    if depth & (depth - 1) == 0:
        return (index + offset)[: depth.bit_length() - 1]
    total = index + offset
    return Mux(total >= depth, total - depth, total)[: (depth - 1).bit_length()]


class Ring(wiring.Component):
    """Ring memory of lines.

    The producer appends at ``i``; that is all it does. The consumer reads lines by their index, 0
    to ``depth - 1``, in any order and as often as it likes, and frees the oldest line with
    ``release``, one per cycle.

    Which lines may be read follows from ``oldest``, the index of the oldest line held, and
    ``level``, the number of lines held. Line ``(oldest + n) mod depth`` may be read in
    every cycle in which ``n < level``; for a line that is not held the data is undefined. A line
    appended in one cycle counts and can be read in the next. The line that is released in a cycle
    can be read for the last time in that cycle. So a consumer that starts at ``oldest`` and reads
    forward needs a running index, wrapped by `next_index`, and a running offset that it compares
    with ``level``; while it releases every line that it reads, the offset stays 0. A consumer that
    keeps positions of its own across releases follows ``append``.

    Reads take one cycle; the data stays until the next read. The banks are meant for block RAM:
    there is no bypass from the write side.

    Throughput is one append, one release and one read per port in every cycle.

    Parameters
    ----------
    shape : ShapeLike
        Of a line. Its width is a multiple of ``split``.
    depth : int
        Lines, any number.
    reads : int
        Read ports; each costs a copy of the memory.
    split : int
        Banks that a line is cut into, equally wide, the lowest bits in bank 0: every read port has
        an address per bank, and every bank counts where it is written.
    always_ready : bool
        The producer heeds ``space`` by itself; lines do not wait.

    Members
    -------
    i : In(stream.Signature(shape))
        Lines. Ready is a register: there is space.
    append : Out(1)
        A line is being written: it is held from the next cycle on.
    release : In(1)
        Free the oldest line. Not while ``level`` is 0.
    oldest : Out(range(depth))
        Index of the oldest line held; while none is, of the next.
    end : Out(range(depth))
        Index of the next line to be appended.
    level : Out(range(depth + 1))
        Lines held.
    space : Out(range(depth + 1))
        Lines that can still be appended: ``depth - level``.
    read : In(ring_read_signature(...)).array(reads)
        Read ports.
    """

    i: stream.Interface
    append: Signal
    release: Signal
    oldest: Signal
    end: Signal
    level: Signal
    space: Signal
    read: Any

    def __init__(
        self,
        *,
        shape: Any,
        depth: int,
        reads: int = 1,
        split: int = 1,
        always_ready: bool = False,
    ) -> None:
        check_int("Depth", depth, 1)
        check_int("Reads", reads, 1)
        check_int("Split", split, 1)
        width = Shape.cast(shape).width
        if width % split:
            raise ValueError(f"Split must divide the width of a line ({width}), not {split!r}")
        self.shape, self.depth, self.reads, self.split = shape, depth, reads, split
        self.always_ready = always_ready
        port = ring_read_signature(shape=shape, depth=depth, split=split)
        super().__init__(
            {
                "i": In(stream.Signature(shape, always_ready=always_ready)),
                "append": Out(1),
                "release": In(1),
                "oldest": Out(range(depth)),
                "end": Out(range(depth)),
                "level": Out(range(depth + 1)),
                "space": Out(range(depth + 1), init=depth),
                "read": In(port).array(reads),
            }
        )

    #: Cycles from ``en`` to ``data``.
    read_latency = 1

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        ready = Signal(init=1)
        m.d.comb += self.level.eq(self.depth - self.space)
        if self.always_ready:
            m.d.comb += self.append.eq(self.i.valid)
        else:
            m.d.comb += [self.i.ready.eq(ready), self.append.eq(self.i.valid & ready)]
        with m.If(self.append):
            m.d.sync += self.end.eq(next_index(self.end, self.depth))
        with m.If(self.release):
            m.d.sync += self.oldest.eq(next_index(self.oldest, self.depth))
        with m.If(self.append & ~self.release):
            m.d.sync += [self.space.eq(self.space - 1), ready.eq(self.space != 1)]
        with m.If(self.release & ~self.append):
            m.d.sync += [self.space.eq(self.space + 1), ready.eq(1)]
        self._banks(m)
        return m

    def _banks(self, m: Module) -> None:
        width = Shape.cast(self.shape).width // self.split
        line = Value.cast(self.i.payload)
        columns: list[list[Value]] = [[] for _ in range(self.reads)]
        for bank in range(self.split):
            m.submodules[f"bank{bank}"] = ram = Ram(
                shape=width, depth=self.depth, reads=self.reads
            )
            place = Signal(range(self.depth), name=f"place{bank}")
            with m.If(self.append):
                m.d.sync += place.eq(next_index(place, self.depth))
            m.d.comb += [
                ram.write.address.eq(place),
                ram.write.data.eq(line[bank * width : (bank + 1) * width]),
                ram.write.en.eq(self.append),
            ]
            for port, column, inner in zip(self.read, columns, ram.read, strict=True):
                m.d.comb += [inner.address.eq(port.address[bank]), inner.en.eq(port.en)]
                column.append(inner.data)
        for port, column in zip(self.read, columns, strict=True):
            m.d.comb += Value.cast(port.data).eq(Cat(column))
