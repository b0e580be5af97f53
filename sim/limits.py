"""What a job cannot do without, in cycles: limit_cycles, limit_ratio and job_ratio.

Everything here comes from the golden model's counts and from the memory's rates, never from
counters of the hardware.
"""

from __future__ import annotations

from dataclasses import dataclass

from attnsieve.hdl.params import CoreParams
from attnsieve.sim.bench.memory import Timing

__all__ = ["GRANULE", "Necessary", "granules_per_cycle", "limit_cycles", "ratios", "tail_cycles"]

#: Bytes of a memory granule.
GRANULE = 32


def granules_per_cycle(params: CoreParams, timing: Timing) -> float:
    """32-byte granules that all channels move in a cycle, reads and writes together."""
    return params.channels * min(params.beat_bytes, timing.bytes_per_cycle) / GRANULE


@dataclass(frozen=True, kw_only=True)
class Necessary:
    """Work that a job or several jobs need.

    Parameters
    ----------
    macs_qk, macs_pv : int
        Multiplications of the two arrays: head_dim times unmasked pairs, and times kept values.
    granules : int
        32-byte granules read and written.
    slices : int
        Slices of K that bit-serial units need to decide about all pairs: they do the work of the
        first array.
    """

    macs_qk: int
    macs_pv: int
    granules: int
    slices: int = 0


def limit_cycles(params: CoreParams, timing: Timing, work: Necessary) -> int:
    """The largest over resources of necessary work divided by rate, rounded up."""
    rate = granules_per_cycle(params, timing)
    scores = -(-work.macs_qk // params.lanes)
    if params.slice_units:
        scores = -(-work.slices // params.slice_units)
    return max(
        scores,
        -(-work.macs_pv // params.lanes),
        int(-(-work.granules // rate)),
    )


def tail_cycles(params: CoreParams, timing: Timing, head_dim: int, last_values: int) -> int:
    """What one isolated job cannot hide.

    The memory's latency twice, the prob·V cycles of its last row, which multiplies ``last_values``
    values, and 64 cycles; where values are selected, their top-k and the latency of their fetch:
    96 cycles and the memory's latency once more.
    """
    select = 96 + timing.latency if params.value_lanes else 0
    return 2 * timing.latency + -(-head_dim * last_values // params.lanes) + 64 + select


def ratios(limit: int, tail: int, cycles: int) -> tuple[float, float]:
    """(limit_ratio, job_ratio): the necessary share of ``cycles``, without and with tail."""
    if cycles < 1:
        raise ValueError(f"Cycles must be positive, not {cycles!r}")
    return limit / cycles, (limit + tail) / cycles
