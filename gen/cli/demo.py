"""``attnsieve demo``."""

from __future__ import annotations

from attnsieve.gen.errors import UserError

__all__ = ["command"]


def command() -> None:
    """Run a real model's attention on the generated Verilog."""
    raise UserError("not yet")
