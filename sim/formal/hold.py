"""Pieces of proofs: the hold rule of a stream, inputs that take any value."""

from __future__ import annotations

from typing import Any

from amaranth.asserts import AnySeq
from amaranth.hdl import Assert, Assume, Const, Module, Signal, Value
from amaranth.lib import wiring

__all__ = ["HoldRule", "free_inputs"]


class HoldRule(wiring.Component):
    """Once valid, a stream stays valid with the same payload until the transfer.

    Add it as a submodule of a proof: ``m.submodules += HoldRule(dut.o)``.

    Parameters
    ----------
    stream : stream.Interface
        The stream to watch.
    assume : bool
        Assume the rule (for streams that the proof drives) instead of asserting it.
    """

    def __init__(self, stream: Any, *, assume: bool = False) -> None:
        self.stream = stream
        self.assume = assume
        super().__init__({})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        payload = Value.cast(self.stream.payload)
        held = Signal()
        before = Signal.like(payload)
        m.d.sync += [
            held.eq(self.stream.valid & ~self.stream.ready),
            before.eq(payload),
        ]
        rule = Assume if self.assume else Assert
        with m.If(held):
            m.d.comb += rule(self.stream.valid & (payload == before))
        return m


def free_inputs(m: Module, dut: Any, *, but: tuple[str, ...] = ()) -> None:
    """Let the inputs of a component take any value in every cycle.

    Input streams are assumed to keep the hold rule.

    Parameters
    ----------
    m : Module
        The proof.
    dut : Component
        The block, a submodule of the proof.
    but : tuple of str
        Members that the proof drives itself, as ``"i"`` or ``"read.0.en"``; a name leaves out
        everything under it.
    """
    for path, member, value in dut.signature.flatten(dut):
        names = ".".join(map(str, path))
        if member.flow is not wiring.In or any(f"{names}.".startswith(f"{b}.") for b in but):
            continue
        target = Value.cast(value)
        if isinstance(target, Const):  # ready of an output that is always taken
            continue
        m.d.comb += target.eq(AnySeq(len(target)))
        if path[-1] == "payload":
            source = dut
            for name in path[:-1]:
                source = source[name] if isinstance(name, int) else getattr(source, name)
            m.submodules += HoldRule(source, assume=True)
