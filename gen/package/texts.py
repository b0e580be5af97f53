"""Texts of a package: README, FuseSoC core, constraints, C driver and its example."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import metadata
from typing import Any

import jinja2

from attnsieve.gen.config import Configuration
from attnsieve.gen.verilog import Port
from attnsieve.hdl.control.register_map import (
    IDENTIFIER,
    VERSION,
    counters,
    exit_counters,
    register_map,
)
from attnsieve.hdl.control.status import StatusCode
from attnsieve.hdl.params import CoreParams

__all__ = ["driver_texts", "package_texts"]

_ENVIRONMENT = jinja2.Environment(
    loader=jinja2.PackageLoader("attnsieve.gen.package", "templates"),
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
    autoescape=False,
)
_ENVIRONMENT.globals["hex"] = hex


def _render(template: str, **values: Any) -> str:
    return _ENVIRONMENT.get_template(template).render(**values)


def _statuses() -> list[tuple[str, int]]:
    return [(code.name, code.value) for code in StatusCode]


def driver_texts(params: CoreParams, top: str) -> dict[str, str]:
    """Sources of the C driver and its example, by file name."""
    limits = {
        "lanes": params.lanes,
        "max_head_dim": params.max_head_dim,
        "max_keys": params.max_keys,
        "max_queries": params.max_queries,
        "max_heads": params.max_heads,
        "addr_width": params.addr_width,
        "channels": params.channels,
        "unit_bytes": params.unit_bytes,
        "alignment": params.alignment,
    }
    names = ("attnsieve.h", "attnsieve.c", "example.h", "example.c")
    values = {
        "top": top,
        "map": register_map(params),
        "identifier": IDENTIFIER,
        "version": VERSION,
        "limits": limits,
        "statuses": _statuses(),
        "counters": (*counters(params), *exit_counters(params)),
        "params": params,
    }
    return {name: _render(f"{name}.j2", **values) for name in names}


def _buses(params: CoreParams) -> list[tuple[str, str, str]]:
    masters = (
        ["m_axi_*"] if params.channels == 1 else [f"m_axi{c}_*" for c in range(params.channels)]
    )
    shown = masters if len(masters) < 3 else [masters[0], masters[-1]]
    use = "memory"
    if len(masters) > 2:
        use = f"memory; {len(masters)} masters, the first and the last are shown"
    width = f"AXI4 master, {params.data_width} data bits, {params.addr_width} address bits"
    return [
        *((name, width, use) for name in shown),
        ("s_axil_*", "AXI4-Lite slave, 32 data bits, 4 KB", "processor"),
        ("irq", "interrupt, high while a cause is enabled and pending", "interrupt controller"),
    ]


def package_texts(
    config: Configuration, ports: Sequence[Port], files: dict[str, str]
) -> dict[str, str]:
    """README, FuseSoC core file and timing constraints, by file name."""
    params, top = config.core, config.top
    registers = register_map(params)
    job = [r.offset for r in registers.registers if 0x080 <= r.offset < 0x100]
    readme = _render(
        "README.md.j2",
        config=config, params=params, top=top, ports=ports, files=files, buses=_buses(params),
        map=registers, statuses=_statuses(), first_job=min(job), last_job=max(job),
    )  # fmt: skip
    version = metadata.version("attnsieve")
    return {
        "README.md": readme,
        f"{top}.core": _render("core.yaml.j2", config=config, top=top, version=version),
        f"{top}.sdc": _render("core.sdc.j2", config=config, top=top),
    }
