"""How fast each simulator runs the generated Verilog, and their ratios.

As a command::

    python -m attnsieve.sim.bench.speed dense

One job runs in the compiled model and under cocotb. The time of one case is taken from that of
several, so that neither building nor starting counts.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from typing import Any

from attnsieve.gen.config import Configuration
from attnsieve.gen.config import load as load_config
from attnsieve.gen.verilog import generate_verilog
from attnsieve.sim.bench.campaign import JobCase, job_cases
from attnsieve.sim.bench.program import execute
from attnsieve.sim.bench.runner import SIMULATORS, run_cases
from attnsieve.sim.compiled import CompiledMachine

__all__ = ["measure", "rate"]

#: Cycles that one case has at least.
LEAST = 2_000


def rate(run: Callable[[int], Any], cycles: int, more: int) -> float:
    """Cycles per second of a case of so many cycles.

    Parameters
    ----------
    run : callable
        Runs the case a number of times.
    cycles : int
        Of the case.
    more : int
        How many runs the longer measurement has beyond the shorter.
    """
    run(1)  # builds
    times = []
    for count in (1, 1 + more):
        began = time.perf_counter()
        run(count)
        times.append(time.perf_counter() - began)
    return cycles * more / (times[1] - times[0])


def _case(config: Configuration, verilog: str) -> tuple[JobCase, int]:
    """A random job of some length, and its cycles."""
    for found in job_cases(config.core, 1000, first_seed=1, most_cycles=10 * LEAST):
        case = found.case
        with _machine(config, verilog, found) as machine:
            cycles = execute(machine, case.operations).cycles[-1]
        if cycles >= LEAST:
            return found, cycles
    raise ValueError(f"no random job of {config.name} has {LEAST} cycles")


def _machine(config: Configuration, verilog: str, found: JobCase) -> CompiledMachine:
    case = found.case
    size = case.memory.shape[1]
    machine = CompiledMachine(verilog, config.top, memory_bytes=size, timing=case.timing)
    machine.set_memory(case.memory.copy())
    machine.set_stalls(case.stalls)
    return machine


def measure(config: Configuration, *, simulators: tuple[str, ...] = SIMULATORS) -> dict[str, float]:
    """Cycles per second by simulator; ``compiled`` is the compiled model."""
    verilog = generate_verilog(config)
    found, cycles = _case(config, verilog)
    with _machine(config, verilog, found) as machine:

        def compiled(count: int) -> None:
            for _ in range(count):
                execute(machine, found.case.operations)

        rates = {"compiled": rate(compiled, cycles, max(1, 400_000 // cycles))}
    for simulator in simulators:

        def cocotb(count: int, on: Any = simulator) -> None:
            run_cases(verilog, config.top, [found.case] * count, simulator=on)

        rates[f"cocotb on {simulator}"] = rate(cocotb, cycles, 2)
    return rates


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m attnsieve.sim.bench.speed")
    parser.add_argument("system", nargs="?", default="dense", help="preset or TOML file")
    parser.add_argument("--on", action="append", choices=SIMULATORS, help="cocotb on this only")
    arguments = parser.parse_args()
    chosen = tuple(arguments.on or SIMULATORS)
    rates = measure(load_config(arguments.system), simulators=chosen)
    for name, found in rates.items():
        ratio = rates["compiled"] / found
        print(f"{name:20} {found:12,.0f} cycles/s, compiled is {ratio:.1f} times as fast")
    return 0


if __name__ == "__main__":
    sys.exit(main())
