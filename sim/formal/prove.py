"""Running a proof: Amaranth, yosys, yosys-smtbmc and the yices solver."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import Any, Literal

from amaranth.back import rtlil
from amaranth.hdl import ClockDomain, Elaboratable, Module, Value
from amaranth.lib import wiring

from attnsieve.gen.tools.process import ToolError
from attnsieve.gen.tools.programs import run_program
from attnsieve.gen.tools.yosys import run_yosys

__all__ = ["ProofError", "prove"]

_SCRIPT = """\
read_rtlil top.il
prep -top top -flatten
memory_map
opt_clean
async2sync
dffunmap
chformal -lower
opt_clean -purge
write_smt2 -wires top.smt2
"""

_OPTIONS: dict[str, list[str]] = {"bmc": [], "induction": ["-i"], "cover": ["-c"]}

_UNROLL = ["--unroll", "--noincr"]

_MOST_TRACE = 8000  # characters of a counterexample that go into the message


class ProofError(AssertionError):
    """A proof failed; the message holds the counterexample."""


def prove(
    elaboratable: Elaboratable,
    *,
    depth: int,
    mode: Literal["bmc", "induction", "cover"] = "bmc",
    name: str = "proof",
    timeout: float = 120,
    unroll: bool = False,
) -> None:
    """Prove the assertions in a design, or reach its covers.

    Registers start at their initial values, there is no reset, and every step is a clock cycle.
    The inputs of a Component take any value in every cycle; inside a proof, `free_inputs` does the
    same for the inputs of a submodule.

    Parameters
    ----------
    elaboratable : Elaboratable
        The design with ``Assert``, ``Assume`` and ``Cover`` in it.
    depth : int
        Cycles to look at.
    mode : str
        ``bmc``: no assertion fails in the first ``depth`` cycles. ``induction``: that, and what
        held for ``depth`` cycles from any state holds in the next, so it holds for ever.
        ``cover``: every cover statement is reached within ``depth`` cycles.
    name : str
        For messages.
    timeout : float
        Seconds for yosys and for each call of the solver.
    unroll : bool
        Give the solver each cycle as an expression of the inputs. It then sees where a claim and
        the hardware do the same in the same order, and proves large sums in no time; other proofs
        may take longer.

    Raises
    ------
    ProofError
        The proof failed; the message ends with the counterexample.
    ToolError
        A tool failed or took too long.
    """
    if mode not in _OPTIONS:
        raise ValueError(f"Mode must be bmc, induction or cover, not {mode!r}")
    with tempfile.TemporaryDirectory(prefix="attnsieve-") as folder:
        Path(folder, "top.il").write_text(_rtlil(elaboratable))
        run_yosys(_SCRIPT, folder, timeout=timeout)
        for each in ("bmc", "induction") if mode == "induction" else (mode,):
            options = [*_OPTIONS[each], *(_UNROLL if unroll else [])]
            _solve(folder, options, depth, f"{name} ({each}, depth {depth})", timeout)


def _rtlil(elaboratable: Elaboratable) -> str:
    """RTLIL of the design in a clock domain without reset."""
    top = Module()
    domain = ClockDomain("sync", reset_less=True)
    top.domains += domain
    top.submodules.dut = elaboratable
    ports: list[Any] = [domain.clk]
    if isinstance(elaboratable, wiring.Component):
        for _, member, value in elaboratable.signature.flatten(elaboratable):
            if member.flow is wiring.In:
                ports.append(Value.cast(value))
    return rtlil.convert(top, name="top", platform="formal", ports=ports)


def _solve(folder: str, options: list[str], depth: int, name: str, timeout: float) -> None:
    command = ["-s", "yices", "-t", str(depth), "--presat", *options]
    trace = Path(folder, "trace.txt")
    dump = ["--dump-smtc", trace.name]
    log = run_program(
        "yosys-smtbmc", [*command, *dump, "top.smt2"], folder, timeout=timeout, check=False
    )
    status = re.findall(r"Status: (\w+)", log)
    if not status:
        raise ToolError(f"{name}: no answer from the solver: {log}")
    if status[-1].lower() != "passed":
        text = trace.read_text() if trace.exists() else ""
        raise ProofError(f"{name} failed\n{log}\n{text[-_MOST_TRACE:]}")
