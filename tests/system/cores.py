"""Cores and machines that the system tests share."""

import functools

from attnsieve.gen.config import load
from attnsieve.gen.verilog import generate_verilog
from attnsieve.sim.bench.campaign import job_cases, run_campaign
from attnsieve.sim.bench.program import execute
from attnsieve.sim.compiled import CompiledMachine

__all__ = ["campaign", "config", "machine", "run_case", "verilog"]

config = functools.cache(load)


@functools.cache
def verilog(name):
    return generate_verilog(config(name))


@functools.cache
def machine(name):
    """A machine of a preset, shared: every user sets memory, timing and stalls, and resets."""
    return CompiledMachine(verilog(name), config(name).top, memory_bytes=4096, touch=True)


def campaign(name, cases, **options):
    """Random jobs of a preset; all are right."""
    chosen = config(name)
    made = job_cases(chosen.core, cases, most_cycles=options.pop("most_cycles", 2000))
    coverage, failures = run_campaign(chosen, made, verilog=verilog(name), **options)
    assert not failures, "\n".join(map(str, failures))
    assert coverage.cases == cases


def run_case(name, case):
    """Outcome of a case on the shared machine."""
    m = machine(name)
    m.set_memory(case.memory.copy())
    m.set_timing(case.timing)
    m.set_stalls(case.stalls)
    m.clear()
    for fault in case.faults:
        inject = m.fail_write if fault.write else m.fail_read
        inject(fault.channel, fault.number, fault.response)
    return execute(m, case.operations)
