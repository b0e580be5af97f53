"""Stream drivers and collectors with random stalls, for blocks in Amaranth's simulator."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from amaranth.hdl import Const, Elaboratable, Module, ResetInserter, Shape, Signal, Value
from amaranth.sim import Simulator

__all__ = ["Result", "StreamError", "run_streams", "simulate"]

Bench = Callable[[Any], Awaitable[None]]


class StreamError(AssertionError):
    """A stream broke a rule, delivered too much, or did not deliver in time."""


@dataclass
class Result:
    """What came out, and when.

    Parameters
    ----------
    outputs : dict of str to list
        Payloads taken from each output, in order: ``data.Const`` for layouts, else int.
    times : dict of str to list of int
        Cycle of every transfer of each port, inputs too. Cycle 0 is the first after reset.
    cycles : int
        Cycles until the last awaited transfer, that one included.
    """

    outputs: dict[str, list[Any]] = field(default_factory=dict)
    times: dict[str, list[int]] = field(default_factory=dict)
    cycles: int = 0

    def first(self, port: str) -> int:
        """Cycle of the first transfer of a port."""
        return self.times[port][0]

    def last(self, port: str) -> int:
        """Cycle of the last transfer of a port."""
        return self.times[port][-1]


def _member(dut: Any, path: str) -> Any:
    found = dut
    for name in path.split("."):
        found = found[int(name)] if name.isdigit() else getattr(found, name)
    return found


class _Port:
    """What both directions share: name, stream, stall probability, a generator of its own."""

    def __init__(self, name: str, dut: Any, stall: float, seed: int) -> None:
        if not 0 <= stall < 1:
            raise ValueError(f"Stall of {name} must be in 0..1 (1 excluded), not {stall!r}")
        self.name = name
        self.stream = _member(dut, name)
        self.stall = stall
        self.random = random.Random(f"{seed} {name}")
        self.times: list[int] = []

    def go(self) -> bool:
        return self.stall == 0 or self.random.random() >= self.stall


class _Source(_Port):
    def __init__(self, *args: Any, items: Sequence[Any]) -> None:
        super().__init__(*args)
        self.items = items
        self.sent = 0
        self.offering = False

    def drive(self, ctx: Any) -> None:
        if not self.offering:
            self.offering = self.sent < len(self.items) and self.go()
            ctx.set(self.stream.valid, self.offering)
            if self.offering:
                ctx.set(self.stream.payload, self.items[self.sent])

    def observe(self, cycle: int, ready: int) -> None:
        if self.offering and ready:
            self.times.append(cycle)
            self.sent += 1
            self.offering = False


class _Sink(_Port):
    def __init__(self, *args: Any, count: int | None) -> None:
        super().__init__(*args)
        self.count = count
        self.taken: list[Any] = []
        self.held: int | None = None
        self.shape = self.stream.payload.shape()

    def drive(self, ctx: Any) -> None:
        if not isinstance(self.stream.ready, Const):  # otherwise it is always ready
            ctx.set(self.stream.ready, self.go())

    def observe(self, cycle: int, valid: int, ready: int, bits: int) -> None:
        if self.held is not None and not (valid and bits == self.held):
            what = "payload changed" if valid else "valid fell"
            raise StreamError(f"{self.name}: {what} in cycle {cycle} before the transfer")
        self.held = bits if valid and not ready else None
        if valid and ready:
            self.times.append(cycle)
            self.taken.append(self._payload(bits))
            if self.count is not None and len(self.taken) > self.count:
                raise StreamError(
                    f"{self.name}: transfer {len(self.taken)} in cycle {cycle}, "
                    f"only {self.count} expected"
                )

    def _payload(self, bits: int) -> Any:
        if isinstance(self.shape, Shape):
            return Const(bits, self.shape).value
        return self.shape.from_bits(bits)


def _stall_of(stall: float | Mapping[str, float], name: str) -> float:
    return stall.get(name, 0.0) if isinstance(stall, Mapping) else stall


def _state(sources: Iterable[_Source], sinks: Iterable[_Sink]) -> str:
    lines = [f"{s.name}: {s.sent} of {len(s.items)} taken" for s in sources]
    lines += [
        f"{s.name}: {len(s.taken)} delivered" + ("" if s.count is None else f" of {s.count}")
        for s in sinks
    ]
    return "; ".join(lines)


def run_streams(
    dut: Elaboratable,
    inputs: Mapping[str, Sequence[Any]],
    outputs: Mapping[str, int | None],
    *,
    stall: float | Mapping[str, float] = 0.0,
    seed: int = 0,
    max_cycles: int | None = None,
    constants: Mapping[str, Any] | None = None,
    testbenches: Sequence[Bench] = (),
    reset: Sequence[int] = (),
    settle: int = 16,
) -> Result:
    """Send payloads into the inputs of a component and collect what its outputs deliver.

    All ports run at once. Every output is checked for the hold rule (valid and payload stay until
    the transfer), and for transfers beyond the expected count.

    Parameters
    ----------
    dut : Component
        The block, not elaborated yet.
    inputs : dict of str to list
        Payloads by port. Ports are attribute paths such as ``"i"``, ``"o_row"``, ``"bus.r"``,
        ``"read.0"``. Payloads are what ``ctx.set`` takes: int, dict, list, ``data.Const``.
    outputs : dict of str to int or None
        Transfers to wait for. None: collect what comes while the other ports run.
    stall : float or dict
        Probability that an input is not offered, or an output is not ready, in a cycle.
    seed : int
        Of the stalls.
    max_cycles : int
        Cycles after which missing transfers are an error; the default grows with the data.
    constants : dict
        Values of plain inputs by path, set before the first cycle.
    testbenches : sequence of coroutine functions
        Further testbenches, run in the background beside the streams.
    reset : sequence of int
        Cycles in which the synchronous reset is asserted. Transfers are neither made nor counted
        then, and outputs may drop what they hold.
    settle : int
        Cycles to go on after the last awaited transfer, to see that nothing more comes.

    Raises
    ------
    StreamError
        Too late (the message says which ports lack what), too much, or the hold rule broken.
    """
    sources = [_Source(n, dut, _stall_of(stall, n), seed, items=v) for n, v in inputs.items()]
    sinks = [_Sink(n, dut, _stall_of(stall, n), seed, count=c) for n, c in outputs.items()]
    ports: list[_Source | _Sink] = [*sources, *sinks]
    if max_cycles is None:
        total = sum(len(s.items) for s in sources) + sum(s.count or 0 for s in sinks)
        slowest = max((s.stall for s in ports), default=0.0)
        max_cycles = int(2000 + 40 * total / (1 - slowest))
    result = Result({s.name: s.taken for s in sinks}, {s.name: s.times for s in ports})
    rst = Signal()
    sampled: list[Value] = [s.stream.ready for s in sources]
    for sink in sinks:
        sampled += [sink.stream.valid, sink.stream.ready, Value.cast(sink.stream.payload)]

    def complete() -> bool:
        return all(s.sent == len(s.items) for s in sources) and all(
            s.count is None or len(s.taken) >= s.count for s in sinks
        )

    def observe(cycle: int, values: Sequence[int]) -> None:
        for source, ready in zip(sources, values, strict=False):
            source.observe(cycle, ready)
        for number, sink in enumerate(sinks):
            start = len(sources) + 3 * number
            sink.observe(cycle, *values[start : start + 3])

    async def bench(ctx: Any) -> None:
        for path, value in (constants or {}).items():
            ctx.set(_member(dut, path), value)
        cycle, end = 0, None
        ticks = ctx.tick("sync").sample(*sampled)
        while True:
            in_reset = cycle in reset
            ctx.set(rst, in_reset)
            for port in ports:
                port.drive(ctx)
            _, _, *values = await ticks
            if in_reset:
                for sink in sinks:
                    sink.held = None
            else:
                observe(cycle, values)
            cycle += 1
            if end is None and complete():
                result.cycles, end = cycle, cycle + settle
            if cycle == end:
                return
            if end is None and cycle >= max_cycles:
                raise StreamError(f"no end after {cycle} cycles: {_state(sources, sinks)}")

    top = ResetInserter({"sync": rst})(dut) if reset else dut
    simulate(top, bench, background=testbenches)
    return result


def simulate(
    dut: Elaboratable, *testbenches: Bench, background: Sequence[Bench] = (), vcd: str | None = None
) -> None:
    """Run a component in Amaranth's simulator until all testbenches have ended.

    Parameters
    ----------
    dut : Elaboratable
        The block; its clock domain ``sync`` is clocked.
    testbenches, background : coroutine functions
        Those in the background do not keep the simulation going.
    vcd : str
        File for the waveforms.
    """
    top = Module()
    top.submodules.dut = dut
    top.d.sync += Signal().eq(1)  # combinational blocks get a clock domain too
    sim = Simulator(top)
    sim.add_clock(1e-6)
    for bench in testbenches:
        sim.add_testbench(bench)
    for bench in background:
        sim.add_testbench(bench, background=True)
    if vcd is None:
        sim.run()
    else:
        with sim.write_vcd(vcd):
            sim.run()
