"""What it takes from rows of K to scores: bit-serial units with their stores, or the dense array.

As a command::

    python -m attnsieve.sim.bench.front_size leopard --point "" --point slice_bits=1,slice_units=12
    python -m attnsieve.sim.bench.front_size leopard --blocks

Each block is flattened and mapped by itself for an ECP5, and to standard cells for no clock. All
units are one module, mapped once: the border of a unit stays.
"""

from __future__ import annotations

import re
import sys
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from amaranth.hdl import UnusedElaboratable

from attnsieve.gen.config import Configuration
from attnsieve.gen.synth import asic, fpga
from attnsieve.gen.synth.targets import target
from attnsieve.gen.verilog import component, to_rtlil
from attnsieve.sim.bench.unit_size import configurations, size_parser

__all__ = ["Size", "block_sizes", "front_size", "one_unit"]


class Size(NamedTuple):
    """Resources.

    Parameters
    ----------
    lut, carry, lutram, ff, dsp, bram : int
        Of an ECP5, as `attnsieve synth` counts them.
    cells, memories : float
        Area of standard cells, and of memories beside them, in square micrometres.
    """

    lut: int = 0
    carry: int = 0
    lutram: int = 0
    ff: int = 0
    dsp: int = 0
    bram: int = 0
    cells: float = 0.0
    memories: float = 0.0

    @property
    def area(self) -> float:
        """Of standard cells and memories, in square millimetres."""
        return (self.cells + self.memories) / 1e6


def one_unit(text: str) -> str:
    """RTLIL of a core in which all its bit-serial units are the first one, whose border stays."""
    modules = re.split(r"(?<=^end\n)", text, flags=re.MULTILINE)
    others = re.compile(r"^module \\\S+\.circle\.unit[1-9]", re.MULTILINE)
    text = "".join(module for module in modules if not others.search(module))
    text = re.sub(r"(\.circle\.unit)\d+", r"\g<1>0", text)
    first = re.compile(r"^(?=module \\\S+\.circle\.unit0$)", re.MULTILINE)
    return first.sub("attribute \\\\keep_hierarchy 1\n", text)


def front_size(config: Configuration) -> Size:
    """From rows of K to scores; of a dense core its array, its K ring and its row buffer, which
    bit-serial units have within."""
    names = ("scorer",) if config.core.slice_units else ("scorer", "k_ring", "row_buffer")
    found = _sizes(config, _text(config), names)
    return Size(*map(sum, zip(*(size for _, size in found), strict=True)))


def block_sizes(config: Configuration) -> Iterator[tuple[str, Size]]:
    """Blocks within the scorer, in the order of the circuit."""
    text = _text(config)
    names = fpga.inner_names(text, f"{config.top}.datapath.scorer")
    return _sizes(config, text, [f"scorer.{name}" for name in names])


def _text(config: Configuration) -> str:
    """RTLIL to map."""
    return one_unit(fpga.plain_names(to_rtlil(component(config), config.top)))


def _sizes(
    config: Configuration, text: str, names: Sequence[str]
) -> Iterator[tuple[str, Size]]:
    """Blocks of the datapath, each by itself."""
    with tempfile.TemporaryDirectory(prefix="attnsieve-") as folder:
        (Path(folder) / "design.il").write_text(text)
        for name in names:
            yield name, _size(config, Path(folder), f"{config.top}.datapath.{name}")


def _size(config: Configuration, folder: Path, module: str) -> Size:
    """A module of ``design.il`` in a folder."""
    family = target("ecp5", config.synth)
    ecp5 = fpga.blocks(folder, module, family, {}, lambda step: None)["(top)"]
    memories = fpga.memories(folder, module)
    cells = asic.areas(folder, module, None, {}, memories, lambda step: None)["blocks"]["(top)"]
    kinds = {kind: ecp5[kind] for kind in ("lut", "carry", "lutram", "ff", "dsp", "bram")}
    return Size(**kinds, cells=cells["area"], memories=cells["memory_area"])


_HEADER = (
    f"{'point':48}{'LUT4':>8}{'carry':>7}{'LUT RAM':>9}{'FF':>8}{'mult.':>7}{'EBR':>5}"
    f"{'cells, mm2':>12}{'memories, mm2':>15}"
)


def _line(name: str, size: Size) -> str:
    return (
        f"{name:48}{size.lut:8}{size.carry:7}{size.lutram:9}{size.ff:8}{size.dsp:7}{size.bram:5}"
        f"{size.cells / 1e6:12.3f}{size.memories / 1e6:15.3f}"
    )


def main(argv: list[str] | None = None) -> int:
    options = size_parser("python -m attnsieve.sim.bench.front_size")
    options.add_argument("--blocks", action="store_true", help="each block within the scorer")
    given = options.parse_args(argv)
    warnings.simplefilter("ignore", UnusedElaboratable)
    print(_HEADER)
    for point, config in configurations(given):
        found = block_sizes(config) if given.blocks else [(point, front_size(config))]
        for name, size in found:
            print(_line(name, size), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
