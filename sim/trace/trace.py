"""The trace file: Q, K and V of attention layers as a model computed them."""

from __future__ import annotations

import difflib
import json
import os
import re
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from attnsieve.gen.errors import UserError

__all__ = ["Trace", "load", "parse_selection", "save"]

_TENSORS = {
    "q": "[layers, heads, queries, head_dim]",
    "k": "[layers, kv_heads, keys, head_dim]",
    "v": "[layers, kv_heads, keys, head_dim]",
}
_MASKS = ("key_valid", "query_valid")
_FLAGS = ("causal", "decode", "self_attention")


@dataclass(frozen=True, eq=False, kw_only=True)
class Trace:
    """Queries, keys and values of one or more attention layers, checked when made.

    Arrays become read-only views. Query head h reads KV head ``h // group``.

    Parameters
    ----------
    q : float32 array, [layers, heads, queries, head_dim]
        Queries as the model computes them (after a rotary embedding, if it has one), not scaled by
        1/√head_dim.
    k, v : float32 array, [layers, kv_heads, keys, head_dim]
        Keys and values; kv_heads divides heads.
    key_valid : bool array, [keys]
        Keys that are no padding; all by default.
    query_valid : bool array, [queries]
        Queries that are no padding; all by default.
    causal : bool
        Query i sees keys 0 … i + keys − queries.
    decode : bool
        Queries are steps run one after another: step t sees keys 0 … t + keys − queries, and what
        was pruned stays pruned.
    self_attention : bool
        Queries and keys are the same tokens; by default when there are as many of both.
    meta : dict
        Anything that JSON can hold: model, text, tokens.

    Raises
    ------
    UserError
        An array or flag is wrong; see `validate`.
    """

    q: NDArray[np.float32]
    k: NDArray[np.float32]
    v: NDArray[np.float32]
    key_valid: NDArray[np.bool_] = None  # type: ignore[assignment]
    query_valid: NDArray[np.bool_] = None  # type: ignore[assignment]
    causal: bool = False
    decode: bool = False
    self_attention: bool = None  # type: ignore[assignment]
    meta: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in _TENSORS:
            self._check_tensor(name)
        defaults = {
            "key_valid": np.ones(self.keys, bool),
            "query_valid": np.ones(self.queries, bool),
            "self_attention": self.queries == self.keys,
        }
        for name, default in defaults.items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, default)
        self.validate()
        for name in (*_TENSORS, *_MASKS):
            view = np.asarray(getattr(self, name)).view()
            view.flags.writeable = False
            object.__setattr__(self, name, view)
        for name in _FLAGS:
            object.__setattr__(self, name, bool(getattr(self, name)))

    @property
    def layers(self) -> int:
        """Number of layers."""
        return self.q.shape[0]

    @property
    def heads(self) -> int:
        """Number of query heads."""
        return self.q.shape[1]

    @property
    def kv_heads(self) -> int:
        """Number of key and value heads."""
        return self.k.shape[1]

    @property
    def group(self) -> int:
        """Query heads to a KV head."""
        return self.heads // self.kv_heads

    @property
    def queries(self) -> int:
        """Number of queries, padding included."""
        return self.q.shape[2]

    @property
    def keys(self) -> int:
        """Number of keys, padding included."""
        return self.k.shape[2]

    @property
    def head_dim(self) -> int:
        """Elements of a query, key or value."""
        return self.q.shape[3]

    def _check_tensor(self, name: str) -> None:
        array = getattr(self, name)
        if not isinstance(array, np.ndarray):
            raise UserError(f"{name} must be a numpy array, not {type(array).__name__}")
        if array.dtype != np.float32:
            raise UserError(
                f"{name} must be float32, not {array.dtype}; convert it with .astype('float32')"
            )
        if array.ndim != 4:
            raise UserError(
                f"{name} must have the four dimensions {_TENSORS[name]}, not shape {array.shape}"
            )
        for size, what in zip(array.shape, _TENSORS[name].strip("[]").split(", "), strict=True):
            if size == 0:
                raise UserError(f"{name} must have at least 1 in {what}, not shape {array.shape}")

    def _check_shapes(self) -> None:
        if self.k.shape != self.v.shape:
            raise UserError(
                f"k and v must have the same shape, not {self.k.shape} and {self.v.shape}"
            )
        for axis, what in ((0, "layers"), (3, "head_dim")):
            if self.q.shape[axis] != self.k.shape[axis]:
                raise UserError(
                    f"q and k must have the same {what}, not {self.q.shape[axis]} and "
                    f"{self.k.shape[axis]} (shapes {self.q.shape} and {self.k.shape})"
                )
        if self.heads % self.kv_heads:
            raise UserError(
                f"kv_heads must divide heads, but {self.kv_heads} does not divide {self.heads}"
            )

    def _check_masks_and_flags(self) -> None:
        for name, size in zip(_MASKS, (self.keys, self.queries), strict=True):
            mask = getattr(self, name)
            if not isinstance(mask, np.ndarray) or mask.dtype != np.bool_:
                kind = getattr(mask, "dtype", type(mask).__name__)
                raise UserError(f"{name} must be a bool array, not {kind}")
            if mask.shape != (size,):
                raise UserError(f"{name} must have shape ({size},), not {mask.shape}")
        for name in _FLAGS:
            if not isinstance(getattr(self, name), bool | np.bool_):
                raise UserError(f"{name} must be one bool, not {getattr(self, name)!r}")

    def validate(self) -> None:
        """Check everything that the format asks for.

        Raises
        ------
        UserError
            One line that names the array and what is wrong with it.
        """
        for name in _TENSORS:
            self._check_tensor(name)
        self._check_shapes()
        self._check_masks_and_flags()
        for name in ("causal", "decode"):
            if getattr(self, name) and self.queries > self.keys:
                raise UserError(
                    f"{name} needs queries <= keys, not {self.queries} queries and "
                    f"{self.keys} keys"
                )
        if self.self_attention and self.queries > self.keys:
            raise UserError(
                f"self_attention needs queries <= keys, not {self.queries} queries and "
                f"{self.keys} keys"
            )
        for name in _TENSORS:
            array = getattr(self, name)
            if not np.isfinite(array).all():
                where = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
                raise UserError(f"{name} must be finite, but holds {array[where]} at {where}")
        try:
            text = json.dumps(self.meta, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise UserError(f"meta must be a dict that JSON can hold: {error}") from error
        if not isinstance(self.meta, dict) or json.loads(text) != self.meta:
            raise UserError("meta must be a dict that JSON can hold, with strings as keys")

    def check_fits(
        self,
        *,
        max_keys: int | None = None,
        max_queries: int | None = None,
        max_heads: int | None = None,
        max_head_dim: int | None = None,
    ) -> None:
        """Check the sizes against what a core is built for.

        Raises
        ------
        UserError
            A size is over its maximum, or head_dim is not a multiple of 16.
        """
        limits = {
            "keys": max_keys,
            "queries": max_queries,
            "heads": max_heads,
            "head_dim": max_head_dim,
        }
        for name, limit in limits.items():
            if limit is not None and getattr(self, name) > limit:
                raise UserError(
                    f"{name} must be at most {limit}, the maximum this core is built for, "
                    f"not {getattr(self, name)}"
                )
        if self.head_dim % 16:
            raise UserError(f"head_dim must be a multiple of 16, not {self.head_dim}")

    def pair_mask(self) -> NDArray[np.bool_]:
        """Pairs that are not masked, bool ``[queries, keys]``: the same in every layer and head."""
        mask = self.query_valid[:, None] & self.key_valid[None, :]
        if self.causal or self.decode:
            mask = mask & np.tri(self.queries, self.keys, self.keys - self.queries, dtype=bool)
        return mask

    def select(
        self,
        layers: str | Sequence[int] | None = None,
        heads: str | Sequence[int] | None = None,
    ) -> Trace:
        """The same trace with some layers and query heads, in trace order.

        A KV head stays if one of its query heads does. When the query heads left are not the same
        number for each KV head, every query head gets a copy of its own, so that heads still
        divide evenly.

        Parameters
        ----------
        layers, heads : str or sequence of int
            Indices, or a text such as ``"0-2,5"``; all by default.

        Raises
        ------
        UserError
            An index is out of range, or nothing is selected.
        """
        chosen_layers = parse_selection(layers, self.layers, "layer")
        chosen_heads = parse_selection(heads, self.heads, "head")
        owners = [head // self.group for head in chosen_heads]
        kept = sorted(set(owners))
        if len({owners.count(owner) for owner in kept}) > 1:
            kept = owners
        return replace(
            self,
            q=self.q[np.ix_(chosen_layers, chosen_heads)],
            k=self.k[np.ix_(chosen_layers, kept)],
            v=self.v[np.ix_(chosen_layers, kept)],
        )


def parse_selection(selection: str | Sequence[int] | None, count: int, what: str) -> list[int]:
    """Indices that a selection names, sorted, each once.

    Parameters
    ----------
    selection : str or sequence of int or None
        Indices and ranges, both ends included: ``"0-2,5"``; None takes all.
    count : int
        How many there are.
    what : str
        What is selected, for messages.

    Raises
    ------
    UserError
        The text is no selection, or an index is out of range.
    """
    if selection is None:
        return list(range(count))
    chosen: set[int] = set()
    if isinstance(selection, str):
        for part in selection.split(","):
            match = re.fullmatch(r"\s*(\d+)\s*(?:-\s*(\d+)\s*)?", part, re.ASCII)
            if match is None:
                raise UserError(f"{what}s must be numbers and ranges such as 0-2,5, not {part!r}")
            first, last = int(match[1]), int(match[2] or match[1])
            if first > last:
                raise UserError(f"{what} range must run upwards, not {part.strip()!r}")
            chosen.update((first, last) if last >= count else range(first, last + 1))
    else:
        chosen.update(int(index) for index in selection)
    if not chosen:
        raise UserError(f"at least one {what} must be selected")
    for index in sorted(chosen):
        if not 0 <= index < count:
            raise UserError(f"{what} must be in 0..{count - 1}, not {index}")
    return sorted(chosen)


def save(path: str | Path, trace: Trace) -> None:
    """Write a trace. The file appears whole or not at all; the same trace gives the same bytes.

    Raises
    ------
    UserError
        The file cannot be written.
    """
    trace.validate()
    path = Path(path)
    arrays: dict[str, Any] = {name: getattr(trace, name) for name in (*_TENSORS, *_MASKS, *_FLAGS)}
    arrays["meta"] = np.array(json.dumps(trace.meta, sort_keys=True))
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            np.savez(file, **arrays)
        os.replace(temporary, path)
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror or error}") from error
    finally:
        temporary.unlink(missing_ok=True)


def _flag(name: str, array: NDArray[Any]) -> bool:
    if array.dtype != np.bool_ or array.shape != ():
        raise UserError(f"{name} must be one bool, not {array.dtype} of shape {array.shape}")
    return bool(array)


def _meta(array: NDArray[Any]) -> dict[str, Any]:
    if array.dtype.kind != "U" or array.shape != ():
        raise UserError(f"meta must be one string, not {array.dtype} of shape {array.shape}")
    try:
        meta = json.loads(str(array))
    except json.JSONDecodeError as error:
        raise UserError(f"meta must be a JSON string: {error}") from error
    if not isinstance(meta, dict):
        raise UserError(f"meta must be a JSON object, not {type(meta).__name__}")
    return meta


def _read(path: Path) -> dict[str, NDArray[Any]]:
    known = [f.name for f in fields(Trace)]
    with open(path, "rb") as file:
        opened = np.load(file, allow_pickle=False)
        if not isinstance(opened, np.lib.npyio.NpzFile):
            raise UserError("a single array, not an .npz file with q, k and v")
        for name in opened.files:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.75)
            if name not in known and near:
                raise UserError(f"unknown array {name!r}; did you mean {near[0]!r}?")
        return {name: opened[name] for name in known if name in opened.files}


def load(path: str | Path) -> Trace:
    """Read and check a trace.

    Arrays of other names are passed over, unless they look like a misspelling.

    Raises
    ------
    UserError
        One line that names the file and what is wrong with it.
    """
    path = Path(path)
    unreadable = (
        ValueError,
        EOFError,
        KeyError,
        MemoryError,
        NotImplementedError,
        zipfile.BadZipFile,
        zlib.error,
    )
    try:
        arrays: dict[str, Any] = dict(_read(path))
        for name in _TENSORS:
            if name not in arrays:
                raise UserError(f"{name} is missing; a trace holds at least q, k and v")
        for name in _FLAGS:
            if name in arrays:
                arrays[name] = _flag(name, arrays[name])
        if "meta" in arrays:
            arrays["meta"] = _meta(arrays["meta"])
        return Trace(**arrays)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from error
    except unreadable as error:
        raise UserError(f"{path} is not a readable .npz file") from error
