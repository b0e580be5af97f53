"""What plans take of a trace."""

from __future__ import annotations

from typing import Protocol

import numpy as np

__all__ = ["TraceLike"]


class TraceLike(Protocol):
    """The parts of a trace that a plan needs; see docs/user for the file format."""

    @property
    def q(self) -> np.ndarray: ...
    @property
    def k(self) -> np.ndarray: ...
    @property
    def v(self) -> np.ndarray: ...
    @property
    def key_valid(self) -> np.ndarray | None: ...
    @property
    def query_valid(self) -> np.ndarray | None: ...
    @property
    def causal(self) -> bool: ...
    @property
    def decode(self) -> bool: ...
