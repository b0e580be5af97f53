"""Fast simulation of the generated Verilog through compiled C++."""

from attnsieve.sim.compiled.block import BlockRun, CompiledBlock
from attnsieve.sim.compiled.build import BACKENDS, DEFAULT_BACKEND, Backend, build
from attnsieve.sim.compiled.machine import BusTimeout, CompiledMachine

__all__ = [
    "BACKENDS",
    "DEFAULT_BACKEND",
    "Backend",
    "BlockRun",
    "BusTimeout",
    "CompiledBlock",
    "CompiledMachine",
    "build",
]
