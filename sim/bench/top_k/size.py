"""Resources and clock of the top-k engines and of the stage that makes their flags."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from amaranth.lib import wiring

from attnsieve.gen.config import SynthOptions
from attnsieve.gen.synth import synth_component
from attnsieve.hdl.select.keep import Keep
from attnsieve.hdl.select.quick_select import QuickSelect
from attnsieve.hdl.select.radix_select import RadixSelect
from attnsieve.hdl.select.top_k import TopKParams

__all__ = ["size_lines", "sizes"]

BLOCKS: dict[str, Callable[[TopKParams], wiring.Component]] = {
    "radix select": lambda params: RadixSelect(params=params),
    "quick-select": lambda params: QuickSelect(params=params),
    "keep": lambda params: Keep(params=params, lanes=params.lanes),
}

#: The clock that place and route aims at: more than any of the blocks reaches.
GOAL = 200.0


def sizes(params: TopKParams, seed: int) -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Of each block its name and its synthesis for ECP5, placed and routed, and for Xilinx 7."""
    options = SynthOptions(clock_mhz=GOAL, seed=seed)
    for name, make in BLOCKS.items():
        ecp5 = synth_component(make(params), "block", "ecp5", options, pnr=True, by_block=False)
        other = synth_component(make(params), "block", "xilinx", options, by_block=False)
        yield name, ecp5, other


def size_lines(params: TopKParams, seed: int) -> Iterator[str]:
    """A table of `sizes`."""
    yield (
        f"{params.lanes} lanes, {params.max_values} values of {params.value_bits} bits\n"
        f"{'':14}{'ECP5 LUT4':>10}{'CCU2C':>7}{'FF':>7}{'BRAM':>6}{'MHz':>8}"
        f"{'Xilinx LUT':>12}{'CARRY4':>8}{'FF':>7}{'BRAM':>6}"
    )
    for name, ecp5, xilinx in sizes(params, seed):
        own, other = ecp5["total"], xilinx["total"]
        yield (
            f"{name:14}{own['lut']:10}{own['carry']:7}{own['ff']:7}{own['bram']:6}"
            f"{ecp5['pnr']['fmax_mhz']:8.1f}"
            f"{other['lut']:12}{other['carry']:8}{other['ff']:7}{other['bram']:6}"
        )
