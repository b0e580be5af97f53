"""The reference page of the registers."""

from __future__ import annotations

from collections.abc import Iterable

from attnsieve.hdl.control.register_map import Field, Register, Window, register_map
from attnsieve.hdl.params import CoreParams

__all__ = ["reference_page"]

_INTRODUCTION = """\
# Registers

<!-- Made by `python -m attnsieve.gen.registers`; a test compares it. -->

The AXI4-Lite slave (`s_axil_*`) has 12 address bits and 32 data bits. This page shows preset `dense`; offsets are the same in every core,
reset values of the capability registers and the sizes of the windows are its own.
With `addr_width` over 32, every base and stride has a register `*_HI` at the next word. `attnsieve generate` writes the
same map as SystemRDL, C header, HTML, Markdown and IP-XACT; the description is `hdl/control/register_map.py`.

## Rules

- Byte strobes are obeyed. Every response is OKAY; unmapped words read as 0, and writing them is ignored.
- One write and one read are under way at a time; a write and a read at the same time have no order.
- **Starting a job.** Write the job registers and the windows, then `CTRL.start`. Job registers keep their values over a start and read back.
  Windows do not: they have a bank for each job, a start moves on to the next bank, and what is in that one is anything. So write the
  head table, and the masks that `MODE` switches on, before every start.
- **Queue.** Up to `QUEUE_DEPTH` + 1 jobs are started and not finished (`STATUS.jobs`). A start beyond that, or during an
  abort, is refused: `STATUS.start_while_busy` is set, no job is disturbed, the bank stays.
- **Finishing.** Jobs finish in the order of their starts. Each sets `STATUS.done` and `IRQ_STATUS.done`, with a status other than OK
  `IRQ_STATUS.error` too, and puts its status and tag into `RESULT` and its counts into the counters, all in the same cycle.
- **Counters** keep the job that finished last until the next one finishes; `FINISHED` tells whether one has. `CYCLES` is the sum of `BUSY` and all
  `STALL_*`. Where jobs overlap, a cycle counts for the oldest that is unfinished. Read `CYCLES` before `CYCLES_HI`.
- **Abort** ends all jobs that were started with status ABORTED, each with its own `done`. The bus is drained first.
- The interrupt is high while a bit is set both in `IRQ_ENABLE` and in `IRQ_STATUS`.
"""


def reference_page(params: CoreParams) -> str:
    """Markdown text of docs/reference/registers.md.

    Parameters
    ----------
    params : CoreParams
        The core to show.
    """
    found = register_map(params)
    lines = [_INTRODUCTION, "## Overview", "", "| offset | register | purpose |", "|---|---|---|"]
    lines += [f"| 0x{r.offset:03X} | `{r.name}` | {r.doc} |" for r in found.registers]
    lines += [
        f"| 0x{w.offset:03X} – 0x{w.offset + 4 * w.words - 1:03X} | `{w.name}` | {w.doc} |"
        for w in found.windows
    ]
    lines += ["", "## Fields", ""]
    lines += ["| register | bits | field | access | reset | meaning |", "|---|---|---|---|---|---|"]
    for owner in (*found.registers, *found.windows):
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
