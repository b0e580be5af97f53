"""The wrapper that gives a core with thousands of ports to place and route.

All inputs of the core come from one chain of registers, all outputs go into another. A chain
shifts every cycle; the second adds (exclusive or) an output bit at every place, so every bit of
every port is used and every path to or from a port starts or ends in a register.
"""

from __future__ import annotations

from collections.abc import Sequence

from attnsieve.gen.verilog import Port

__all__ = ["WRAPPER", "stub", "wrapper"]

#: Name of the wrapper module.
WRAPPER = "attnsieve_pnr_wrapper"


def wrapper(top: str, ports: Sequence[Port]) -> str:
    """Verilog of the wrapper of module ``top``, whose instance is named ``core``.

    Names of ports are escaped: those of a block may be words of Verilog.
    """
    inputs = [p for p in ports if not p.output and p.name not in ("clk", "rst")]
    outputs = [p for p in ports if p.output]
    given, taken = (sum(p.width for p in group) for group in (inputs, outputs))
    lines = [
        f"module {WRAPPER}(input clk, input rst, input si, output so);",
        f"  reg [{max(given, 1) - 1}:0] given;",
        f"  reg [{max(taken, 1) - 1}:0] taken;",
        f"  wire [{max(taken, 1) - 1}:0] result;",
        "  reg reset;",
        "  assign so = taken[0];",
        "  always @(posedge clk) begin",
        "    reset <= rst;",
        "    given <= {si, given} >> 1;",
        "    taken <= ({given[0], taken} >> 1) ^ result;",
        "  end",
        f"  {top} core (",
    ]
    own = {port.name for port in ports}
    pins = [pin for name, pin in (("clk", ".clk(clk)"), ("rst", ".rst(reset)")) if name in own]
    for name, group in (("given", inputs), ("result", outputs)):
        base = 0
        for port in group:
            pins.append(f".\\{port.name} ({name}[{base + port.width - 1}:{base}])")
            base += port.width
    lines += ["    " + ",\n    ".join(pins), "  );", "endmodule"]
    return "\n".join(lines) + "\n"


def stub(top: str, ports: Sequence[Port]) -> str:
    """Verilog of an empty module with the ports of the core."""
    declared = (f"{'output' if p.output else 'input'} [{p.width - 1}:0] \\{p.name} " for p in ports)
    return f"module {top}(" + ", ".join(declared) + ");\nendmodule\n"
