"""``attnsieve demo``."""

from __future__ import annotations

import time
from typing import Annotated

import typer
from rich.table import Table

from attnsieve.gen.cli.console import out, print_json, share
from attnsieve.gen.cli.options import Json, Overlays, Seed, Settings, configuration
from attnsieve.gen.demo import Demo, LayerReport

__all__ = ["command"]

_COLUMNS = (
    "layer", "cycles", "limit ratio", "bytes read", "bytes written", "worst error", "worst cosine",
    "mismatches",
)  # fmt: skip


def _row(report: LayerReport) -> list[str]:
    figures = report.figures
    return [
        str(report.layer),
        f"{figures['cycles']:,}",
        f"{figures['limit_ratio']:.4f}",
        f"{figures['dram_read_bytes']:,}",
        f"{figures['dram_write_bytes']:,}",
        f"{report.error:.2e}",
        f"{min(report.cosines):.6f}",
        str(figures["mismatches"]),
    ]


def _print(demo: Demo, seconds: float) -> None:
    table = Table(box=None, pad_edge=False)
    for column in _COLUMNS:
        table.add_column(column, justify="right", no_wrap=True)
    for report in demo.layers:
        table.add_row(*_row(report))
    total = demo.total
    table.add_section()
    table.add_row(
        "all",
        f"{total['cycles']:,}",
        f"{total['limit_ratio']:.4f}",
        f"{total['dram_read_bytes']:,}",
        f"{total['dram_write_bytes']:,}",
        f"{total['error']:.2e}",
        f"{total['worst_cosine']:.6f}",
        str(total["mismatches"]),
        style="bold",
    )
    console = out()
    console.print(table)
    verdict = "bit for bit as the golden model" if not total["mismatches"] else "MISMATCHES"
    speed = demo.simulated_cycles / max(demo.simulation_seconds, 1e-9)
    console.print(
        f"{total['heads']} heads on {demo.config.top}: {verdict}; error and cosine: to float64.\n"
        f"Cosine of the final embedding to the float model: {demo.embedding_cosine:.6f}\n"
        f"{seconds:.1f} s in all; {demo.simulated_cycles:,} cycles simulated, "
        f"{speed:,.0f} per second with compilation."
    )


def command(
    text: Annotated[str | None, typer.Option("--text", help="Text; ours by default.")] = None,
    preset: Annotated[
        str, typer.Option("--system", metavar="SYSTEM", help="Preset or TOML file.")
    ] = "dense",
    simulator: Annotated[
        str | None, typer.Option("--simulator", metavar="S", help="verilator, cxxrtl or icarus.")
    ] = None,
    config: Overlays = None,
    settings: Settings = None,
    seed: Seed = 0,
    as_json: Json = False,
) -> int:
    """Run a real model's attention, layer by layer, on the generated Verilog."""
    demo = Demo(configuration(preset, config, settings), text, simulator, seed)
    if not as_json:
        print(
            f"MiniLM, {demo.tokens} tokens, {demo.depth} layers of {demo.heads} heads, "
            f"on the Verilog of {demo.config.name}",
            flush=True,
        )
    began = time.monotonic()
    with share("simulating") as progress:
        for _ in demo.run(progress):
            pass
    if as_json:
        print_json(demo.as_dict())
    else:
        _print(demo, time.monotonic() - began)
    return 1 if demo.total["mismatches"] else 0
