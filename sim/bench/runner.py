"""Running cases in Icarus or Verilator under cocotb; the only place that knows cocotb's runner."""

from __future__ import annotations

import fcntl
import json
import os
import sys
import tempfile
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

import numpy as np

from attnsieve.gen import tools
from attnsieve.sim.bench.memory import ChannelCounters
from attnsieve.sim.bench.program import Case, Outcome
from attnsieve.sim.compiled.initial import compact_zeros
from attnsieve.sim.compiled.ports import CorePorts

__all__ = ["SIMULATORS", "Simulator", "run_cases"]

Simulator = Literal["icarus", "verilator"]
SIMULATORS: tuple[Simulator, ...] = ("icarus", "verilator")

_BUILD_ARGS = {
    "icarus": [],
    "verilator": ["-O3", "--x-assign", "fast", "--x-initial", "fast", "--no-assert", "-Wno-fatal",
                  "-Wno-lint", "-Wno-style", "--output-split", "20000", "-j", "2",
                  "-CFLAGS", "-O1"],
}  # fmt: skip
_PROGRAM = {"icarus": "iverilog", "verilator": "verilator"}


def run_cases(
    verilog: str,
    top: str,
    cases: Sequence[Case],
    *,
    simulator: Simulator = "icarus",
    memory: Literal["reference", "library"] = "reference",
    seed: int = 1,
    waves: bool = False,
    timeout: float | None = None,
    progress: Callable[[str], None] | None = None,
) -> list[Outcome]:
    """Run cases one after another in one simulation.

    Parameters
    ----------
    verilog : str
        Verilog as yosys writes it.
    top : str
        The core's module.
    cases : sequence of Case
        What to run. Their memories are not changed.
    simulator : str
        ``icarus`` or ``verilator``.
    memory : str
        ``reference``: the reference memory, in step with the compiled simulation to the cycle.
        ``library``: cocotbext-axi's memory and AXI4-Lite master; no counters, no faults.
    seed : int
        cocotb's random seed.
    waves : bool
        Dump waveforms into the build folder.
    timeout : float
        Seconds for the simulation.
    progress : callable
        Gets a line before work that takes long.

    Returns
    -------
    list of Outcome
        One per case.

    Raises
    ------
    MissingToolError, ToolError
        The simulator or cocotb is not installed, or failed.
    """
    if simulator not in SIMULATORS:
        raise ValueError(f"Simulator must be icarus or verilator, not {simulator!r}")
    if memory == "library" and any(case.faults for case in cases):
        raise ValueError("Faults must be injected with the reference memory, not the library's")
    ports = CorePorts.of(verilog, top)
    tools.which(_PROGRAM[simulator])
    if progress is not None:
        progress(f"running {len(cases)} cases with {simulator}")
    with tempfile.TemporaryDirectory(prefix="attnsieve-") as name:
        folder = Path(name)
        _write_cases(folder, ports, cases, memory)
        job = {
            "verilog": verilog,
            "top": top,
            "simulator": simulator,
            "build": str(_build_folder(verilog, top, simulator, waves)),
            "folder": name,
            "seed": seed,
            "waves": waves,
        }
        (folder / "job.json").write_text(json.dumps(job))
        argv: list[str | Path] = [sys.executable, "-P", "-m", __name__, folder / "job.json"]
        env = {**tools.tool_environment(), "ATTNSIEVE_BENCH": str(folder / "spec.json")}
        log = tools.run(argv, env=env, timeout=timeout, name=f"cocotb ({simulator})")
        return [_read_outcome(folder, number, log) for number in range(len(cases))]


def _build_folder(verilog: str, top: str, simulator: str, waves: bool) -> Path:
    versions = tools.versions(["cocotb", _PROGRAM[simulator]])
    parts = (verilog, top, simulator, waves, _BUILD_ARGS, versions, sys.prefix)
    key = sha256(repr(parts).encode()).hexdigest()[:24]
    return tools.cache_directory("cocotb", f"{top}-{simulator}-{key}")


def _write_cases(folder: Path, ports: CorePorts, cases: Sequence[Case], memory: str) -> None:
    described: list[dict[str, Any]] = []
    for number, case in enumerate(cases):
        np.save(folder / f"before{number}.npy", case.memory)
        described.append(
            {
                "operations": [list(op) for op in case.operations],
                "timing": list(case.timing) if case.timing is not None else None,
                "stalls": asdict(case.stalls),
                "faults": [list(f) for f in case.faults],
            }
        )
    spec = {"folder": str(folder), "memory": memory, "prefixes": ports.prefixes, "cases": described}
    (folder / "spec.json").write_text(json.dumps(spec))


def _read_outcome(folder: Path, number: int, log: str) -> Outcome:
    path = folder / f"result{number}.json"
    if not path.exists():
        raise tools.ToolError(f"cocotb: case {number} did not end", log)
    result = json.loads(path.read_text())
    counters = [ChannelCounters(*c) for c in result["counters"]]
    after = np.load(folder / f"after{number}.npy")
    return Outcome(after, result["reads"], result["cycles"], counters, result["error"])


def _main(path: str) -> None:
    """The child: build unless that is done, then simulate."""
    from cocotb_tools.runner import get_runner

    warnings.simplefilter("ignore")
    job = json.loads(Path(path).read_text())
    build, top = Path(job["build"]), job["top"]
    runner = get_runner(job["simulator"])
    common: dict[str, Any] = {"hdl_toplevel": top, "build_dir": build}
    with (build / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        source = build / "core.v"
        if not (build / "done").exists():
            source.write_text(compact_zeros(job["verilog"]))
        # Even when nothing is to be done this tells the runner what was built.
        runner.build(
            sources=[source],
            always=False,
            timescale=("1ns", "1ps"),
            build_args=_BUILD_ARGS[job["simulator"]],
            waves=job["waves"],
            **common,
        )
        (build / "done").touch()
    results = runner.test(
        test_module="attnsieve.sim.bench.cocotb_core",
        test_dir=job["folder"],
        results_xml=str(Path(job["folder"]) / "results.xml"),
        seed=job["seed"],
        waves=job["waves"],
        hdl_toplevel_lang="verilog",
        **common,
    )
    from cocotb_tools.check_results import get_results

    tests, failures = get_results(results)
    sys.exit(0 if tests and not failures else 1)


if __name__ == "__main__":
    os.environ.setdefault("MAKEFLAGS", "-j2")
    _main(sys.argv[1])
