"""What the tests of faults share: wrong registers, status codes of bus errors, where is written."""

import numpy as np

from attnsieve.hdl.control.status import StatusCode
from attnsieve.sim.bench.jobs import memories
from attnsieve.sim.bench.memory import Stalls, Timing
from attnsieve.sim.bench.program import Case

__all__ = ["CODES", "LIMIT", "WRONG", "assert_only_outputs_written", "case"]

LIMIT = 60_000
WRITTEN = 2

#: By whether a write failed, and its response.
CODES = {
    (False, 2): StatusCode.READ_SLVERR,
    (False, 3): StatusCode.READ_DECERR,
    (True, 2): StatusCode.WRITE_SLVERR,
    (True, 3): StatusCode.WRITE_DECERR,
}

#: Registers of causal jobs of 5 keys on a tiny core that make them wrong.
WRONG = {
    StatusCode.ZERO_LENGTH: [
        {"QUERIES": 0}, {"KEYS": 0}, {"HEADS": 0}, {"KV_HEADS": 0},
    ],
    StatusCode.SIZE_OVER_BUILD: [
        {"QUERIES": 65}, {"KEYS": 65}, {"HEADS": 17}, {"HEAD_DIM": 48},
        {"KEYS": 65535}, {"HEAD_DIM": 65520},
    ],
    StatusCode.MISALIGNED: [
        {f"{tensor}_{kind}": 0x1004} for tensor in "QKVO" for kind in ("BASE", "STRIDE")
    ],
    StatusCode.BAD_HEAD_DIM: [{"HEAD_DIM": 0}, {"HEAD_DIM": 8}, {"HEAD_DIM": 24}],
    StatusCode.BAD_GROUP: [{"HEADS": 1, "KV_HEADS": 2}, {"HEADS": 5, "KV_HEADS": 2}],
    StatusCode.BAD_COUNT: [{"QUERIES": 6}],  # causal, more queries than keys
    StatusCode.BAD_THRESHOLD: [{"HEAD_TABLE": 0x7FFF}],
    StatusCode.ADDRESS_WRAP: [
        {"Q_BASE": 0xFFFFFFE0}, {"O_BASE": 0xFFFFFF80}, {"K_BASE": 0xFFFFFFE0},
        {"V_BASE": 0xFFFFFFE0}, {"Q_STRIDE": 0xFFFFF000}, {"O_STRIDE": 0xFFFFF000},
    ],
}  # fmt: skip


def case(image, operations, *, faults=(), stalls=0.0, timing=None):
    """A program on the memory of an image, which answers 20 cycles late."""
    timing = timing or Timing(latency=20, bytes_per_cycle=image.params.beat_bytes)
    return Case(memories(image), operations, timing, Stalls.everywhere(stalls, 3), faults)


def assert_only_outputs_written(image, m):
    """Bytes written lie in outputs, and nothing else has changed."""
    touched = image.linear_from([row & WRITTEN for row in m.touched])
    for job in image.jobs:
        job.tensors["o"].view(touched)[...] = 0
    assert not touched.any(), f"first stray write at {np.flatnonzero(touched)[0]:#x}"
