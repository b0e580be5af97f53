"""Jobs of which only counts are known: what rows keep is drawn, nothing is computed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from attnsieve.hdl.params import CoreParams
from attnsieve.sim.driver.image import JobImage
from attnsieve.sim.driver.plan import Placement, single_job
from attnsieve.sim.golden.job import Job
from attnsieve.sim.golden.layer import LayerResult
from attnsieve.sim.golden.score import visibility

__all__ = ["CountedJob", "counted_job"]


@dataclass(frozen=True)
class CountedJob(JobImage):
    """A job without contents.

    Parameters
    ----------
    again : tuple of bool
        Of each head: its rows are computed again.
    seed : int
        Of what rows keep.
    """

    again: tuple[bool, ...] = ()
    seed: int = 0

    @cached_property
    def expected(self) -> LayerResult:
        """What the job's counts say; outputs and shares are zero."""
        job, rng = self.job, np.random.default_rng(self.seed)
        valid = np.ones(job.keys, bool) if self.key_valid is None else self.key_valid
        seen = np.zeros((job.queries, job.keys), bool)
        seen[self.written] = visibility(
            self.written, job.queries, job.keys, job.causal, valid
        )
        kept = seen & np.array(job.alive)[:, None, None]
        values = kept
        if job.values and self.params.value_lanes:
            # of each row the keys with the smallest of random numbers
            draws = np.where(kept, rng.random(kept.shape), 2.0)
            order = np.argpartition(draws, min(job.values, job.keys) - 1, axis=2)
            chosen = np.zeros(kept.shape, bool)
            np.put_along_axis(chosen, order[:, :, : job.values], True, axis=2)
            values = kept & chosen
        recomputed = np.zeros(kept.shape[:2], bool)
        recomputed[:, self.written] = np.array(self.again or (False,) * job.heads)[:, None]
        recomputed &= kept.any(axis=2)
        spans = kept.sum(axis=2)
        rows = sum(job.alive) * len(self.written)
        return LayerResult(
            out=np.zeros((job.heads, job.queries, job.head_dim), np.int16),
            rows=rows,
            empty_rows=rows - int((spans > 0).sum()),
            pairs=int(spans.sum()),
            scores=int(spans.sum()),
            values=int(values.sum()),
            macs_qk=int(spans.sum() + spans[recomputed].sum()) * job.head_dim,
            macs_pv=int(values.sum()) * job.head_dim,
            exits=np.zeros(0, np.int64),
            needed=0,
            read=np.zeros((0, 0, 0), np.uint8),
            stored=np.zeros((0, 0, 0), bool),
            seen=seen & any(job.alive),
            kept_scores=kept,
            kept_values=values,
            shares=np.zeros(job.keys, np.int64),
            recomputed=recomputed,
            approximate=(spans > 0) & ~recomputed & job.progressive,
        )


def counted_job(
    params: CoreParams,
    job: Job,
    key_valid: np.ndarray | None = None,
    again: Sequence[bool] = (),
    *,
    query_valid: np.ndarray | None = None,
    seed: int = 0,
    place: Placement | None = None,
) -> CountedJob:
    """A job placed in memory, whose rows keep ``job.values`` keys each, drawn apart.

    Parameters
    ----------
    params : CoreParams
        The core.
    job : Job
        Its shape.
    key_valid : bool array or None
        Keys that may be seen.
    again : sequence of bool
        Heads whose rows are computed again; none by default.
    query_valid : bool array or None
        Queries whose rows are computed.
    seed : int
        Of what they keep.
    place : Placement
        Where its tensors go.
    """
    none = np.zeros(0, np.int16)
    image = single_job(params, job, none, none, none, key_valid, query_valid, place=place)
    return CountedJob(**vars(image), again=tuple(again), seed=seed)
