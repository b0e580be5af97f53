"""Ports of a module, read from its Verilog, and what they are to the harness."""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = ["CorePorts", "Port", "module_ports"]

_MODULE = re.compile(r"^\s*module\s+\\?(?P<name>[^\s(;]+)", re.M)
_PORT = re.compile(
    r"^\s*(?P<direction>input|output)\s+(?:wire\s+|reg\s+)?(?:signed\s+)?"
    r"(?:\[(?P<high>\d+):0\]\s*)?\\?(?P<name>[A-Za-z_][\w$]*)\s*;",
    re.M,
)
_MASTER = re.compile(r"m_axi(\d*)_\w+")


@dataclass(frozen=True)
class Port:
    """A port of a module."""

    name: str
    output: bool
    width: int


def module_ports(verilog: str, top: str) -> dict[str, Port]:
    """Ports of module ``top``, by name.

    Reads what yosys writes: each port declared on a line of its own in the body.
    """
    for found in _MODULE.finditer(verilog):
        if found["name"] == top:
            body = verilog[found.end() : verilog.index("endmodule", found.end())]
            return {
                p["name"]: Port(p["name"], p["direction"] == "output", int(p["high"] or 0) + 1)
                for p in _PORT.finditer(body)
            }
    raise ValueError(f"Verilog must have a module {top}, and has none")


@dataclass(frozen=True)
class CorePorts:
    """A core's ports by the names of the integration contract.

    Parameters
    ----------
    ports : dict of str to Port
        All ports: ``clk``, ``rst``, ``irq``, ``s_axil_*``, and ``m_axi_*`` or ``m_axi0_*``,
        ``m_axi1_*``, ….
    """

    ports: dict[str, Port]

    def __post_init__(self) -> None:
        for name in ("clk", "rst", "irq", "s_axil_awvalid", "s_axil_rdata"):
            if name not in self.ports:
                raise ValueError(f"Core must have a port {name}, and has none")
        if not self.prefixes:
            raise ValueError("Core must have a port m_axi_rdata or m_axi0_rdata, and has none")

    @classmethod
    def of(cls, verilog: str, top: str) -> CorePorts:
        """Ports of the core ``top``."""
        return cls(module_ports(verilog, top))

    @property
    def prefixes(self) -> tuple[str, ...]:
        """Prefix of each AXI4 master, in the order of channels."""
        numbers = {m[1] for name in self.ports if (m := _MASTER.fullmatch(name))}
        return tuple(f"m_axi{n}_" for n in sorted(numbers, key=lambda n: int(n or 0)))

    @property
    def channels(self) -> int:
        """Number of AXI4 masters."""
        return len(self.prefixes)

    @property
    def data_width(self) -> int:
        """Data bits of a master."""
        return self.ports[f"{self.prefixes[0]}rdata"].width

    @property
    def beat_bytes(self) -> int:
        """Bytes of a beat."""
        return self.data_width // 8
