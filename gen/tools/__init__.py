"""External tools: where they are, how they are run, what version they have."""

from attnsieve.gen.tools.environment import (
    activate,
    cache_directory,
    launchers,
    tool_environment,
    which,
)
from attnsieve.gen.tools.process import MissingToolError, ToolError, run
from attnsieve.gen.tools.programs import (
    run_compiler,
    run_iverilog,
    run_nextpnr,
    run_program,
    run_sta,
)
from attnsieve.gen.tools.verilator import run_verilator, verilator_command, verilator_root
from attnsieve.gen.tools.versions import versions

__all__ = [
    "MissingToolError",
    "ToolError",
    "activate",
    "cache_directory",
    "launchers",
    "run",
    "run_compiler",
    "run_iverilog",
    "run_nextpnr",
    "run_program",
    "run_sta",
    "run_verilator",
    "tool_environment",
    "verilator_command",
    "verilator_root",
    "versions",
    "which",
]
