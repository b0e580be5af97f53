"""Parameters of tests that take long: some in every run, the others in the full suite."""

from collections.abc import Iterable
from typing import Any

import pytest

__all__ = ["mostly_full"]


def mostly_full(cases: Iterable[Any], *often: Any) -> list[Any]:
    """All cases, for ``parametrize``; those that are not among ``often`` only in the full suite."""
    cases = list(cases)
    missing = [case for case in often if case not in cases]
    if missing:
        raise ValueError(f"{missing} are not among {cases}")
    return [case if case in often else pytest.param(case, marks=pytest.mark.full)
            for case in cases]  # fmt: skip
