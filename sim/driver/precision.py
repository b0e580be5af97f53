"""Widths of K and V in memory, and what of them is read only when it is needed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from attnsieve.sim.driver.trace_like import TraceLike
from attnsieve.sim.errors import InputError

__all__ = ["PLAIN", "Precision", "threshold_code"]

_ONE = 1 << 16


def threshold_code(threshold: float) -> int:
    """A threshold in 0..1 as UQ0.16, rounded to nearest; 0 stands for none, so that others are
    1..65535."""
    if threshold == 0:
        return 0
    return min(max(round(threshold * _ONE), 1), _ONE - 1)


@dataclass(frozen=True, kw_only=True)
class Precision:
    """What jobs have beside their operand width; see `attnsieve.sim.golden.job.Job`.

    Parameters
    ----------
    key_bits, value_bits : int
        Widths of K, of its first plane if it has two, and of V; 0: that of Q.
    threshold : int
        UQ0.16: rows whose largest probability is less are computed again with the second plane of
        K; 0: K has one plane.
    demand : bool
        Rows of V are read once a row keeps them.
    planar : bool
        K lies in planes of slices, each of which is read while a row needs it.
    """

    key_bits: int = 0
    value_bits: int = 0
    threshold: int = 0
    demand: bool = False
    planar: bool = False

    @property
    def of_job(self) -> dict[str, Any]:
        """The same by the names of a job's fields."""
        return vars(self).copy()

    def check(self, trace: TraceLike) -> None:
        """Raise InputError if the trace's jobs cannot have it: rows wait only in jobs of one
        query."""
        queries = trace.q.shape[2]
        for name in ("threshold", "demand", "planar"):
            if getattr(self, name) and queries > 1 and not trace.decode:
                raise InputError(
                    f"{name} needs jobs of one query: a decode trace, not one with {queries} "
                    "queries in a job"
                )


#: All operands as wide as Q, and read whole.
PLAIN = Precision()
