"""The command; see the package."""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

from amaranth.hdl import UnusedElaboratable

from attnsieve.gen.config import load
from attnsieve.hdl.select.top_k import TopKParams
from attnsieve.sim.bench.top_k.campaign import SIZES, Tally, campaign
from attnsieve.sim.bench.top_k.forced import forced_lines
from attnsieve.sim.bench.top_k.interval import interval_lines
from attnsieve.sim.bench.top_k.latency import latency_lines, random_sources
from attnsieve.sim.bench.top_k.real import real_sources, real_text
from attnsieve.sim.bench.top_k.size import size_lines

LANES, N = 16, 1024


def _campaign(sizes: list[TopKParams], count: int, seed: int) -> int:
    """Prints the tallies; the number of things that went wrong."""
    columns = ("thresholds", "flags", "hangs", "not held", "cycles")
    print(f"{'engine':14}{'lanes':>6}{'bits':>6}{'most':>6}  {'rows':12}{'number':>8}", end="")
    print("".join(f"{name:>12}" for name in columns))
    totals: dict[tuple[str, str], Tally] = {}
    bad = 0
    for params in sizes:
        for engine, kind, tally in campaign(params, count // len(sizes), seed):
            size = f"{params.lanes:6}{params.value_bits:6}{params.max_values:6}"
            print(f"{engine:14}{size}  {kind:12}{tally.rows:8}", end="")
            results = (tally.thresholds, tally.flags, tally.hangs, tally.not_held, tally.cycles)
            print("".join(f"{number:12}" for number in results), flush=True)
            bad += tally.bad
            totals[engine, kind] = totals.get((engine, kind), Tally()) + tally
    for (engine, kind), tally in totals.items():
        print(f"{engine}: {tally.rows} {kind} rows, {tally.bad} wrong")
    return bad


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m attnsieve.sim.bench.top_k", description="The top-k engines, measured."
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--campaign", type=int, metavar="N", help="N random rows, adversarial ones")
    what.add_argument("--interval", action="store_true", help="cycles per row, back to back")
    what.add_argument("--real", action="store_true", help="latency on rows of SmolLM2")
    what.add_argument("--forced", metavar="SYSTEM", help="against a core that is told")
    what.add_argument("--size", action="store_true", help="resources and clock")
    parser.add_argument("--rows", type=int, help="rows of each kind and k")
    parser.add_argument("--text", type=Path, help="for --real: a text of 1,024 tokens at least")
    parser.add_argument("--layers", default="0-29", help="for --real: such as 0-2,15")
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args(argv)


def _lines(arguments: argparse.Namespace) -> Iterator[str]:
    seed = arguments.seed
    if arguments.size or arguments.interval:
        # In a core: ranks of terms and importances.
        for bits in (12, 18, 32) if arguments.size else (12, 32):
            params = TopKParams(lanes=LANES, value_bits=bits, max_values=N)
            if arguments.size:
                yield from size_lines(params, seed)
            else:
                yield from interval_lines(params, "radix select", arguments.rows or 10_000, seed)
    elif arguments.forced:
        yield from forced_lines(load(arguments.forced), arguments.rows or 64)
    elif arguments.real:
        text = arguments.text.read_text() if arguments.text else real_text()
        yield from latency_lines(real_sources(N, arguments.layers, text), LANES, seed)
    else:
        yield from latency_lines(random_sources(N, arguments.rows or 100, seed), LANES, seed)


def main(argv: list[str] | None = None) -> int:
    arguments = _arguments(argv)
    warnings.simplefilter("ignore", UnusedElaboratable)  # blocks are made for their ports
    if arguments.campaign is not None:
        return 1 if _campaign(SIZES, arguments.campaign, arguments.seed) else 0
    for line in _lines(arguments):
        print(line, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
