"""A package: everything that a project needs to use a core, in one folder."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from attnsieve.gen import tools
from attnsieve.gen.config import Configuration
from attnsieve.gen.lint import WAIVERS, waiver_file
from attnsieve.gen.output import output_directory
from attnsieve.gen.package.texts import driver_texts, package_texts
from attnsieve.gen.verilog import core_ports, generate_verilog

__all__ = ["manifest", "package_files", "write_package"]


def _quiet(step: str) -> None:
    pass


def package_files(
    config: Configuration, folder: Path, progress: Callable[[str], None] = _quiet
) -> None:
    """Write the package of a configuration into a folder."""
    top = config.top
    progress("Verilog")
    verilog = generate_verilog(config)
    found = core_ports(config)
    progress("registers")
    registers = _registers(config, folder / "registers")
    files = {
        f"{top}.v": "the core: Verilog 2005, one file, no macros",
        f"{top}.core": "FuseSoC core file; target `lint` runs Verilator",
        f"{top}.vlt": f"lint waivers for Verilator, {len(WAIVERS)} rules with reasons",
        f"{top}.sdc": "clock constraint",
        "config.toml": "the configuration: `attnsieve generate config.toml` makes this again",
        "manifest.json": "parameters, ports, versions of tools, SHA-256 of every file",
        **registers,
        "driver/attnsieve.h": "C driver, C99, freestanding",
        "driver/attnsieve.c": "its functions",
        "driver/example.c": "a job from tensors to result, and `example.h`",
    }
    texts = {
        f"{top}.v": verilog,
        f"{top}.vlt": waiver_file(),
        "config.toml": config.as_toml(),
        **package_texts(config, found, files),
        **{f"driver/{name}": text for name, text in driver_texts(config.core, top).items()},
    }
    for name, text in texts.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    record = manifest(config, folder)
    (folder / "manifest.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def _registers(config: Configuration, folder: Path) -> dict[str, str]:
    """Write the register files; what each is for, by path in the package."""
    from attnsieve.gen.registers import export

    export(config.core, folder, name=config.top)
    return {"registers/": "SystemRDL, C header, HTML, Markdown, IP-XACT"}


def manifest(config: Configuration, folder: Path) -> dict[str, Any]:
    """Contents of manifest.json: nothing in it depends on the time or the place."""
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p.name != "manifest.json")
    params = config.core
    return {
        "name": config.name,
        "top": config.top,
        "clock": "clk",
        "reset": {"name": "rst", "active": "high", "kind": "synchronous"},
        "config": config.as_dict(),
        "derived": {
            "multipliers": 2 * params.lanes,
            "head_dims": list(params.head_dims),
            "alignment": params.alignment,
            "unit_bytes": params.unit_bytes,
        },
        "ports": [
            {"name": p.name, "direction": "output" if p.output else "input", "width": p.width}
            for p in core_ports(config)
        ],
        "tool_versions": tools.versions(["attnsieve", "amaranth", "yosys"]),
        "sha256": {
            p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest()
            for p in files
        },
    }


def write_package(
    config: Configuration, path: str | Path, progress: Callable[[str], None] = _quiet
) -> Path:
    """Write the package of a configuration to ``path``, whole or not at all.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    UserError
        The folder cannot be written.
    """
    with output_directory(path) as folder:
        package_files(config, folder, progress)
    return Path(path)
