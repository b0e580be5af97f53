"""Synthesis for FPGAs with yosys: resources in total, by block, and memories apart."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from attnsieve.gen.synth.targets import Target, count
from attnsieve.gen.synth.wrapper import WRAPPER
from attnsieve.gen.tools.yosys import run_yosys

__all__ = ["block_names", "blocks", "memories", "total"]

Progress = Callable[[str], None]

_MODULE = re.compile(r"^module \\(\S+)$", re.MULTILINE)


@dataclass(frozen=True)
class Mapped:
    """A design mapped to cells: resources of the core and of the wrapper around it."""

    core: dict[str, int]
    wrapper: dict[str, int]
    cells: dict[str, int]


def block_names(text: str, top: str) -> dict[str, str]:
    """Module by block for the blocks directly in ``top``, from the RTLIL of the hierarchy."""
    found = {}
    for name in _MODULE.findall(text):
        if name.startswith(top + ".") and "." not in name[len(top) + 1 :]:
            found[name[len(top) + 1 :]] = name
    return found


def _statistics(path: Path) -> dict[str, dict[str, int]]:
    """Cells by type of every module."""
    modules = json.loads(path.read_text())["modules"]
    return {
        name.removeprefix("\\"): {
            kind: int(number["count"]) if isinstance(number, dict) else int(number)
            for kind, number in module["num_cells_by_type"].items()
        }
        for name, module in modules.items()
    }


def _sum(statistics: Mapping[str, Mapping[str, int]], module: str) -> dict[str, int]:
    """Cells by type of a module and everything in it."""
    cells: dict[str, int] = {}
    for kind, number in statistics[module].items():
        inner = kind.removeprefix("\\")
        parts = _sum(statistics, inner) if inner in statistics else {kind: 1}
        for name, each in parts.items():
            cells[name] = cells.get(name, 0) + each * number
    return cells


def blocks(folder: Path, top: str, target: Target, names: Mapping[str, str]) -> dict[str, Any]:
    """Resources of each block of ``top``, mapped with its border kept, and of what lies between.

    Reads ``design.il`` in ``folder``.
    """
    keep = "\n".join(
        f"select {name}\nsetattr -mod -set keep_hierarchy 1\nselect -clear"
        for name in names.values()
    )
    script = (
        f"read_rtlil design.il\nhierarchy -top {top}\n{keep}\n{target.synth} -top {top}\n"
        "tee -q -o blocks.json stat -json\n"
    )
    run_yosys(script, folder, quiet=True)
    statistics = _statistics(folder / "blocks.json")
    rest = {k: n for k, n in statistics[top].items() if k.removeprefix("\\") not in statistics}
    found = {
        block: count(target, _sum(statistics, name))
        for block, name in names.items()
        if name in statistics
    }
    return {**found, "(top)": count(target, rest)}


def total(folder: Path, top: str, target: Target) -> Mapped:
    """Resources of the whole core, flattened, in its wrapper.

    Reads ``design.il`` and ``wrapper.v`` in ``folder``, writes ``netlist.json`` to place.
    """
    script = (
        f"read_rtlil design.il\nread_verilog wrapper.v\nhierarchy -check -top {WRAPPER}\n"
        f"select {top}\nsetattr -mod -set keep_hierarchy 1\nselect -clear\n"
        f"{target.synth} -top {WRAPPER}\n"
        "tee -q -o total.json stat -json\ndelete t:$scopeinfo\nwrite_json netlist.json\n"
    )
    run_yosys(script, folder, quiet=True)
    statistics = _statistics(folder / "total.json")
    cells = _sum(statistics, top)
    cells.pop("$scopeinfo", None)
    around = {k: n for k, n in statistics[WRAPPER].items() if k.removeprefix("\\") != top}
    return Mapped(count(target, cells), count(target, around), dict(sorted(cells.items())))


def memories(folder: Path, top: str) -> list[dict[str, Any]]:
    """Memories by instance: width, depth and bits. Reads ``design.il`` in ``folder``."""
    script = (
        f"read_rtlil design.il\nhierarchy -top {top}\nproc\nflatten\nopt_clean\nmemory_collect\n"
        "select t:$mem_v2\nwrite_json -selected memories.json\n"
    )
    run_yosys(script, folder, quiet=True)
    modules = json.loads((folder / "memories.json").read_text())["modules"]
    found = []
    for module in modules.values():
        for name, cell in module["cells"].items():
            width, depth = (int(cell["parameters"][key], 2) for key in ("WIDTH", "SIZE"))
            ports = {
                kind: int(cell["parameters"][key], 2)
                for kind, key in (("reads", "RD_PORTS"), ("writes", "WR_PORTS"))
            }
            path = name.removeprefix("\\")
            found.append(
                {"name": path, "width": width, "depth": depth, "bits": width * depth, **ports}
            )
    return sorted(found, key=lambda memory: str(memory["name"]))
