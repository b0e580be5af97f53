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
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from amaranth.hdl import UnusedElaboratable

from attnsieve.gen.config import Configuration
from attnsieve.gen.config import load as load_config
from attnsieve.hdl.slices.slice_params import slice_params
from attnsieve.sim.calibrate import calibrate, constant_margin
from attnsieve.sim.driver.thresholds import Thresholds
from attnsieve.sim.simulate import references, simulate
from attnsieve.sim.trace.trace import Trace, load

__all__ = ["Row", "measure"]


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
    units, slices : int
        Bit-serial units, and slices of a key.
    unpruned, baseline : int
        Cycles with everything kept, and of the dense core.
    """

    point: str
    kind: str
    total: dict[str, Any]
    units: int
    slices: int
    unpruned: int
    baseline: int

    @property
    def pairs(self) -> int:
        """Scores, each of which has all its slices read where everything is kept."""
        return round(self.total["macs_qk"] / self.head_dim)

    @property
    def head_dim(self) -> int:
        """Elements of a key."""
        return int(self.total["head_dim"])

    def text(self) -> str:
        """A line of the table."""
        total, cycles = self.total, self.total["cycles"]
        columns = (
            f"{self.point:32}",
            f"{self.kind:>9}",
            f"{total['kept_scores']:7.3f}",
            f"{total['empty_rows']:7}",
            f"{total['slices'] / self.pairs:7.2f}",
            f"{total['slices'] / self.units / total['busy_cycles']:7.3f}",
            f"{cycles:10}",
            f"{self.unpruned / cycles:7.2f}",
            f"{self.baseline / cycles:7.2f}",
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
    slices = slice_params(config.core)
    bits = options.get("bits") or config.run.bits
    dense = references(config, bits)["baseline"]
    baseline = _total(dense, trace, None, options)["cycles"]
    thresholds = {
        "all": None,
        **{f"{keep:g}": calibrate([trace], keep) for keep in keeps},
        **{f"margin {margin:g}": constant_margin([trace], margin) for margin in margins},
    }
    found = {kind: _total(config, trace, given, options) for kind, given in thresholds.items()}
    unpruned = found["all"]["cycles"]
    return [
        Row(point, kind, total, slices.units, slices.slices, unpruned, baseline)
        for kind, total in found.items()
    ]


def _total(
    config: Configuration, trace: Trace, thresholds: Thresholds | None, options: dict[str, Any]
) -> dict[str, Any]:
    result = simulate(config, trace, thresholds=thresholds, baseline=False, **options)
    if result.mismatches:
        raise AssertionError(f"{config.name}: {result.messages[0]}")
    return {**result.stats["total"], "head_dim": trace.head_dim}


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m attnsieve.sim.bench.bit_serial")
    parser.add_argument("system", nargs="?", default="leopard", help="preset or TOML file")
    parser.add_argument("--trace", required=True)
    parser.add_argument("--keep", type=float, nargs="*", default=[0.5, 0.3, 0.15])
    parser.add_argument("--margin", type=float, nargs="*", default=[])
    parser.add_argument("--layers", help="part of the trace")
    parser.add_argument("--heads", help="likewise; thresholds are of all heads")
    parser.add_argument("--bits", type=int, choices=(8, 12), help="operands")
    parser.add_argument(
        "--point", action="append", default=[], metavar="K=V,K=V",
        help="other settings, of the core unless a section is named; repeatable",
    )
    given = parser.parse_args(argv)
    warnings.simplefilter("ignore", UnusedElaboratable)
    trace = load(given.trace)
    print(_HEADER)
    for point in given.point or [""]:
        settings = [
            setting if "." in setting.split("=")[0] else f"core.{setting}"
            for setting in point.split(",") if setting
        ]  # fmt: skip
        config = load_config(given.system, settings=settings)
        rows = measure(
            config, trace, given.keep, given.margin, point=point, layers=given.layers,
            heads=given.heads, bits=given.bits,
        )  # fmt: skip
        for row in rows:
            print(row.text(), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
