"""``attnsieve simulate``."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any

import typer

from attnsieve.gen import api
from attnsieve.gen.cli.console import bar, print_json, print_stats, print_workload
from attnsieve.gen.cli.options import Json, Overlays, Seed, Settings, System, configuration
from attnsieve.gen.config import Configuration
from attnsieve.gen.errors import UserError
from attnsieve.gen.output import output_directory, output_file

__all__ = ["command"]


def command(
    system: System,
    output: Annotated[
        Path,
        typer.Option("-o", "--output", metavar="DIR", help="Folder for out.npz and stats.json."),
    ],
    trace: Annotated[
        Path | None, typer.Option("--trace", metavar="T.npz", help="Trace to run.")
    ] = None,
    workload: Annotated[
        Path | None,
        typer.Option("--workload", metavar="F.csv", help="Workload file to run, in place of one."),
    ] = None,
    on: Annotated[
        str,
        typer.Option("--on", metavar="P", help="Of a workload: the cycle model, or rtl."),
    ] = "model",
    iterations: Annotated[
        str | None,
        typer.Option("--iterations", metavar="A-B,C", help="Iterations of the workload to run."),
    ] = None,
    thresholds: Annotated[
        Path | None,
        typer.Option("--thresholds", metavar="F", help="Thresholds of scores, for LeOPArd."),
    ] = None,
    layers: Annotated[
        str | None, typer.Option("--layers", metavar="A-B,C", help="Layers of the trace to run.")
    ] = None,
    heads: Annotated[
        str | None, typer.Option("--heads", metavar="A-B,C", help="Heads of the trace to run.")
    ] = None,
    simulator: Annotated[
        str | None, typer.Option("--simulator", metavar="S", help="verilator, cxxrtl or icarus.")
    ] = None,
    no_baseline: Annotated[
        bool, typer.Option("--no-baseline", help="Leave baseline and unpruned out.")
    ] = False,
    vcd: Annotated[
        Path | None, typer.Option("--vcd", metavar="F.vcd", help="Write waveforms; slow.")
    ] = None,
    config: Overlays = None,
    settings: Settings = None,
    seed: Seed = 0,
    as_json: Json = False,
) -> int:
    """Run the Verilog of SYSTEM on a trace and compare with the golden model bit for bit; or run a
    workload file, on the cycle model or on the Verilog."""
    chosen = configuration(system, config, settings)
    if (trace is None) == (workload is None):
        raise UserError("simulate needs exactly one of --trace and --workload")
    if thresholds is not None and not chosen.core.threshold_bits:
        raise UserError(f"--thresholds: system {chosen.system} has no thresholds; leave it out")
    if workload is not None:
        for name, value in (("--heads", heads), ("--vcd", vcd), ("--thresholds", thresholds)):
            if value is not None:
                raise UserError(f"{name} is for traces; leave it out with --workload")
        return _workload(
            chosen, workload, output, on=on, layers=layers, iterations=iterations,
            simulator=simulator, seed=seed, baseline=not no_baseline, as_json=as_json,
        )  # fmt: skip
    if iterations is not None or on != "model":
        raise UserError("--iterations and --on are for workloads; leave them out with --trace")
    assert trace is not None
    from attnsieve.sim.simulate import DEFAULT_SIMULATOR

    with ExitStack() as stack:
        folder = stack.enter_context(output_directory(output))
        waves = stack.enter_context(output_file(vcd)) if vcd else None
        progress = stack.enter_context(bar(f"simulate {chosen.name}"))
        result = api.simulate(
            chosen, trace, simulator=simulator or DEFAULT_SIMULATOR, seed=seed, layers=layers,
            heads=heads, thresholds=thresholds, baseline=not no_baseline, vcd=waves,
            progress=progress,
        )  # fmt: skip
        result.write(folder)
    if as_json:
        print_json(result.stats)
    else:
        print_stats(result.stats)
    for message in result.messages:
        print(f"attnsieve: {message}", file=sys.stderr)
    return 1 if result.mismatches else 0


def _workload(
    config: Configuration,
    workload: Path,
    output: Path,
    *,
    on: str,
    simulator: str | None,
    as_json: bool,
    **options: Any,
) -> int:
    """Run a workload file."""
    from attnsieve.sim.replay import replay
    from attnsieve.sim.simulate import DEFAULT_SIMULATOR

    with ExitStack() as stack:
        folder = stack.enter_context(output_directory(output))
        progress = stack.enter_context(bar(f"simulate {config.name}"))
        result = replay(
            config, workload, on=on, simulator=simulator or DEFAULT_SIMULATOR,  # type: ignore[arg-type]
            progress=progress, **options,
        )  # fmt: skip
        result.write(folder)
    if as_json:
        print_json(result.stats)
    else:
        print_workload(result.stats)
    for message in result.messages:
        print(f"attnsieve: {message}", file=sys.stderr)
    return 1 if result.mismatches else 0
