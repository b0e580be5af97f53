"""Bit-serial units by number, slice width, word width and form of words: cycles beside area.

As a command::

    python -m attnsieve.sim.bench.slice_sweep leopard --area area.json --synth
    python -m attnsieve.sim.bench.slice_sweep leopard --area area.json --trace causal.npz --layers 1

Areas are kept in a file, since a point takes a minute or more (`front_size`). Cycles are of the
generated Verilog, compared with the golden model (`bit_serial`), on one threshold per layer that
keeps a share of the scores.
"""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from amaranth.hdl import UnusedElaboratable

from attnsieve.gen.config import Configuration
from attnsieve.gen.config import load as load_config
from attnsieve.sim.bench.bit_serial import Row, measure
from attnsieve.sim.bench.front_size import Size, front_size
from attnsieve.sim.simulate import references
from attnsieve.sim.stats import write_json
from attnsieve.sim.trace.trace import Trace, load

__all__ = ["Entry", "Point", "best", "entries", "points", "sizes"]

#: Words of K: in two's complement with the interval margin, and with signs and magnitudes and the
#: concordant-sign margin.
_WORDS = {"twos_complement": "two's complement", "sign_magnitude": "sign, magnitude"}


class Point(NamedTuple):
    """A core.

    Parameters
    ----------
    bits : int
        Of its widest operands.
    slice_bits, units : int
        Bit-serial units; none: the dense core.
    words : str
        Form of the words of K.
    """

    bits: int
    slice_bits: int
    units: int
    words: str = "twos_complement"

    def config(self, system: str) -> Configuration:
        """A system with these settings."""
        core = {
            "operand_bits": self.bits, "slice_bits": self.slice_bits, "slice_words": self.words,
            "slice_units": max(1, self.units),
        }  # fmt: skip
        chosen = load_config(system, settings=[f"core.{k}={value}" for k, value in core.items()])
        return chosen if self.units else references(chosen, self.bits)["baseline"]

    def key(self, system: str) -> str:
        """Name in a file of areas."""
        return f"{system} {self.bits} {self.units}x{self.slice_bits} {self.words}"


def points(system: str, bits: int) -> list[Point]:
    """The dense core; for each slice width as many units as have its multiplier bits; 4, 6 and 8 of
    two bits; the same in the other form of words."""
    core = load_config(system).core
    of_array = core.lanes * bits / core.max_head_dim  # units of one bit
    same = {(width, int(of_array / width)) for width in (1, 2, 4) if of_array >= width}
    shapes = sorted(same | {(2, units) for units in (4, 6, 8)})
    dense = Point(bits, 2, 0)
    return [dense, *(Point(bits, *shape, words) for words in _WORDS for shape in shapes)]


@dataclass(frozen=True)
class Entry:
    """A line of the table.

    Parameters
    ----------
    point : Point
    bits : int
        Of operands.
    size : Size or None
        Of the front end, if it is known.
    cycles : int
    row : Row or None
        The run, of a core with bit-serial units.
    """

    point: Point
    bits: int
    size: Size | None
    cycles: int
    row: Row | None = None

    @property
    def multiplier_bits(self) -> float:
        """Multiplier bits of Q·K, over those of the dense core."""
        if self.row is None:
            return 1.0
        core = self.row.config.core
        units = core.slice_units * core.slice_bits * core.max_head_dim
        return units / (core.lanes * core.operand_bits)

    @property
    def area(self) -> float:
        """Square millimetres; infinity if they are not known."""
        return self.size.area if self.size else float("inf")


def entries(
    system: str, bits: int, trace: Trace, keep: float, areas: Mapping[str, Size], **options: Any
) -> Iterator[Entry]:
    """All points of cores for operands of ``bits``, with operands so wide and of 8; the dense core
    before the first.

    Parameters
    ----------
    options
        Of `simulate`.
    """
    dense, *others = points(system, bits)
    for point in others:
        for width in sorted({bits, 8}, reverse=True):
            *_, row = measure(point.config(system), trace, [keep], bits=width, **options)
            if point == others[0]:
                yield Entry(dense, width, areas.get(dense.key(system)), row.dense["cycles"])
            yield Entry(point, width, areas.get(point.key(system)), row.total["cycles"], row)


def best(found: Sequence[Entry]) -> list[Entry]:
    """Those that nothing else beats in cycles and area at once, the smallest first."""
    front: list[Entry] = []
    for entry in sorted((e for e in found if e.size), key=lambda e: (e.area, e.cycles)):
        if not front or entry.cycles < front[-1].cycles:
            front.append(entry)
    return front


def sizes(system: str, chosen: Iterable[Point], path: Path) -> Iterator[Point]:
    """Map the points whose areas are not in a file yet, and add each to it."""
    known = _load(path)
    for point in chosen:
        if point.key(system) not in known:
            known[point.key(system)] = front_size(point.config(system))
            areas = {name: size._asdict() for name, size in known.items()}
            write_json(path, areas)
            yield point


def _load(path: Path | None) -> dict[str, Size]:
    """A file of areas; empty if there is none."""
    if path is None or not path.exists():
        return {}
    return {name: Size(**size) for name, size in json.loads(path.read_text()).items()}


_HEADER = (
    f"{'core':>4}{'bits':>5}  {'words':18}{'units':>6}{'B':>3}{'mult.':>7}{'kept':>7}"
    f"{'slices':>8}{'busy':>7}{'cycles':>10}{'x dense':>8}{'LUT4':>8}"
    f"{'carry':>7}{'FF':>8}{'mult.':>6}{'EBR':>5}{'cells':>8}{'memories':>9}{'per area':>9}"
)


def _line(entry: Entry, dense: Entry) -> str:
    """``per area``: speed over area, the dense core's is 1."""
    point, row, size = entry.point, entry.row, entry.size
    if row is None:
        text = f"{'dense':18}{'':9}{entry.multiplier_bits:7.2f}{'':22}"
    else:
        text = (
            f"{_WORDS[point.words]:18}{point.units:6}{point.slice_bits:3}"
            f"{entry.multiplier_bits:7.2f}{row.total['kept_scores']:7.3f}"
            f"{row.total['slices'] / row.pairs:8.2f}{row.busy:7.3f}"
        )
    text = f"{point.bits:4}{entry.bits:5}  {text}{entry.cycles:10}"
    text += f"{dense.cycles / entry.cycles:8.2f}"
    if size is None:
        return text
    return (
        f"{text}{size.lut:8}{size.carry:7}{size.ff:8}{size.dsp:6}{size.bram:5}"
        f"{size.cells / 1e6:8.2f}{size.memories / 1e6:9.2f}"
        f"{dense.cycles * dense.area / entry.cycles / entry.area:9.2f}"
    )


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m attnsieve.sim.bench.slice_sweep")
    parser.add_argument("system", nargs="?", default="leopard", help="preset or TOML file")
    parser.add_argument("--trace", help="what runs; without it only areas are found")
    parser.add_argument("--keep", type=float, default=0.3)
    parser.add_argument("--layers", help="part of the trace")
    parser.add_argument(
        "--bits", type=int, nargs="*", choices=(8, 12), default=[12, 8],
        help="widest operands of the cores",
    )  # fmt: skip
    parser.add_argument("--area", type=Path, help="file of areas")
    parser.add_argument("--synth", action="store_true", help="add to it what it lacks")
    given = parser.parse_args(argv)
    if given.synth and given.area is None:
        parser.error("--synth needs --area, a file to keep what it finds")
    warnings.simplefilter("ignore", UnusedElaboratable)
    if given.synth:
        chosen = [point for bits in given.bits for point in points(given.system, bits)]
        for point in sizes(given.system, chosen, given.area):
            print(f"mapped {point.key(given.system)}", file=sys.stderr, flush=True)
    if given.trace is None:
        return 0
    trace, areas = load(given.trace), _load(given.area)
    print(_HEADER)
    for bits in given.bits:
        _print(entries(given.system, bits, trace, given.keep, areas, layers=given.layers))
    return 0


def _print(lines: Iterator[Entry]) -> None:
    """The lines of one kind of cores, and which of them nothing beats with operands as wide."""
    found: dict[int, list[Entry]] = {}
    for entry in lines:
        same = found.setdefault(entry.bits, [])
        same.append(entry)
        print(_line(entry, same[0]), flush=True)
    for bits, same in found.items():
        names = [_name(entry.point) for entry in best(same)]
        if names:
            print(f"{bits} bits: nothing is smaller and faster than {'; '.join(names)}")


def _name(point: Point) -> str:
    """In a sentence."""
    shape = f"{point.units} x {point.slice_bits} {_WORDS[point.words]}"
    return shape if point.units else "dense"


if __name__ == "__main__":
    sys.exit(main())
