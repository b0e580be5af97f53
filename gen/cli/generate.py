"""``attnsieve generate``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from attnsieve.gen.cli.console import print_json, steps
from attnsieve.gen.cli.options import Json, Overlays, Seed, Settings, System, configuration
from attnsieve.gen.package import write_package

__all__ = ["command"]


def command(
    system: System,
    output: Annotated[Path, typer.Option("-o", "--output", metavar="DIR", help="Folder to write.")],
    config: Overlays = None,
    settings: Settings = None,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Write the Verilog of SYSTEM with registers, driver, FuseSoC core, manifest and README."""
    chosen = configuration(system, config, settings)
    with steps(f"generate {chosen.name}") as progress:
        folder = write_package(chosen, output, progress)
    if as_json:
        print_json(json.loads((folder / "manifest.json").read_text()))
    else:
        print(f"{folder}/{chosen.top}.v: start with {folder}/README.md")
