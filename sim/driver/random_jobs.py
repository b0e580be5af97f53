"""Random jobs for campaigns, the same for every simulator, and what they cover."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from attnsieve.hdl.params import CoreParams
from attnsieve.sim.driver.image import JobImage, MemoryImage
from attnsieve.sim.driver.plan import Placement, memory_image, single_job
from attnsieve.sim.golden.job import Job

__all__ = ["LENGTHS", "coverage", "random_image", "random_job"]

#: Lengths that are tried more often than others.
LENGTHS = (1, 2, 3, 17, 64, 113, 300, 1024, 4096)

_PATTERNS = ("uniform", "normal", "extreme", "equal", "sparse")
_MASKS = ("none", "key", "query", "both", "causal", "causal+key", "all keys")


def random_image(
    params: CoreParams, seed: int, *, jobs: int = 1, work: int = 2000, spread: bool = True
) -> MemoryImage:
    """Memory with ``jobs`` random jobs of different shapes.

    Parameters
    ----------
    params : CoreParams
        The core.
    seed : int
        Chooses everything.
    jobs : int
        How many jobs, to be run one behind the other.
    work : int
        Most cycles of either array that a job needs.
    spread : bool
        Gaps of random size between tensors, noise in the rest of memory.
    """
    rng = np.random.default_rng(seed)
    place = Placement(params, rng=rng if spread else None)
    images = [random_job(params, rng, place=place, work=work) for _ in range(jobs)]
    return memory_image(params, images, place, rng if spread else None)


def random_job(
    params: CoreParams, rng: np.random.Generator, *, place: Placement, work: int = 2000
) -> JobImage:
    """One job of random shape, masks, scales and contents."""
    job, mask = _shape(params, rng, work)
    pattern = str(rng.choice(_PATTERNS))
    q = _contents(rng, pattern, job.bits, (job.heads, job.queries, job.head_dim))
    k = _contents(rng, pattern, job.bits, (job.kv_heads, job.keys, job.head_dim))
    v = _contents(rng, pattern, job.bits, (job.kv_heads, job.keys, job.head_dim))
    key_valid = query_valid = None
    if mask in ("key", "both", "causal+key"):
        key_valid = rng.random(job.keys) < rng.choice([0.1, 0.5, 0.9])
    if mask == "all keys":
        key_valid = np.zeros(job.keys, bool)
    if mask in ("query", "both"):
        query_valid = rng.random(job.queries) < 0.7
        query_valid[rng.integers(job.queries)] = True
    return single_job(params, job, q, k, v, key_valid, query_valid, place=place)


def _shape(params: CoreParams, rng: np.random.Generator, work: int) -> tuple[Job, str]:
    head_dim = int(rng.choice(params.head_dims))
    longest = min(params.max_keys, params.kv_lines * params.groups // params.parts(head_dim))
    rows = max(1, work * params.lanes // head_dim)  # pairs of query and key
    keys = _length(rng, min(longest, rows))
    mask = str(rng.choice(_MASKS))
    causal = mask.startswith("causal")
    most = min(params.max_queries, max(1, rows // keys), keys if causal else params.max_queries)
    queries = _length(rng, most)
    most = min(params.max_heads, max(1, rows // (keys * queries)))
    kv_heads = int(rng.integers(1, min(most, 4) + 1))
    heads = kv_heads * int(rng.integers(1, min(most // kv_heads, 4) + 1))
    bits = 12 if params.operand_bits == 12 and rng.random() < 0.5 else 8
    job = Job(
        heads=heads,
        kv_heads=kv_heads,
        queries=queries,
        keys=keys,
        head_dim=head_dim,
        bits=bits,
        causal=causal,
        scales=tuple(_scale(rng, bits, head_dim) for _ in range(heads)),
    )
    return job, mask


def _length(rng: np.random.Generator, most: int) -> int:
    special = [n for n in LENGTHS if n <= most]
    if rng.random() < 0.5:
        return int(rng.choice(special))
    return int(rng.integers(1, min(most, 40) + 1)) if rng.random() < 0.7 else int(
        rng.integers(1, most + 1)
    )


def _scale(rng: np.random.Generator, bits: int, head_dim: int) -> tuple[int, int]:
    """Mostly scales that spread scores over the exponential's range; sometimes extreme ones."""
    mantissa = int(rng.choice([1 << 15, (1 << 16) - 1, int(rng.integers(1 << 15, 1 << 16))]))
    if rng.random() < 0.15:
        return mantissa, int(rng.choice([0, 1, 18, 19, 62, 63]))
    spread = 2 * (bits - 2) + head_dim.bit_length() // 2  # log2 of a typical score
    return mantissa, int(np.clip(spread + 6 - rng.integers(0, 6), 0, 63))


def _contents(
    rng: np.random.Generator, pattern: str, bits: int, shape: tuple[int, ...]
) -> np.ndarray:
    top = (1 << (bits - 1)) - 1
    if pattern == "normal":
        x = np.clip(np.rint(rng.normal(size=shape) * top / 3), -top, top)
    elif pattern == "extreme":  # the most negative code is legal for the hardware
        x = rng.choice([-top - 1, -top, top], shape)
    elif pattern == "equal":
        x = np.full(shape, rng.integers(-top, top + 1))
    elif pattern == "sparse":
        x = rng.integers(-top, top + 1, shape) * (rng.random(shape) < 0.1)
    else:
        x = rng.integers(-top - 1, top + 1, shape)
    return x.astype(np.int16)


def coverage(images: Sequence[JobImage]) -> dict[str, dict[str, int]]:
    """How many jobs had each property: mask, length, head_dim, bits, groups."""
    seen: dict[str, dict[str, int]] = {
        name: {} for name in ("mask", "keys", "queries", "head_dim", "bits", "group", "empty")
    }
    for image in images:
        job = image.job
        masks = [
            name
            for name, there in (
                ("causal", job.causal),
                ("key", image.key_valid is not None),
                ("query", image.query_valid is not None),
            )
            if there
        ]
        properties = {
            "mask": "+".join(masks) or "none",
            "keys": _bin(job.keys),
            "queries": _bin(job.queries),
            "head_dim": str(job.head_dim),
            "bits": str(job.bits),
            "group": str(job.group),
            "empty": "yes" if image.expected.empty_rows else "no",
        }
        for name, value in properties.items():
            seen[name][value] = seen[name].get(value, 0) + 1
    return seen


def _bin(length: int) -> str:
    """A length by itself if it is a special one, otherwise the special ones around it."""
    if length in LENGTHS:
        return str(length)
    below = max(n for n in LENGTHS if n < length)
    above = min((n for n in LENGTHS if n > length), default=length)
    return f"{below}..{above}"
