"""The folders, the package list and the import rules agree."""

import ast
import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CONF = tomllib.loads((ROOT / "pyproject.toml").read_text())
SETUPTOOLS = CONF["tool"]["setuptools"]
FOLDERS = {name: ROOT / folder for name, folder in SETUPTOOLS["package-dir"].items()}


def sources(folder):
    return sorted(p for p in folder.rglob("*.py") if "__pycache__" not in p.parts)


def imported(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield "." * node.level + (node.module or "")


def test_every_package_is_listed():
    want = {
        ".".join((name, *p.parent.relative_to(folder).parts))
        for name, folder in FOLDERS.items()
        for p in folder.rglob("__init__.py")
    }
    assert SETUPTOOLS["packages"] == sorted(want)


def test_every_folder_with_modules_is_a_package():
    for folder in FOLDERS.values():
        for path in sources(folder):
            assert (path.parent / "__init__.py").exists(), f"{path.parent} has no __init__.py"


def test_every_module_says_what_it_is():
    for folder in FOLDERS.values():
        for path in sources(folder):
            assert ast.get_docstring(ast.parse(path.read_text())), f"{path} has no docstring"


def test_packages_import_by_full_name():
    for folder in FOLDERS.values():
        for path in sources(folder):
            assert not [m for m in imported(path) if m.startswith(".")], f"{path}: relative import"


def test_no_init_in_the_root():
    assert not (ROOT / "__init__.py").exists()


def test_hdl_imports_neither_gen_nor_sim():
    for path in sources(FOLDERS["attnsieve.hdl"]):
        bad = [m for m in imported(path) if re.match(r"attnsieve\.(gen|sim)\b", m)]
        assert not bad, f"{path} imports {bad}"


def test_no_folder_is_imported_by_its_bare_name():
    for folder in (*FOLDERS.values(), ROOT / "tests"):
        for path in sources(folder):
            bad = [m for m in imported(path) if m.split(".")[0] in ("hdl", "gen", "sim")]
            assert not bad, f"{path} imports {bad}"


def test_no_module_is_loaded_twice():
    for name, module in list(sys.modules.items()):
        path = getattr(module, "__file__", None)
        for package, folder in FOLDERS.items():
            if path and Path(path).resolve().is_relative_to(folder):
                assert name == package or name.startswith(package + "."), f"{path} is {name}"


def test_typing_links_lead_to_the_folders():
    for name, folder in FOLDERS.items():
        link = ROOT / ".typing" / name.replace(".", "/")
        assert link.is_symlink()
        assert not link.readlink().is_absolute()
        assert link.resolve() == folder


def test_installed_version_is_the_declared_one():
    assert metadata.version("attnsieve") == CONF["project"]["version"]


def test_default_dependencies_hold_no_framework():
    names = {re.match(r"[A-Za-z0-9_-]+", d).group() for d in CONF["project"]["dependencies"]}
    assert not names & {"torch", "transformers", "sentence-transformers", "onnxruntime"}


def test_every_dependency_says_why():
    text = (ROOT / "pyproject.toml").read_text()
    block = text[text.index("dependencies = [") : text.index("[project.scripts]")]
    lines = [line for line in block.splitlines() if re.match(r'    "[a-z]', line)]
    assert len(lines) > 10
    assert [line for line in lines if "#" not in line] == ['    "attnsieve[sim,synth,formal]",']


@pytest.mark.full
def test_the_wheel_holds_every_module(tmp_path):
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--no-deps", "-q", "-w", tmp_path, ROOT], check=True
    )
    (wheel,) = tmp_path.glob("attnsieve-*.whl")
    listing = subprocess.run(
        [sys.executable, "-m", "zipfile", "-l", wheel], check=True, capture_output=True, text=True
    ).stdout
    for name, folder in FOLDERS.items():
        for path in (*sources(folder), folder / "py.typed"):
            member = f"{name.replace('.', '/')}/{path.relative_to(folder)}"
            assert member in listing, f"{member} is not in the wheel"
