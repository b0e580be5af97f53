"""Thresholds of scores: in files in real units, on a core as integers of each head."""

from __future__ import annotations

import json
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from attnsieve.sim.errors import InputError
from attnsieve.sim.golden.quantise import Quantised

__all__ = ["Thresholds", "threshold_codes"]

#: Registers hold 32 signed bits; the core takes what is beyond a score's range as its end.
_LEAST, _MOST = -(1 << 31), (1 << 31) - 1


class _Layer(BaseModel):
    """A layer in a file."""

    model_config = ConfigDict(extra="forbid", strict=True)

    thresholds: list[Annotated[float, Field(allow_inf_nan=False)]]


class _File(BaseModel):
    """A file of thresholds."""

    model_config = ConfigDict(extra="forbid", strict=True)

    source: str = ""
    relative: bool = False
    layers: list[_Layer]


@dataclass(frozen=True)
class Thresholds:
    """The smallest score q·k/√head_dim that each head of each layer keeps, in real units; or how
    far below the largest of its row it may be.

    Parameters
    ----------
    layers : tuple of tuple of float
        ``[layers][heads]``, of a whole trace.
    source : str
        How they were found, in a line.
    relative : bool
        They are distances from the largest score of a row.
    """

    layers: tuple[tuple[float, ...], ...]
    source: str = ""
    relative: bool = False

    def __post_init__(self) -> None:
        if self.relative and not all(margin >= 0 for layer in self.layers for margin in layer):
            raise InputError("thresholds that are relative must not be negative")

    @classmethod
    def load(cls, path: str | Path) -> Thresholds:
        """Read a file; raises InputError with one line that says what is wrong with it."""
        try:
            with open(path, "rb") as file:
                found = _File.model_validate(tomllib.load(file))
        except OSError as error:
            raise InputError(f"{path} cannot be read: {error.strerror or error}") from error
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise InputError(f"{path}: {where}: {first['msg']}") from error
        except (ValueError, RecursionError) as error:
            raise InputError(f"{path}: {error or 'nested too deep'}") from error
        layers = tuple(tuple(layer.thresholds) for layer in found.layers)
        try:
            return cls(layers, found.source, found.relative)
        except InputError as error:
            raise InputError(f"{path}: {error}") from error

    def as_toml(self) -> str:
        """The file that `load` reads back."""
        lines = [f"source = {json.dumps(self.source, ensure_ascii=False)}"]
        lines += ["relative = true"] if self.relative else []
        for layer in self.layers:
            values = ", ".join(repr(float(value)) for value in layer)
            lines += ["", "[[layers]]", f"thresholds = [{values}]"]
        return "\n".join(lines) + "\n"

    def check(self, layers: int, heads: int) -> None:
        """Raise InputError unless they are those of a trace with so many layers and heads."""
        if len(self.layers) != layers:
            raise InputError(
                f"thresholds must be of {layers} layers as the trace, not {len(self.layers)}"
            )
        for number, layer in enumerate(self.layers):
            if len(layer) != heads:
                raise InputError(
                    f"thresholds of layer {number} must be of {heads} heads as the trace, "
                    f"not {len(layer)}"
                )


def threshold_codes(
    quantised: Quantised, thresholds: np.ndarray, relative: bool = False
) -> tuple[int, ...]:
    """Thresholds of a layer's query heads as integer scores, rounded up, or distances, rounded
    down: an integer score is kept exactly if its real value is."""
    group = len(quantised.q) // len(quantised.k)
    unit = np.asarray(quantised.s_q) * np.repeat(quantised.s_k, group)
    with np.errstate(over="ignore"):  # what is infinite is beyond every score
        real = np.asarray(thresholds) * np.sqrt(quantised.q.shape[-1]) / unit
    codes = np.floor(real) if relative else np.ceil(real)
    return tuple(int(code) for code in np.clip(codes, _LEAST, _MOST))
