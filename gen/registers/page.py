"""The reference page of the registers."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from attnsieve.hdl.control.register_map import Field, Register, Window, register_map
from attnsieve.hdl.params import CoreParams

__all__ = ["reference_page"]

_INTRODUCTION = Path(__file__).with_name("introduction.md")


def reference_page(params: CoreParams) -> str:
    """Markdown text of docs/reference/registers.md.

    Parameters
    ----------
    params : CoreParams
        The core to show.
    """
    found = register_map(params)
    introduction = _INTRODUCTION.read_text(encoding="utf-8")
    lines = [introduction, "## Overview", "", "| offset | register | purpose |", "|---|---|---|"]
    lines += [f"| 0x{r.offset:03X} | `{r.name}` | {r.doc} |" for r in found.registers]
    lines += [
        f"| 0x{w.offset:03X} – 0x{w.offset + 4 * w.words - 1:03X} | `{w.name}` | {w.doc} |"
        for w in found.windows
    ]
    lines += ["", "## Fields", ""]
    lines += ["| register | bits | field | access | reset | meaning |", "|---|---|---|---|---|---|"]
    owners: list[Register | Window] = [*found.registers, *found.windows]
    for owner in owners:
        lines += [_row(owner, field) for field in owner.fields]
    lines += ["", "## Status codes", "", "| code | name |", "|---|---|"]
    codes = found["RESULT"].field("status").values
    lines += [f"| {value} | {name} |" for name, value in _sorted(codes)]
    return "\n".join([*lines, ""])


def _sorted(values: Iterable[tuple[str, int]]) -> list[tuple[str, int]]:
    return sorted(values, key=lambda pair: pair[1])


def _row(owner: Register | Window, field: Field) -> str:
    high = field.lsb + field.width - 1
    bits = f"{high}:{field.lsb}" if field.width > 1 else f"{field.lsb}"
    reset = "–" if isinstance(owner, Window) else f"0x{field.reset:X}"
    return (
        f"| `{owner.name}` | {bits} | `{field.name}` | {field.access.value} | {reset} "
        f"| {field.doc} |"
    )
