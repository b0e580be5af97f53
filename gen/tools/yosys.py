"""yosys, run through its Python library pyosys: no yosys command is needed.

As a module it is a yosys command line, enough for Amaranth, sby and scripts:
``python -m attnsieve.gen.tools.yosys [-q] [-l LOG] [-p COMMANDS] [-s SCRIPT] [FILE…]``.
"""

import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from attnsieve.gen.tools.environment import module_path, tool_environment, which
from attnsieve.gen.tools.process import run

__all__ = ["data_directory", "main", "run_yosys"]

_USAGE = "usage: yosys [-V] [-q] [-Q] [-T] [-l LOG] [-o OUT] [-p COMMANDS] [-s SCRIPT] [FILE…|-]"

_FRONTENDS = {
    ".v": "read_verilog", ".sv": "read_verilog -sv", ".il": "read_rtlil", ".rtlil": "read_rtlil",
    ".json": "read_json", ".blif": "read_blif", ".aig": "read_aiger",
}  # fmt: skip

_BACKENDS = {
    ".v": "write_verilog", ".il": "write_rtlil", ".rtlil": "write_rtlil", ".json": "write_json",
    ".blif": "write_blif", ".smt2": "write_smt2", ".aig": "write_aiger", ".cc": "write_cxxrtl",
}  # fmt: skip


def run_yosys(
    script: str,
    cwd: str | Path | None = None,
    *,
    quiet: bool = False,
    timeout: float | None = None,
) -> str:
    """Run a yosys script in a process of its own.

    Parameters
    ----------
    script : str
        Commands, one per line or separated by ``;``. File names are relative to ``cwd``.
    cwd : path
        Working directory; the caller's by default.
    quiet : bool
        Leave out the log: the return value then holds what commands write to standard output, and
        warnings.
    timeout : float
        Seconds until it is stopped.

    Returns
    -------
    str
        The log.

    Raises
    ------
    MissingToolError
        pyosys is not installed.
    ToolError
        A command failed; the message holds yosys's own error line.
    """
    which("yosys")
    options = ["-q", "-"] if quiet else ["-"]
    argv = [sys.executable, "-P", "-m", "attnsieve.gen.tools.yosys", *options]
    env = tool_environment()
    return run(argv, cwd=cwd, env=env, stdin=script, timeout=timeout, name="yosys")


def data_directory() -> Path:
    """yosys's share folder: simulation models, technology libraries, CXXRTL headers."""
    which("yosys")
    package = module_path("pyosys")
    assert package is not None
    return package / "share"


def _fail(message: str) -> NoReturn:
    print(f"ERROR: {message}", file=sys.stderr)
    raise SystemExit(1)


def _read(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError as error:
        _fail(f"Can't open script file `{path}' for reading: {error.strerror}")


def _parse(argv: Sequence[str]) -> tuple[str, list[str], bool, str | None]:
    """Split a yosys command line into script, tee options, version flag and output file."""
    lines: list[str] = []
    last: list[str] = []
    tee: list[str] = []
    output: str | None = None
    words = list(argv)
    while words:
        word = words.pop(0)
        if word == "--version":
            return "", tee, True, None
        if word == "-":
            lines.append(sys.stdin.read())
            continue
        if not word.startswith("-"):
            suffix = Path(word).suffix
            if suffix == ".ys":
                lines.append(_read(word))
            elif suffix in _FRONTENDS:
                lines.append(f'{_FRONTENDS[suffix]} "{word}"')
            else:
                _fail(f"Can't guess frontend for input file `{word}'")
            continue
        for index, letter in enumerate(word[1:], start=1):
            if letter in "QTtgdv":
                continue
            if letter == "V":
                return "", tee, True, None
            if letter == "q":
                tee.append("-q")
                continue
            if letter not in "lLpso":
                _fail(f"unknown option -{letter}; {_USAGE}")
            value = word[index + 1 :] or (words.pop(0) if words else "")
            if not value:
                _fail(f"-{letter} needs a value; {_USAGE}")
            if letter in "lL":
                tee += ["-o", value]
            elif letter == "p":
                last.append(value)
            elif letter == "s":
                lines.append(_read(value))
            else:
                output = value
            break
    return "\n".join(lines + last) + "\n", tee, False, output


def main(argv: Sequence[str] | None = None) -> int:
    """Run as the yosys command line."""
    script, tee, version, output = _parse(sys.argv[1:] if argv is None else argv)
    if module_path("pyosys") is None:
        _fail("pyosys is not installed: pip install pyosys")
    from pyosys import libyosys

    if version:
        print(libyosys.yosys_maybe_version())
        return 0
    if output is not None:
        backend = _BACKENDS.get(Path(output).suffix) or _fail(f"Can't guess backend for `{output}'")
        script += f'{backend} "{output}"\n'
    design = libyosys.Design()
    # Standard input may be the script and is used up: scripts are read from a file.
    handle, path = tempfile.mkstemp(suffix=".ys", prefix="attnsieve-")
    with os.fdopen(handle, "w") as file:
        file.write(script)
    # An error ends the process inside the library: a child keeps this one alive to tidy up.
    child = os.fork()
    if child == 0:
        command = ["tee", *tee, "script", path] if tee else ["script", path]
        libyosys.Pass.call(design, command)
        libyosys.log_flush()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)
    try:
        _, status = os.waitpid(child, 0)
    finally:
        os.unlink(path)
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    _status = main()
    sys.stdout.flush()
    os._exit(_status)  # the library's destructors may fault at interpreter exit
