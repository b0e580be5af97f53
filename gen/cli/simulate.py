"""``attnsieve simulate``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from attnsieve.gen import api
from attnsieve.gen.cli.console import bar, print_json, print_stats
from attnsieve.gen.cli.options import Json, Overlays, Seed, Settings, System, configuration
from attnsieve.gen.errors import UserError
from attnsieve.gen.output import output_directory

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
        str | None,
        typer.Option("--workload", metavar="W", help="Synthetic workload; this version has none."),
    ] = None,
    thresholds: Annotated[
        Path | None,
        typer.Option("--thresholds", metavar="F", help="Thresholds; the dense system has none."),
    ] = None,
    layers: Annotated[
        str | None, typer.Option("--layers", metavar="A-B,C", help="Layers of the trace to run.")
    ] = None,
    heads: Annotated[
        str | None, typer.Option("--heads", metavar="A-B,C", help="Heads of the trace to run.")
    ] = None,
    simulator: Annotated[
        str,
        typer.Option(
            "--simulator", metavar="S", help="verilator, cxxrtl (compiled) or icarus (cocotb)."
        ),
    ] = api.DEFAULT_SIMULATOR,
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
    """Run the Verilog of SYSTEM on a trace and compare with the golden model bit for bit."""
    chosen = configuration(system, config, settings)
    if (trace is None) == (workload is None):
        raise UserError("simulate needs exactly one of --trace and --workload")
    if workload is not None:
        raise UserError(
            f"unknown workload {workload!r}: this version has none, name a trace by --trace"
        )
    if thresholds is not None:
        raise UserError(f"--thresholds: system {chosen.system} has no thresholds; leave it out")
    if simulator not in api.SIMULATORS:
        raise UserError(f"unknown simulator {simulator!r}; known: {', '.join(api.SIMULATORS)}")
    assert trace is not None
    with output_directory(output) as folder:
        with bar(f"simulate {chosen.name}") as progress:
            result = api.simulate(
                chosen, trace, simulator=simulator, seed=seed, layers=layers, heads=heads,
                baseline=not no_baseline, vcd=vcd, progress=progress,
            )  # fmt: skip
        result.write(folder)
    if as_json:
        print_json(json.loads((output / "stats.json").read_text()))
    else:
        print_stats(result.stats)
    return 1 if result.stats["total"]["mismatches"] else 0
