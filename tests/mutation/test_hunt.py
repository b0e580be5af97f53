"""The hunter itself: what counts as caught, and what does not."""

from __future__ import annotations

import pytest

from .bug import Bug
from .hunt import PlantError, plant

TESTS = "lib/test_geometry.py::test_legal_parts"


def bug(old, new, tests=TESTS):
    return Bug("lib/geometry.py", old, new, "is a bug of a test", tests)


def test_text_must_be_there_exactly_once():
    where = r"exactly once in hdl/lib/geometry\.py"
    with pytest.raises(PlantError, match=where + r", not 0 times: 'x'$"):
        plant("a b a", bug("x", "y"))
    with pytest.raises(PlantError, match=where + r", not 2 times: 'a'$"):
        plant("a b a", bug("a", "y"))
    with pytest.raises(PlantError, match=r"nothing is changed$"):
        plant("a b a", bug("b", "b"))


def test_python_must_stay_valid():
    with pytest.raises(SyntaxError):
        plant("a = 1", bug("1", "("))


def test_caught_survived_and_broken(hunter):
    where = "return tuple(params.parts(d) for d in params.head_dims)"
    caught = hunter.hunt(bug(where, "return tuple(params.head_dims)"))
    assert caught.caught
    assert "test_legal_parts" in caught.text
    survived = hunter.hunt(bug(where, f"{where}  # the same"))
    assert survived.text == "1 tests pass"
    broken = hunter.hunt(bug(where, "raise RuntimeError('no')"))
    assert "not in an assertion: RuntimeError: no" in broken.text
    assert not broken.caught
    assert not survived.caught
    unimportable = hunter.hunt(bug("from math import gcd", "from math import gcdd"))
    assert "not in an assertion" in unimportable.text


def test_tests_must_be_there(hunter):
    missing = bug("parts - 1)", "parts)", tests="lib/test_geometry.py::test_that_is_missing")
    verdict = hunter.hunt(missing)
    assert not verdict.caught
    assert "pytest: <ExitCode.USAGE_ERROR: 4>" in verdict.text


def test_tests_must_pass_without_the_bug(hunter):
    path = hunter.copy / "tests" / "hdl" / "lib" / "test_wrong.py"
    path.write_text("def test_wrong():\n    assert False\n")
    verdict = hunter.hunt(bug("parts - 1)", "parts)", tests="lib/test_wrong.py"))
    assert not verdict.caught
    assert verdict.text.endswith("test_wrong fails without the bug too")
