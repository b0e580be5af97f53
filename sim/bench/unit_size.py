"""What a bit-serial unit of a core takes, by itself, and its clock.

As a command::

    python -m attnsieve.sim.bench.unit_size leopard --point "" --point slice_words=sign_magnitude
    python -m attnsieve.sim.bench.unit_size leopard --pnr
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Iterator
from typing import Any

from amaranth.hdl import Cat, Module, UnusedElaboratable
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from attnsieve.gen.config import Configuration
from attnsieve.gen.config import load as load_config
from attnsieve.gen.synth import synth_component
from attnsieve.hdl.slices.bit_serial_dot import (
    BitSerialDot,
    bound_layout,
    ended_layout,
    query_write_layout,
)
from attnsieve.hdl.slices.slice_params import SliceParams, slice_params
from attnsieve.hdl.slices.unit_circle import UnitCircle

__all__ = ["configurations", "size_parser", "unit_size"]

_HEADER = (
    f"{'point':32}{'latency':>8}{'ECP5 LUT4':>10}{'CCU2C':>7}{'FF':>7}{'LUT RAM':>8}{'MHz':>7}"
    f"{'cells, um2':>12}{'memories, um2':>14}"
)


class _Alone(wiring.Component):
    """A unit whose streams are ports: what is always ready has none for it."""

    def __init__(self, params: SliceParams) -> None:
        self.unit = BitSerialDot(params=params, memory_latency=UnitCircle.memory_latency)
        members = self.unit.signature.members
        self.plain = [name for name in members if name not in ("query", "bound", "ended")]
        super().__init__(
            {
                **{name: members[name] for name in self.plain},
                "query": In(query_write_layout(params)),
                "bound": In(bound_layout(params)),
                "write": In(2),
                "ended": Out(ended_layout(params)),
                "end": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.unit = unit = self.unit
        for name in ("start", "read", "o"):
            connect(m, getattr(unit, name), flipped(getattr(self, name)))
        m.d.comb += [
            unit.arrive.eq(self.arrive),
            self.leave.eq(unit.leave),
            unit.query.p.eq(self.query),
            unit.bound.p.eq(self.bound),
            Cat(unit.query.valid, unit.bound.valid).eq(self.write),
            self.ended.eq(unit.ended.p),
            self.end.eq(unit.ended.valid),
        ]
        return m


def unit_size(config: Configuration, *, pnr: bool = False) -> tuple[dict[str, Any], dict[str, Any]]:
    """A unit on an ECP5, with ``pnr`` placed and routed, and in standard cells."""
    found = []
    for target in ("ecp5", "asic"):
        alone = _Alone(slice_params(config.core))
        report = synth_component(
            alone, "alone", target, config.synth, pnr=pnr and target == "ecp5", alone=("unit",)
        )
        found.append(report["blocks"]["unit"])
    return found[0], found[1]


def _line(point: str, config: Configuration, pnr: bool) -> str:
    ecp5, asic = unit_size(config, pnr=pnr)
    clock = ecp5["pnr"]["fmax_mhz"] if pnr else None
    return (
        f"{point:32}{UnitCircle(params=slice_params(config.core)).latency:8}"
        f"{ecp5['lut']:10}{ecp5['carry']:7}{ecp5['ff']:7}{ecp5['lutram']:8}"
        f"{'' if clock is None else f'{clock:.1f}':>7}"
        f"{asic['area']:12.0f}{asic['memory_area']:14.0f}"
    )


def size_parser(prog: str) -> argparse.ArgumentParser:
    """Options of benches that map a system at points."""
    options = argparse.ArgumentParser(prog=prog)
    options.add_argument("system", nargs="?", default="leopard", help="preset or TOML file")
    options.add_argument(
        "--point", action="append", default=[], metavar="K=V,K=V", help="other settings; repeatable"
    )
    return options


def configurations(given: argparse.Namespace) -> Iterator[tuple[str, Configuration]]:
    """Points that the options name."""
    for point in given.point or [""]:
        settings = [f"core.{setting}" for setting in point.split(",") if setting]
        yield point, load_config(given.system, settings=settings)


def main(argv: list[str] | None = None) -> int:
    options = size_parser("python -m attnsieve.sim.bench.unit_size")
    options.add_argument("--pnr", action="store_true", help="place and route on the ECP5")
    given = options.parse_args(argv)
    warnings.simplefilter("ignore", UnusedElaboratable)
    print(_HEADER)
    for point, config in configurations(given):
        print(_line(point, config, given.pnr), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
