"""What a target calls its resources, and the yosys commands that map to it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from attnsieve.gen.config import SynthOptions
from attnsieve.gen.errors import UserError
from attnsieve.gen.synth import dsp

__all__ = ["RESOURCES", "TARGETS", "Target", "count", "target"]

#: Resources that are told apart, in the order of the tables.
RESOURCES = ("lut", "carry", "ff", "mux", "lutram", "dsp", "bram")


@dataclass(frozen=True)
class Target:
    """A family of devices.

    Parameters
    ----------
    name : str
        As on the command line.
    synth : str
        yosys command that maps a design to it; ``-top`` is added.
    cells : mapping
        Regular expression of cell types by resource.
    nextpnr : str or None
        Family for place and route.
    pack : callable or None
        Moves registers into multipliers of a mapped netlist; see `dsp.pack`.
    """

    name: str
    synth: str
    cells: Mapping[str, str]
    nextpnr: str | None = None
    pack: Callable[[dict[str, Any]], dict[str, int]] | None = None


TARGETS = {
    t.name: t
    for t in (
        Target(
            "ecp5",
            "synth_ecp5",
            {
                "lut": r"LUT4",
                "carry": r"CCU2C",
                "ff": r"TRELLIS_FF",
                "mux": r"PFUMX|L6MUX21",
                "lutram": r"TRELLIS_DPR16X4",
                "dsp": r"MULT18X18D|MULT9X9D|ALU54B|ALU24B",
                "bram": r"DP16KD|PDPW16KD",
            },
            nextpnr="ecp5",
            pack=dsp.pack,
        ),
        Target(
            "ice40",
            "synth_ice40",
            {
                "lut": r"SB_LUT4",
                "carry": r"SB_CARRY",
                "ff": r"SB_DFF\w*",
                "dsp": r"SB_MAC16",
                "bram": r"SB_RAM40_4K\w*",
            },
            nextpnr="ice40",
        ),
        Target(
            "gowin",
            "synth_gowin -noiopads",
            {
                "lut": r"LUT[1-4]",
                "carry": r"ALU",
                "ff": r"DFF\w*",
                "mux": r"MUX2\w*",
                "lutram": r"RAM16S\w*",
                "dsp": r"MULT\w*|PADD\w*",
                "bram": r"p?ROM\w*|SDP\w*|DP[BX]\w*|SP\w*",
            },
        ),
        Target(
            "xilinx",
            "synth_xilinx -family xc7 -noiopad -noclkbuf",
            {
                "lut": r"LUT[1-6](_2)?|INV",
                "carry": r"CARRY4",
                "ff": r"FD[RSCP]E(_1)?",
                "mux": r"MUXF[78]",
                "lutram": r"RAM(32|64|128|256)\w*|SRL\w*",
                "dsp": r"DSP48E1",
                "bram": r"RAMB36E1|RAMB18E1",
            },
        ),
    )
}


def target(name: str, options: SynthOptions) -> Target:
    """The target of a name."""
    if name not in TARGETS:
        raise UserError(f"unknown target {name!r}; known: {', '.join((*TARGETS, 'asic'))}")
    found = TARGETS[name]
    if name == "ice40":
        device = options.ice40_device
        family = {"H": "hx", "L": "lp", "U": "u"}[device[0]]
        dsp = " -dsp" if family == "u" else ""
        return Target(
            found.name, f"{found.synth} -device {family}{dsp}", found.cells, found.nextpnr
        )
    return found


def count(target: Target, cells: Mapping[str, int]) -> dict[str, int]:
    """Resources in a table of cells by type."""
    totals = dict.fromkeys(RESOURCES, 0)
    for kind, number in cells.items():
        for resource, pattern in target.cells.items():
            if re.fullmatch(pattern, kind):
                totals[resource] += number
                break
    return totals
