"""``attnsieve list``."""

from __future__ import annotations

from rich.table import Table

from attnsieve.gen.cli.console import out, print_json
from attnsieve.gen.cli.options import Json
from attnsieve.gen.config import presets

__all__ = ["command"]

_SHOWN = ("lanes", "max_head_dim", "max_keys", "channels", "data_width")


def command(as_json: Json = False) -> None:
    """List the presets: name, status, main parameters, what each is for."""
    configs = presets()
    if as_json:
        print_json([config.as_dict() for config in configs])
        return
    table = Table(box=None, pad_edge=False)
    for column in ("preset", "status", *_SHOWN):
        table.add_column(column, no_wrap=True, justify="right" if column in _SHOWN else "left")
    table.add_column("for")
    for config in configs:
        core = config.core.as_dict()
        table.add_row(config.name, config.status, *(str(core[k]) for k in _SHOWN), config.intent)
    out().print(table)
