"""Reports of synthesis as tables."""

from __future__ import annotations

import re
from typing import Any

from rich.console import Console
from rich.table import Table

from attnsieve.gen.synth.targets import RESOURCES

__all__ = ["print_report"]


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False)
    for index, column in enumerate(columns):
        table.add_column(column, justify="right" if index else "left", no_wrap=True)
    return table


def _grouped(blocks: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Blocks ``lane_0 lane_1 …`` as one row, ``lane_* (2)``."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for name, cells in blocks.items():
        groups.setdefault(re.sub(r"_?\d+$", "_*", name), []).append(cells)
    single = {re.sub(r"_?\d+$", "_*", name): name for name in blocks}
    return {
        f"{name} ({len(group)})" if len(group) > 1 else single[name]: {
            key: round(sum(cells[key] for cells in group), 1) for key in group[0]
        }
        for name, group in groups.items()
    }


def _fpga(report: dict[str, Any], console: Console) -> None:
    shown = [
        r for r in RESOURCES if any(b[r] for b in (*report["blocks"].values(), report["total"]))
    ]
    table = _table("block", *shown)
    for name, cells in sorted(_grouped(report["blocks"]).items(), key=lambda item: -item[1]["lut"]):
        table.add_row(name, *(str(cells[r]) for r in shown))
    table.add_section()
    table.add_row("total, flattened", *(str(report["total"][r]) for r in shown), style="bold")
    table.add_row(
        "(wrapper, not counted)", *(str(report["wrapper"][r]) for r in shown), style="dim"
    )
    console.print(table)
    if "dsp_registers" in report:
        moved = report["dsp_registers"]
        console.print(
            f"registers in multipliers: {moved['inputs']} operands, {moved['outputs']} products, "
            f"for {moved['flip_flops']} flip-flops"
        )


def _alone(report: dict[str, Any], console: Console) -> None:
    blocks = report["blocks"]
    shown = [r for r in RESOURCES if any(b[r] for b in blocks.values())]
    placed = any("pnr" in b for b in blocks.values())
    table = _table("block", *shown, *(("MHz", "longest path") if placed else ()))
    for name, cells in sorted(blocks.items(), key=lambda item: -item[1]["lut"]):
        ends = []
        if placed:
            path = cells["pnr"]["critical_path"]
            through = " → ".join(path["through"]) if path else ""
            ends = [str(cells["pnr"]["fmax_mhz"]), through]
        table.add_row(name, *(str(cells[r]) for r in shown), *ends)
    console.print(table)


def _areas(report: dict[str, Any], console: Console) -> None:
    """Areas of blocks, and their shares of all of them, memories included."""
    blocks = report["blocks"]
    whole = sum(b["area"] + b["memory_area"] for b in blocks.values())
    table = _table("block", "area µm²", "cells", "memory bits", "their area µm²", "share %")
    for name, b in sorted(blocks.items(), key=lambda i: -i[1]["area"] - i[1]["memory_area"]):
        area = b["area"] + b["memory_area"]
        table.add_row(
            name, f"{b['area']:.0f}", str(b["cells"]), str(b["memory_bits"]),
            f"{b['memory_area']:.0f}", f"{100 * area / whole:.1f}" if whole else "",
        )  # fmt: skip
    console.print(table)


def _asic(report: dict[str, Any], console: Console) -> None:
    table = _table("block", "area µm²", "cells")
    for name, cells in sorted(
        _grouped(report["blocks"]).items(), key=lambda item: -item[1]["area"]
    ):
        table.add_row(name, f"{cells['area']:.0f}", str(cells["cells"]))
    table.add_section()
    table.add_row(
        "total without memories",
        f"{report['total']['area']:.0f}",
        str(report["total"]["cells"]),
        style="bold",
    )
    console.print(table)
    runs = _table("period ns", "slack ns", "area µm²", "power W", "from", "to")
    for run in report["runs"]:
        path = run["critical_path"] or {"start": "", "end": ""}
        runs.add_row(
            f"{run['period_ns']:.2f}", str(run["worst_slack_ns"]), f"{run['area']:.0f}",
            str(run["power_w"]), path["start"], path["end"],
        )  # fmt: skip
    console.print(runs)
    if report["best"]:
        period = report["best"]["period_ns"]
        console.print(
            f"best met period {period:.2f} ns ({1000 / period:.0f} MHz); {report['note']}"
        )
    else:
        console.print(f"no period met; {report['note']}")
    memory = report["memory_area"]
    console.print(
        f"memories: {memory['register_bits']} bits as registers, "
        f"{memory['register_area']:.0f} µm²; "
        f"{memory['sram_bits']} bits of SRAM, {memory['sram_area_at_0.18um']:.0f} µm² at 0.18 µm "
        f"by {memory['sram_source']}"
    )


def _pnr(pnr: dict[str, Any], console: Console) -> None:
    verdict = "met" if pnr["met"] else "NOT met"
    console.print(
        f"{pnr['device']}: Fmax {pnr['fmax_mhz']} MHz, goal {pnr['goal_mhz']:g} MHz {verdict}; "
        + ", ".join(f"{name} {used}" for name, used in pnr["core"].items())
    )
    path = pnr["critical_path"]
    if path:
        console.print(
            f"critical path {path['delay_ns']} ns ({path['logic_ns']} logic, "
            f"{path['routing_ns']} routing): "
            f"{' → '.join(path['through'])}"
        )
        console.print(f"  from {path['from']}\n  to   {path['to']}")
    if pnr["late"]:
        late = _table("block", "late ends", "latest ns", "which")
        for name, own in pnr["late"].items():
            late.add_row(name, str(own["ends"]), f"{own['worst_ns']:.2f}", own["to"])
        console.print(late)


def print_report(report: dict[str, Any], console: Console) -> None:
    """Print the report of `synth`."""
    if "total" not in report:
        (_areas if report["target"] == "asic" else _alone)(report, console)
        return
    (_asic if report["target"] == "asic" else _fpga)(report, console)
    memories = _table("memory", "width", "depth", "bits")
    for memory in sorted(report["memories"], key=lambda m: -m["bits"]):
        memories.add_row(
            memory["name"], str(memory["width"]), str(memory["depth"]), str(memory["bits"])
        )
    memories.add_section()
    memories.add_row("all memories", "", "", str(report["memory_bits"]), style="bold")
    console.print(memories)
    if "error" in report.get("pnr", {}):
        console.print(f"place and route failed: {report['pnr']['error']}")
    elif "pnr" in report:
        _pnr(report["pnr"], console)
