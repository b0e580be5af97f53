"""Blocks of a core by themselves: resources of each, and its clock."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from attnsieve.gen.config import SynthOptions
from attnsieve.gen.errors import UserError
from attnsieve.gen.synth import fpga, place
from attnsieve.gen.synth.targets import Target
from attnsieve.gen.synth.wrapper import stub, wrapper
from attnsieve.gen.tools import ToolError
from attnsieve.gen.verilog import Port

__all__ = ["block_ports", "blocks_alone", "chosen_blocks"]

_PORT = re.compile(
    r"^  wire (?:width (\d+) )?(input|output) \d+ +(?:signed )?\\(\S+)$", re.MULTILINE
)
_TOP = "block"


def chosen_blocks(names: Iterable[str], patterns: Sequence[str]) -> list[str]:
    """Blocks that a pattern matches, part by part, with or without the containers that hold them:
    ``*`` are all blocks, ``scorer.*`` those that are right within that one."""
    names = list(names)
    chosen: list[str] = []
    for pattern in patterns:
        found = [name for name in names if _matches(name, pattern.split("."))]
        if not found:
            beside = [*pattern.split(".")[:-1], "*"]
            near = sorted(_short(name) for name in names if _matches(name, beside))
            known = f"there are {', '.join(near)}" if near else "nor one to hold it"
            raise UserError(f"--block {pattern}: no such block; {known}")
        chosen += [name for name in found if name not in chosen]
    return chosen


def _short(name: str) -> str:
    """A name without the container in front."""
    holder, _, rest = name.partition(".")
    return rest if holder in fpga.CONTAINERS else name


def _matches(name: str, pattern: Sequence[str]) -> bool:
    """Whether each part of a name, or of what is left without its container, matches."""
    return any(
        len(parts) == len(pattern) and all(map(fnmatchcase, parts, pattern))
        for parts in (name.split("."), _short(name).split("."))
    )


def block_ports(text: str, module: str) -> list[Port]:
    """Ports of a module of an RTLIL text."""
    start = text.index(f"\nmodule \\{module}\n")
    body = text[start : text.index("\nend\n", start)]
    return [
        Port(name=name, output=way == "output", width=int(width or 1))
        for width, way, name in _PORT.findall(body)
    ]


def blocks_alone(
    folder: Path,
    text: str,
    names: Mapping[str, str],
    target: Target,
    options: SynthOptions,
    pnr: bool,
    progress: Callable[[str], None],
) -> dict[str, dict[str, Any]]:
    """Synthesize blocks one by one, each flattened and between registers.

    Parameters
    ----------
    folder : Path
        For intermediate files, a folder per block.
    text : str
        RTLIL of the whole core.
    names : mapping
        Module of each block.
    pnr : bool
        Place and route each: ``pnr`` of its entry, with the clock and the longest path.
    """
    found: dict[str, dict[str, Any]] = {}
    for block, module in names.items():
        progress(f"block {block}")
        own = folder / block
        own.mkdir(exist_ok=True)
        (own / "design.il").write_text(re.sub(rf"(?<=\\){re.escape(module)}(?!\S)", _TOP, text))
        ports = block_ports(text, module)
        (own / "wrapper.v").write_text(wrapper(_TOP, ports))
        mapped = fpga.total(own, _TOP, target, stub(_TOP, ports))
        found[block] = dict(mapped.core)
        if pnr and target.nextpnr is not None:
            progress(f"place and route {block}")
            inner = fpga.inner_names(text, module)
            try:
                found[block]["pnr"] = place.place_and_route(own, target.nextpnr, options, inner)
            except ToolError as error:  # it does not fit
                found[block]["pnr"] = {"error": str(error), "fmax_mhz": None, "critical_path": None}
    return found
