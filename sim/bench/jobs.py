"""Jobs as programs: what software writes and reads, and the check of what came of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from attnsieve.hdl.control.register_map import STALLS, counters, exit_counters, register_map
from attnsieve.hdl.control.status import StatusCode
from attnsieve.hdl.params import CoreParams
from attnsieve.sim.bench.program import Operation, Outcome
from attnsieve.sim.driver.image import JobImage, MemoryImage
from attnsieve.sim.driver.registers import job_writes, start_write

__all__ = [
    "Check",
    "JobReport",
    "check_jobs",
    "memories",
    "predicted_counters",
    "programs",
    "queued_program",
    "read_reports",
    "report_registers",
    "setup",
]

_RESET_CYCLES = 4
_HEADS = 0x8000  # of SCORE_TOKEN: where the scores of heads begin
_LIMIT = 50_000_000  # cycles that a job may take, unless a caller knows better


@dataclass(frozen=True, kw_only=True)
class JobReport:
    """What the registers say of a finished job.

    Parameters
    ----------
    finished : int
        Jobs that have finished since reset.
    status : StatusCode
        How it ended.
    tag : int
        Its tag.
    counters : mapping
        ``cycles`` and every counter of the register map, by name.
    """

    finished: int
    status: StatusCode
    tag: int
    counters: Mapping[str, int]


def report_registers(params: CoreParams) -> tuple[str, ...]:
    """Registers that make a report, in the order in which they are read."""
    names = (name.upper() for name, _ in (*counters(params), *exit_counters(params)))
    return ("FINISHED", "RESULT", "CYCLES", "CYCLES_HI", *names)


def setup(params: CoreParams, *, watchdog: int = 0) -> list[Operation]:
    """Reset, and the interrupt enabled for jobs that have finished."""
    registers = register_map(params)
    enable = registers["IRQ_ENABLE"]
    return [
        Operation("reset", _RESET_CYCLES),
        Operation("write", registers["WATCHDOG"].offset, watchdog),
        Operation("write", enable.offset, enable.field("done").mask),
    ]


def start(image: JobImage, tag: int) -> list[Operation]:
    """Program a job and start it."""
    writes = [*job_writes(image, tag), start_write(image)]
    return [Operation("write", w.offset, w.value) for w in writes]


def report(params: CoreParams) -> list[Operation]:
    """Clear the interrupt and read what is told of the job that has finished."""
    registers = register_map(params)
    clear = [
        Operation("write", registers[name].offset, registers[name].field("done").mask)
        for name in ("IRQ_STATUS", "STATUS")
    ]
    read = [Operation("read", registers[name].offset) for name in report_registers(params)]
    return clear + read


def state(job: JobImage) -> list[Operation]:
    """Read the scores of the job's tokens and, if it selects, the words of the next list."""
    if not job.params.token_lanes:
        return []
    registers = register_map(job.params)
    scores = Operation("read", registers["SCORE"].offset)
    operations = [Operation("write", registers["SCORE_TOKEN"].offset, 0), *[scores] * job.job.keys]
    first = registers.window("NEXT_KEYS").offset
    operations.append(Operation("write", registers["SCORE_TOKEN"].offset, _HEADS))
    operations += [scores] * (2 * job.job.heads)
    operations += [Operation("read", first + 4 * n) for n in range(_next_words(job))]
    names = ("NEXT_HEADS", "NEXT_HEADS_HI")
    return operations + [Operation("read", registers[name].offset) for name in names]


def restore(job: JobImage, held: np.ndarray | None) -> list[Operation]:
    """Write the scores that the job needs, unless it is they that the core holds."""
    needed = job.scores_before
    if not job.params.token_lanes or job.job.scoring.clear or needed is None:
        return []
    if held is not None and np.array_equal(held, needed):
        return []
    registers = register_map(job.params)
    offset = registers["SCORE"].offset
    index = registers["SCORE_TOKEN"].offset
    values = [Operation("write", offset, int(score)) for score in needed[: job.job.keys]]
    halves = [
        Operation("write", offset, int(half))
        for score in (job.heads_before if job.heads_before is not None else ())
        for half in (score & 0xFFFFFFFF, score >> 32)
    ]
    return [Operation("write", index, 0), *values, Operation("write", index, _HEADS), *halves]


def _next_words(job: JobImage) -> int:
    return -(-job.job.keys // 32) if job.job.scoring.keep is not None else 0


def _state_reads(job: JobImage) -> int:
    """Values that `state` reads."""
    if not job.params.token_lanes:
        return 0
    return job.job.keys + 2 * job.job.heads + _next_words(job) + 2


def programs(image: MemoryImage, *, limit: int = _LIMIT) -> Iterator[list[Operation]]:
    """For each job: program, start, wait for the interrupt, read all. Tags count from 1."""
    held = None  # scores of tokens on the core
    for tag, job in enumerate(image.jobs, start=1):
        end = [Operation("irq", limit), *report(image.params), *state(job)]
        yield [*restore(job, held), *start(job, tag), *end]
        held = job.scores_after if image.params.token_lanes else None


def queued_program(image: MemoryImage, *, limit: int = _LIMIT) -> list[Operation]:
    """All jobs, each started as soon as the queue takes it; one report, of the last."""
    params = image.params
    registers = register_map(params)
    status = registers["STATUS"]
    full = status.field("queue_full").mask
    done: list[Operation] = []
    for tag, job in enumerate(image.jobs, start=1):
        *writes, go = start(job, tag)
        done += [*writes, Operation("poll", status.offset, 0, full, limit // 16), go]
    busy = status.field("busy").mask
    end = Operation("poll", status.offset, 0, busy, limit // 16)
    return [*done, end, *report(params), *state(image.jobs[-1])]


def read_reports(params: CoreParams, reads: Sequence[int]) -> list[JobReport]:
    """Reports from the values that `report` read, in order."""
    names = report_registers(params)
    size = len(names)
    if len(reads) % size:
        raise ValueError(f"Reads must be a multiple of {size}, not {len(reads)}")
    reports = []
    for first in range(0, len(reads), size):
        value = dict(zip(names, reads[first : first + size], strict=True))
        found = {"cycles": value["CYCLES"] | value["CYCLES_HI"] << 32}
        every = (*counters(params), *exit_counters(params))
        found |= {name: value[name.upper()] for name, _ in every}
        reports.append(
            JobReport(
                finished=value["FINISHED"],
                status=StatusCode(value["RESULT"] & 15),
                tag=value["RESULT"] >> 16,
                counters=found,
            )
        )
    return reports


def memories(image: MemoryImage) -> np.ndarray:
    """Contents of all channels before the jobs, ``[channels, bytes]``."""
    return np.stack(image.channels())


def predicted_counters(job: JobImage) -> dict[str, int]:
    """Counters that the golden model knows exactly."""
    return job.counters


@dataclass
class Check:
    """Differences between a run and the golden model.

    Parameters
    ----------
    mismatches : list of int
        Per job: output elements and counters that differ.
    stray_bytes : int
        Bytes that changed outside the outputs.
    messages : list of str
        What differs, in words.
    reports : list of JobReport
        What the registers said.
    """

    mismatches: list[int]
    stray_bytes: int = 0
    messages: list[str] = field(default_factory=list)
    reports: list[JobReport] = field(default_factory=list)

    @property
    def total(self) -> int:
        """All differences."""
        return sum(self.mismatches) + self.stray_bytes + bool(self.messages)

    def add(self, job: int, count: int, message: str) -> None:
        """Note differences of a job."""
        self.mismatches[job] += count
        self.messages.append(f"job {job}: {message}")


def check_jobs(image: MemoryImage, outcome: Outcome, *, queued: bool = False) -> Check:
    """Compare a run of all jobs of an image with the golden model.

    Parameters
    ----------
    image : MemoryImage
        Memory and jobs as they were before.
    outcome : Outcome
        Of `setup` and `programs`, or of `queued_program`; then only the last job has a report.
    queued : bool
        Which of the two.
    """
    check = Check([0] * len(image.jobs))
    if outcome.error is not None:
        check.add(0, 1, outcome.error)
    last = len(image.jobs) - 1
    told = [last] if queued else range(len(image.jobs))
    size, reads = len(report_registers(image.params)), list(outcome.reads)
    states = []
    for job in told:
        if len(reads) < size + _state_reads(image.jobs[job]):
            break
        check.reports += read_reports(image.params, reads[:size])
        states.append(reads[size : size + _state_reads(image.jobs[job])])
        del reads[: size + _state_reads(image.jobs[job])]
    if reads or not check.reports:
        check.reports = []
        return check
    _check_memory(image, outcome.memory, check)
    for job, found, read in zip(told, check.reports, states, strict=False):
        _check_report(image.jobs[job], job, found, check, queued)
        _check_state(image.jobs[job], job, read, check)
    if check.reports[-1].finished != len(image.jobs):
        check.add(last, 1, f"{check.reports[-1].finished} jobs finished, not {len(image.jobs)}")
    return check


def _check_state(job: JobImage, number: int, read: Sequence[int], check: Check) -> None:
    """Scores of tokens, and the list for the next job."""
    if not job.params.token_lanes:
        return
    keys = job.job.keys
    got, want = np.array(read[:keys], np.int64), job.scores_after[:keys]
    if wrong := int((got != want).sum()):
        token = int(np.flatnonzero(got != want)[0])
        check.add(
            number, wrong,
            f"{wrong} of {keys} scores differ, first token {token}: {got[token]}, "
            f"not {want[token]}",
        )  # fmt: skip
    _check_heads(job, number, read[keys : keys + 2 * job.job.heads], read[-2:], check)
    words = read[keys + 2 * job.job.heads : -2]
    if words:
        packed = np.array(words, "<u4").view(np.uint8)
        chosen = np.unpackbits(packed, bitorder="little")[:keys].astype(bool)
        if wrong := int((chosen != job.next_keys).sum()):
            check.add(number, wrong, f"{wrong} of {keys} tokens are selected or not, wrongly")


def _check_heads(
    job: JobImage, number: int, halves: Sequence[int], chosen: Sequence[int], check: Check
) -> None:
    """Scores of heads, and the heads for the next job."""
    heads = job.job.heads
    got = [low | high << 32 for low, high in zip(halves[::2], halves[1::2], strict=True)]
    want = job.head_scores[:heads].tolist()
    if got != want:
        wrong = sum(a != b for a, b in zip(got, want, strict=True))
        check.add(number, wrong, f"{wrong} of {heads} head scores differ: {got}, not {want}")
    if job.job.scoring.keep is not None:
        bits = chosen[0] | chosen[1] << 32
        if [bool(bits >> n & 1) for n in range(heads)] != job.next_heads.tolist():
            check.add(number, 1, f"heads {bits:#x} are selected, wrongly")


def _check_memory(image: MemoryImage, after: np.ndarray, check: Check) -> None:
    got, want = image.linear_from(list(after)), image.expected()
    differ = got != want
    if not differ.any():
        return
    for number, job in enumerate(image.jobs):
        wrong = job.read_output(got) != job.read_output(want)
        if wrong.any():
            head, query, element = (int(x[0]) for x in np.nonzero(wrong))
            check.add(
                number,
                int(wrong.sum()),
                f"{int(wrong.sum())} of {wrong.size} outputs differ, first head {head} query "
                f"{query} element {element}: {job.read_output(got)[head, query, element]}, not "
                f"{job.read_output(want)[head, query, element]}",
            )
        job.tensors["o"].view(differ)[...] = False
    if stray := int(differ.sum()):
        check.stray_bytes = stray
        first = int(np.flatnonzero(differ)[0])
        check.messages.append(f"{stray} bytes changed outside the outputs, first at {first:#x}")


def _check_report(
    job: JobImage, number: int, found: JobReport, check: Check, queued: bool
) -> None:
    if found.status is not StatusCode.OK:
        check.add(number, 1, f"status {found.status.name}")
    if found.tag != number + 1:
        check.add(number, 1, f"tag {found.tag}, not {number + 1}")
    for name, want in predicted_counters(job).items():
        if queued and name.endswith("_bytes"):
            continue  # bytes count for the job that runs, also those loaded for the next
        if found.counters[name] != want:
            check.add(number, 1, f"counter {name} is {found.counters[name]}, not {want}")
    total = found.counters["busy"] + sum(found.counters[name] for name, _ in STALLS)
    if total != found.counters["cycles"]:
        check.add(
            number, 1, f"busy and stall cycles sum to {total}, not {found.counters['cycles']}"
        )
