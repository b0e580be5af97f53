"""Place and route with nextpnr, and the critical path named by block."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from attnsieve.gen import tools
from attnsieve.gen.config import SynthOptions

__all__ = ["arguments", "block_of", "critical_path", "late_ends", "place_and_route"]

_ECP5_SIZE = {"LFE5U-25F": "--25k", "LFE5U-45F": "--45k", "LFE5U-85F": "--85k"}
_ICE40_PACKAGE = {
    "HX1K": "tq144",
    "HX4K": "tq144",
    "HX8K": "ct256",
    "LP8K": "ct256",
    "UP5K": "sg48",
}


def arguments(family: str, options: SynthOptions) -> list[str]:
    """Options of nextpnr that choose the device."""
    if family == "ecp5":
        package = "CABGA756" if options.ecp5_device == "LFE5U-85F" else "CABGA256"
        size = _ECP5_SIZE[options.ecp5_device]
        speed = str(options.ecp5_speed)
        # The reference core is spread over the whole device by its multipliers and memories:
        # critical nets must weigh more than by default.
        ways = ["--placer", "heap", "--placer-heap-timingweight", "30"]
        return [size, "--package", package, "--speed", speed, *ways, "--lpf-allow-unconstrained"]
    device = options.ice40_device
    return [f"--{device.lower()}", "--package", _ICE40_PACKAGE[device], "--pcf-allow-unconstrained"]


def block_of(name: str, blocks: Iterable[str], wrapped: str | None = None) -> str:
    """Block of a cell or a net, by its name.

    With ``wrapped``, the core's names start so, and other names belong to the wrapper.
    """
    inner = name.removeprefix(wrapped or "")
    for block in sorted(blocks, key=len, reverse=True):
        if re.match(rf"{re.escape(block)}(?![A-Za-z0-9])", inner):
            return block
    return "(top)" if wrapped is None or name.startswith(wrapped) else "(wrapper)"


def critical_path(report: dict[str, Any], blocks: Iterable[str]) -> dict[str, Any] | None:
    """The slowest register-to-register path of a nextpnr report.

    Returns
    -------
    dict
        ``delay_ns`` with its ``logic_ns`` and ``routing_ns``; ``start``, ``end`` and ``through``,
        blocks; ``from``, ``to``, cells; ``steps``, one per cell with its net and delay so far.
    """
    blocks = list(blocks)
    paths = [p for p in report.get("critical_paths", ()) if _same_clock(p)]
    if not paths:
        return None
    path = max(paths, key=lambda p: sum(step["delay"] for step in p["path"]))["path"]
    so_far = logic = routing = 0.0
    steps: list[dict[str, Any]] = []
    through: list[str] = []
    for step in path:
        so_far += step["delay"]
        if step["type"] == "routing":
            routing += step["delay"]
            block = block_of(step.get("net", step["from"]["cell"]), blocks, "core.")
        else:
            logic += step["delay"]
            block = block_of(step["from"]["cell"], blocks, "core.")
        if not through or through[-1] != block:
            through.append(block)
        if step["type"] != "routing":
            continue
        steps.append(
            {"net": step.get("net", ""), "to": step["to"]["cell"], "at_ns": round(so_far, 3)}
        )
    first, last = path[0]["from"]["cell"], path[-1]["to"]["cell"]
    return {
        "delay_ns": round(so_far, 3),
        "logic_ns": round(logic, 3),
        "routing_ns": round(routing, 3),
        "start": block_of(first, blocks, "core."),
        "end": block_of(last, blocks, "core."),
        "through": through,
        "from": first,
        "to": last,
        "steps": steps,
    }


def late_ends(
    report: dict[str, Any], blocks: Iterable[str], period_ns: float
) -> dict[str, dict[str, Any]]:
    """Inputs of registers and memories that a path reaches too late, by the block they are in.

    Parameters
    ----------
    report : dict
        Of nextpnr, with ``detailed_net_timings``.
    blocks : iterable of str
        Names of blocks.
    period_ns : float
        The clock's, setup left out.

    Returns
    -------
    dict
        The block with the latest one first; of each ``ends``, how many, ``worst_ns``, and ``to``,
        the latest one.
    """
    found: dict[str, dict[str, Any]] = {}
    blocks = list(blocks)
    for net in report["detailed_net_timings"]:
        for end in net["endpoints"]:
            delay = end["delay"][1]
            if delay <= period_ns or end["event"] != net["event"]:
                continue
            own = found.setdefault(
                block_of(end["cell"], blocks, "core."), {"ends": 0, "worst_ns": 0.0, "to": ""}
            )
            own["ends"] += 1
            if delay > own["worst_ns"]:
                own |= {"worst_ns": round(delay, 3), "to": end["cell"]}
    return dict(sorted(found.items(), key=lambda item: -item[1]["worst_ns"]))


def _same_clock(path: dict[str, Any]) -> bool:
    return (
        "<async>" not in (path["from"], path["to"])
        and str(path["from"]).split(" ")[-1] == str(path["to"]).split(" ")[-1]
    )


def place_and_route(
    folder: Path, family: str, options: SynthOptions, blocks: Iterable[str]
) -> dict[str, Any]:
    """Place and route ``netlist.json`` in ``folder``; Fmax, critical path and utilization."""
    began = time.monotonic()
    log = tools.run_nextpnr(
        family,
        [
            *arguments(family, options),
            "--json", "netlist.json", "--report", "report.json", "--seed", str(options.seed),
            "--freq", f"{options.clock_mhz:g}", "--timing-allow-fail", "--detailed-timing-report",
        ],
        folder,
    )  # fmt: skip
    (folder / "nextpnr.log").write_text(log)
    report = json.loads((folder / "report.json").read_text())
    fmax = min((clock["achieved"] for clock in report["fmax"].values()), default=None)
    device = options.ecp5_device if family == "ecp5" else options.ice40_device
    return {
        "device": device,
        "speed_grade": options.ecp5_speed if family == "ecp5" else device[:2],
        "seed": options.seed,
        "goal_mhz": options.clock_mhz,
        "fmax_mhz": None if fmax is None else round(fmax, 2),
        "met": fmax is not None and fmax >= options.clock_mhz,
        "critical_path": critical_path(report, blocks),
        "late": late_ends(report, blocks, 1000 / options.clock_mhz),
        "utilization": {k: v for k, v in report["utilization"].items() if v["used"]},
        "seconds": round(time.monotonic() - began, 1),
    }
