"""Arguments and options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from attnsieve.gen.config import Configuration, load

__all__ = ["Json", "Overlays", "Seed", "Settings", "System", "configuration"]

System = Annotated[str, typer.Argument(metavar="SYSTEM", help="Name of a preset, or a TOML file.")]
Overlays = Annotated[
    list[Path] | None,
    typer.Option("--config", metavar="F.toml", help="Lay this file over SYSTEM; repeatable."),
]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="Change one setting, core.lanes=32; repeatable."
    ),
]
Seed = Annotated[
    int,
    typer.Option("--seed", metavar="N", min=0, max=2**31 - 1, help="Seed of everything random."),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def configuration(
    system: str, overlays: list[Path] | None, settings: list[str] | None
) -> Configuration:
    """The configuration that a command line asks for."""
    return load(system, overlays=overlays or (), settings=settings or ())
