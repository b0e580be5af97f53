"""Running an external program: one-line errors, time limits, no orphans."""

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from attnsieve.gen.errors import UserError

__all__ = ["MissingToolError", "ToolError", "run"]


class MissingToolError(UserError):
    """A program that a command needs is not installed; the message says how to get it."""


class ToolError(Exception):
    """An external program failed.

    The message is one line: the program, and the first line of its output that names an error.

    Attributes
    ----------
    log : str
        Everything that the program printed.
    """

    def __init__(self, message: str, log: str = "") -> None:
        super().__init__(message)
        self.log = log


def _kill(process: "subprocess.Popen[str]") -> None:
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()


def _first_error(log: str) -> str:
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    for line in lines:
        if line.lower().startswith(("error", "%error", "fatal")) or ": error" in line.lower():
            return line
    return lines[-1] if lines else "no output"


def run(
    argv: Sequence[str | Path],
    *,
    cwd: str | Path | None = None,
    env: Mapping[str, str] | None = None,
    stdin: str = "",
    timeout: float | None = None,
    check: bool = True,
    name: str | None = None,
) -> str:
    """Run a program to its end and return what it printed.

    The program gets a process group of its own, which is killed when the time is up or when the
    caller is interrupted: nothing outlives the call.

    Parameters
    ----------
    argv : sequence of str or Path
        Program and arguments.
    cwd : path
        Working directory; the caller's by default.
    env : mapping
        Whole environment; the caller's by default.
    stdin : str
        Text on standard input.
    timeout : float
        Seconds until the program is killed; no limit by default.
    check : bool
        Raise when the exit status is not 0.
    name : str
        Name for messages; the program's by default.

    Returns
    -------
    str
        Standard output and standard error, interleaved as written.

    Raises
    ------
    MissingToolError
        The program does not exist.
    ToolError
        The program failed or ran out of time.
    """
    command = [str(word) for word in argv]
    name = name or Path(command[0]).name
    try:
        process = subprocess.Popen(
            command,
            cwd=cwd,
            env=dict(env) if env is not None else None,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
    except FileNotFoundError as error:
        if cwd is not None and not Path(cwd).is_dir():
            raise ToolError(f"{name}: {cwd} is not a directory") from error
        raise MissingToolError(f"{name} is not installed") from error
    with process:
        try:
            log, _ = process.communicate(stdin, timeout=timeout)
        except subprocess.TimeoutExpired as error:
            _kill(process)
            log = error.output if isinstance(error.output, str) else ""
            raise ToolError(f"{name}: not done after {timeout:g} s", log) from error
        except BaseException:
            _kill(process)
            raise
    if check and process.returncode:
        status = process.returncode
        how = f"killed by signal {-status}" if status < 0 else f"exit status {status}"
        raise ToolError(f"{name}: {_first_error(log)} ({how})", log)
    return log
