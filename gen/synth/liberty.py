"""What is needed of a Liberty file: an inverter to drive inputs, areas, and its text unpacked."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

from attnsieve.gen.errors import UserError

__all__ = ["DEFAULT", "cell_areas", "driving_cell", "unpack"]

#: Debian's package qflow-tech-osu018: Oklahoma State University's cells for a 0.18 µm process.
DEFAULT = Path("/usr/share/qflow/tech/osu018/osu018_stdcells.lib")

_CELL = re.compile(r'^\s*cell\s*\(\s*"?([^")\s]+)"?\s*\)\s*\{', re.MULTILINE)
_AREA = re.compile(r"^\s*area\s*:\s*([0-9.eE+-]+)\s*;", re.MULTILINE)
_INVERTER = re.compile(r'function\s*:\s*"\s*(?:\(?\s*![A-Za-z0-9_]+\s*\)?|[A-Za-z0-9_]+\')\s*"')


def unpack(source: Path | None, folder: Path) -> Path:
    """Copy a Liberty file, unpacked if it is gzipped, to ``cells.lib`` in ``folder``."""
    path = DEFAULT if source is None else source
    try:
        content = path.read_bytes()
        if path.suffix == ".gz":
            content = gzip.decompress(content)
    except FileNotFoundError:
        if source is None:
            raise UserError(
                "no standard cells: sudo apt-get install qflow-tech-osu018, or use --liberty"
            ) from None
        raise UserError(f"{path}: no such file") from None
    except (OSError, EOFError) as error:
        raise UserError(f"{path}: cannot be read: {error}") from error
    if not _CELL.search(content.decode(errors="replace")):
        raise UserError(f"{path}: not a Liberty file: it has no cells")
    target = folder / "cells.lib"
    target.write_bytes(content)
    return target


def _cells(text: str) -> dict[str, str]:
    starts = list(_CELL.finditer(text))
    ends = [m.start() for m in starts[1:]] + [len(text)]
    return {m[1]: text[m.start() : end] for m, end in zip(starts, ends, strict=True)}


def cell_areas(path: Path) -> dict[str, float]:
    """Area of each cell, in the file's unit (square micrometres)."""
    found = {
        name: _AREA.search(body) for name, body in _cells(path.read_text(errors="replace")).items()
    }
    return {name: float(area[1]) for name, area in found.items() if area}


def driving_cell(path: Path) -> str:
    """An inverter of middle size."""
    bodies = _cells(path.read_text(errors="replace"))
    areas = cell_areas(path)
    inverters = [
        name
        for name, body in bodies.items()
        if _INVERTER.search(body) and body.count("function") == 1 and "ff (" not in body
    ]
    if not inverters:
        raise UserError(f"{path}: not usable: it has no inverter")
    return sorted(inverters, key=lambda name: (areas.get(name, 0.0), name))[len(inverters) // 2]
