"""Resources and clock of the top-k engines and of the stage that makes their flags."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal, NamedTuple

from amaranth.lib import wiring

from attnsieve.gen.config import SynthOptions
from attnsieve.gen.synth import synth_component
from attnsieve.gen.synth.place import place_and_route
from attnsieve.hdl.select.keep import Keep
from attnsieve.hdl.select.quick_select import QuickSelect
from attnsieve.hdl.select.radix_select import RadixSelect
from attnsieve.hdl.select.top_k import TopKParams

__all__ = ["GRADES", "Size", "size_lines", "sizes"]

BLOCKS: dict[str, Callable[[TopKParams], wiring.Component]] = {
    "radix select": lambda params: RadixSelect(params=params, fraction=2),  # as in a core
    "quick-select": lambda params: QuickSelect(params=params),
    "keep": lambda params: Keep(params=params, lanes=params.lanes),
}

#: Speed grades of the ECP5, the slowest and the fastest.
GRADES: tuple[Literal[6, 8], ...] = (6, 8)

#: The clock that place and route aims at: more than any of the blocks reaches.
GOAL = 200.0


class Size(NamedTuple):
    """A block, synthesized."""

    name: str
    ecp5: dict[str, int]
    clocks: list[float]  # MHz, of `GRADES`, placed and routed
    xilinx: dict[str, int]


def sizes(params: TopKParams, seed: int) -> Iterator[Size]:
    """Of each block what it takes on ECP5 and Xilinx 7, and its clock on ECP5."""
    first, *others = (
        SynthOptions(clock_mhz=GOAL, seed=seed, ecp5_speed=grade) for grade in GRADES
    )
    for name, make in BLOCKS.items():
        with tempfile.TemporaryDirectory(prefix="attnsieve-") as folder:
            ecp5 = synth_component(
                make(params), "block", "ecp5", first, pnr=True, work=folder, by_block=False
            )
            placed = [ecp5["pnr"]]
            placed += [place_and_route(Path(folder), "ecp5", options, ()) for options in others]
        other = synth_component(make(params), "block", "xilinx", first, by_block=False)
        yield Size(name, ecp5["total"], [report["fmax_mhz"] for report in placed], other["total"])


def size_lines(params: TopKParams, seed: int) -> Iterator[str]:
    """A table of `sizes`."""
    clocks = "".join(f"{f'MHz, {grade}':>8}" for grade in GRADES)
    yield (
        f"{params.lanes} lanes, {params.max_values} values of {params.value_bits} bits; "
        f"LFE5U-85F, clock by speed grade\n"
        f"{'':14}{'ECP5 LUT4':>10}{'CCU2C':>7}{'FF':>7}{'BRAM':>6}{clocks}"
        f"{'Xilinx LUT':>12}{'CARRY4':>8}{'FF':>7}{'BRAM':>6}"
    )
    for name, own, mhz, other in sizes(params, seed):
        yield (
            f"{name:14}{own['lut']:10}{own['carry']:7}{own['ff']:7}{own['bram']:6}"
            + "".join(f"{clock:8.1f}" for clock in mhz)
            + f"{other['lut']:12}{other['carry']:8}{other['ff']:7}{other['bram']:6}"
        )
