"""What bit-serial scores with early exit spare of the work that takes energy, on a trace.

As a command, with the options of `attnsieve.sim.bench.bit_serial`::

    python -m attnsieve.sim.bench.slice_work leopard --trace causal.npz --bits 12 --keep 0.3

Work is counted, not weighed: every column is how many times less there is of it than on the dense
core. Whatever one of each costs, as long as it costs as much on both cores, all of them together
are less by a factor between the least of these columns and the largest.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any, NamedTuple

from attnsieve.hdl.slices.slice_params import slice_params
from attnsieve.sim.bench.bit_serial import Row, parser, runs
from attnsieve.sim.limits import GRANULE, Necessary, limit_cycles
from attnsieve.sim.simulate import memory_timing

__all__ = ["Work", "lines", "work"]


class Work(NamedTuple):
    """Work of a run.

    Parameters
    ----------
    key_bits : int
        Bits of K that Q·K reads on chip; each is multiplied with a whole element of Q.
    terms : int
        Scores that the softmax takes.
    value_macs : int
        Multiplications of prob·V; each reads an element of V on chip.
    moved : int
        Bytes to and from memory.
    """

    key_bits: int
    terms: int
    value_macs: int
    moved: int


def work(row: Row) -> dict[str, Work]:
    """Work of a run and of what it stands beside: the dense core; this one with everything kept;
    with scores dropped but all slices read; with slices spared but every score kept for softmax and
    prob·V. These last two are counted, not run.

    Bit-serial units read a slice of each of their taps; the dense core reads the elements that it
    multiplies.
    """
    whole, run = (
        _counted(total, total["slices"] * _slice_bits(row)) for total in (row.unpruned, row.total)
    )
    return {
        "dense core": _counted(row.dense, row.dense["macs_qk"] * row.bits),
        "everything kept": whole,
        "pruning alone": run._replace(key_bits=whole.key_bits),
        "early exit alone": whole._replace(key_bits=run.key_bits),
        "both": run,
    }


def _slice_bits(row: Row) -> int:
    """Bits of a slice of a key."""
    params = slice_params(row.config.core)
    return params.taps * params.slice_bits


def _counted(total: dict[str, Any], key_bits: int) -> Work:
    """Work of a run that reads so many bits of K."""
    return Work(
        key_bits=key_bits,
        terms=round(total["kept_scores"] * total["macs_qk"] / total["head_dim"]),
        value_macs=total["macs_pv"],
        moved=total["dram_read_bytes"] + total["dram_write_bytes"],
    )


def _limit(row: Row, mine: Work) -> int:
    """Cycles that work on bit-serial units takes at the core's rates."""
    needed = Necessary(
        macs_qk=row.total["macs_qk"], macs_pv=mine.value_macs, granules=mine.moved // GRANULE,
        slices=mine.key_bits // _slice_bits(row),
    )  # fmt: skip
    return limit_cycles(row.config.core, memory_timing(row.config), needed)


_HEADER = (
    f"{'point':32}{'keep':>11}  {'':18}{'Q·K':>7}{'softmax':>9}{'prob·V':>8}{'memory':>8}"
    f"{'limit':>7}{'cycles':>8}"
)


def lines(row: Row) -> Iterator[str]:
    """Lines of the table: of each how many times less than on the dense core; of the cycles at the
    core's rates too, and of those that it took where it was run."""
    done = work(row)
    base = done.pop("dense core")
    cycles = {"everything kept": row.unpruned["cycles"], "both": row.total["cycles"]}
    for name, mine in done.items():
        pairs = [*zip(base, mine, strict=True), (row.dense["limit_cycles"], _limit(row, mine))]
        if name in cycles:
            pairs.append((row.dense["cycles"], cycles[name]))
        ratios = [f"{dense / less:.2f}" if less else "-" for dense, less in pairs]
        columns = "".join(f"{r:>{n}}" for r, n in zip(ratios, (7, 9, 8, 8, 7, 8), strict=False))
        yield f"{row.point:32}{row.kind:>11}  {name:18}{columns}"


def main(argv: list[str] | None = None) -> int:
    given = parser("python -m attnsieve.sim.bench.slice_work").parse_args(argv)
    print(_HEADER)
    for row in runs(given):
        if row.kind != "all":
            print("\n".join(lines(row)), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
