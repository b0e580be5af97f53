"""Programs that need no more than finding: simulators, compilers, place and route, solvers."""

from collections.abc import Sequence
from pathlib import Path

from attnsieve.gen.tools.environment import tool_environment, which
from attnsieve.gen.tools.process import ToolError, run

__all__ = ["run_compiler", "run_iverilog", "run_nextpnr", "run_program", "run_sta"]


def run_program(
    name: str,
    arguments: Sequence[str | Path],
    cwd: str | Path | None = None,
    *,
    stdin: str = "",
    timeout: float | None = None,
    check: bool = True,
) -> str:
    """Run a tool by its usual name and return what it printed.

    Raises
    ------
    MissingToolError
        It is not installed; the message names what to install.
    ToolError
        It failed.
    """
    argv = [which(name), *arguments]
    env = tool_environment()
    return run(argv, cwd=cwd, env=env, stdin=stdin, timeout=timeout, check=check, name=name)


def run_iverilog(
    arguments: Sequence[str | Path], cwd: str | Path | None = None, timeout: float | None = None
) -> str:
    """Run Icarus Verilog's compiler."""
    return run_program("iverilog", arguments, cwd, timeout=timeout)


def run_compiler(
    arguments: Sequence[str | Path],
    cwd: str | Path | None = None,
    *,
    cached: bool = True,
    timeout: float | None = None,
) -> str:
    """Run g++, through ccache when that is installed and ``cached`` is set."""
    compiler = which("g++")
    if cached and "OBJCACHE" in (env := tool_environment()):
        argv = [env["OBJCACHE"], compiler, *arguments]
        return run(argv, cwd=cwd, env=env, timeout=timeout, name="g++")
    return run_program("g++", arguments, cwd, timeout=timeout)


def run_nextpnr(
    family: str,
    arguments: Sequence[str | Path],
    cwd: str | Path | None = None,
    timeout: float | None = None,
) -> str:
    """Run nextpnr for a family, ``ecp5`` or ``ice40``.

    The first run after installation compiles the program, which takes some twenty seconds.
    """
    return run_program(f"nextpnr-{family}", arguments, cwd, timeout=timeout)


def run_sta(script: str, cwd: str | Path | None = None, timeout: float | None = None) -> str:
    """Run an OpenSTA script and return its log.

    OpenSTA goes on after an error and exits 0: its log is searched instead.

    Raises
    ------
    ToolError
        The log holds an error.
    """
    log = run_program(
        "sta", ["-no_init", "-no_splash", "-exit", "/dev/stdin"], cwd, stdin=script, timeout=timeout
    )
    for line in log.splitlines():
        if line.startswith("Error"):
            raise ToolError(f"sta: {line.strip()}", log)
    return log
