"""How much of a model each layer keeps: the schedule of SpAtten (section V-A)."""

from __future__ import annotations

from collections.abc import Sequence

from attnsieve.sim.errors import InputError

__all__ = ["HEADS_WHOLE", "TOKENS_WHOLE", "keep_counts", "keep_ratios"]

#: Share of the first layers that keep all tokens, and all heads.
TOKENS_WHOLE = 0.15
HEADS_WHOLE = 0.3
#: Most that a layer may drop.
_MOST = 0.95


def keep_ratios(layers: int, keep: float, whole: float) -> tuple[float, ...]:
    """Share that each layer keeps, ``keep`` on the average of those that drop any.

    The first ``whole`` of the layers keep everything. Over the others the share that is dropped
    rises linearly, from half of the average to one and a half times it, but not over 95 %; it
    begins higher then.

    Parameters
    ----------
    layers : int
        Layers of the model.
    keep : float
        Over 0, up to 1.
    whole : float
        Share of the first layers, rounded up.
    """
    if not 0 < keep <= 1:
        raise InputError(f"keep must be over 0 and at most 1, not {keep!r}")
    first = min(layers, -int(-layers * whole // 1))
    rest, drop = layers - first, 1 - keep
    end = max(drop, min(_MOST, 1.5 * drop))
    begin = 2 * drop - end
    steps = [begin + (end - begin) * n / max(1, rest - 1) for n in range(rest)]
    if rest == 1:
        steps = [drop]
    return (*(1.0,) * first, *(1 - step for step in steps))


def keep_counts(ratios: Sequence[float], whole: int) -> tuple[int, ...]:
    """The ratios as numbers of tokens, or heads, of the ``whole`` ones at layer 0: rounded down,
    and one at least."""
    return tuple(max(1, int(ratio * whole + 1e-9)) for ratio in ratios)
