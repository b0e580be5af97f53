"""Files made from the register map, by way of SystemRDL."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any

from attnsieve.gen.registers.rdl import system_rdl
from attnsieve.hdl.control.register_map import VERSION
from attnsieve.hdl.params import CoreParams

__all__ = ["export"]


def export(params: CoreParams, folder: Path | str, *, name: str = "attnsieve") -> list[Path]:
    """Write SystemRDL, C header, HTML, Markdown and IP-XACT of a core's registers.

    The same parameters give the same bytes.

    Parameters
    ----------
    params : CoreParams
        The core.
    folder : path
        Where to; made if it is not there. The files are ``<name>.rdl``, ``<name>_registers.h``,
        ``html/index.html`` and its parts, ``<name>.md`` and ``<name>.xml``.
    name : str
        Name of the address map and of the files, an identifier.

    Returns
    -------
    list of Path
        The files; of the HTML pages the first one only.
    """
    text = system_rdl(params, name=name)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    source = folder / f"{name}.rdl"
    source.write_text(text, encoding="utf-8")
    top = _compile(source)
    header, page = folder / f"{name}_registers.h", folder / "html" / "index.html"
    markdown, ipxact = folder / f"{name}.md", folder / f"{name}.xml"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of packages that are not ours
        _c_header(top, header)
        _html(top, page.parent)
        _markdown(top, markdown)
        _ipxact(top, ipxact)
    return [source, header, page, markdown, ipxact]


def _compile(source: Path) -> Any:
    from systemrdl import RDLCompiler

    compiler = RDLCompiler()
    compiler.compile_file(str(source))
    return compiler.elaborate().top


def _c_header(top: Any, path: Path) -> None:
    from peakrdl_cheader.c_standards import CStandard
    from peakrdl_cheader.exporter import CHeaderExporter

    CHeaderExporter().export(top, str(path), std=CStandard.gnu99, reuse_typedefs=False)


def _html(top: Any, folder: Path) -> None:
    from peakrdl_html import HTMLExporter

    exporter = HTMLExporter(generate_source_links=False)
    exporter.export(top, str(folder), footer="", skip_not_present=False)
    # The exporter puts the time of its run into links, against stale browser caches.
    page = folder / "index.html"
    text = page.read_text(encoding="utf-8")
    text = re.sub(r"(BUILD_TS = |\?ts=)\d+", r"\g<1>0", text)
    page.write_text(text, encoding="utf-8")


def _markdown(top: Any, path: Path) -> None:
    from peakrdl_markdown import MarkdownExporter

    MarkdownExporter().export(top, str(path))
    # The exporter names the place and the time of its run.
    text = path.read_text(encoding="utf-8")
    text = re.sub(r"<!---.*?-->\n*", "", text, count=1, flags=re.DOTALL)
    path.write_text(text, encoding="utf-8")


def _ipxact(top: Any, path: Path) -> None:
    from peakrdl_ipxact import IPXACTExporter

    version = ".".join(map(str, VERSION))
    IPXACTExporter(vendor="attnsieve", library="attnsieve", version=version).export(top, str(path))
