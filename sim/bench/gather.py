"""How much of the memory's bandwidth rows from anywhere get.

As a command::

    python -m attnsieve.sim.bench.gather

The gather reader alone, in Amaranth's simulator, on channels of 256 bits with 50 cycles of latency:
rows of 32 bytes at random, and the rows that survive a pruning that favours some parts of a
sequence; 1,500 of them for each channel, and, where filling and draining count more, 160. All data
is compared. `bus` is the share of the bandwidth while units come from memory, `delivered` that
until the last of them has left in order, at a beat per cycle. A list that needs one channel more
than the others cannot have all: `limit` is what it allows. Takes ten minutes.
"""

from __future__ import annotations

import random
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import product
from typing import Any, NamedTuple

from attnsieve.hdl.axi.gather_reader import GatherReader
from attnsieve.sim.unit import run_streams
from attnsieve.sim.unit.axi_memory import AXIReadMemory
from attnsieve.sim.unit.streams import Result

__all__ = ["Share", "gather", "share", "skewed"]


def gather(
    core: dict[str, int],
    beats: Sequence[Sequence[int]],
    *,
    latency: int = 5,
    stall: Any = 0.0,
    memory_stall: float = 0.0,
    seed: int = 0,
) -> tuple[Result, list[AXIReadMemory]]:
    """Send beats of unit numbers through a reader; check what comes.

    Parameters
    ----------
    core : dict
        ``channels``, ``data_width`` and ``unit_bytes`` of the reader.

    Raises
    ------
    AssertionError
        A unit is wrong, or not in its place.
    """
    dut = GatherReader(addr_width=24, tag=8, **core)
    size, channels = core["unit_bytes"], core["channels"]

    def reader(channel: int) -> Callable[[int, int], bytes]:
        def read(address: int, count: int) -> bytes:
            number = address // size * channels + channel
            whole = random.Random(number).randbytes(size)
            return whole[address % size : address % size + count]

        return read

    memories = [
        AXIReadMemory(
            dut.bus[c], reader(c), latency=latency, ar_stall=memory_stall, r_stall=memory_stall,
            seed=seed + c, max_burst=max(1, 8 * size // core["data_width"]), max_outstanding=64,
            always_ready=True,
        )
        for c in range(channels)
    ]  # fmt: skip
    items = [
        {"unit": list(beat) + [0] * (channels - len(beat)), "count": len(beat), "tag": n % 256}
        for n, beat in enumerate(beats)
    ]
    result = run_streams(
        dut, {"i": items}, {"o": len(items)}, stall=stall, seed=seed,
        testbenches=[m.bench for m in memories], max_cycles=200 * len(beats) + 5000,
    )  # fmt: skip
    for n, (beat, got) in enumerate(zip(beats, result.outputs["o"], strict=True)):
        assert (got.count, got.tag) == (len(beat), n % 256), n
        for lane, number in enumerate(beat):
            want = int.from_bytes(random.Random(number).randbytes(size), "little")
            assert got.unit[lane] == want, (n, lane)
    return result, memories


class Share(NamedTuple):
    """Of the bandwidth, what a list of rows gets.

    Parameters
    ----------
    bus : float
        From its first to its last beat on any channel.
    delivered : float
        From there until the last row has left the reader.
    limit : float
        The most that it can get: its fullest channel never pauses.
    """

    bus: float
    delivered: float
    limit: float


def share(core: dict[str, int], rows: Sequence[int], latency: int = 50) -> Share:
    """Gather a list of rows."""
    channels = core["channels"]
    beats = [rows[n : n + channels] for n in range(0, len(rows), channels)]
    result, memories = gather(core, beats, latency=latency)
    first = min(m.beat_cycles[0] for m in memories if m.beat_cycles)
    ends = max(m.beat_cycles[-1] for m in memories if m.beat_cycles) + 1, result.last("o")
    fullest = max(Counter(row % channels for row in rows).values())
    cycles = (*(end - first for end in ends), fullest)
    return Share(*(len(rows) / channels / each for each in cycles))


def skewed(rng: random.Random, count: int) -> list[int]:
    """Rows that survive a pruning that favours some parts of the sequence: runs and gaps."""
    rows: list[int] = []
    row = 0
    while len(rows) < count:
        keep = rng.choice([0.1, 0.5, 0.9])
        for _ in range(rng.randrange(5, 60)):
            row += 1
            if rng.random() < keep:
                rows.append(row)
    return rows[:count]


def main() -> int:
    rng = random.Random(5)
    print(f"{'channels':>8}{'rows':>8}  {'list':10}{'bus':>8}{'delivered':>11}{'limit':>8}")
    for channels, each in product((2, 4, 16), (160, 1500)):
        core = {"channels": channels, "data_width": 256, "unit_bytes": 32}
        count = each * channels
        lists = {
            "random": [rng.randrange(1 << 14) for _ in range(count)],
            "skewed": skewed(rng, count),
        }
        for name, rows in lists.items():
            bus, delivered, limit = share(core, rows)
            print(
                f"{channels:8}{count:8,}  {name:10}{bus:8.3f}{delivered:11.3f}{limit:8.3f}",
                flush=True,
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
