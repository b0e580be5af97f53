"""Status codes of a finished job."""

from __future__ import annotations

from amaranth.lib import enum

__all__ = ["StatusCode"]


class StatusCode(enum.Enum, shape=4):
    """How a job ended. Refused jobs (1 to 7, 14) touch no memory."""

    OK = 0
    ZERO_LENGTH = 1
    SIZE_OVER_BUILD = 2
    MISALIGNED = 3
    BAD_HEAD_DIM = 4
    BAD_GROUP = 5
    BAD_COUNT = 6
    BAD_THRESHOLD = 7
    START_WHILE_BUSY = 8
    READ_SLVERR = 9
    READ_DECERR = 10
    WRITE_SLVERR = 11
    WRITE_DECERR = 12
    ABORTED = 13
    ADDRESS_WRAP = 14
    WATCHDOG = 15
