"""``attnsieve synth``."""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from attnsieve.gen.cli.console import out, print_json, steps
from attnsieve.gen.cli.options import Json, Overlays, Settings, System, configuration
from attnsieve.gen.output import output_file
from attnsieve.gen.synth import print_report, synth

__all__ = ["command"]


def command(
    system: System,
    target: Annotated[
        str, typer.Option("--target", metavar="T", help="ecp5, ice40, gowin, xilinx or asic.")
    ],
    pnr: Annotated[
        bool, typer.Option("--pnr", help="Place and route too: Fmax and critical path.")
    ] = False,
    block: Annotated[
        list[str] | None,
        typer.Option(
            "--block", metavar="B", help="Only this block, by itself; repeatable, * for all."
        ),
    ] = None,
    liberty: Annotated[
        Path | None,
        typer.Option("--liberty", metavar="F.lib", help="Standard cells for asic; .gz too."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="F.json", help="Write the report to a file too."),
    ] = None,
    work: Annotated[
        Path | None,
        typer.Option("--work", metavar="DIR", help="Keep scripts, netlists and logs here."),
    ] = None,
    config: Overlays = None,
    settings: Settings = None,
    seed: Annotated[
        int | None,
        typer.Option("--seed", metavar="N", min=0, max=2**31 - 1, help="Seed of the placer."),
    ] = None,
    as_json: Json = False,
) -> int:
    """Synthesize SYSTEM for a target: resources by block, memories, timing."""
    own = [] if seed is None else [f"synth.seed={seed}"]
    chosen = configuration(system, config, [*(settings or ()), *own])
    with ExitStack() as stack:
        file = stack.enter_context(output_file(output)) if output else None
        with steps(f"{chosen.name} on {target}") as progress:
            report = synth(
                chosen, target, pnr=pnr, liberty=liberty, work=work, alone=block or (),
                progress=progress,
            )  # fmt: skip
        if file:
            file.write_text(json.dumps(report, indent=2) + "\n")
    if as_json:
        print_json(report)
    else:
        print_report(report, out())
    return 1 if "error" in report.get("pnr", {}) else 0
