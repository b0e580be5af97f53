"""What software does to a core, as data: the same for every simulator."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from attnsieve.sim.bench.memory import ChannelCounters, Fault, Stalls, Timing

__all__ = ["POLL", "Case", "Machine", "Operation", "Outcome", "execute"]


#: Cycles between two reads of a poll.
POLL = 16


class Operation(NamedTuple):
    """One step: ``kind`` and its numbers.

    ========= ============== =======================================================
    kind      a              what it does
    ========= ============== =======================================================
    reset     cycles         hold reset
    write     address        write ``b`` into the register
    read      address        append its value to `Outcome.reads`
    run       cycles         let time pass
    irq       most cycles    run until the interrupt is seen; missing it ends the case
    poll      address        read until ``value & mask == b``, every `POLL` cycles; ``limit``
                             such reads without that end the case
    ========= ============== =======================================================
    """

    kind: str
    a: int
    b: int = 0
    mask: int = 0xFFFFFFFF
    limit: int = 100_000


@dataclass
class Case:
    """Memories, their behaviour, and a program.

    Parameters
    ----------
    memory : array of bytes ``[channels, bytes]``
        Contents before.
    operations : sequence of Operation
        The program; usually a reset first.
    timing : Timing or None
        Of the memory; one beat per cycle by default.
    stalls : Stalls
        Random stalls.
    faults : sequence of Fault
        Error responses, counted from the start of the case.
    """

    memory: npt.NDArray[np.uint8]
    operations: Sequence[Operation]
    timing: Timing | None = None
    stalls: Stalls = field(default_factory=Stalls)
    faults: Sequence[Fault] = ()


@dataclass
class Outcome:
    """What a case came to.

    Parameters
    ----------
    memory : array of bytes ``[channels, bytes]``
        Contents after.
    reads : list of int
        Values read, in order.
    cycles : list of int
        Cycles since reset after each operation.
    counters : list of ChannelCounters
        What each channel moved.
    error : str or None
        Why the case ended early, or the first protocol rule broken.
    """

    memory: npt.NDArray[np.uint8]
    reads: list[int]
    cycles: list[int]
    counters: list[ChannelCounters]
    error: str | None = None


class Machine(Protocol):
    """The part of `CompiledMachine` that a program needs."""

    memory: npt.NDArray[np.uint8]

    @property
    def cycles(self) -> int: ...
    @property
    def irq(self) -> bool: ...
    @property
    def violations(self) -> str | None: ...
    def counters(self) -> Sequence[ChannelCounters]: ...
    def reset(self, cycles: int) -> None: ...
    def write(self, address: int, data: int) -> None: ...
    def read(self, address: int) -> int: ...
    def run(self, cycles: int, *, until_irq: bool = False) -> int: ...


def execute(
    machine: Machine,
    operations: Sequence[Operation],
    *,
    progress: Callable[[int], None] | None = None,
) -> Outcome:
    """Run a program on a machine that is already set up; ``progress`` gets cycles as they pass."""
    reads: list[int] = []
    cycles: list[int] = []
    error = None
    for op in operations:
        error = _step(machine, op, reads, progress)
        cycles.append(machine.cycles)
        if error is not None:
            break
    return Outcome(
        machine.memory, reads, cycles, list(machine.counters()), error or machine.violations
    )


def _step(
    machine: Machine, op: Operation, reads: list[int], progress: Callable[[int], None] | None
) -> str | None:
    """One operation; an error message if the case cannot go on."""
    if op.kind == "reset":
        machine.reset(op.a)
    elif op.kind == "write":
        machine.write(op.a, op.b)
    elif op.kind == "read":
        reads.append(machine.read(op.a))
    elif op.kind == "poll":
        for _ in range(op.limit):
            if machine.read(op.a) & op.mask == op.b:
                return None
            machine.run(POLL)
            if progress is not None:
                progress(POLL)
        return f"register {op.a:#x} did not become {op.b:#x} in {op.limit} reads"
    elif op.kind in ("run", "irq"):
        left = op.a
        while left > 0:
            done = machine.run(min(left, 100_000), until_irq=op.kind == "irq")
            left -= done
            if progress is not None:
                progress(done)
            if op.kind == "irq" and machine.irq:
                return None
        if op.kind == "irq":
            return f"no interrupt in {op.a} cycles"
    else:
        raise ValueError(f"Operation must be reset, write, read, run, irq or poll, not {op.kind!r}")
    return None
