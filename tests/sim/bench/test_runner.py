# amaranth: UnusedElaboratable=no
"""cocotb benches on a small copying core: in step with the compiled harness to the cycle."""

import functools

import numpy as np
import pytest

from attnsieve.gen.verilog import to_verilog
from attnsieve.sim.bench.memory import Fault, Stalls, Timing
from attnsieve.sim.bench.program import Case, Operation, execute
from attnsieve.sim.bench.runner import run_cases
from attnsieve.sim.compiled import CompiledMachine
from tests.sim.copy_engine import (
    CONTROL,
    COUNT,
    CYCLES,
    DESTINATION,
    SOURCE,
    STATUS,
    CopyEngine,
)

SIZE = 1 << 14


@functools.cache
def engine(data_width=64):
    return to_verilog(CopyEngine(channels=2, data_width=data_width), "copy")


def program(beats, source=0x100, destination=0x2008):
    return [
        Operation("reset", 2),
        Operation("write", SOURCE, source),
        Operation("write", DESTINATION, destination),
        Operation("write", COUNT, beats),
        Operation("write", CONTROL, 1),
        Operation("irq", 20_000),
        Operation("read", CYCLES),
        Operation("read", STATUS),
        Operation("write", CONTROL, 2),
        Operation("run", 3),
    ]


def cases(count, faults=True):
    made = []
    for seed in range(count):
        rng = np.random.default_rng(seed)
        made.append(
            Case(
                rng.integers(0, 256, (2, SIZE), np.uint8),
                program(int(rng.integers(1, 150))),
                timing=[None, Timing(7, 4), Timing(31, 3, outstanding=9)][seed % 3],
                stalls=Stalls.everywhere([0, 0.2, 0.7][seed // 2 % 3], seed, hold=seed % 4),
                faults=[Fault(1, bool(seed % 8 == 7), 0, 2)] if faults and seed % 4 == 3 else [],
            )
        )
    return made


def compiled(verilog, these):
    found = []
    for case in these:
        with CompiledMachine(verilog, "copy", memory_bytes=SIZE, timing=case.timing) as m:
            m.set_memory(case.memory.copy())
            m.set_stalls(case.stalls)
            for fault in case.faults:
                (m.fail_write if fault.write else m.fail_read)(
                    fault.channel, fault.number, fault.response
                )
            found.append(execute(m, case.operations))
    return found


@pytest.mark.parametrize("simulator", ["icarus", "verilator"])
def test_in_step_with_the_compiled_simulation(simulator):
    these = cases(8)
    outcomes = run_cases(engine(), "copy", these, simulator=simulator)
    for got, want in zip(outcomes, compiled(engine(), these), strict=True):
        assert got.error is None
        assert (got.reads, got.cycles) == (want.reads, want.cycles)
        assert got.counters == want.counters
        np.testing.assert_array_equal(got.memory, want.memory)
    assert any(outcome.reads[1] for outcome in outcomes), "no fault was injected"


@pytest.mark.parametrize("simulator", ["icarus", "verilator"])
def test_with_the_librarys_memory(simulator):
    these = cases(4, faults=False)
    outcomes = run_cases(engine(), "copy", these, simulator=simulator, memory="library")
    for got, want in zip(outcomes, compiled(engine(), these), strict=True):
        assert got.error is None
        assert got.reads[1] == 0
        np.testing.assert_array_equal(got.memory, want.memory)


def test_a_core_that_does_not_end():
    case = Case(np.zeros((2, SIZE), np.uint8), [Operation("reset", 2), Operation("irq", 50)])
    outcome = run_cases(engine(), "copy", [case])[0]
    assert outcome.error == "no interrupt in 50 cycles"
    assert compiled(engine(), [case])[0].error == outcome.error


def test_wrong_arguments():
    with pytest.raises(ValueError, match=r"^Simulator must be icarus or verilator, not 'vcs'$"):
        run_cases(engine(), "copy", [], simulator="vcs")
    with pytest.raises(ValueError, match=r"^Faults must be injected with the reference memory"):
        run_cases(engine(), "copy", cases(4), memory="library")
