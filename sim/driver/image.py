"""A job as software hands it to the core: tensors in memory, tables and masks, a request."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from attnsieve.hdl.params import CoreParams
from attnsieve.sim.driver.packing import join_channels, pack, row_bytes, split_channels, unpack
from attnsieve.sim.driver.slice_planes import plane_count, slice_planes
from attnsieve.sim.golden.head_importance import head_shares, select_heads
from attnsieve.sim.golden.importance import decayed, select_tokens
from attnsieve.sim.golden.job import Job
from attnsieve.sim.golden.layer import LayerResult, attention_layer
from attnsieve.sim.golden.progressive import LSB_BITS, planes

__all__ = ["JobImage", "MemoryImage", "Tensor", "chained"]


@dataclass(frozen=True)
class Tensor:
    """Place of a tensor in linear memory.

    Parameters
    ----------
    base : int
        Address of head 0, row 0.
    stride : int
        Bytes from head to head.
    heads, rows : int
        Heads, and rows of a head.
    pitch : int
        Bytes of a row; rows lie back to back.
    """

    base: int
    stride: int
    heads: int
    rows: int
    pitch: int

    @property
    def end(self) -> int:
        """First address behind the last row."""
        return self.base + (self.heads - 1) * self.stride + self.rows * self.pitch

    def row(self, head: int, row: int) -> int:
        """Address of a row."""
        return self.base + head * self.stride + row * self.pitch

    def view(self, memory: np.ndarray) -> np.ndarray:
        """Bytes of the tensor, ``[heads, rows, pitch]``, as a view into linear memory."""
        return np.lib.stride_tricks.as_strided(
            memory[self.base :], (self.heads, self.rows, self.pitch), (self.stride, self.pitch, 1)
        )

    def granules(
        self, rows: np.ndarray, alive: np.ndarray | None = None, size: int = 32
    ) -> int:
        """Aligned pieces of ``size`` bytes that the rows numbered ``rows`` of all living heads
        touch."""
        heads = np.arange(self.heads, dtype=np.int64)
        heads = heads if alive is None else heads[alive]
        first = self.row(0, 0) + np.asarray(rows, np.int64) * self.pitch
        first = first + heads[:, None] * self.stride
        pieces = np.arange(-(-self.pitch // size) + 1)
        touched = first[..., None] // size + pieces
        return len(np.unique(touched[touched <= ((first + self.pitch - 1) // size)[..., None]]))


@dataclass(frozen=True)
class JobImage:
    """One job: what is computed, where its tensors lie, and what software writes to start it.

    Parameters
    ----------
    params : CoreParams
        The core.
    job : Job
        Shape and scales.
    q, k, v : int16 arrays
        The operands, ``[heads or kv_heads, rows, head_dim]``; of a progressive job all bits of K.
    key_valid, query_valid : bool arrays or None
        Masks, None where every position counts.
    tensors : dict
        A `Tensor` for each of ``q k v o``; that of K is its first plane if it has several.
    query_rows : int array
        Index in the trace of each query of the job.
    candidates : bool array or None
        ``[keys]``: tokens that may be selected; None: all.
    unpruned : tuple of int or None
        Tokens, and pairs of query and key over all heads, that no mask hides of the trace: what
        figures of what is kept refer to; None: those of the job itself.
    scores_before : int array or None
        ``[max_keys]``: scores of tokens as the jobs before leave them; None: they do not matter.
    heads_before : int array or None
        ``[max_heads]``: scores of heads, likewise.
    k_plane : int
        Bytes from a head of K to its second plane, in a progressive job; from plane to plane, in a
        planar one.
    """

    params: CoreParams
    job: Job
    q: np.ndarray
    k: np.ndarray
    v: np.ndarray
    key_valid: np.ndarray | None
    query_valid: np.ndarray | None
    tensors: dict[str, Tensor]
    query_rows: np.ndarray
    candidates: np.ndarray | None = None
    unpruned: tuple[int, int] | None = None
    scores_before: np.ndarray | None = None
    heads_before: np.ndarray | None = None
    k_plane: int = 0

    @property
    def head_scores(self) -> np.ndarray:
        """Scores of all heads of the core after the job."""
        after = np.zeros(self.params.max_heads, np.int64)
        if not self.job.scoring.clear and self.heads_before is not None:
            after[:] = self.heads_before
        weights = self.job.weights or (1023,) * self.job.heads
        after[: self.job.heads] += head_shares(self.expected.out, weights)
        return np.minimum(after, (1 << 36) - 1)

    @property
    def next_heads(self) -> np.ndarray:
        """Heads that the job selects, bool ``[heads]``."""
        alive, scores = np.array(self.job.alive), self.head_scores[: self.job.heads]
        return select_heads(scores, alive, self.job.scoring.heads)

    @cached_property
    def scores(self) -> np.ndarray:
        """Scores of the job's tokens after its last row, before they decay."""
        before = np.zeros(self.job.keys, np.int64)
        if not self.job.scoring.clear and self.scores_before is not None:
            before = self.scores_before[: self.job.keys].astype(np.int64)
        return before + self.expected.shares

    @property
    def scores_after(self) -> np.ndarray:
        """Scores of all tokens of the core after the job."""
        after = np.zeros(self.params.max_keys, np.int64)
        if not self.job.scoring.clear and self.scores_before is not None:
            after[:] = self.scores_before
        after[: self.job.keys] = self.scores
        if self.job.scoring.keep is not None:
            after[: self.job.keys] = decayed(self.scores, self.job.scoring.decay)
        return after

    @property
    def next_keys(self) -> np.ndarray:
        """Tokens that the job selects, bool ``[keys]``."""
        scoring = self.job.scoring
        candidates = np.ones(self.job.keys, bool) if self.candidates is None else self.candidates
        return select_tokens(
            self.scores, candidates, scoring.keep or 0, scoring.first, scoring.newest,
            scoring.age_base if scoring.age else None,
        )  # fmt: skip

    @cached_property
    def expected(self) -> LayerResult:
        """What the golden model makes of the job."""
        return attention_layer(
            self.params, self.job, self.q, self.k, self.v, self.key_valid, self.query_valid
        )

    @property
    def written(self) -> np.ndarray:
        """Queries whose output rows are written."""
        if self.query_valid is None:
            return np.arange(self.job.queries)
        return np.flatnonzero(self.query_valid)

    @property
    def request(self) -> dict[str, int]:
        """Fields of the request by name, as in `attnsieve.hdl.layouts.request_layout`."""
        job = self.job
        fields = {
            "heads": job.heads,
            "kv_heads": job.kv_heads,
            "queries": job.queries,
            "keys": job.keys,
            "head_dim": job.head_dim,
            "wide": int(job.bits == 12),
            "causal": int(job.causal),
            "key_mask": int(self.key_valid is not None),
            "query_mask": int(self.query_valid is not None),
            "values": job.values,
            "relative": int(job.relative),
            "pin_first": job.pins.first or job.scoring.first,
            "pin_newest": job.pins.newest or job.scoring.newest,
            "pin_self": int(job.pins.own),
            "keep_tokens": job.scoring.keep or 0,
            "clear": int(job.scoring.clear),
            "select": int(job.scoring.keep is not None),
            "candidates": int(self.candidates is not None),
            "decay": job.scoring.decay,
            "age": int(job.scoring.age),
            "age_base": job.scoring.age_base,
            "keep_heads": min(job.scoring.heads, job.heads),
            "pruned_heads": sum(1 << head for head in job.pruned_heads),
            "threshold": job.threshold,
            "key_bits": job.key_bits,
            "value_bits": job.value_bits,
            "k_plane": self.k_plane,
            "demand": int(job.demand),
            "planar": int(job.planar),
        }
        for name, tensor in self.tensors.items():
            fields[f"{name}_base"] = tensor.base
            fields[f"{name}_stride"] = tensor.stride
        return fields

    @property
    def listed_queries(self) -> np.ndarray:
        """Queries whose rows a core with lists fetches: those that are written, one at least."""
        return self.written if len(self.written) else np.zeros(1, np.int64)

    @property
    def listed_keys(self) -> np.ndarray:
        """Keys whose rows a core with lists fetches: valid ones that the last query may see."""
        if not len(self.written):
            return np.zeros(0, np.int64)
        keys = np.arange(self.job.visible(int(self.written[-1])))
        return keys if self.key_valid is None else keys[self.key_valid[: len(keys)]]

    @property
    def fetched_queries(self) -> np.ndarray:
        """Queries whose rows the core fetches: all, or those listed if tokens are."""
        return self.listed_queries if self.params.token_lanes else np.arange(self.job.queries)

    @property
    def fetched_keys(self) -> np.ndarray:
        """Keys whose rows of K the core fetches: all, or those listed if tokens are."""
        return self.listed_keys if self.params.token_lanes else np.arange(self.job.keys)

    @property
    def k_lsb(self) -> Tensor:
        """Place of the second plane of K."""
        k = self.tensors["k"]
        pitch = row_bytes(self.job.head_dim, LSB_BITS)
        return replace(k, base=k.base + self.k_plane, pitch=pitch)

    @property
    def k_planes(self) -> list[Tensor]:
        """Places of the planes of slices of K."""
        k, count = self.tensors["k"], plane_count(self.params, self.job.bits)
        return [replace(k, base=k.base + n * self.k_plane) for n in range(count)]

    def planar_pieces(self, size: int) -> int:
        """Aligned pieces of ``size`` bytes of the planes of K that are read: of each KV head those
        of the keys of which a row reads so many slices."""
        job, heads, pieces = self.job, np.arange(self.job.kv_heads), 0
        most = self.expected.read.reshape(job.kv_heads, -1, job.keys).max(axis=1)
        for number, plane in enumerate(self.k_planes):
            for head in heads:
                keys = np.flatnonzero(most[head] > number)
                pieces += plane.granules(keys, heads == head, size) if len(keys) else 0
        return pieces

    @property
    def recomputed_kv(self) -> np.ndarray:
        """KV heads of which a row is computed again, bool ``[kv_heads]``: their second plane is
        read."""
        rows = self.expected.recomputed.reshape(self.job.kv_heads, -1)
        return np.asarray(rows.any(axis=1))

    def demanded_keys(self, head: int) -> np.ndarray:
        """Keys whose rows of V are read for a KV head: those fetched, or with demand those of them
        that a row of one of its query heads keeps."""
        if not self.job.demand:
            return self.fetched_keys
        group = self.job.group
        kept = self.expected.kept_values[head * group : (head + 1) * group]
        return np.flatnonzero(kept.any(axis=(0, 1)))

    def listed_units(self, name: str, head: int) -> int:
        """Units that are read for the rows of a head of ``q``, ``k``, ``k_lsb`` or ``v``."""
        return int(self.unit_numbers(name, head)[1].sum())

    def unit_numbers(self, name: str, head: int) -> tuple[np.ndarray, np.ndarray]:
        """Units that are read for a head of ``q``, ``k``, ``k_lsb`` or ``v``, in order, by number
        in linear memory; and how many for each row."""
        tensor = self.k_lsb if name == "k_lsb" else self.tensors[name]
        if name == "q":
            return self._units(tensor, head, self.fetched_queries)
        if name == "k_lsb" and not self.recomputed_kv[head]:
            return self._units(tensor, head, np.zeros(0, np.int64))
        return self._units(
            tensor, head, self.demanded_keys(head) if name == "v" else self.fetched_keys
        )

    def _units(
        self, tensor: Tensor, head: int, rows: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Units of a list of rows. Two rows that follow each other in memory share a unit if they
        are of the same granule of ``groups`` rows of the list, and at least a unit long."""
        unit = self.params.unit_bytes
        place = np.arange(len(rows))
        neighbours = (np.diff(rows, prepend=-2) == 1) & (place % self.params.groups != 0)
        start = tensor.row(head, 0) + rows * tensor.pitch
        first, last = start // unit, (start + tensor.pitch - 1) // unit
        shared = neighbours & (start % unit != 0) & (tensor.pitch >= unit)
        counts = last - first + 1 - shared
        before = np.cumsum(counts) - counts
        numbers = np.arange(int(counts.sum())) + np.repeat(first + shared - before, counts)
        return numbers, counts

    @property
    def read_bytes(self) -> int:
        """Bytes that the loader fetches, in whole units: the rows of each head of Q, K and V, or
        those that it has a list of; of the second plane of K and of V those that turn out to be
        needed."""
        unit = self.params.unit_bytes
        if self.params.gathers:
            living = dict.fromkeys(("k", "k_lsb", "v"), self.job.alive_kv)
            living["q"] = self.job.alive
            pieces = 0
            if self.job.planar:
                del living["k"]
                pieces = self.planar_pieces(unit)
            listed = sum(
                self.listed_units(name, head)
                for name, heads in living.items()
                for head, lives in enumerate(heads)
                if lives
            )
            return unit * (listed + pieces)
        read = [self.tensors[name] for name in "qkv"]
        return sum(t.heads * -(-t.rows * t.pitch // unit) * unit for t in read)

    @property
    def counters(self) -> dict[str, int]:
        """Counters of the job that do not depend on timing, by the names of the register map."""
        return {
            "read_bytes": self.read_bytes,
            "write_bytes": self.write_bytes,
            "rows": self.expected.rows,
            "empty_rows": self.expected.empty_rows,
            "scores": self.expected.scores,
            **({"values": self.expected.values} if self.params.value_lanes else {}),
            **(
                {"recomputed": int(self.expected.recomputed.sum())}
                if self.params.progressive
                else {}
            ),
            **{f"exits_{n}": int(count) for n, count in enumerate(self.expected.exits, start=1)},
        }

    @property
    def needed_granules(self) -> int:
        """32-byte granules that the job cannot do without: visible rows read, valid rows written.

        A query that is masked needs no row, nor does a key that no valid query sees. With demand a
        row of V that no row keeps is not needed either.
        """
        rows = self.written
        alive, alive_kv = np.array(self.job.alive), np.array(self.job.alive_kv)
        keys = np.flatnonzero(self.expected.seen.any(axis=0))
        return (
            self.tensors["q"].granules(rows, alive)
            + (
                self.planar_pieces(32)
                if self.job.planar
                else self.tensors["k"].granules(keys, alive_kv)
            )
            + self.k_lsb.granules(keys, self.recomputed_kv)
            + self._value_granules(keys, alive_kv)
            + self.tensors["o"].granules(rows, alive)
        )

    def _value_granules(self, keys: np.ndarray, alive: np.ndarray) -> int:
        v = self.tensors["v"]
        if not self.job.demand:
            return v.granules(keys, alive)
        heads = np.arange(self.job.kv_heads)
        return sum(
            v.granules(self.demanded_keys(int(head)), heads == head)
            for head in np.flatnonzero(alive)
        )

    @property
    def write_bytes(self) -> int:
        """Bytes written: the output rows of valid queries."""
        return sum(self.job.alive) * len(self.written) * self.tensors["o"].pitch

    def read_output(self, memory: np.ndarray) -> np.ndarray:
        """The job's output in linear memory, int16 ``[heads, queries, head_dim]``."""
        return unpack(self.tensors["o"].view(memory), 16)

    def store_operands(self, memory: np.ndarray) -> None:
        """Write Q, K (in planes) and V into linear memory."""
        job, k = self.job, self.k
        if job.planar:
            cut = slice_planes(self.params, k, job.bits)
            for plane, part in zip(self.k_planes, cut, strict=True):
                plane.view(memory)[...] = part
        if job.progressive:
            k, lsb = planes(self.k, job.key_width)
            self.k_lsb.view(memory)[...] = pack(lsb, LSB_BITS)
        for name, x, bits in (
            ("q", self.q, job.bits), ("k", k, job.key_width), ("v", self.v, job.value_width)
        ):  # fmt: skip
            if name != "k" or not job.planar:
                self.tensors[name].view(memory)[...] = pack(x, bits)

    def store_expected(self, memory: np.ndarray) -> None:
        """Write the golden output of valid queries into linear memory."""
        rows = self.written
        view, packed = self.tensors["o"].view(memory), pack(self.expected.out, 16)
        for head in np.flatnonzero(self.job.alive):  # rows of others are not written
            view[head, rows] = packed[head, rows]


def chained(jobs: Sequence[JobImage]) -> tuple[JobImage, ...]:
    """Jobs that run one after another, each with the scores that the ones before leave."""
    before, heads, made = None, None, []
    for job in jobs:
        job = replace(job, scores_before=before, heads_before=heads)
        if job.params.token_lanes:
            before, heads = job.scores_after, job.head_scores
        made.append(job)
    return tuple(made)


@dataclass(frozen=True)
class MemoryImage:
    """Linear memory, from address 0, with the tensors of some jobs in it.

    Parameters
    ----------
    params : CoreParams
        The core.
    linear : uint8 array
        Contents before the first job.
    jobs : tuple of JobImage
        The jobs, in the order in which they run.
    """

    params: CoreParams
    linear: np.ndarray
    jobs: tuple[JobImage, ...]

    def channels(self) -> list[np.ndarray]:
        """Contents of each channel before the first job."""
        return split_channels(self.params, self.linear)

    def linear_from(self, channels: list[np.ndarray]) -> np.ndarray:
        """Linear memory from the contents of the channels after the jobs."""
        return join_channels(self.params, channels, len(self.linear))

    def expected(self) -> np.ndarray:
        """Linear memory after the jobs, to the last byte: nothing but output rows changes."""
        memory = self.linear.copy()
        for job in self.jobs:
            job.store_expected(memory)
        return memory
