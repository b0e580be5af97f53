"""Programs that run jobs on any simulator, and what their outcomes say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from attnsieve.hdl.control.register_map import COUNTERS, STALLS, register_map
from attnsieve.hdl.params import CoreParams
from attnsieve.sim.bench.memory import Fault, Stalls, Timing
from attnsieve.sim.bench.program import Case, Operation, Outcome
from attnsieve.sim.driver.image import MemoryImage
from attnsieve.sim.driver.registers import job_writes, start_write

__all__ = ["JobReport", "cycle_bound", "differences", "job_case", "job_reports"]

_COUNTERS = ("CYCLES", "CYCLES_HI", *(name.upper() for name, _ in COUNTERS))
_READS = ("RESULT", *_COUNTERS)


@dataclass(frozen=True)
class JobReport:
    """What the registers say of a finished job.

    Parameters
    ----------
    status : int
        How it ended; 0 is good.
    tag : int
        Its ``JOB_TAG``: its number in the memory image.
    counters : dict
        ``cycles`` and the counters of the register map.
    """

    status: int
    tag: int
    counters: dict[str, int]


def cycle_bound(image: MemoryImage) -> int:
    """Cycles in which all jobs are surely done, however much memory and buses stall."""
    params, total = image.params, 0
    for job in image.jobs:
        pairs = job.job.heads * job.job.queries * (job.job.keys + params.groups)
        work = 2 * pairs * job.job.head_dim // params.lanes + 40 * job.job.heads * job.job.queries
        moved = (job.read_bytes + job.write_bytes) // params.beat_bytes
        total += 20 * (work + moved) + 20_000
    return total


def job_case(
    image: MemoryImage,
    *,
    timing: Timing | None = None,
    stalls: Stalls | None = None,
    faults: Sequence[Fault] = (),
    queued: bool = False,
    limit: int | None = None,
) -> Case:
    """A program that runs the jobs of an image.

    Parameters
    ----------
    image : MemoryImage
        Memory and jobs. At most ``queue_depth + 1`` if ``queued``.
    timing, stalls, faults
        Of the memory.
    queued : bool
        Start all jobs at once, so that they overlap. Only the last one's report can be read.
    limit : int
        Most cycles to wait for a job; `cycle_bound` by default.
    """
    params = image.params
    limit = cycle_bound(image) if limit is None else limit
    operations = [Operation("reset", 4), _write(params, "IRQ_ENABLE", 1)]
    if queued:
        if len(image.jobs) > params.queue_depth + 1:
            raise ValueError(
                f"Queued jobs must be at most {params.queue_depth + 1}, not {len(image.jobs)}"
            )
        for number in range(len(image.jobs)):
            operations += _start(image, number)
        operations += [Operation("run", limit), *_report(params)]
    else:
        for number in range(len(image.jobs)):
            operations += _start(image, number)
            operations += [Operation("irq", limit), *_report(params)]
    return Case(
        memory=np.stack(image.channels()),
        operations=operations,
        timing=timing,
        stalls=stalls or Stalls(),
        faults=faults,
    )


def job_reports(outcome: Outcome) -> list[JobReport]:
    """Reports that the program read, in the order in which jobs finished."""
    reports = []
    for start in range(0, len(outcome.reads) - len(_READS) + 1, len(_READS)):
        values = dict(zip(_READS, outcome.reads[start : start + len(_READS)], strict=True))
        counters = {name: values[name.upper()] for name, _ in COUNTERS}
        counters["cycles"] = values["CYCLES"] | values["CYCLES_HI"] << 32
        reports.append(
            JobReport(values["RESULT"] & 15, values["RESULT"] >> 16 & 0xFFFF, counters)
        )
    return reports


def differences(image: MemoryImage, outcome: Outcome, *, queued: bool = False) -> list[str]:
    """Everything that is not as the golden model says, one line each; empty if all is well.

    Every byte of memory is compared, every status, every counter that does not depend on timing,
    and the sum of busy and stall cycles. Where jobs overlap (``queued``), bytes are counted for
    the job that ends next and are not compared.
    """
    found = [] if outcome.error is None else [outcome.error]
    got = image.linear_from(list(outcome.memory))
    want = image.expected()
    wrong = np.flatnonzero(got != want)
    if len(wrong):
        at = int(wrong[0])
        found.append(
            f"{len(wrong)} bytes of memory differ, first {_where(image, at)}: "
            f"got {got[at]:#04x}, want {want[at]:#04x}"
        )
    for report in job_reports(outcome):
        found += _wrong_report(image, report, queued)
    return found


def _where(image: MemoryImage, address: int) -> str:
    """What lies at an address."""
    for number, job in enumerate(image.jobs):
        for name, tensor in job.tensors.items():
            head, offset = divmod(address - tensor.base, tensor.stride)
            row, byte = divmod(offset, tensor.pitch)
            if 0 <= head < tensor.heads and row < tensor.rows:
                return f"job {number} {name} head {head} row {row} byte {byte}"
    return f"address {address:#x}, outside all tensors"


def _wrong_report(image: MemoryImage, report: JobReport, queued: bool) -> list[str]:
    if report.tag >= len(image.jobs):
        return [f"report has the tag {report.tag} of no job"]
    found = []
    if report.status:
        found.append(f"job {report.tag}: status {report.status}, want 0")
    for name, want in image.jobs[report.tag].counters.items():
        if report.counters[name] != want and not (queued and name.endswith("_bytes")):
            found.append(f"job {report.tag}: {name} is {report.counters[name]}, want {want}")
    parts = [report.counters[name] for name in ("busy", *(name for name, _ in STALLS))]
    if sum(parts) != report.counters["cycles"]:
        found.append(
            f"job {report.tag}: busy and stalls {parts} do not sum to {report.counters['cycles']}"
        )
    return found


def _write(params: CoreParams, name: str, value: int) -> Operation:
    return Operation("write", register_map(params)[name].offset, value)


def _start(image: MemoryImage, number: int) -> list[Operation]:
    job = image.jobs[number]
    writes = [*job_writes(job, tag=number), start_write(job)]
    return [Operation("write", write.offset, write.value) for write in writes]


def _report(params: CoreParams) -> list[Operation]:
    """Read the result and the counters, and clear the interrupt for the next job."""
    registers = register_map(params)
    reads = [Operation("read", registers[name].offset) for name in _READS]
    return [*reads, _write(params, "IRQ_STATUS", 3)]
