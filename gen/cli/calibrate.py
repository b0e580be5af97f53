"""``attnsieve calibrate``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from attnsieve.gen.cli.console import print_json
from attnsieve.gen.cli.options import Json, Overlays, Settings, System, configuration
from attnsieve.gen.errors import UserError
from attnsieve.gen.output import output_file

__all__ = ["command"]


def command(
    system: System,
    trace: Annotated[
        list[Path], typer.Option("--trace", metavar="T.npz", help="Trace of the set; repeatable.")
    ],
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="F.toml", help="File to write.")
    ],
    keep: Annotated[
        float | None,
        typer.Option("--keep", metavar="R", help="Share of the scores that is to stay."),
    ] = None,
    margin: Annotated[
        float | None,
        typer.Option(
            "--margin", metavar="M", help="Keep what is at most M below the row's largest score."
        ),
    ] = None,
    per: Annotated[
        str | None,
        typer.Option("--per", metavar="P", help="What has a threshold: layer or head."),
    ] = None,
    relative: Annotated[
        bool, typer.Option("--relative", help="Thresholds below the row's largest score.")
    ] = False,
    config: Overlays = None,
    settings: Settings = None,
    as_json: Json = False,
) -> None:
    """Find the thresholds that keep a share of the scores of a calibration set."""
    from attnsieve.sim.calibrate import calibrate, constant_margin
    from attnsieve.sim.trace.trace import load

    chosen = configuration(system, config, settings)
    if not chosen.core.threshold_bits:
        raise UserError(f"calibrate: system {chosen.system} has no thresholds")
    if (keep is None) == (margin is None):
        raise UserError("calibrate takes either --keep or --margin")
    if margin is not None and (per is not None or relative):
        raise UserError("--per and --relative go with --keep, not with --margin")
    traces = [load(path) for path in trace]
    if margin is not None:
        found = constant_margin(traces, margin)
    else:
        assert keep is not None
        found = calibrate(traces, keep, per or "layer", relative)
    with output_file(output) as file:
        Path(file).write_text(found.as_toml())
    if as_json:
        print_json(
            {
                "file": str(output), "source": found.source, "relative": found.relative,
                "thresholds": found.layers,
            }
        )  # fmt: skip
    else:
        print(f"{output}: {found.source}")
