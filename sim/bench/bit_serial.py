"""What bit-serial scores with early exit gain on a trace, on the generated Verilog.

As a command::

    python -m attnsieve.sim.bench.bit_serial leopard --trace minilm.npz --keep 0.5 0.3 0.15
    python -m attnsieve.sim.bench.bit_serial leopard --trace minilm.npz --keep 0.3 \
        --point slice_bits=1 --point slice_bits=4 --point slice_units=8,slice_bits=2

Thresholds are calibrated on the trace itself, one per layer; with ``--margin`` they lie so far
below the largest score of each row. Every run is compared with the golden model, and stands beside
the same core with everything kept and the dense core of the same arrays.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from amaranth.hdl import UnusedElaboratable

from attnsieve.gen.config import Configuration
from attnsieve.gen.config import load as load_config
from attnsieve.sim.calibrate import calibrate, constant_margin
from attnsieve.sim.driver.thresholds import Thresholds
from attnsieve.sim.simulate import references, simulate
from attnsieve.sim.trace.trace import Trace, load

__all__ = ["Row", "measure", "parser", "point_settings", "runs"]


@dataclass(frozen=True)
class Row:
    """One run.

    Parameters
    ----------
    point : str
        Settings beside those of the system.
    kind : str
        What thresholds were to keep: ``all``, a share of the scores, or what is at most a margin
        below the largest of its row.
    total : dict
        Its ``total`` of stats.json.
    config : Configuration
        What ran.
    bits : int
        Of operands.
    unpruned, dense : dict
        The same with everything kept, and of the dense core.
    """

    point: str
    kind: str
    total: dict[str, Any]
    config: Configuration
    bits: int
    unpruned: dict[str, Any]
    dense: dict[str, Any]

    @property
    def pairs(self) -> int:
        """Scores, each of which has all its slices read where everything is kept."""
        return round(self.total["macs_qk"] / self.head_dim)

    @property
    def head_dim(self) -> int:
        """Elements of a key."""
        return int(self.total["head_dim"])

    @property
    def busy(self) -> float:
        """Share of the units' cycles in which one reads a slice, while any does."""
        units = self.config.core.slice_units
        return float(self.total["slices"] / units / self.total["busy_cycles"])

    def text(self) -> str:
        """A line of the table."""
        total, cycles = self.total, self.total["cycles"]
        columns = (
            f"{self.point:32}",
            f"{self.kind:>9}",
            f"{total['kept_scores']:7.3f}",
            f"{total['empty_rows']:7}",
            f"{total['slices'] / self.pairs:7.2f}",
            f"{self.busy:7.3f}",
            f"{cycles:10}",
            f"{self.unpruned['cycles'] / cycles:7.2f}",
            f"{self.dense['cycles'] / cycles:7.2f}",
            f"{total['limit_ratio']:7.3f}",
            f"{total['job_ratio']:7.3f}",
            f"{total['dram_read_bytes']:12}",
        )
        return "".join(columns)


_HEADER = (
    f"{'point':32}{'keep':>9}{'kept':>7}{'empty':>7}{'slices':>7}{'units':>7}{'cycles':>10}"
    f"{'x all':>7}{'x dense':>8}{'limit':>6}{'job':>7}{'bytes read':>12}"
)


def measure(
    config: Configuration, trace: Trace, keeps: Sequence[float], margins: Sequence[float] = (), *,
    point: str = "", **options: Any,
) -> list[Row]:  # fmt: skip
    """Runs of a configuration: everything kept, each share of the scores, each margin below the
    largest of its row.

    Raises
    ------
    AssertionError
        Something differs from the golden model.
    """
    bits = options.get("bits") or config.run.bits
    dense = _total(references(config, bits)["baseline"], trace, None, options)
    thresholds = {
        "all": None,
        **{f"{keep:g}": calibrate([trace], keep) for keep in keeps},
        **{f"margin {margin:g}": constant_margin([trace], margin) for margin in margins},
    }
    found = {kind: _total(config, trace, given, options) for kind, given in thresholds.items()}
    return [
        Row(point, kind, total, config, bits, found["all"], dense) for kind, total in found.items()
    ]


def _total(
    config: Configuration, trace: Trace, thresholds: Thresholds | None, options: dict[str, Any]
) -> dict[str, Any]:
    result = simulate(config, trace, thresholds=thresholds, baseline=False, **options)
    if result.mismatches:
        raise AssertionError(f"{config.name}: {result.messages[0]}")
    return {**result.stats["total"], "head_dim": trace.head_dim}


def parser(prog: str) -> argparse.ArgumentParser:
    """Options of benches that run a trace at points."""
    options = argparse.ArgumentParser(prog=prog)
    options.add_argument("system", nargs="?", default="leopard", help="preset or TOML file")
    options.add_argument("--trace", required=True)
    options.add_argument("--keep", type=float, nargs="*", default=[0.5, 0.3, 0.15])
    options.add_argument("--margin", type=float, nargs="*", default=[])
    options.add_argument("--layers", help="part of the trace")
    options.add_argument("--heads", help="likewise; thresholds are of all heads")
    options.add_argument("--bits", type=int, choices=(8, 12), help="operands")
    options.add_argument(
        "--point", action="append", default=[], metavar="K=V,K=V",
        help="other settings, of the core unless a section is named; repeatable",
    )  # fmt: skip
    return options


def point_settings(point: str) -> list[str]:
    """Settings of a point, of the core unless a section is named."""
    return [
        setting if "." in setting.split("=")[0] else f"core.{setting}"
        for setting in point.split(",") if setting
    ]  # fmt: skip


def runs(given: argparse.Namespace) -> Iterator[Row]:
    """What `measure` finds at each point that the options name."""
    warnings.simplefilter("ignore", UnusedElaboratable)
    trace = load(given.trace)
    for point in given.point or [""]:
        yield from measure(
            load_config(given.system, settings=point_settings(point)), trace, given.keep,
            given.margin, point=point, layers=given.layers, heads=given.heads, bits=given.bits,
        )  # fmt: skip


def main(argv: list[str] | None = None) -> int:
    given = parser("python -m attnsieve.sim.bench.bit_serial").parse_args(argv)
    print(_HEADER)
    for row in runs(given):
        print(row.text(), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
