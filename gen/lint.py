"""Lint of generated Verilog: Verilator, Icarus and yosys, with every waiver named."""

from __future__ import annotations

import re
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from attnsieve.gen import tools
from attnsieve.gen.config import Configuration
from attnsieve.gen.tools.yosys import run_yosys
from attnsieve.gen.verilog import generate_verilog

__all__ = ["WAIVERS", "LintReport", "lint", "lint_verilog", "waiver_file"]

#: Rules of Verilator that are off for generated Verilog, and why. Everything else of -Wall is on.
WAIVERS = {
    "CASEINCOMPLETE": "every value has its default before the case: no latch, as yosys confirms",
    "DECLFILENAME": "one file holds the whole hierarchy, so that a core is one file to copy",
    "PROCASSINIT": "registers have an initial value beside their reset, for FPGAs",
    "UNUSEDSIGNAL": "the netlist keeps names of intermediate values, and whole payloads "
    "of which a block uses some fields",
    "VARHIDDEN": "a memory or register may have the name of an instance further up",
    "WIDTHEXPAND": "operands are extended by Verilog's own rules, after their width was derived "
    "in the source language, which loses no bit",
    "WIDTHTRUNC": "assignments drop bits by Verilog's own rules where the source assigns to a "
    "narrower signal",
}

_YOSYS = """\
read_verilog {file}
hierarchy -check -top {top}
proc
check -assert
flatten
opt_clean
check -assert
select -assert-none t:$dlatch t:$adlatch t:$dlatchsr t:$sr
"""


@dataclass
class LintReport:
    """Findings per tool; nothing found means clean."""

    verilator: list[str] = field(default_factory=list)
    icarus: list[str] = field(default_factory=list)
    yosys: list[str] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        """Whether no tool found anything."""
        return not (self.verilator or self.icarus or self.yosys)

    def as_dict(self) -> dict[str, list[str]]:
        """Findings by tool."""
        return {"verilator": self.verilator, "icarus": self.icarus, "yosys": self.yosys}


def waiver_file() -> str:
    """The waivers as a Verilator configuration file (``.vlt``)."""
    lines = ["`verilator_config", "// Waivers for the generated Verilog, each with its reason."]
    for rule, reason in WAIVERS.items():
        lines += [f"// {reason}", f'lint_off -rule {rule} -file "*"']
    return "\n".join(lines) + "\n"


def _lines(log: str, pattern: str) -> list[str]:
    return [line.strip() for line in log.splitlines() if re.search(pattern, line)]


def rules_without_waivers(text: str, top: str) -> set[str]:
    """Rules of Verilator -Wall that a text breaks when nothing is waived."""
    with tempfile.TemporaryDirectory(prefix="attnsieve-lint-") as folder:
        file = Path(folder) / f"{top}.v"
        file.write_text(text)
        findings = _verilator(file, top, "`verilator_config\n")
    return {rule for line in findings for rule in re.findall(r"^%\w+-(\w+)", line)}


def _verilator(file: Path, top: str, config: str) -> list[str]:
    waivers = file.with_suffix(".vlt")
    waivers.write_text(config)
    try:
        log = tools.run_verilator(
            ["--lint-only", "-Wall", "-Wno-fatal", "--top-module", top, waivers.name, file.name],
            file.parent,
        )
    except tools.ToolError as error:
        return _lines(error.log, r"^%(Warning|Error)") or [str(error)]
    return _lines(log, r"^%(Warning|Error)")


def _icarus(file: Path, top: str) -> list[str]:
    try:
        log = tools.run_iverilog(
            ["-g2005", "-Wall", "-t", "null", "-s", top, file.name], file.parent
        )
    except tools.ToolError as error:
        return [line for line in error.log.splitlines() if line.strip()] or [str(error)]
    return [line for line in log.splitlines() if line.strip()]


def _yosys(file: Path, top: str) -> list[str]:
    try:
        log = run_yosys(_YOSYS.format(file=file.name, top=top), file.parent)
    except tools.ToolError as error:
        return _lines(error.log, r"^(Warning|ERROR)") or [str(error)]
    return _lines(log, r"^Warning")


def lint_verilog(text: str, top: str) -> LintReport:
    """Lint a Verilog text with Verilator -Wall, Icarus -Wall and yosys ``check``.

    yosys also shows that there is no latch and no combinational loop, through the whole hierarchy.
    """
    with tempfile.TemporaryDirectory(prefix="attnsieve-lint-") as folder:
        file = Path(folder) / f"{top}.v"
        file.write_text(text)
        return LintReport(
            _verilator(file, top, waiver_file()), _icarus(file, top), _yosys(file, top)
        )


def lint(config: Configuration) -> LintReport:
    """Lint the Verilog of a configuration."""
    return lint_verilog(generate_verilog(config), config.top)
