"""What the commands print: tables and JSON on standard output, progress on standard error."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table

__all__ = ["bar", "out", "print_json", "print_stats", "print_workload", "share", "steps"]


def out() -> Console:
    """Standard output; tables are not cut when it is not a terminal."""
    return Console(width=None if sys.stdout.isatty() else 200, highlight=False, soft_wrap=False)


def print_json(value: Any) -> None:
    """Print a value as JSON."""
    print(json.dumps(value, indent=2))


def _error_console() -> Console:
    return Console(stderr=True)


@contextmanager
def steps(title: str) -> Iterator[Callable[[str], None]]:
    """A spinner that names the step at work; nothing when standard error is no terminal."""
    console = _error_console()
    if not console.is_terminal:
        yield lambda step: None
        return
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(title, total=None)
        yield lambda step: progress.update(task, description=f"{title}: {step}")


@contextmanager
def bar(title: str) -> Iterator[Callable[[int, int], None]]:
    """A bar of cycles done and expected; nothing when standard error is no terminal."""
    console = _error_console()
    if not console.is_terminal:
        yield lambda done, total: None
        return
    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TaskProgressColumn(),
        TimeElapsedColumn(),
    )  # fmt: skip
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(title, total=None)

        def update(done: int, total: int) -> None:
            progress.update(task, completed=done, total=total)

        yield update


@contextmanager
def share(title: str) -> Iterator[Callable[[float], None]]:
    """A bar of a share of all work, 0 to 1; nothing when standard error is no terminal."""
    console = _error_console()
    if not console.is_terminal:
        yield lambda done: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn())
    with Progress(*columns, TimeElapsedColumn(), console=console, transient=True) as progress:
        task = progress.add_task(title, total=1.0)
        yield lambda done: progress.update(task, completed=done)


def print_stats(stats: dict[str, Any]) -> None:
    """Print stats.json as a table, a row per layer."""
    columns = {
        "layer": "layer", "cycles": "cycles", "limit_ratio": "limit ratio",
        "job_ratio": "job ratio", "dram_read_bytes": "bytes read",
        "dram_write_bytes": "bytes written", "mismatches": "mismatches",
    }  # fmt: skip
    table = Table(box=None, pad_edge=False)
    for title in columns.values():
        table.add_column(title, justify="right", no_wrap=True)
    for row in [*stats["layers"], {"layer": "total", **stats["total"]}]:
        table.add_row(
            *(f"{row[k]:.4f}" if k.endswith("ratio") else str(row.get(k, "")) for k in columns)
        )
    out().print(table)


def print_workload(stats: dict[str, Any]) -> None:
    """Print what a workload took, a row per layer, and what that is compared with."""
    columns = {
        "layer": "layer", "jobs": "jobs", "cycles": "cycles", "limit_ratio": "limit ratio",
        "job_ratio": "job ratio", "k_rows": "K rows", "v_rows": "V rows",
        "recomputed": "recomputed", "dram_read_bytes": "bytes read",
        "kv_bytes_less_than_fp32_dense": "of fp32 1 /", "kv_bytes_less_than_12_bit_dense":
        "of 12 bits 1 /", "kv_bytes_less_than_8_bit_dense": "of 8 bits 1 /",
        "gflops_dense_equivalent": "GFLOPS (dense)",
    }  # fmt: skip
    table = Table(box=None, pad_edge=False)
    for title in columns.values():
        table.add_column(title, justify="right", no_wrap=True)
    workload = stats["workload"]
    pairs = zip(stats["layers"], workload["layers"], strict=True)
    rows = [*(a | b for a, b in pairs), {**stats["total"], **workload["total"], "layer": "total"}]
    for row in rows:
        cells = (row[name] for name in columns)
        table.add_row(*(f"{cell:.3f}" if isinstance(cell, float) else str(cell) for cell in cells))
    out().print(table)
    for name in ("baseline", "unpruned"):
        if f"{name}_cycles" in workload:
            cycles, faster = workload[f"{name}_cycles"], workload[f"faster_than_{name}"]
            out().print(f"{name} {cycles} cycles by the cycle model: {faster:.2f} times as many")
    if workload["on"] == "rtl":
        out().print(f"cycle model: {100 * workload['model_error']:+.2f} %")
