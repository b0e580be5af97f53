"""The files that a simulation leaves: stats.json and out.npz."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np

from attnsieve.hdl.params import CoreParams
from attnsieve.sim.bench.memory import Timing
from attnsieve.sim.driver.image import JobImage
from attnsieve.sim.errors import InputError
from attnsieve.sim.limits import GRANULE, Necessary, limit_cycles, ratios, tail_cycles

__all__ = ["STALL_CAUSES", "LayerStats", "layer_stats", "stats_document", "write_json", "write_npz"]

#: Keys of ``stall_cycles``; with ``busy_cycles`` they sum to ``cycles``.
STALL_CAUSES = ("setup", "query", "key", "output", "tail")


@dataclass(frozen=True, kw_only=True)
class LayerStats:
    """Figures of a layer, or of several added up. docs/user/figures.md says what each means.

    Parameters
    ----------
    layer : int or None
        Index in the trace; None for a sum.
    jobs, cycles, busy_cycles : int
        Jobs run, cycles of all of them, cycles in which the Q·K array worked.
    stall_cycles : dict
        The other cycles by cause.
    limit_cycles, tail_cycles : int
        Necessary cycles, and what isolated jobs cannot hide.
    macs_qk, macs_pv, waste_macs, dram_read_bytes, dram_write_bytes, waste_bytes : int
        Work and traffic, and the part of each that was not necessary.
    kept : dict
        ``tokens heads scores values``: (kept, unmasked) counts.
    slices : int
        Slices of K that bit-serial units read.
    rows, empty_rows, recomputed, mismatches : int
        Rows written, rows among them without a key, rows that were computed again with more bits
        of K, and differences from the golden model.
    """

    layer: int | None
    jobs: int = 0
    cycles: int = 0
    busy_cycles: int = 0
    stall_cycles: Mapping[str, int] = field(default_factory=lambda: dict.fromkeys(STALL_CAUSES, 0))
    limit_cycles: int = 0
    tail_cycles: int = 0
    macs_qk: int = 0
    macs_pv: int = 0
    waste_macs: int = 0
    dram_read_bytes: int = 0
    dram_write_bytes: int = 0
    waste_bytes: int = 0
    kept: Mapping[str, tuple[int, int]] = field(
        default_factory=lambda: dict.fromkeys(("tokens", "heads", "scores", "values"), (0, 0))
    )
    slices: int = 0
    rows: int = 0
    empty_rows: int = 0
    recomputed: int = 0
    mismatches: int = 0

    def __post_init__(self) -> None:
        total = self.busy_cycles + sum(self.stall_cycles.values())
        if total != self.cycles:
            raise ValueError(f"Busy and stall cycles must sum to {self.cycles}, not {total}")

    def __add__(self, other: LayerStats) -> LayerStats:
        numbers = {
            name: getattr(self, name) + getattr(other, name)
            for name, kind in self.__annotations__.items()
            if kind == "int"
        }
        stalls = {c: self.stall_cycles[c] + other.stall_cycles[c] for c in STALL_CAUSES}
        kept = {
            name: (ours + other.kept[name][0], all_ours + other.kept[name][1])
            for name, (ours, all_ours) in self.kept.items()
        }
        layer = self.layer if self.layer == other.layer else None
        return LayerStats(layer=layer, stall_cycles=stalls, kept=kept, **numbers)

    def as_dict(self) -> dict[str, Any]:
        """The figures as they stand in stats.json."""
        limit_ratio, job_ratio = ratios(self.limit_cycles, self.tail_cycles, max(1, self.cycles))
        record: dict[str, Any] = {} if self.layer is None else {"layer": self.layer}
        for name in ("jobs", "cycles", "busy_cycles"):
            record[name] = getattr(self, name)
        record["stall_cycles"] = dict(self.stall_cycles)
        record["limit_cycles"] = self.limit_cycles
        record["limit_ratio"] = round(limit_ratio, 6)
        record["job_ratio"] = round(job_ratio, 6)
        for name in ("macs_qk", "macs_pv", "waste_macs"):
            record[name] = getattr(self, name)
        for name in ("dram_read_bytes", "dram_write_bytes", "waste_bytes"):
            record[name] = getattr(self, name)
        for name, (kept, unmasked) in self.kept.items():
            record[f"kept_{name}"] = round(kept / unmasked, 6) if unmasked else 0.0
        for name in ("slices", "rows", "empty_rows", "recomputed", "mismatches"):
            record[name] = getattr(self, name)
        return record


def layer_stats(
    layer: int | None,
    image: JobImage,
    timing: Timing,
    counters: Mapping[str, int],
    mismatches: int = 0,
    done_macs: int | None = None,
) -> LayerStats:
    """Figures of one job from its golden result and its counters.

    Parameters
    ----------
    layer : int or None
        Index in the trace.
    image : JobImage
        The job.
    timing : Timing
        Of the memory that it ran on.
    counters : dict
        ``cycles busy stall_setup stall_query stall_key stall_output stall_tail read_bytes
        write_bytes``, as the registers count them, or as the cycle model predicts them.
    mismatches : int
        Output elements and counters that differ from the golden model.
    done_macs : int
        Multiplications that both arrays did; by default the necessary ones and those of keys
        that a mask hides from a row that spans them.
    """
    params, result, job = image.params, image.expected, image.job
    work = Necessary(
        macs_qk=result.macs_qk, macs_pv=result.macs_pv, granules=image.needed_granules,
        slices=result.needed,
    )  # fmt: skip
    last = _last_values(image)
    if done_macs is None:
        spanned = job.heads * sum(job.visible(int(row)) for row in image.written)
        done_macs = 2 * spanned * job.head_dim
        if params.token_lanes or params.slice_units:  # what is not listed, or kept, costs nothing
            done_macs = result.macs_qk + result.macs_pv
    moved = counters["read_bytes"] + counters["write_bytes"]
    alive = int(result.seen.any(axis=0).sum())
    tokens, pairs = image.unpruned or (alive, result.pairs)
    return LayerStats(
        layer=layer,
        jobs=1,
        cycles=counters["cycles"],
        busy_cycles=counters["busy"],
        stall_cycles={cause: counters[f"stall_{cause}"] for cause in STALL_CAUSES},
        limit_cycles=limit_cycles(params, timing, work),
        tail_cycles=tail_cycles(params, timing, job.head_dim, last),
        macs_qk=result.macs_qk,
        macs_pv=result.macs_pv,
        waste_macs=done_macs - result.macs_qk - result.macs_pv,
        dram_read_bytes=counters["read_bytes"],
        dram_write_bytes=counters["write_bytes"],
        waste_bytes=max(0, moved - GRANULE * image.needed_granules),
        kept={
            "tokens": (alive, tokens),
            "heads": (sum(job.alive), job.heads),
            "scores": (result.scores, pairs),
            "values": (result.values, pairs),
        },
        slices=result.slices,
        rows=result.rows,
        empty_rows=result.empty_rows,
        recomputed=int(result.recomputed.sum()),
        mismatches=mismatches,
    )


def _last_values(image: JobImage) -> int:
    """Values that the job's last row multiplies, or spans if none are selected."""
    if not len(image.written):
        return 0
    row = int(image.written[-1])
    if image.params.value_lanes or image.params.slice_units:
        return int(image.expected.kept_values[-1, row].sum())
    return image.job.visible(row)


def stats_document(
    config: Mapping[str, Any],
    params: CoreParams,
    tool_versions: Mapping[str, str],
    seed: int,
    runs: Mapping[str, Sequence[LayerStats]],
) -> dict[str, Any]:
    """Contents of stats.json.

    Parameters
    ----------
    config : dict
        Every parameter of the system and of the run.
    params : CoreParams
        The core.
    tool_versions : dict
        Versions of what took part.
    seed : int
        Seed of everything random.
    runs : dict
        Figures by layer of ``run`` and, unless left out, ``baseline`` and ``unpruned``.
    """
    document: dict[str, Any] = {
        "config": dict(config),
        "tool_versions": dict(tool_versions),
        "seed": seed,
        "multipliers": 2 * params.lanes,
        "multiplier_bits": 2 * params.lanes * params.operand_bits**2,
    }
    document.update(_run(runs["run"]))
    for name in ("baseline", "unpruned"):
        if name in runs:
            document[name] = _run(runs[name])
    return document


def _run(layers: Sequence[LayerStats]) -> dict[str, Any]:
    if not layers:
        raise InputError("layers must name at least one layer, not none")
    total = LayerStats(layer=None)
    for one in layers:
        total = total + one
    return {"layers": [one.as_dict() for one in layers], "total": total.as_dict()}


def write_json(path: Path, document: Mapping[str, Any]) -> None:
    """Write a JSON file whole or not at all."""
    text = json.dumps(document, indent=2, sort_keys=False) + "\n"
    _atomically(path, lambda file: file.write(text.encode()))


def write_npz(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write an npz file whole or not at all, with contents that depend on the arrays only."""
    _atomically(path, lambda file: np.savez_compressed(file, allow_pickle=False, **arrays))


def _atomically(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Write beside the target, then move into place."""
    path = Path(path)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            write(file)
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(name, 0o666 & ~umask)
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise
