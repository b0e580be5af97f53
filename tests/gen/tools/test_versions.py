"""Versions for stats.json."""

import re
from importlib import metadata

import pytest

from attnsieve.gen.tools import versions


def test_every_version_is_a_number():
    found = versions()
    assert {"python", "attnsieve", "amaranth", "numpy", "yosys"} <= set(found)
    for name, version in found.items():
        assert re.match(r"^\d+\.\d+", version), f"{name}: {version}"
    assert found["amaranth"] == metadata.version("amaranth")


def test_selection_keeps_a_fixed_order():
    assert list(versions(["numpy", "python"])) == ["python", "numpy"]


def test_unknown_name():
    with pytest.raises(ValueError, match=r"^Tools must be among python, .*, not 'nosuch'$"):
        versions(["nosuch"])
