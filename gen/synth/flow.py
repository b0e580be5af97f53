"""Synthesis of a configuration for a target, from RTLIL to a report."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from amaranth.lib import wiring

from attnsieve.gen import tools
from attnsieve.gen.config import Configuration, SynthOptions
from attnsieve.gen.errors import UserError
from attnsieve.gen.synth import asic, fpga, place
from attnsieve.gen.synth.alone import blocks_alone, chosen_blocks
from attnsieve.gen.synth.liberty import unpack
from attnsieve.gen.synth.targets import target as find_target
from attnsieve.gen.synth.wrapper import stub, wrapper
from attnsieve.gen.verilog import component, ports, to_rtlil

__all__ = ["check", "synth", "synth_component"]

Progress = Callable[[str], None]


def _quiet(message: str) -> None:
    pass


def check(target: str, options: SynthOptions, pnr: bool, liberty: str | Path | None) -> None:
    """Reject what cannot work before anything is built."""
    place_with = None if target == "asic" else find_target(target, options).nextpnr
    if pnr and place_with is None:
        raise UserError(f"--pnr needs target ecp5 or ice40, not {target}")
    if pnr:
        tools.which(f"nextpnr-{place_with}")
    if target == "asic":
        tools.which("sta")
        with tempfile.TemporaryDirectory(prefix="attnsieve-") as folder:
            unpack(None if liberty is None else Path(liberty), Path(folder))
    elif liberty is not None:
        raise UserError(f"--liberty needs target asic, not {target}")


def synth_component(
    core: wiring.Component,
    top: str,
    target: str,
    options: SynthOptions,
    *,
    pnr: bool = False,
    liberty: str | Path | None = None,
    work: str | Path | None = None,
    by_block: bool = True,
    alone: Sequence[str] = (),
    progress: Progress = _quiet,
) -> dict[str, Any]:
    """Synthesize any component; see `synth`. Without ``by_block``, for an FPGA, only the total."""
    check(target, options, pnr, liberty)
    family = None if target == "asic" else find_target(target, options)
    tools.which("yosys")
    place_to = nullcontext(str(work)) if work else tempfile.TemporaryDirectory(prefix="attnsieve-")
    with place_to as name:
        folder = Path(name)
        folder.mkdir(parents=True, exist_ok=True)
        text = fpga.plain_names(to_rtlil(core, top))
        (folder / "design.il").write_text(text)
        names = fpga.block_names(text, top)
        if alone:
            names = fpga.nested_names(text, names)
            names = {block: names[block] for block in chosen_blocks(names, alone)}
        if alone and family is not None:
            found = blocks_alone(folder, text, names, family, options, pnr, progress)
            return {"target": target, "blocks": found}
        progress("memories")
        report: dict[str, Any] = {"target": target, "memories": fpga.memories(folder, top)}
        report["memory_bits"] = sum(m["bits"] for m in report["memories"])
        if alone:
            return report | asic.areas(folder, top, liberty, names, report["memories"], progress)
        if family is None:
            return report | asic.synthesize(
                folder, top, options, liberty, names, report["memories"], progress
            )
        (folder / "wrapper.v").write_text(wrapper(top, ports(core)))
        if by_block:
            report["blocks"] = fpga.blocks(folder, top, family, names, progress)
        progress("total")
        mapped = fpga.total(folder, top, family, stub(top, ports(core)))
        report |= {"total": mapped.core, "wrapper": mapped.wrapper, "cells": mapped.cells}
        if mapped.dsp_registers is not None:
            report["dsp_registers"] = mapped.dsp_registers
        if pnr and family.nextpnr is not None:
            progress("place and route")
            try:
                report["pnr"] = place.place_and_route(folder, family.nextpnr, options, names)
            except tools.ToolError as error:  # it does not fit: the rest of the report says why
                report["pnr"] = {"error": str(error)}
            else:
                report["pnr"]["core"] = _without_wrapper(report)
        return report


def _without_wrapper(report: dict[str, Any]) -> dict[str, int]:
    """What the device spends on the core: placed cells without the wrapper's."""
    used = {name: entry["used"] for name, entry in report["pnr"]["utilization"].items()}
    own = report["wrapper"]
    less = {
        # one logic cell holds a register and the exclusive or in front of it
        "ICESTORM_LC": max(own["ff"], own["lut"]),
        "TRELLIS_COMB": own["lut"] + 2 * own["carry"],
        "TRELLIS_FF": own["ff"],
    }
    return {name: used[name] - n for name, n in less.items() if name in used} | {
        name: used[name]
        for name in ("DP16KD", "MULT18X18D", "ICESTORM_RAM", "ICESTORM_DSP")
        if name in used
    }


def synth(
    config: Configuration,
    target: str,
    *,
    pnr: bool = False,
    liberty: str | Path | None = None,
    work: str | Path | None = None,
    alone: Sequence[str] = (),
    progress: Progress = _quiet,
) -> dict[str, Any]:
    """Synthesize a configuration.

    Parameters
    ----------
    config : Configuration
        What to build.
    target : str
        ``ecp5``, ``ice40``, ``gowin``, ``xilinx`` (7 series) or ``asic``.
    pnr : bool
        Place and route too (ECP5 and iCE40): Fmax and the critical path.
    liberty : path
        Liberty file of the standard cells for ``asic``; OSU 0.18 µm by default.
    work : path
        Folder for intermediate files; a temporary one by default.
    alone : sequence of str
        Only these blocks, by name or pattern, each by itself; with ``pnr`` placed and routed alone.
        ``scorer.dealer`` is a block within a block.
    progress : callable
        Called with the name of each step.

    Returns
    -------
    dict
        ``total``: resources of the flattened core; ``blocks``: by block, borders kept (so their sum
        differs a little from the total); ``memories``: by instance; ``wrapper``: the cells
        around the core, which no other number contains; ``dsp_registers`` (ECP5): registers moved
        into multipliers; ``pnr``: Fmax and critical path, or ``error``. With ``alone`` only
        ``blocks``, each entry with its own ``pnr``.
    """
    check(target, config.synth, pnr, liberty)
    report = synth_component(
        component(config), config.top, target, config.synth,
        pnr=pnr, liberty=liberty, work=work, alone=alone, progress=progress,
    )  # fmt: skip
    versions = tools.versions(
        ["attnsieve", "amaranth", "yosys", "nextpnr-ecp5", "nextpnr-ice40", "opensta"]
    )
    return {"config": config.as_dict(), "tool_versions": versions, **report}
