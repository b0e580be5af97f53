"""Python API: what the commands do, as functions.

::

    from attnsieve.gen.api import build, load, simulate

    config = load("dense", settings=["core.lanes=32"])
    built = build(config)
    built.verilog, built.component, built.ports
    result = simulate(config, "t.npz")
    result.out, result.stats["total"]["limit_ratio"]
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from amaranth.lib import wiring

from attnsieve.gen.config import Configuration, load, preset_names
from attnsieve.gen.synth import synth
from attnsieve.gen.verilog import Port, component, generate_verilog, ports

if TYPE_CHECKING:
    from attnsieve.sim.simulate import SimulationResult
    from attnsieve.sim.trace import Trace

__all__ = [
    "Built",
    "build",
    "load",
    "preset_names",
    "simulate",
    "synth",
]


@dataclass(frozen=True)
class Built:
    """A core that was built from a configuration.

    Parameters
    ----------
    config : Configuration
        What it was built from.
    """

    config: Configuration

    @cached_property
    def component(self) -> wiring.Component:
        """The core as an Amaranth component, to instantiate in a design of one's own."""
        return component(self.config)

    @cached_property
    def verilog(self) -> str:
        """The core as Verilog; its top module is ``config.top``."""
        return generate_verilog(self.config)

    @cached_property
    def ports(self) -> tuple[Port, ...]:
        """Ports of the top module."""
        return ports(self.component)


def build(config: Configuration | str) -> Built:
    """Build a core.

    Parameters
    ----------
    config : Configuration or str
        A configuration as `load` returns it, or the name of a preset or TOML file.
    """
    return Built(load(config) if isinstance(config, str) else config)


def simulate(
    config: Configuration | str, trace: Trace | str | Path, **options: Any
) -> SimulationResult:
    """Run a configuration's Verilog on a trace and compare it with the golden model bit for bit.

    Parameters
    ----------
    config : Configuration or str
        A configuration, or the name of a preset or TOML file.
    trace : Trace or path
        A trace, or its file.
    options
        Of `attnsieve.sim.simulate.simulate`: ``layers``, ``heads``, ``bits``, ``thresholds``,
        ``simulator``, ``memory``, ``stalls``, ``seed``, ``baseline``, ``vcd``, ``progress``.

    Returns
    -------
    SimulationResult
        ``out``, ``stats``, ``mismatches``; ``write(folder)`` writes out.npz and stats.json.
    """
    from attnsieve.sim.simulate import simulate as run

    return run(load(config) if isinstance(config, str) else config, trace, **options)
