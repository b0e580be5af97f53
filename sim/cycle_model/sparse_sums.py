"""prob·V of rows of which only the terms that are not zero are multiplied."""

from __future__ import annotations

import numpy as np

from attnsieve.hdl.params import CoreParams
from attnsieve.sim.cycle_model.latency import Latency
from attnsieve.sim.cycle_model.rows import Pipeline, Row
from attnsieve.sim.driver.image import JobImage

__all__ = ["SparseSums", "steps_of"]


def steps_of(image: JobImage, kept: np.ndarray) -> np.ndarray:
    """Steps ``[heads, queries]`` of rows that multiply ``kept`` of their values, by their places
    ``[heads, queries, places]``."""
    params = image.params
    classes = params.groups // params.parallel_parts(image.job.head_dim)
    counts = [kept[:, :, n::classes].sum(axis=2) for n in range(classes)]
    return np.asarray(np.max(counts, axis=0, initial=1))


class SparseSums(Pipeline):
    """Rows of which only the terms that are not zero are multiplied.

    Parameters
    ----------
    steps : list of int
        Of a pass of each row.
    sums : int
        Cycles from a step to its being added up.
    others : as `Pipeline`
    """

    def __init__(
        self,
        steps: list[int],
        sums: int,
        params: CoreParams,
        latency: Latency,
        *others: object,
    ) -> None:
        super().__init__(params, latency, *others)  # type: ignore[arg-type]
        self.steps, self.sums = steps, sums

    def _values_at(self, used: int) -> int | None:
        """When the lines of V that a row spans can be multiplied; None: that is not known yet."""
        last = self.value_base + used - 1
        if last >= self.value.arrived:
            return None
        return int(self.value.arrive[last]) + 2 if used else 0

    def _end_row(self, row: Row, used: int) -> None:
        """A row is multiplied; with the last one of a KV head the lines of V go."""
        if row.last_of_kv:
            self._release_values(np.array([self.step_time]), used or 1, used)
        self.summed += 1

    def _passes(self, number: int, start: int, terms: int) -> None:
        """Steps of a row from ``start`` on, and when its elements leave."""
        p, row = self.params, self.rows[number]
        head_dim = row.parts * p.segment
        side, steps = p.parallel_parts(head_dim), self.steps[number]
        transfers = p.segment * side // p.output_lanes
        drain = transfers * self.latency.output_pace
        reciprocal = terms + self.latency.statistics
        for _ in range(p.passes(head_dim)):
            end = max(start, self.step_time + 1) + steps - 1
            self.step_time = max(end, self._room())
            self.passes.append((self.step_time, transfers))
            come = self.step_time + self.sums + self.latency.drain
            self.drained = max(come, reciprocal, self.drained) + drain
            pace = self.latency.output_pace
            self.left += [self.drained - drain + pace * n for n in range(1, transfers + 1)]
        self.done[number] = self.drained + self.latency.output
        if row.write:
            size = 2 * head_dim // p.channels // p.beat_bytes
            self.writes.append((int(self.done[number]) - drain + self.latency.write, max(1, size)))
