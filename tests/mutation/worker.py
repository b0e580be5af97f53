"""Runs pytest again and again in a copy of the project, each time in a fresh child process and to
the first failure.

Lines of JSON come in, ``{"arguments": […], "seconds": 60}``, and go out,
``{"ended": true, "passed": […], "failed": [[test, kind, text], …]}``. Modules of other projects are
loaded once and inherited by the children; modules of this project are loaded by every child anew.
Kinds of failure: ``assertion`` (also a proof), ``other`` (any other exception, a test that is not
found or cannot be imported).
"""

from __future__ import annotations

import importlib.util
import json
import os
import select
import signal
import sys
import time
from pathlib import Path

import amaranth.back.rtlil
import amaranth.lib.data
import amaranth.lib.memory
import amaranth.lib.stream
import amaranth.lib.wiring
import amaranth.sim
import numpy
import pytest

__all__ = ["main"]

_LOADED = (amaranth, numpy)
_MOST_TEXT = 2000


class _Recorder:
    """Notes how each test ended."""

    def __init__(self) -> None:
        self.passed: list[str] = []
        self.failed: list[tuple[str, str, str]] = []

    def pytest_collectreport(self, report) -> None:
        if report.failed:
            self.failed.append((report.nodeid, "other", str(report.longrepr)[-_MOST_TEXT:]))

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item, call):
        report = yield
        if report.failed:
            kinds = (AssertionError, pytest.fail.Exception)
            caught = report.when == "call" and isinstance(call.excinfo.value, kinds)
            kind = "assertion" if caught else "other"
            self.failed.append((item.nodeid, kind, call.excinfo.exconly()[:_MOST_TEXT]))
        elif report.when == "call" and report.passed:
            self.passed.append(item.nodeid)
        return report


def _child(root: Path, request: dict, answer: int) -> None:
    """In the child: run the tests and send what came out."""
    sys.path.insert(0, str(root))
    found = importlib.util.find_spec("attnsieve.hdl")
    if found is None or not str(found.origin).startswith(str(root)):
        raise RuntimeError(f"attnsieve.hdl is {found}, not in {root}")
    recorder = _Recorder()
    options = ["-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-p", "no:hypothesispytest"]
    code = pytest.main([*options, *request["arguments"]], plugins=[recorder])
    if code not in (0, 1) and not recorder.failed:
        recorder.failed.append((" ".join(request["arguments"]), "other", f"pytest: {code!r}"))
    text = json.dumps({"ended": True, "passed": recorder.passed, "failed": recorder.failed})
    with os.fdopen(answer, "w") as pipe:
        pipe.write(text)


def _run(root: Path, request: dict) -> dict:
    """Fork, and wait for the child's answer at most the time that it was given."""
    reading, writing = os.pipe()
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        os.setsid()  # a group of its own, with all tools that it starts
        null = os.open(os.devnull, os.O_RDWR)
        log = os.open(root / "log.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(null, 0)
        os.dup2(log, 1)
        os.dup2(log, 2)
        try:
            _child(root, request, writing)
            sys.stdout.flush()
        finally:
            os._exit(0)
    os.close(writing)
    parts, end = [], time.monotonic() + request["seconds"]
    while select.select([reading], [], [], max(0, end - time.monotonic()))[0]:
        part = os.read(reading, 65536)
        if not part:
            break
        parts.append(part)
    os.close(reading)
    late = time.monotonic() >= end
    if late:
        os.killpg(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    if parts and not late:
        return json.loads(b"".join(parts))
    log = (root / "log.txt").read_text(errors="replace")[-_MOST_TEXT:]
    failed = [] if late else [["pytest", "other", f"no answer: {log}"]]
    return {"ended": not late, "passed": [], "failed": failed}


def main() -> None:
    """Serve requests until the input ends."""
    root = Path.cwd()
    for line in sys.stdin:
        print(json.dumps(_run(root, json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
