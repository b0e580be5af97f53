"""A stream queue of any depth."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Shape, Signal, Value
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out

from attnsieve.hdl.lib.checks import check_int
from attnsieve.hdl.lib.pointer import next_index
from attnsieve.hdl.lib.ram import Ram

__all__ = ["Queue"]


#: Payload bits below which registers cost less than a block RAM.
MEMORY_BITS = 512


class Queue(wiring.Component):
    """First-word-fall-through queue with registered ``ready`` and ``valid``.

    Ready depends on nothing but a register ("not full"), valid on nothing but a register: a queue
    cuts every path between its two sides. Throughput is one payload per cycle, also at the brim,
    but one per two cycles at depth 1.

    Latency, from the transfer at ``i`` to valid at ``o``, is `latency`: 1 cycle, or 2 cycles when
    the payloads are in a memory that is read synchronously. Payloads are kept

    * in a row of registers, at a depth of up to 2 and, without LUT RAM, where they have less than
      512 bits altogether: the first register is the output, and all move on by one as it is taken;
    * in two registers in turn, at a depth of 2 from 512 bits on: each is enabled by one flip-flop,
      and a multiplexer follows them;
    * in LUT RAM and one register, the output;
    * without LUT RAM in a block RAM, whose own register is the output.

    Parameters
    ----------
    shape : ShapeLike
        Of the payload.
    depth : int
        Most payloads inside, at least 1.
    lut_ram : bool
        Use LUT RAM where memory is needed.

    Members
    -------
    i : In(stream.Signature(shape))
    o : Out(stream.Signature(shape))
    level : Out(range(depth + 1))
        Payloads inside.
    """

    i: stream.Interface
    o: stream.Interface
    level: Signal

    def __init__(self, *, shape: Any, depth: int, lut_ram: bool = True) -> None:
        check_int("Depth", depth, 1)
        self.shape, self.depth, self.lut_ram = shape, depth, lut_ram
        super().__init__(
            {
                "i": In(stream.Signature(shape)),
                "o": Out(stream.Signature(shape)),
                "level": Out(range(depth + 1)),
            }
        )

    @property
    def in_registers(self) -> bool:
        """Whether all payloads are in flip-flops."""
        bits = self.depth * Shape.cast(self.shape).width
        return self.depth <= 2 or (not self.lut_ram and bits < MEMORY_BITS)

    @property
    def in_turn(self) -> bool:
        """Whether payloads are in two registers that take turns."""
        return self.depth == 2 and 2 * Shape.cast(self.shape).width >= MEMORY_BITS

    @property
    def latency(self) -> int:
        """Cycles from the transfer into an empty queue until the output is valid."""
        return 1 if self.lut_ram or self.in_registers else 2

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        push = self.i.valid & self.i.ready
        pop = self.o.valid & self.o.ready
        free = ~self.o.valid | self.o.ready
        if self.in_turn:
            self._alternating(m, push, pop)
        elif self.in_registers:
            self._shifted(m, push, pop)
        else:
            level = self._level(m, push, pop)
            if self.lut_ram:
                self._distributed(m, push, pop, free, level)
            else:
                self._synchronous(m, push, free)
        return m

    def _shifted(self, m: Module, push: Value, pop: Value) -> None:
        """Registers in a row; the lowest are filled. What is free takes anything meanwhile."""
        filled = Signal(self.depth)
        m.d.comb += [
            self.o.valid.eq(filled[0]),
            self.i.ready.eq(~filled[-1]),
            self.level.eq(sum(filled)),
        ]
        with m.If(push & ~pop):
            m.d.sync += filled.eq(Cat(1, filled))
        with m.If(pop & ~push):
            m.d.sync += filled.eq(filled >> 1)
        places = [self._register(f"place{n}") for n in range(self.depth)]
        for n, place in enumerate(places):
            leaves = pop if n + 1 < self.depth else Const(0)  # nothing comes as the last one does
            with m.If(leaves | ~filled[n]):
                m.d.sync += place.eq(self.i.payload)
                if n + 1 < self.depth:
                    with m.If(filled[n + 1]):
                        m.d.sync += place.eq(places[n + 1])
        m.d.comb += Value.cast(self.o.payload).eq(places[0])

    def _alternating(self, m: Module, push: Value, pop: Value) -> None:
        """Two registers, filled and emptied in turn. One that is empty takes anything meanwhile."""
        empty = Signal(2, init=3)
        into, out = Signal(), Signal()  # whose turn it is
        ready = Signal(init=1)
        m.d.comb += [self.i.ready.eq(ready), self.level.eq(self.o.valid + ~ready)]
        with m.If(push):
            m.d.sync += [into.eq(~into), empty.bit_select(into, 1).eq(0)]
        with m.If(pop):
            m.d.sync += [out.eq(~out), empty.bit_select(out, 1).eq(1)]
        with m.If(push & ~pop):
            m.d.sync += [self.o.valid.eq(1), ready.eq(~self.o.valid)]
        with m.If(pop & ~push):
            m.d.sync += [self.o.valid.eq(~ready), ready.eq(1)]
        places = [self._register(f"place{n}") for n in range(2)]
        for n, place in enumerate(places):
            with m.If(empty[n]):
                m.d.sync += place.eq(self.i.payload)
        m.d.comb += Value.cast(self.o.payload).eq(Mux(out, places[1], places[0]))

    def _level(self, m: Module, push: Value, pop: Value) -> Signal:
        """Count the payloads, and keep "not full" in a register."""
        level = Signal(range(self.depth + 1))
        ready = Signal(init=1)
        m.d.comb += [self.level.eq(level), self.i.ready.eq(ready)]
        with m.If(push & ~pop):
            m.d.sync += [level.eq(level + 1), ready.eq(level != self.depth - 1)]
        with m.If(pop & ~push):
            m.d.sync += [level.eq(level - 1), ready.eq(1)]
        return level

    def _register(self, name: str) -> Signal:
        """A payload. Like all that holds payloads it has no reset."""
        return Signal(Shape.cast(self.shape), name=name, reset_less=True)

    def _distributed(
        self, m: Module, push: Value, pop: Value, free: Value, level: Signal
    ) -> None:
        """An output register; what does not fit there waits in LUT RAM."""
        behind = self.depth - 1
        waiting = Signal()  # something waits behind the output register
        head, tail = Signal(range(behind)), Signal(range(behind))
        m.submodules.memory = mem = memory.Memory(
            shape=Shape.cast(self.shape),
            depth=behind,
            init=[],
            attrs={"ram_style": "distributed"},
        )
        into, port = mem.write_port(), mem.read_port(domain="comb")
        m.d.comb += [
            into.addr.eq(tail),
            into.data.eq(self.i.payload),
            into.en.eq(push),  # also what goes straight to the output: its place is free again
            port.addr.eq(head),
        ]
        with m.If(push):
            m.d.sync += tail.eq(next_index(tail, behind))
        with m.If(free & (waiting | push)):
            m.d.sync += head.eq(next_index(head, behind))
        with m.If(push & ~pop):
            m.d.sync += waiting.eq(level != 0)
        with m.If(pop & ~push):
            m.d.sync += waiting.eq(level > 2)
        first = self._register("first")
        m.d.comb += Value.cast(self.o.payload).eq(first)
        with m.If(free):
            m.d.sync += [self.o.valid.eq(waiting | push), first.eq(self.i.payload)]
            with m.If(waiting):
                m.d.sync += first.eq(port.data)

    def _synchronous(self, m: Module, push: Value, free: Value) -> None:
        """The memory's own output register is the output; it is read while ``free``."""
        head, tail = Signal(range(self.depth)), Signal(range(self.depth))
        m.submodules.memory = ram = Ram(shape=self.shape, depth=self.depth)
        port = ram.read[0]
        waiting = Signal(range(self.depth + 1))  # payloads that are not at the output
        read = Signal()
        m.d.comb += [
            read.eq(free & (waiting != 0)),
            ram.write.address.eq(tail),
            ram.write.data.eq(self.i.payload),
            ram.write.en.eq(push),
            port.address.eq(head),
            port.en.eq(read),
            self.o.payload.eq(port.data),
        ]
        with m.If(push):
            m.d.sync += tail.eq(next_index(tail, self.depth))
        with m.If(read):
            m.d.sync += head.eq(next_index(head, self.depth))
        with m.If(push & ~read):
            m.d.sync += waiting.eq(waiting + 1)
        with m.If(read & ~push):
            m.d.sync += waiting.eq(waiting - 1)
        with m.If(free):
            m.d.sync += self.o.valid.eq(read)
