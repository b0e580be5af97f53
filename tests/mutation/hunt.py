"""Plants bugs in a copy of the project and runs tests there."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .bug import Bug

__all__ = ["Hunter", "PlantError", "Verdict", "plant"]

ROOT = Path(__file__).parents[2]
_COPIED = ("hdl", "gen", "sim", "tests", "docs", "pyproject.toml")
_CODE = ("hdl", "gen", "sim")


class PlantError(ValueError):
    """The text to replace is not there exactly once, or what replaces it is no change."""


@dataclass(frozen=True)
class Verdict:
    """How a bug fared."""

    caught: bool
    text: str  #: the test that failed and how, or why the bug does not count as caught


def plant(source: str, bug: Bug) -> str:
    """The source with the bug."""
    found = source.count(bug.old)
    if found != 1:
        raise PlantError(
            f"{bug}: the text must occur exactly once in hdl/{bug.file}, not {found} times: "
            f"{bug.old!r}"
        )
    mutated = source.replace(bug.old, bug.new)
    if mutated == source:
        raise PlantError(f"{bug}: nothing is changed")
    compile(mutated, bug.file, "exec")  # a bug in hardware, not in Python
    return mutated


class Hunter:
    """A copy of the project in a temporary folder, and a process that runs tests in it.

    Parameters
    ----------
    root : Path
        Checkout to copy.
    seconds : float
        A run of tests that takes longer has hung.
    """

    def __init__(self, *, root: Path = ROOT, seconds: float = 300) -> None:
        self.seconds = seconds
        self._sound: dict[str, bool] = {}  # whether a test passes without a bug
        self._folder = tempfile.TemporaryDirectory(prefix="attnsieve-mutation-")
        self.copy = Path(self._folder.name).resolve()
        ignore = shutil.ignore_patterns("__pycache__", "*.pyc")
        for name in _COPIED:
            source = root / name
            if source.is_dir():
                shutil.copytree(source, self.copy / name, ignore=ignore)
            else:
                shutil.copy(source, self.copy / name)
        package = self.copy / "attnsieve"
        package.mkdir()
        (package / "__init__.py").touch()
        for name in _CODE:
            (package / name).symlink_to(self.copy / name, target_is_directory=True)
        self._worker = subprocess.Popen(
            [sys.executable, "-W", "ignore", self.copy / "tests" / "mutation" / "worker.py"],
            cwd=self.copy,
            env=os.environ | {"PYTEST_ADDOPTS": "", "PYTHONPATH": str(self.copy)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def close(self) -> None:
        """End the process and remove the copy."""
        assert self._worker.stdin is not None
        assert self._worker.stdout is not None
        self._worker.stdin.close()
        self._worker.wait()
        self._worker.stdout.close()
        self._folder.cleanup()

    def run(self, arguments: Iterable[str]) -> dict[str, Any]:
        """Run tests to the first failure."""
        assert self._worker.stdin is not None
        assert self._worker.stdout is not None
        request = {"arguments": list(arguments), "seconds": self.seconds}
        self._worker.stdin.write(json.dumps(request) + "\n")
        self._worker.stdin.flush()
        answer = self._worker.stdout.readline()
        if not answer:
            raise RuntimeError(f"the process that runs tests has ended: {self._worker.wait()}")
        return json.loads(answer)

    def sound(self, test: str) -> bool:
        """Whether a test passes without a bug; each is run once."""
        if test not in self._sound:
            self._sound[test] = self.run([test])["passed"] == [test]
        return self._sound[test]

    def hunt(self, bug: Bug) -> Verdict:
        """Plant a bug, run its tests, take it out again."""
        path = self.copy / "hdl" / bug.file
        source = path.read_text()
        mutated = plant(source, bug)
        try:
            self._write(path, mutated)
            answer = self.run(bug.arguments)
        finally:
            self._write(path, source)
        if not answer["ended"]:
            return Verdict(False, f"the tests hang for {self.seconds} s")
        if not answer["failed"]:
            return Verdict(False, f"{len(answer['passed'])} tests pass")
        test, kind, text = answer["failed"][0]
        if kind != "assertion":
            return Verdict(False, f"{test} fails, but not in an assertion: {text}")
        if not self.sound(test):
            return Verdict(False, f"{test} fails without the bug too")
        return Verdict(True, f"{test}: {text.splitlines()[0] if text else ''}")

    @staticmethod
    def _write(path: Path, source: str) -> None:
        """Write a module, and forget what was compiled from it."""
        path.write_text(source)
        for compiled in (path.parent / "__pycache__").glob(f"{path.stem}.*.pyc"):
            compiled.unlink()
