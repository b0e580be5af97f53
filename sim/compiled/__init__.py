"""Fast simulation of the generated Verilog through compiled C++."""

from attnsieve.sim.compiled.build import BACKENDS, DEFAULT_BACKEND, Backend, build
from attnsieve.sim.compiled.machine import BusTimeout, CompiledMachine

__all__ = ["BACKENDS", "DEFAULT_BACKEND", "Backend", "BusTimeout", "CompiledMachine", "build"]
