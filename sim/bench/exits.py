"""Verdicts, scores and exits of bit-serial units on many vectors, against the golden model.

As a command::

    python -m attnsieve.sim.bench.exits --vectors 10000000 --trace causal.npz
    python -m attnsieve.sim.bench.exits --trace causal.npz --words sign_magnitude

A vector is a query, a key and a threshold. A `UnitCircle` of 64 taps with its `ExitBounds`,
compiled from the generated Verilog, gets them with slices of 1, 2 and 4 bits and words of 12 and 8;
kept keys have to wait in every second batch. Exit 1 if anything differs from the golden model.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass

import numpy as np
from amaranth.hdl import UnusedElaboratable

from attnsieve.hdl.slices.slice_params import SliceParams
from attnsieve.sim.bench.exit_rows import KINDS, Batch, Make, real
from attnsieve.sim.bench.exit_units import CompiledUnits, Found, unit_params
from attnsieve.sim.golden.bit_serial import bit_serial
from attnsieve.sim.trace.trace import Trace, load

__all__ = ["SLICES", "Tally", "campaign", "compare"]

#: Slice widths.
SLICES = (1, 2, 4)
#: Bits of a word: all the units have, or less.
BITS = (12, 8)


@dataclass(frozen=True)
class Tally:
    """What came of vectors.

    Parameters
    ----------
    vectors, kept, slices : int
        How many there were and were kept, and how many slices were read.
    verdict : int
        Keys not decided exactly once, or kept and dropped otherwise than in the golden model.
    score : int
        Kept keys with another score.
    exit : int
        Keys decided after another number of slices.
    late : int
        Slices read behind a key's exit.
    reads : int
        Keys of which not just each slice up to the exit was read, once.
    """

    vectors: int = 0
    kept: int = 0
    slices: int = 0
    verdict: int = 0
    score: int = 0
    exit: int = 0
    late: int = 0
    reads: int = 0

    @property
    def bad(self) -> int:
        """How much went wrong."""
        return self.verdict + self.score + self.exit + self.late + self.reads

    def __add__(self, other: Tally) -> Tally:
        return Tally(*(sum(pair) for pair in zip(astuple(self), astuple(other), strict=True)))

    def text(self) -> str:
        """The end of a line of the table."""
        wrong = (self.verdict, self.score, self.exit, self.late, self.reads)
        numbers = "".join(f"{number:9}" for number in wrong)
        share, mean = self.kept / self.vectors, self.slices / self.vectors
        return f"{self.vectors:11}{numbers}{share:8.3f}{mean:8.3f}"


_HEADER = (
    f"{'kind':13}{'bits':>5}{'slice':>6}{'vectors':>11}{'verdict':>9}{'score':>9}{'exit':>9}"
    f"{'late':>9}{'reads':>9}{'kept':>8}{'slices':>8}"
)


def compare(batch: Batch, found: Found, params: SliceParams) -> Tally:
    """What units did with a batch, against the golden model."""
    total = Tally()
    there = np.zeros(found.reads.shape, bool)
    for number, row in enumerate(batch.rows):
        mine = slice(row.first, row.first + row.keys)
        there[number, mine] = True
        want = bit_serial(
            row.query, batch.keys[mine], row.threshold, word_bits=batch.bits,
            slice_bits=params.slice_bits, sign_magnitude=params.sign_magnitude,
        )  # fmt: skip
        part = {name: array[number, mine] for name, array in vars(found).items()}
        decided = (part["ended"] == 1) & (part["said"] == want.kept) & (part["given"] == want.kept)
        late = np.maximum(part["reads"] - want.slices, 0)
        read = (part["reads"] == want.slices) & (part["places"] == (1 << want.slices) - 1)
        total += Tally(
            vectors=row.keys,
            kept=int(want.kept.sum()),
            slices=int(part["reads"].sum()),
            verdict=int((~decided).sum()),
            score=int((want.kept & (part["score"] != want.score)).sum()),
            exit=int((part["slices"] != want.slices).sum()),
            late=int(late.sum()),
            reads=int((~read).sum()),
        )
    strange = {name: int((array[~there] != 0).sum()) for name, array in vars(found).items()}
    return total + Tally(verdict=strange["ended"] + strange["given"], late=strange["reads"])


def campaign(
    sizes: Sequence[SliceParams], vectors: int, seed: int, trace: Trace | None = None
) -> Iterator[tuple[str, int, int, Tally]]:
    """Kind, bits of a word and of a slice, and tally: as many vectors of each, so many in all."""
    kinds = KINDS | ({"real": real(trace)} if trace else {})
    share = -(-vectors // (len(sizes) * len(BITS) * len(kinds)))
    for params in sizes:
        units = CompiledUnits(params)
        for bits in BITS:
            for number, (kind, make) in enumerate(kinds.items()):
                rng = np.random.default_rng([seed, bits, params.slice_bits, number])
                yield kind, bits, params.slice_bits, _run(units, make, rng, bits, share)


def _run(
    units: CompiledUnits, make: Make, rng: np.random.Generator, bits: int, vectors: int
) -> Tally:
    """So many vectors; in every second batch kept keys are taken only at times."""
    p, total, stall = units.params, Tally(), 0.0
    while total.vectors < vectors:
        batch = make(rng, bits, p.taps).head(vectors - total.vectors)
        found = units.run(batch, stall=stall, seed=1 + total.vectors)
        total += compare(batch, found, p)
        stall = 0.5 - stall
    return total


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m attnsieve.sim.bench.exits")
    parser.add_argument("--vectors", type=int, default=10_000_000, help="in all (10000000)")
    parser.add_argument("--trace", help="also vectors of this trace")
    parser.add_argument(
        "--words", choices=("twos_complement", "sign_magnitude"), default="twos_complement",
        help="how words of K are cut, and so the margin (twos_complement)",
    )  # fmt: skip
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args(argv)
    warnings.simplefilter("ignore", UnusedElaboratable)  # blocks are made for their ports
    trace = load(given.trace) if given.trace else None
    signs = given.words == "sign_magnitude"
    sizes = [unit_params(slice_bits, sign_magnitude=signs) for slice_bits in SLICES]
    print(_HEADER)
    total = Tally()
    for kind, bits, slice_bits, tally in campaign(sizes, given.vectors, given.seed, trace):
        print(f"{kind:13}{bits:5}{slice_bits:6}{tally.text()}", flush=True)
        total += tally
    print(f"{'all':24}{total.text()}")
    return 1 if total.bad else 0


if __name__ == "__main__":
    sys.exit(main())
