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

__all__ = [
    "block_names", "blocks", "inner_names", "memories", "nested_names", "plain_names",
    "total",
]  # fmt: skip

Progress = Callable[[str], None]

#: Modules of a core that hold blocks, and little else.
CONTAINERS = ("datapath",)

_NAME = re.compile(r"\\\S+")
_MODULE = re.compile(r"^module \\(\S+)$", re.MULTILINE)


@dataclass(frozen=True)
class Mapped:
    """A design mapped to cells: resources of the core and of the wrapper around it.

    ``dsp_registers`` is what `dsp.pack` says of the core; None where nothing is packed.
    """

    core: dict[str, int]
    wrapper: dict[str, int]
    cells: dict[str, int]
    dsp_registers: dict[str, int] | None


def plain_names(text: str) -> str:
    """RTLIL without brackets in names.

    Amaranth calls element 3 of an array ``a[3]``; abc9 of yosys 0.70 takes that for bit 3 of
    ``a`` and fails. It becomes ``a.3``.
    """
    taken = set(_NAME.findall(text))
    renamed: dict[str, str] = {}

    def plain(match: re.Match[str]) -> str:
        name = match[0]
        if "[" not in name:
            return name
        if name not in renamed:
            new = name.replace("[", ".").replace("]", "")
            while new in taken:
                new += "_"
            taken.add(new)
            renamed[name] = new
        return renamed[name]

    return _NAME.sub(plain, text)


def block_names(text: str, top: str) -> dict[str, str]:
    """Module by block, from the RTLIL of the hierarchy: those in ``top`` and in containers."""
    parents = [f"{top}.", *(f"{top}.{name}." for name in CONTAINERS)]
    found = {}
    for name in _MODULE.findall(text):
        for parent in parents:
            block = name.removeprefix(parent)
            if block != name and "." not in block and block not in CONTAINERS:
                found[name.removeprefix(f"{top}.")] = name
    return found


def nested_names(text: str, names: Mapping[str, str]) -> dict[str, str]:
    """Module of each block, and of each one within, whose name begins with the block's."""
    modules = _MODULE.findall(text)
    inside = {
        block + name.removeprefix(module): name
        for block, module in names.items()
        for name in modules if name.startswith(f"{module}.")
    }  # fmt: skip
    return {**names, **inside}


def inner_names(text: str, module: str) -> list[str]:
    """Blocks in a module, from the RTLIL of the hierarchy."""
    start = f"{module}."
    names = [n.removeprefix(start) for n in _MODULE.findall(text) if n.startswith(start)]
    return [name for name in names if "." not in name]


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


def _map(folder: Path, script: str, top: str, target: Target, report: str) -> dict[str, int]:
    """Run a script that reads a design, map it as ``top``; its cells by type, after packing."""
    run_yosys(
        f"{script}\n{target.synth} -top {top}\ndelete t:$scopeinfo\ntee -q -o {report} stat -json\n"
        f"write_rtlil {top}.mapped.il\n" + ("write_json mapped.json\n" if target.pack else ""),
        folder,
    )
    cells = _sum(_statistics(folder / report), top)
    packed = _pack(folder / "mapped.json", target)
    if packed is not None:
        for kind, more in (("TRELLIS_FF", -packed["flip_flops"]), ("LUT4", packed["inverters"])):
            if more:
                cells[kind] = cells.get(kind, 0) + more
    return cells


def _pack(path: Path, target: Target) -> dict[str, int] | None:
    """Pack registers of a netlist in a file; None for targets where that is not done."""
    if target.pack is None:
        return None
    netlist = json.loads(path.read_text())
    packed = target.pack(netlist)
    path.write_text(json.dumps(netlist))
    return packed


def blocks(
    folder: Path, top: str, target: Target, names: Mapping[str, str], progress: Progress
) -> dict[str, Any]:
    """Resources of each block of ``top``, mapped alone, and of what lies between the blocks.

    Reads ``design.il`` in ``folder``.
    """
    found = {}
    for block, module in names.items():
        progress(f"block {block}")
        script = f"read_rtlil design.il\nhierarchy -top {module}"
        found[block] = count(target, _map(folder, script, module, target, "block.json"))
    # what lies between: the ports of the blocks become ports of the core
    script = f"read_rtlil design.il\nhierarchy -top {top}\nproc"
    if names:
        instances = " ".join(f"t:{module}" for module in names.values())
        script += f"\nexpose -evert {instances}"
    rest = _map(folder, script, top, target, "between.json")
    return {**found, "(top)": count(target, rest)}


def total(folder: Path, top: str, target: Target, stub: str) -> Mapped:
    """Resources of the whole core, flattened, and of its wrapper.

    Reads ``design.il`` and ``wrapper.v`` in ``folder``, writes ``netlist.json`` to place: the
    wrapper around the core, each mapped by itself.

    Parameters
    ----------
    stub : str
        Verilog of an empty module with the core's ports.
    """
    cells = _map(folder, f"read_rtlil design.il\nhierarchy -top {top}", top, target, "total.json")
    (folder / "stub.v").write_text(stub)
    script = f"read_verilog -lib stub.v\nread_verilog wrapper.v\nhierarchy -check -top {WRAPPER}"
    around = _map(folder, script, WRAPPER, target, "wrapper.json")
    around.pop(top, None)
    run_yosys(
        f"read_rtlil {WRAPPER}.mapped.il\ndelete {top}\nread_rtlil {top}.mapped.il\n"
        f"hierarchy -top {WRAPPER}\nwrite_json netlist.json\n",
        folder,
    )
    packed = _pack(folder / "netlist.json", target)
    return Mapped(count(target, cells), count(target, around), dict(sorted(cells.items())), packed)


def memories(folder: Path, top: str) -> list[dict[str, Any]]:
    """Memories by instance: width, depth and bits. Reads ``design.il`` in ``folder``."""
    script = (
        f"read_rtlil design.il\nhierarchy -top {top}\nproc -norom\nflatten\nopt_clean\n"
        "memory_collect\nselect t:$mem_v2\nwrite_json -selected memories.json\n"
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
