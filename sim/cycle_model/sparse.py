"""Rows and regions of a core that prunes: lists, selected values, the end of a job."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from attnsieve.hdl.params import CoreParams
from attnsieve.sim.cycle_model.latency import Latency
from attnsieve.sim.cycle_model.lines import paced
from attnsieve.sim.cycle_model.sparse_sums import SparseSums, steps_of
from attnsieve.sim.cycle_model.top_k import Search, search
from attnsieve.sim.driver.image import JobImage

__all__ = ["SparsePipeline", "list_cycles", "row_steps", "select_cycles"]


def list_cycles(image: JobImage) -> int:
    """From the start of a job to its lists: words, the masks, zero eliminator and packer."""
    params, job = image.params, image.job
    beats = [-(-n // params.token_lanes) for n in (job.queries, job.keys)]
    levels = max(1, -(-(params.token_lanes - 1).bit_length() // 4))
    build = 5 + 2 * levels + levels + 1
    return 14 + (sum(beats) + 2 * build if job.causal else max(beats) + build)


def row_steps(image: JobImage) -> np.ndarray:
    """Steps of a pass of prob·V of each row ``[heads, queries]``: terms of the largest class."""
    job = image.job
    steps = np.ones((job.heads, job.queries), np.int64)
    for kv in np.flatnonzero(job.alive_kv):
        group = slice(kv * job.group, (kv + 1) * job.group)
        kept = image.expected.kept_values[group][:, :, image.demanded_keys(int(kv))]
        steps[group] = steps_of(image, kept)
    return steps


def select_cycles(image: JobImage, lanes: int) -> int:
    """From the last share of a job to its selection of tokens, ``lanes`` of them per cycle; 0 if
    none is made."""
    params, job = image.params, image.job
    keep = job.scoring.keep
    if keep is None:
        return 0
    rows = -(-job.keys // lanes)
    engine = search(params, lanes, job.keys, min(keep, job.keys - 1))
    ages = 2 * rows * (params.token_lanes + 4) if job.scoring.age else 0
    return 2 * rows + engine.busy + engine.wait + 9 + ages


@dataclass(frozen=True)
class _Selected:
    """How a row's values are selected."""

    search: Search

    @property
    def wait(self) -> int:
        """Cycles from its last terms to its first ones behind the select."""
        fill = self.search.fill if self.search.alone else 0
        return fill + self.search.busy + self.search.wait + 4


class SparsePipeline(SparseSums):
    """Rows whose values are selected: complete rows into prob·V, only their kept terms multiplied.

    Parameters
    ----------
    image : JobImage
        The job, for what its rows keep.
    others : as `Pipeline`
    """

    def __init__(
        self, image: JobImage, params: CoreParams, latency: Latency, *others: object
    ) -> None:
        steps = row_steps(image)[np.ix_(np.flatnonzero(image.job.alive), image.listed_queries)]
        super().__init__(steps.ravel().tolist(), latency.steps + 3, params, latency, *others)
        self.image, self.passed = image, -1
        self.selected = self._selections()

    def _selections(self) -> list[_Selected]:
        image, p = self.image, self.params
        found = []
        for head in np.flatnonzero(image.job.alive):
            for query in image.listed_queries:
                seen = int(image.expected.kept_scores[head, query].sum())
                kept = int(image.expected.kept_values[head, query].sum())
                engine = search(p, self.latency.select_lanes, seen, kept)
                found.append(_Selected(engine))
        return found

    def _sum(self) -> bool:
        number = self.summed
        if number == self.softened:
            return False
        row, lines = self.rows[number], self.lines[number]
        used = lines if row.keys else 0
        values = self._values_at(used)
        if values is None:
            return False
        first, last = self.beat[number], self.beat[number + 1]
        terms = self.left_time_of(number) + self.latency.terms
        known = terms + self.selected[number].wait
        bounds = np.zeros(last - first, np.int64)
        bounds[0] = max(known, self.passed + 1)
        passed = paced(bounds)
        self.passed = int(passed[-1])
        self.beat_free[first:last] = passed + 1
        self._passes(number, max(self.passed + 4, values), terms)
        self._end_row(row, used)
        return True
