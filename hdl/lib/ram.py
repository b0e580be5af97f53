"""A memory with one write port and synchronous reads, as block RAM has them."""

from __future__ import annotations

from typing import Any

from amaranth.back import rtlil
from amaranth.hdl import Module, Shape, Signal, Value
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

from attnsieve.hdl.lib.checks import check_int

__all__ = ["Ram"]


class Ram(wiring.Component):
    """Simple dual-port memory.

    A read takes one cycle; its data stays until the next read. Reading an address in the cycle in
    which it is written gives undefined data in hardware (the old data in simulation): the
    memory is marked accordingly, so that synthesis adds no logic to define it. That is why blocks
    whose users never do this take this component and not a plain memory. Contents are undefined
    until written.

    Parameters
    ----------
    shape : ShapeLike
        Of a word.
    depth : int
        Words, any number.
    reads : int
        Read ports; each costs a copy of the memory.
    distributed : bool
        Ask for LUT RAM; otherwise the synthesis tool chooses.
    granularity : int
        Bits that are written together; each has its bit of ``write.en``. Default: the whole word.

    Members
    -------
    write : In({"address": range(depth), "data": shape, "en": width // granularity})
    read : In({"address": range(depth), "en": 1, "data": Out(shape)}).array(reads)
    """

    write: Any
    read: Any

    #: Cycles from ``en`` to ``data``.
    latency = 1

    def __init__(
        self,
        *,
        shape: Any,
        depth: int,
        reads: int = 1,
        distributed: bool = False,
        granularity: int | None = None,
    ) -> None:
        check_int("Depth", depth, 1)
        check_int("Reads", reads, 1)
        width = Shape.cast(shape).width
        if granularity is not None and (granularity < 1 or width % granularity):
            raise ValueError(f"Granularity must be a divisor of {width}, not {granularity!r}")
        self.shape, self.depth, self.reads, self.distributed = shape, depth, reads, distributed
        self.granularity = granularity
        address = Shape.cast(range(depth))
        enables = width // granularity if granularity else 1
        write = wiring.Signature({"address": Out(address), "data": Out(shape), "en": Out(enables)})
        read = wiring.Signature({"address": Out(address), "en": Out(1), "data": In(shape)})
        super().__init__({"write": In(write), "read": In(read).array(reads)})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        attrs: dict[str, int | str] = {"no_rw_check": 1}
        if self.distributed:
            attrs["ram_style"] = "distributed"
        m.submodules.memory = mem = memory.Memory(
            shape=Shape.cast(self.shape), depth=self.depth, init=[], attrs=attrs
        )
        write = mem.write_port(granularity=self.granularity)
        m.d.comb += [
            write.addr.eq(self.write.address),
            write.data.eq(self.write.data),
            write.en.eq(self.write.en),
        ]
        for number, port in enumerate(self.read):
            # An asynchronous port and a register: synthesis merges them into a synchronous port,
            # and only for those does it heed that a collision need not be defined. Block RAM
            # outputs have no initial value everywhere: the register asks for none.
            source = mem.read_port(domain="comb")
            register = Signal(
                Shape.cast(self.shape),
                name=f"word{number}",
                reset_less=True,
                attrs={"init": rtlil.Undef(Shape.cast(self.shape).width)},
            )
            m.d.comb += [source.addr.eq(port.address), Value.cast(port.data).eq(register)]
            with m.If(port.en):
                m.d.sync += register.eq(source.data)
        return m
