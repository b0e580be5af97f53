"""Workload files: how much of each layer and head a model read, without contents.

The format is that of the records in SpAtten's release: a line per (iteration, layer, head).
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import NamedTuple, TypeVar

from attnsieve.sim.errors import InputError

__all__ = ["COLUMNS", "Workload", "WorkloadJob", "load_workload"]

_T = TypeVar("_T")

#: Columns of a file, in order.
COLUMNS = (
    "iteration_id", "layer_id", "head_id", "embedding_length_D", "sentence_length_L",
    "key_fetch_num", "quant_key_bit", "quant_query_bit", "auto_requant_thres", "if_requant",
    "auto_requant_incre", "value_fetch_num", "quant_value_bit", "if_accumulate_importance",
    "if_rescale_previous_importance", "if_topk", "topk",
)  # fmt: skip
#: Endings of the path that the last line may be.
_TRAILERS = (".yml", ".yaml")
_FLAGS = {"True": True, "False": False}
#: Largest number of a layer or a head.
_MOST = 4095


class _Record(NamedTuple):
    """A line of a file."""

    line: int
    iteration: int
    layer: int
    head: int
    head_dim: int
    length: int
    keys: int
    key_bits: int
    query_bits: int
    threshold: float
    again: bool
    increment: int
    values: int
    value_bits: int
    accumulate: bool
    rescale: bool
    select: bool
    keep: int

    @property
    def shape(self) -> tuple[object, ...]:
        """What must be the same in all heads of a layer."""
        return (
            self.head_dim, self.length, self.keys, self.key_bits, self.query_bits,
            self.threshold, self.increment, self.values, self.value_bits,
        )  # fmt: skip


@dataclass(frozen=True)
class WorkloadJob:
    """A layer of an iteration: one query per head in a file.

    Parameters
    ----------
    iteration, layer : int
        Which.
    heads : tuple of int
        Heads that are alive.
    head_dim : int
        Elements of a row.
    length : int
        Tokens of the sentence.
    keys, values : int
        Rows of K and of V that each head reads.
    key_bits, query_bits, value_bits : int
        Bits that they have; 0: they are not quantised.
    threshold : float
        Rows whose largest probability is less are computed again with more bits of K; 0: none.
    increment : int
        So many more.
    again : tuple of bool
        Of each head: that was so.
    keep : int or None
        Tokens that are selected at the end.
    queries : int
        Queries per head: one, or ``length``; then those of the tokens that are left are computed.
    """

    iteration: int
    layer: int
    heads: tuple[int, ...]
    head_dim: int
    length: int
    keys: int
    values: int
    key_bits: int
    query_bits: int
    value_bits: int
    threshold: float
    increment: int
    again: tuple[bool, ...]
    keep: int | None
    queries: int = 1

    @property
    def self_attention(self) -> bool:
        """Whether each token is a query too."""
        return self.queries == self.length > 1


@dataclass(frozen=True)
class Workload:
    """A workload file.

    Parameters
    ----------
    name : str
        Of the file.
    jobs : tuple of WorkloadJob
        In the order of the file.
    trailer : str
        The path in its last line, or nothing.
    """

    name: str
    jobs: tuple[WorkloadJob, ...]
    trailer: str = ""

    @property
    def layers(self) -> int:
        """Layers of the model."""
        return 1 + max(job.layer for job in self.jobs)

    @property
    def heads(self) -> int:
        """Heads of the model."""
        return 1 + max(max(job.heads) for job in self.jobs)

    @property
    def length(self) -> int:
        """Tokens of the longest sentence."""
        return max(job.length for job in self.jobs)


def load_workload(path: str | Path) -> Workload:
    """Read and check a workload file.

    Raises
    ------
    InputError
        It cannot be read, or a line is wrong.
    """
    path = Path(path)
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.reader(file))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: cannot be read as CSV: {error}") from error
    if not rows or tuple(rows[0]) != COLUMNS:
        raise InputError(f"{path}:1: the columns must be {','.join(COLUMNS)}")
    trailer = ""
    if len(rows) > 1 and _is_trailer(rows[-1]):
        trailer = rows.pop()[0]
    records = [_record(path, number, row) for number, row in enumerate(rows[1:], 2)]
    if not records:
        raise InputError(f"{path}: must have a record")
    return Workload(path.stem, tuple(_jobs(path, records)), trailer)


def _is_trailer(row: Sequence[str]) -> bool:
    """A path, and nothing in the other columns."""
    return bool(row) and row[0].endswith(_TRAILERS) and not any(row[1:])


def _record(path: Path, number: int, row: Sequence[str]) -> _Record:
    if len(row) != len(COLUMNS):
        raise InputError(f"{path}:{number}: must have {len(COLUMNS)} columns, not {len(row)}")
    texts = dict(zip(COLUMNS, row, strict=True))

    def value(name: str, made: Callable[[str], _T], what: str) -> _T:
        try:
            return made(texts[name])
        except (ValueError, OverflowError, KeyError):
            raise InputError(
                f"{path}:{number}: {name} must be {what}, not {texts[name]!r}"
            ) from None

    def count(name: str, least: int = 0, most: int = 1 << 31, *, none: bool = False) -> int:
        def made(text: str) -> int:
            whole = float(text)
            if whole != int(whole) or not (least <= whole <= most or (none and whole == -1)):
                raise ValueError
            return int(whole)

        top = f"{least}..{most}" if most < 1 << 31 else f"{least} or more"
        return value(name, made, f"a whole number, {top}" + (", or -1" if none else ""))

    def flag(name: str) -> bool:
        return value(name, _FLAGS.__getitem__, "True or False")

    def threshold(text: str) -> float:
        number = float(text)
        if not (0 < number < 1 or number == -1):
            raise ValueError
        return max(0.0, number)

    iteration = count("iteration_id")
    length = count("sentence_length_L", 1)
    keys = count("key_fetch_num", 1, length)
    return _Record(
        line=number,
        iteration=iteration,
        layer=count("layer_id", 0, _MOST),
        head=count("head_id", 0, _MOST),
        head_dim=count("embedding_length_D", 1),
        length=length,
        keys=keys,
        key_bits=max(0, count("quant_key_bit", 1, 32, none=True)),
        query_bits=max(0, count("quant_query_bit", 1, 32, none=True)),
        threshold=value("auto_requant_thres", threshold, "between 0 and 1, or -1"),
        again=flag("if_requant"),
        increment=count("auto_requant_incre", 1, 16, none=True),
        values=count("value_fetch_num", 1, keys),
        value_bits=max(0, count("quant_value_bit", 1, 32, none=True)),
        accumulate=flag("if_accumulate_importance"),
        rescale=flag("if_rescale_previous_importance"),
        select=flag("if_topk"),
        keep=count("topk", 1, none=True),
    )


def _jobs(path: Path, records: Sequence[_Record]) -> Iterator[WorkloadJob]:
    """Jobs of the records, which must be in order."""
    before = (-1, -1)
    for (iteration, layer), group in groupby(records, key=lambda r: (r.iteration, r.layer)):
        heads = list(group)
        first = heads[0]
        if (iteration, layer) <= before:
            raise InputError(
                f"{path}:{first.line}: iterations and layers must rise, not go from "
                f"{before} to {(iteration, layer)}"
            )
        before = (iteration, layer)
        for one, other in zip(heads, heads[1:], strict=False):
            if other.head <= one.head:
                raise InputError(
                    f"{path}:{other.line}: head_id must rise, not go from {one.head} to "
                    f"{other.head}"
                )
            if other.shape != one.shape:
                raise InputError(
                    f"{path}:{other.line}: all heads of a layer must have the same lengths, bits "
                    "and threshold"
                )
        for one in heads:
            if one.again and not one.threshold:
                raise InputError(
                    f"{path}:{one.line}: if_requant must be False without auto_requant_thres"
                )
            if one.threshold and one.increment < 1:
                raise InputError(
                    f"{path}:{one.line}: auto_requant_incre must be 1 or more with "
                    "auto_requant_thres"
                )
            if one.select and one.keep < 1:
                raise InputError(f"{path}:{one.line}: topk must be 1 or more with if_topk")
        kept = [one.keep for one in heads if one.select]
        yield WorkloadJob(
            iteration=iteration,
            layer=layer,
            heads=tuple(one.head for one in heads),
            head_dim=first.head_dim,
            length=first.length,
            keys=first.keys,
            values=first.values,
            key_bits=first.key_bits,
            query_bits=first.query_bits,
            value_bits=first.value_bits,
            threshold=first.threshold,
            increment=max(0, first.increment),
            again=tuple(one.again for one in heads),
            keep=kept[-1] if kept else None,
        )
