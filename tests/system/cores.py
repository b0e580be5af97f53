"""Cores and machines that the system tests share."""

import functools

from attnsieve.gen.config import load
from attnsieve.gen.verilog import generate_verilog
from attnsieve.sim.bench.campaign import job_cases, run_campaign
from attnsieve.sim.bench.program import execute
from attnsieve.sim.compiled import CompiledMachine

__all__ = ["campaign", "config", "machine", "run_case", "verilog"]


@functools.cache
def config(name, *settings):
    """A preset with some settings."""
    return load(name, settings=settings)


@functools.cache
def verilog(name, *settings):
    return generate_verilog(config(name, *settings))


@functools.cache
def machine(name, *settings):
    """A machine of a preset, shared: every user sets memory, timing and stalls, and resets."""
    core = config(name, *settings)
    return CompiledMachine(verilog(name, *settings), core.top, memory_bytes=4096, touch=True)


def campaign(name, cases, *settings, **options):
    """Random jobs of a preset; all are right. Returns what they cover."""
    chosen = config(name, *settings)
    made = job_cases(chosen.core, cases, most_cycles=options.pop("most_cycles", 2000))
    coverage, failures = run_campaign(chosen, made, verilog=verilog(name, *settings), **options)
    assert not failures, "\n".join(map(str, failures))
    assert coverage.cases == cases
    return coverage


def run_case(name, case, *settings):
    """Outcome of a case on the shared machine."""
    m = machine(name, *settings)
    m.set_memory(case.memory.copy())
    m.set_timing(case.timing)
    m.set_stalls(case.stalls)
    m.clear()
    for fault in case.faults:
        inject = m.fail_write if fault.write else m.fail_read
        inject(fault.channel, fault.number, fault.response)
    return execute(m, case.operations)
