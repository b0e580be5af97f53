"""What a planted bug is."""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = ["Bug"]


@dataclass(frozen=True)
class Bug:
    """A small change to one source file that the tests of its block must notice.

    Parameters
    ----------
    file : str
        Below ``hdl/``.
    old : str
        Source text to replace; must be there exactly once.
    new : str
        What replaces it.
    breaks : str
        What goes wrong, in a few words.
    tests : str
        Tests below ``tests/hdl/``, separated by blanks, as pytest takes them. One must fail.
    quick : bool
        Part of the quick selection.
    """

    file: str
    old: str
    new: str
    breaks: str
    tests: str
    quick: bool = False

    @property
    def block(self) -> str:
        """The block that is wrong."""
        return self.file.removesuffix(".py")

    @property
    def arguments(self) -> tuple[str, ...]:
        """Arguments of pytest, from the root of a checkout."""
        return tuple(f"tests/hdl/{name}" for name in re.split(r" (?=\w+/test_)", self.tests))

    def __str__(self) -> str:
        return f"{self.block}: {self.breaks}"
