"""Mapping to standard cells with yosys and abc, timing and power with OpenSTA.

No wires are modelled and the clock is ideal: the numbers compare variants of a design.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from attnsieve.gen import tools
from attnsieve.gen.config import SynthOptions
from attnsieve.gen.synth.liberty import DEFAULT, cell_areas, driving_cell, unpack
from attnsieve.gen.synth.place import block_of
from attnsieve.gen.tools.yosys import run_yosys

__all__ = ["SRAM_SOURCE", "areas", "synthesize"]

#: Load on outputs, femtofarads.
LOAD_FF = 50
#: Share of the period that inputs and outputs spend outside.
IO_SHARE = 0.2
#: Clocks that the sweep tries at most.
TRIES = 5
#: Memories up to this many bits count as registers, larger ones as SRAM.
REGISTER_BITS = 1024
#: Feature size of the default cells, micrometres.
FEATURE_UM = 0.18
SRAM_SOURCE = (
    "140 F² for a six-transistor cell and 60 % array efficiency "
    "(area factors of the ITRS 2007 system-driver tables)"
)

# Ports of the memories become ports of the module: the logic around them stays, they do not count.
_FRONT = """\
read_rtlil design.il
hierarchy -check -top {top}
{keep}
proc -norom
flatten
opt_clean
memory_dff
memory_collect
expose -evert t:$mem_v2
opt_clean
synth -flatten -noabc -top {top}
dfflibmap -liberty cells.lib
autoname t:* t:$* %d
"""

_BACK = """\
abc -liberty cells.lib {period} -constr abc.constr
setundef -zero
clean
splitnets -ports
opt_clean -purge
tee -q -o {report} stat -liberty cells.lib -json
"""

_STA = """\
read_liberty cells.lib
read_verilog sta.v
link_design {top}
set_cmd_units -time ns
create_clock -name clk -period {period} [get_ports clk]
foreach port [all_inputs] {{
  if {{[get_full_name $port] ne "clk"}} {{
    set_input_delay {delay} -clock clk $port
    set_driving_cell -lib_cell {driver} $port
  }}
}}
foreach port [all_outputs] {{
  if {{![regexp {{\\.(RD|WR)_CLK}} [get_full_name $port]]}} {{
    set_output_delay {delay} -clock clk $port
  }}
}}
set_false_path -from [get_ports rst]
puts "== setup"
report_checks -path_delay max -format full -digits 4
report_checks -path_delay min -format full -digits 4
puts "== slack"
report_worst_slack
report_tns
puts "== power"
set_power_activity -global -activity 0.2
report_power
"""


def _area(path: Path) -> dict[str, Any]:
    modules = json.loads(path.read_text())["modules"]
    # a module that holds nothing but a memory has no area
    return {name.removeprefix("\\"): {"area": 0.0, **module} for name, module in modules.items()}


def _number(log: str, pattern: str) -> float | None:
    found = re.search(pattern, log, re.MULTILINE)
    return float(found[1]) if found else None


def _timing(
    folder: Path, top: str, period: float, driver: str, names: Mapping[str, str]
) -> dict[str, Any]:
    script = _STA.format(
        top=top, period=f"{period:.4f}", delay=f"{IO_SHARE * period:.4f}", driver=driver
    )
    log = tools.run_sta(script, folder)
    (folder / "sta.log").write_text(log)
    slack = [float(n) for n in re.findall(r"^\s*(-?[0-9.eE+]+)\s+slack", log, re.MULTILINE)]
    power = re.search(r"^Total\s+\S+\s+\S+\s+\S+\s+(\S+)", log, re.MULTILINE)
    start = re.search(r"^Startpoint:\s+(\S+)", log, re.MULTILINE)
    end = re.search(r"^Endpoint:\s+(\S+)", log, re.MULTILINE)
    found: dict[str, Any] = {
        "period_ns": round(period, 4),
        "worst_slack_ns": slack[0] if slack else None,
        "worst_hold_slack_ns": slack[1] if len(slack) > 1 else None,
        "total_negative_slack_ns": _number(log, r"^tns\s+(-?[0-9.eE+]+)"),
        "power_w": float(power[1]) if power else None,
        "critical_path": None,
    }
    if start and end:
        found["critical_path"] = {
            "from": start[1],
            "to": end[1],
            "start": block_of(start[1], names),
            "end": block_of(end[1], names),
        }
    return found


def _sweep(
    folder: Path,
    top: str,
    first: float,
    driver: str,
    names: Mapping[str, str],
    progress: Callable[[str], None],
) -> list[dict[str, Any]]:
    """Map for one clock after the other, each nearer to what the last one left."""
    runs: list[dict[str, Any]] = []
    period, met, missed = first, None, None
    for _ in range(TRIES):
        progress(f"cells for {period:.2f} ns")
        back = _BACK.format(period=f"-D {period * 1000:.0f}", report="total.json")
        run_yosys(
            f"read_rtlil mapped.il\n{back}write_verilog -noattr -noexpr -nohex -nodec sta.v\n",
            folder,
            quiet=True,
        )
        netlist = folder / "sta.v"
        # OpenSTA's reader does not know signed declarations
        netlist.write_text(
            re.sub(
                r"^(\s*)(wire|input|output|reg) signed", r"\1\2", netlist.read_text(), flags=re.M
            )
        )
        run = _timing(folder, top, period, driver, names)
        run["area"] = _area(folder / "total.json")[top]["area"]
        run["cells"] = _area(folder / "total.json")[top]["num_cells"]
        runs.append(run)
        slack = run["worst_slack_ns"]
        if slack is None:
            break
        if slack >= 0:
            met = period if met is None else min(met, period)
        else:
            missed = period if missed is None else max(missed, period)
        if met is not None and missed is not None:
            if missed >= met or met - missed < 0.04 * met:
                break
            period = (met + missed) / 2
        else:
            period = (period - slack) * (1.02 if slack < 0 else 1.0)
            if met is not None and met - period < 0.02 * met:
                break
    return runs


def _blocks(folder: Path, top: str, names: Mapping[str, str]) -> dict[str, Any]:
    keep = "\n".join(
        f"select {m}\nsetattr -mod -set keep_hierarchy 1\nselect -clear" for m in names.values()
    )
    front = _FRONT.format(top=top, keep=keep)
    run_yosys(front + _BACK.format(period="", report="blocks.json"), folder, quiet=True)
    modules = _area(folder / "blocks.json")
    found = {
        block: {"area": modules[module]["area"], "cells": modules[module]["num_cells"]}
        for block, module in names.items()
        if module in modules
    }
    # a module's area includes what is in it, its number of cells does not
    for block in found:
        holder = max((b for b in found if block.startswith(f"{b}.")), key=len, default=None)
        if holder is not None:
            found[holder]["area"] -= modules[names[block]]["area"]
    rest = modules[top]["area"] - sum(block["area"] for block in found.values())
    return {**found, "(top)": {"area": round(rest, 1), "cells": modules[top]["num_cells"]}}


def _memory_area(memories: list[dict[str, Any]], register: float) -> dict[str, Any]:
    bits = [int(m["bits"]) for m in memories]
    small, large = (
        sum(b for b in bits if b <= REGISTER_BITS),
        sum(b for b in bits if b > REGISTER_BITS),
    )
    return {
        "register_bits": small,
        "register_area": round(small * register, 1),
        "sram_bits": large,
        "sram_area_at_0.18um": round(large * 140 * FEATURE_UM**2 / 0.6, 1),
        "sram_source": SRAM_SOURCE,
    }


def _cells(folder: Path, liberty: str | Path | None) -> tuple[Path, str]:
    """The library, in ``folder``, and the cell that drives inputs."""
    cells = unpack(None if liberty is None else Path(liberty), folder)
    driver = driving_cell(cells)
    (folder / "abc.constr").write_text(
        f"set_driving_cell {driver}\nset_load {LOAD_FF} [all_outputs]\n"
    )
    return cells, driver


def _register_area(cells: Path) -> float:
    """Of the smallest flip-flop of a library."""
    areas = cell_areas(cells).items()
    return min((a for name, a in areas if re.search(r"DFF|dff|dfxtp|dfrtp", name)), default=0.0)


def areas(
    folder: Path,
    top: str,
    liberty: str | Path | None,
    names: Mapping[str, str],
    memories: list[dict[str, Any]],
    progress: Callable[[str], None],
) -> dict[str, Any]:
    """Area of blocks of ``design.il`` in ``folder``, mapped once and for no clock: cells, and
    memories as `synthesize` counts them."""
    cells, _ = _cells(folder, liberty)
    progress("blocks")
    found = _blocks(folder, top, names)
    register = _register_area(cells)
    for block, entry in found.items():
        its = [m for m in memories if block_of(m["name"], names) == block]
        size = _memory_area(its, register)
        entry["memory_bits"] = sum(int(m["bits"]) for m in its)
        entry["memory_area"] = size["register_area"] + size["sram_area_at_0.18um"]
    return {"liberty": (DEFAULT if liberty is None else Path(liberty)).name, "blocks": found}


def synthesize(
    folder: Path,
    top: str,
    options: SynthOptions,
    liberty: str | Path | None,
    names: Mapping[str, str],
    memories: list[dict[str, Any]],
    progress: Callable[[str], None],
) -> dict[str, Any]:
    """Map ``design.il`` in ``folder`` to standard cells; area, best clock, power.

    The memories are left out: their ports become ports of the core, their area is estimated apart.
    """
    tools.which("sta")
    cells, driver = _cells(folder, liberty)
    progress("blocks")
    blocks = _blocks(folder, top, names)
    progress("gates")
    run_yosys(_FRONT.format(top=top, keep="") + "write_rtlil mapped.il\n", folder, quiet=True)
    runs = _sweep(folder, top, 1000 / options.clock_mhz, driver, names, progress)
    met = [run for run in runs if run["worst_slack_ns"] is not None and run["worst_slack_ns"] >= 0]
    best = min(met, key=lambda run: run["period_ns"]) if met else None
    chosen = best or runs[-1]
    return {
        "liberty": (DEFAULT if liberty is None else Path(liberty)).name,
        "driving_cell": driver,
        "total": {"area": chosen["area"], "cells": chosen["cells"]},
        "blocks": blocks,
        "memory_area": _memory_area(memories, _register_area(cells)),
        "runs": runs,
        "best": best,
        "note": "no wires, ideal clock, reset is a false path, nets switch in 0.2 of the cycles",
    }
