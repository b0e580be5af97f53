"""Compiling Verilog into a shared library with the harness, once per content."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Literal

from attnsieve.gen import tools
from attnsieve.gen.tools.yosys import data_directory, run_yosys
from attnsieve.sim.compiled.adapter import (
    Model,
    block_adapter,
    core_adapter,
    cxxrtl_model,
    verilator_model,
)
from attnsieve.sim.compiled.initial import compact_zeros, without_zeros
from attnsieve.sim.compiled.ports import CorePorts
from attnsieve.sim.errors import InputError

__all__ = ["BACKENDS", "DEFAULT_BACKEND", "Backend", "build", "build_block"]

Backend = Literal["verilator", "cxxrtl"]
BACKENDS: tuple[Backend, ...] = ("verilator", "cxxrtl")
DEFAULT_BACKEND: Backend = "verilator"

#: Variable with the optimisation level of what Verilator generates, 0 to 3: a core that runs for a
#: few thousand cycles is ready sooner with 1.
_OPTIMISE = "ATTNSIEVE_OPTIMISE"
_KEEP = 24  # libraries in the cache before the least recently used go
_FLAGS = ("-std=c++17", "-fPIC", "-march=native", "-fno-plt", "-DNDEBUG", "-w")
_VERILATOR_FLAGS = ("--cc", "-O3", "--x-assign", "fast", "--x-initial", "fast", "--no-assert",
                    "-Wno-fatal", "-Wno-lint", "-Wno-style", "--output-split", "20000",
                    "--no-timing", "--prefix", "Vcore", "--Mdir", ".")  # fmt: skip


@cache
def _harness(main: str) -> dict[str, str]:
    """Text of each C++ source of the harness, by name; ``main`` is kept as ``harness.cc``."""
    folder = resources.files("attnsieve.sim.compiled") / "cxx"
    names = sorted(f.name for f in folder.iterdir() if f.name.endswith(".h"))
    sources = {name: folder / name for name in names} | {"harness.cc": folder / main}
    return {name: file.read_text(encoding="utf-8") for name, file in sources.items()}


@cache
def _machine() -> str:
    """What -march=native means here: a cache may be shared by machines."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return ""
    return next((line for line in lines if line.startswith("flags")), "")


def _level() -> str:
    """Option of the compiler for what Verilator generates."""
    level = os.environ.get(_OPTIMISE, "2")
    if level not in ("0", "1", "2", "3"):
        raise InputError(f"{_OPTIMISE} must be 0, 1, 2 or 3, not {level!r}")
    return f"-O{level}"


def _key(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:24]


def _compile(jobs: Sequence[tuple[Path, str]], flags: Sequence[str], cwd: Path) -> list[str]:
    """Compile sources, each with its optimisation level, on two cores; names of the objects."""

    def one(job: tuple[Path, str]) -> str:
        source, level = job
        target = f"{source.stem}.o"
        tools.run_compiler([level, *_FLAGS, *flags, "-c", source, "-o", target], cwd, cached=False)
        return target

    with ThreadPoolExecutor(max_workers=min(4, os.cpu_count() or 1)) as pool:
        # The longest first, so that none is left over at the end.
        order = sorted(jobs, key=lambda job: -job[0].stat().st_size)
        return list(pool.map(one, order))


def _runtime(trace: bool) -> list[Path]:
    """Verilator's own runtime, compiled once for all models."""
    include = tools.verilator_root() / "include"
    names = ["verilated", "verilated_threads", *(["verilated_vcd_c"] if trace else [])]
    version = tools.versions(["verilator", "g++"])
    folder = tools.cache_directory("verilator", _key(version, _FLAGS, _machine()))
    objects = [folder / f"{name}.o" for name in names]
    missing = [n for n, o in zip(names, objects, strict=True) if not o.exists()]
    if missing:
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            sources = [(include / f"{name}.cpp", "-O2") for name in missing]
            flags = ["-I", str(include), "-I", str(include / "vltstd")]
            for name in _compile(sources, flags, Path(scratch)):
                os.replace(Path(scratch) / name, folder / name)
    return objects


def _build_verilator(verilog: str, top: str, trace: bool, work: Path) -> None:
    (work / "core.v").write_text(compact_zeros(verilog))
    options = ["--trace"] if trace else []
    tools.run_verilator([*_VERILATOR_FLAGS, *options, "--top-module", top, "core.v"], work)
    include = tools.verilator_root() / "include"
    # Constructors and resets run once: they need no optimisation.
    generated = sorted(work.glob("Vcore*.cpp"))
    level = _level()
    jobs = [(p, "-O0" if "Slow" in p.name or "Syms" in p.name else level) for p in generated]
    jobs.append((work / "harness.cc", "-O2"))
    flags = ["-I", ".", "-I", str(include), "-I", str(include / "vltstd")]
    objects: list[str | Path] = [*_compile(jobs, flags, work), *_runtime(trace)]
    tools.run_compiler(["-shared", "-o", "core.so", *objects, "-pthread"], work, cached=False)


def _build_cxxrtl(verilog: str, top: str, trace: bool, work: Path) -> None:
    (work / "core.v").write_text(without_zeros(verilog))
    debug = "-g3" if trace else "-g0"
    run_yosys(
        f"read_verilog core.v\nhierarchy -top {top}\nproc\nflatten\nopt_clean\n"
        f"write_cxxrtl -header -O6 {debug} core.cc\n",
        work,
        quiet=True,
    )
    include = data_directory() / "include" / "backends" / "cxxrtl" / "runtime"
    flags = ["-I", ".", "-I", str(include)]
    objects = _compile([(work / "core.cc", "-O1"), (work / "harness.cc", "-O2")], flags, work)
    tools.run_compiler(["-shared", "-o", "core.so", *objects], work, cached=False)


def _prune(folder: Path) -> None:
    """Keep the cache from growing without end."""
    entries = sorted(folder.glob("*/core.so"), key=lambda p: p.stat().st_mtime)
    for old in entries[:-_KEEP]:
        shutil.rmtree(old.parent, ignore_errors=True)


def build(
    verilog: str,
    top: str,
    *,
    backend: Backend = DEFAULT_BACKEND,
    trace: bool = False,
    progress: Callable[[str], None] | None = None,
) -> Path:
    """Shared library of a core with the harness around it.

    The result is kept in the user's cache folder under a hash of the Verilog, the harness, the
    flags and the tools' versions: a second call with the same inputs returns at once.

    Parameters
    ----------
    verilog : str
        Verilog as yosys writes it.
    top : str
        The core's module.
    backend : str
        ``verilator`` or ``cxxrtl``.
    trace : bool
        Able to write waveforms (slower to build and to run).
    progress : callable
        Gets a line before work that takes long.

    Returns
    -------
    Path
        The library.

    Raises
    ------
    ValueError
        The Verilog has no such module, or its ports are not those of a core.
    MissingToolError, ToolError
        A compiler is not installed, or failed.
    """
    adapter = core_adapter(CorePorts.of(verilog, top), _model(top, backend, trace))
    harness = {**_harness("harness.cc"), "adapter.h": adapter}
    return _library(verilog, top, backend, trace, harness, progress)


def build_block(
    verilog: str,
    top: str,
    inputs: Sequence[str],
    outputs: Sequence[str],
    *,
    backend: Backend = DEFAULT_BACKEND,
    progress: Callable[[str], None] | None = None,
) -> Path:
    """Shared library of a block whose ports are streams, kept and made as `build` does.

    Parameters
    ----------
    verilog, top, backend, progress
        See `build`.
    inputs, outputs : sequence of str
        Streams, each with ports ``*__valid``, ``*__ready`` and ``*__payload``.
    """
    adapter = block_adapter(inputs, outputs, _model(top, backend, False))
    harness = {**_harness("block.cc"), "adapter.h": adapter}
    return _library(verilog, top, backend, False, harness, progress)


def _model(top: str, backend: Backend, trace: bool) -> Model:
    if backend not in BACKENDS:
        raise ValueError(f"Back end must be one of {', '.join(BACKENDS)}, not {backend!r}")
    if backend == "verilator":
        return verilator_model(trace=trace)
    return cxxrtl_model(top, trace=trace)


def _library(
    verilog: str,
    top: str,
    backend: Backend,
    trace: bool,
    harness: Mapping[str, str],
    progress: Callable[[str], None] | None,
) -> Path:
    """The library of a model and its harness, from the cache or made now."""
    names = ["g++", "verilator" if backend == "verilator" else "yosys"]
    flags = (_FLAGS, _VERILATOR_FLAGS, _level())
    key = _key(verilog, top, backend, trace, harness, flags, tools.versions(names), _machine())
    folder = tools.cache_directory("compiled") / f"{top}-{backend}-{key}"
    library = folder / "core.so"
    if library.exists():
        os.utime(library)
        return library
    if progress is not None:
        progress(f"compiling {top} with {backend}")
    _prune(folder.parent)
    work = Path(tempfile.mkdtemp(prefix="work-", dir=folder.parent))
    try:
        for name, text in harness.items():
            (work / name).write_text(text)
        run = _build_verilator if backend == "verilator" else _build_cxxrtl
        run(verilog, top, trace, work)
        folder.mkdir(exist_ok=True)
        os.replace(work / "core.so", library)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return library
