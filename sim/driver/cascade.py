"""From a trace to jobs that prune: which tokens live in each layer and step, and what scores are.

The golden model goes ahead: a layer's jobs can only be written down when it is known what the
layers before have selected, as a driver on a processor reads it from the core.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import numpy as np

from attnsieve.hdl.params import CoreParams
from attnsieve.sim.driver.image import JobImage
from attnsieve.sim.driver.plan import LayerPlan, LayerWork
from attnsieve.sim.driver.precision import PLAIN, Precision
from attnsieve.sim.driver.schedule import HEADS_WHOLE, TOKENS_WHOLE, keep_counts, keep_ratios
from attnsieve.sim.driver.thresholds import Thresholds
from attnsieve.sim.driver.trace_like import TraceLike
from attnsieve.sim.errors import InputError
from attnsieve.sim.golden.job import UNPINNED, Pins, Scoring

__all__ = ["RANKINGS", "Pruning", "Ranking", "cascade"]

Ranking = Literal["importance", "age", "static"]
#: What decides which tokens go on.
RANKINGS: tuple[Ranking, ...] = get_args(Ranking)
#: First tokens that ``static`` keeps.
_SINKS = 4


@dataclass(frozen=True, kw_only=True)
class Pruning:
    """Shares that are kept.

    Parameters
    ----------
    tokens : float
        Of the tokens, on the average of the layers that drop any; see `keep_ratios`.
    values : float
        Of the keys of a layer, those whose V rows each row multiplies.
    heads : float
        Of the query heads, on the average of the layers that drop any.
    ranking : str
        Which tokens are kept: those of the largest ``importance``; of the largest importance over
        the number of queries that saw the token, its ``age``; or ``static``, without any importance
        the first four and the newest.
    """

    tokens: float = 1.0
    values: float = 1.0
    heads: float = 1.0
    ranking: Ranking = "importance"

    def __post_init__(self) -> None:
        if self.ranking not in RANKINGS:
            raise InputError(f"ranking must be one of {', '.join(RANKINGS)}, not {self.ranking!r}")
        for name in ("tokens", "values", "heads"):
            if not 0 < getattr(self, name) <= 1:
                raise InputError(
                    f"keep_{name} must be over 0 and at most 1, not {getattr(self, name)!r}"
                )

    def check(self, params: CoreParams) -> None:
        """Raise InputError if the core cannot do it."""
        lists, values = params.token_lanes, params.value_lanes
        for name, lanes in (("tokens", lists), ("values", values), ("heads", lists)):
            if getattr(self, name) < 1 and not lanes:
                raise InputError(f"keep_{name} must be 1 on this core, not {getattr(self, name)}")


def cascade(
    params: CoreParams,
    trace: TraceLike,
    layers: Sequence[int],
    bits: int,
    pruning: Pruning,
    precision: Precision = PLAIN,
    *,
    heads: Sequence[int] | None = None,
    thresholds: Thresholds | None = None,
    pins: Pins = UNPINNED,
    rng: np.random.Generator | None = None,
    noise: np.random.Generator | None = None,
) -> list[LayerPlan]:
    """Plans of the chosen layers, as they follow one another.

    Scores are added up over heads, layers and steps. At the end of each layer the tokens for the
    next one are selected, of those that lived in the layer; in a decode trace also only of those
    that lived in the next layer a step before, and the newest. So are heads. Pinned are position 0
    of an encoder, the last token of a causal layer, and the newest of each step; with the ranking
    ``static`` all that is kept. As a control ``noise`` draws the scores of tokens
    before all jobs but the first: which tokens go on is then random.
    """
    pruning.check(params)
    works = [
        LayerWork(
            params, trace, layer, bits, precision, heads=heads, thresholds=thresholds, pins=pins,
            rng=rng,
        )  # fmt: skip
        for layer in layers
    ]
    tokens = keep_ratios(len(trace.q), pruning.tokens, TOKENS_WHOLE)
    of_heads = keep_ratios(len(trace.q), pruning.heads, HEADS_WHOLE)
    ratios = [(tokens[layer], of_heads[layer]) for layer in layers]
    scale = max(work.quantised.s_v.max() for work in works)
    state = _State(params, pruning, ratios, scale, noise)
    if trace.decode:
        jobs = _steps(trace, works, state)
    else:
        jobs = _whole(trace, works, state)
    return [work.plan(layer_jobs) for work, layer_jobs in zip(works, jobs, strict=True)]


class _State:
    """What goes from job to job: scores, and how much each layer keeps.

    Heads count by the scale of their values, in units of ``scale`` / 1023.
    """

    def __init__(
        self,
        params: CoreParams,
        pruning: Pruning,
        ratios: Sequence[tuple[float, float]],
        scale: float,
        noise: np.random.Generator | None,
    ) -> None:
        self.params, self.pruning, self.ratios, self.scale = params, pruning, ratios, scale
        self.noise = noise
        self.scores: np.ndarray | None = None
        self.head_scores: np.ndarray | None = None
        self.age_base: int | None = None  # the first token that not all queries saw, if any

    def run(
        self, work: LayerWork, image: JobImage, following: tuple[float, float] | None, whole: int,
        candidates: np.ndarray, heads: np.ndarray, pins: tuple[int, int],
    ) -> JobImage:  # fmt: skip
        """The job with what it is to prune and select for the layer that follows, if any."""
        if not self.params.token_lanes:
            return self._valued(image)
        if self.noise is not None and self.scores is not None:
            self.scores = self.noise.integers(0, 1 << 31, len(self.scores))
        keep, keep_heads = None, image.job.heads
        if following is not None:
            keep = keep_counts(following[:1], whole)[0]
            keep_heads = keep_counts(following[1:], image.job.heads)[0]
        if self.pruning.ranking == "static" and keep is not None:
            pins = _static_pins(candidates[: image.job.keys], keep)
        age = self.pruning.ranking == "age" and self.age_base is not None
        scoring = Scoring(
            clear=self.scores is None, keep=keep, heads=keep_heads, first=pins[0], newest=pins[1],
            age=age, age_base=self.age_base or 0 if age else 0,
        )  # fmt: skip
        scales = np.repeat(work.quantised.s_v, image.job.group) / self.scale
        keys = image.job.keys
        image = replace(
            self._valued(
                image,
                scoring=scoring,
                pruned_heads=tuple(int(head) for head in np.flatnonzero(~heads)),
                weights=tuple(int(weight) for weight in np.rint(scales * 1023)),
            ),
            candidates=None if candidates[:keys].all() else candidates[:keys],
            scores_before=self.scores,
            heads_before=self.head_scores,
        )
        self.scores, self.head_scores = image.scores_after, image.head_scores
        return image

    def _valued(self, image: JobImage, **changes: Any) -> JobImage:
        values = 0
        if self.params.value_lanes and self.pruning.values < 1:
            values = keep_counts([self.pruning.values], len(image.listed_keys))[0]
        return replace(image, job=replace(image.job, values=values, **changes))


def _whole(
    trace: TraceLike, works: Sequence[LayerWork], state: _State
) -> list[tuple[JobImage, ...]]:
    """One job per layer."""
    jobs: list[tuple[JobImage, ...]] = []
    keys = works[0].key_valid
    alive, heads = keys.copy(), np.ones(len(works[0].heads), bool)
    pins = (0, 1) if trace.causal else (1, 0)
    if trace.causal:
        state.age_base = len(keys) - len(works[0].query_valid)
    for number, work in enumerate(works):
        queries = work.query_valid.copy()
        if getattr(trace, "self_attention", False) and len(queries) == len(alive):
            queries &= alive
        following = state.ratios[number + 1] if number + 1 < len(works) else None
        image = replace(work.whole(alive, queries), unpruned=work.unpruned)
        image = state.run(work, image, following, int(keys.sum()), alive, heads, pins)
        jobs.append((image,))
        if following is not None and state.params.token_lanes:
            alive = np.zeros(len(keys), bool)
            alive[: image.job.keys] = image.next_keys
            heads = image.next_heads
    return jobs


def _steps(
    trace: TraceLike, works: Sequence[LayerWork], state: _State
) -> list[tuple[JobImage, ...]]:
    """One job per layer and step, all layers of a step before the next step."""
    jobs: list[list[JobImage]] = [[] for _ in works]
    lived: list[np.ndarray | None] = [None] * len(works)  # in each layer, a step ago
    whole = np.ones(len(works[0].heads), bool)
    heads_lived = [whole] * len(works)
    first = int(np.flatnonzero(works[0].query_valid)[0])
    state.age_base = len(works[0].seen(first)) - 1
    for step in np.flatnonzero(works[0].query_valid):
        seen = works[0].seen(int(step))
        alive, newest, heads = seen, len(seen) - 1, whole
        for number, work in enumerate(works):
            before = lived[number]
            if number == 0 and before is not None:
                alive = seen & _grown(before, newest)
            lived[number] = alive
            if (heads & heads_lived[number]).any():
                heads = heads & heads_lived[number]
            heads_lived[number] = heads
            last = number + 1 == len(works)
            candidates, next_lived = alive, None if last else lived[number + 1]
            if next_lived is not None:
                candidates = alive & _grown(next_lived, newest)
            following = None if last else state.ratios[number + 1]
            unpruned = (int(seen.sum()), int(seen.sum()) * len(work.heads))
            image = replace(work.step(int(step), alive), unpruned=unpruned)
            image = state.run(
                work, image, following, len(work.key_valid), candidates, heads, (0, 1)
            )
            jobs[number].append(image)
            if not last and state.params.token_lanes:
                alive = np.zeros(len(seen), bool)
                alive[: image.job.keys] = image.next_keys
                heads = image.next_heads
    return [tuple(of_layer) for of_layer in jobs]


def _static_pins(candidates: np.ndarray, keep: int) -> tuple[int, int]:
    """How many of the first and of the last tokens hold four candidates and ``keep`` together."""
    alive = np.flatnonzero(candidates)
    sinks = min(_SINKS, keep, len(alive))
    window = min(keep, len(alive)) - sinks
    first = int(alive[sinks - 1]) + 1 if sinks else 0
    return first, len(candidates) - int(alive[len(alive) - window]) if window else 0


def _grown(alive: np.ndarray, newest: int) -> np.ndarray:
    """A list of a step ago with the token that has come since."""
    grown = np.zeros(newest + 1, bool)
    grown[: len(alive)] = alive
    grown[newest] = True
    return grown
