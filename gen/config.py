"""Configurations: preset files, TOML files, overlays and single settings, checked in one place."""

from __future__ import annotations

import difflib
import json
import re
import tomllib
from collections.abc import Iterable, Mapping
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, InstanceOf, ValidationError

from attnsieve.gen.errors import UserError
from attnsieve.hdl.params import CoreParams

__all__ = [
    "Configuration",
    "MemoryOptions",
    "RunOptions",
    "SynthOptions",
    "load",
    "preset_names",
    "presets",
]


def _core(value: Any) -> CoreParams:
    if isinstance(value, CoreParams):
        return value
    if not isinstance(value, dict):
        raise ValueError("[core] must be a table")
    try:
        return CoreParams(**value)
    except TypeError as error:  # pydantic passes only ValueError on as a message
        raise ValueError(str(error)) from error


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class MemoryOptions(_Section):
    """The memory that simulations attach, and that limits are computed for.

    Parameters
    ----------
    latency : int
        Cycles from the address handshake to the first beat.
    outstanding : int
        Granules that a channel may have in flight.
    granule : int
        Bytes of the smallest access: bytes moved are counted in granules.
    """

    latency: int = Field(50, ge=1, le=10000)
    outstanding: int = Field(64, ge=1, le=4096)
    granule: int = Field(32, ge=4, le=4096)


class RunOptions(_Section):
    """How software drives the core.

    Parameters
    ----------
    bits : int
        Operand width of the jobs, 8 or 12.
    key_bits, value_bits : int
        Widths of K, of its first plane if there is a threshold, and of V: 4, 6, 8, 10, 12; 0: as
        bits. On cores with ``progressive``.
    threshold : float
        Rows whose largest probability is less are computed again with four more bits of K; 0: K is
        read whole. On cores with ``progressive``, in jobs of one query.
    demand : bool
        Rows of V are read once a row keeps them. On cores with ``value_demand``, in jobs of one
        query.
    planar : bool
        K lies in planes of slices, each of which is read while a row needs it. On cores with
        ``slice_demand``, in jobs of one query.
    keep_tokens : float
        Share of the tokens that a layer keeps, on the average of the layers that drop any.
    keep_values : float
        Share of a layer's keys whose V rows each row multiplies.
    keep_heads : float
        Share of the query heads that a layer keeps, on the average of the layers that drop any.
    ranking : str
        Which tokens are kept: ``importance``, ``age`` or ``static``.
    pin_first, pin_newest : int
        So many of the first keys, and of the last that a query sees, are kept whatever their
        scores, on cores with thresholds.
    pin_self : bool
        And the key at the query's own position.
    """

    bits: Literal[8, 12] = 8
    key_bits: Literal[0, 4, 6, 8, 10, 12] = 0
    value_bits: Literal[0, 4, 6, 8, 10, 12] = 0
    threshold: float = Field(0.0, ge=0, le=1)
    demand: bool = False
    planar: bool = False
    keep_tokens: float = Field(1.0, gt=0, le=1)
    keep_values: float = Field(1.0, gt=0, le=1)
    keep_heads: float = Field(1.0, gt=0, le=1)
    ranking: Literal["importance", "age", "static"] = "importance"
    pin_first: int = Field(0, ge=0, le=65535)
    pin_newest: int = Field(0, ge=0, le=65535)
    pin_self: bool = False


class SynthOptions(_Section):
    """Targets of synthesis.

    Parameters
    ----------
    clock_mhz : float
        Clock that place and route and mapping aim at.
    ecp5_device, ecp5_speed
        ECP5 device and speed grade (6 is the slowest).
    ice40_device : str
        iCE40 device.
    seed : int
        Seed of place and route.
    """

    clock_mhz: float = Field(100.0, gt=0, le=5000)
    ecp5_device: Literal["LFE5U-25F", "LFE5U-45F", "LFE5U-85F"] = "LFE5U-85F"
    ecp5_speed: Literal[6, 7, 8] = 6
    ice40_device: Literal["HX1K", "HX4K", "HX8K", "LP8K", "UP5K"] = "HX8K"
    seed: int = Field(1, ge=0, le=2**31 - 1)


class Configuration(_Section):
    """Everything that decides what is generated, and how it is simulated and synthesized.

    Parameters
    ----------
    name : str
        Names the core: its top module is ``attnsieve_<name>``.
    system : str
        The accelerator: ``dense``, ``spatten``, ``leopard``.
    intent : str
        What it is for, in a line.
    status : str
        ``supported`` (built by the tests) or ``experimental``.
    core : CoreParams
        Build-time parameters.
    memory, run, synth
        Options of simulation and synthesis; they do not change the Verilog.
    """

    name: str = Field(pattern=r"^[A-Za-z][A-Za-z0-9_.-]*$", max_length=64)
    system: Literal["dense", "spatten", "leopard"] = "dense"
    intent: str = Field("", pattern=r"^[^\n]*$")
    status: Literal["supported", "experimental"] = "experimental"
    core: Annotated[InstanceOf[CoreParams], BeforeValidator(_core)] = CoreParams()
    memory: MemoryOptions = MemoryOptions()
    run: RunOptions = RunOptions()
    synth: SynthOptions = SynthOptions()

    @property
    def top(self) -> str:
        """Name of the top module."""
        return "attnsieve_" + re.sub(r"[^A-Za-z0-9_]", "_", self.name)

    def as_dict(self) -> dict[str, Any]:
        """Every setting, for reports."""
        return {
            "name": self.name,
            "system": self.system,
            "intent": self.intent,
            "status": self.status,
            "core": self.core.as_dict(),
            "memory": self.memory.model_dump(),
            "run": self.run.model_dump(),
            "synth": self.synth.model_dump(),
        }

    def as_toml(self) -> str:
        """The configuration as a TOML file that `load` reads back."""
        lines = []
        for key, value in self.as_dict().items():
            if isinstance(value, dict):
                lines += ["", f"[{key}]", *(f"{k} = {_toml(v)}" for k, v in value.items())]
            else:
                lines.append(f"{key} = {_toml(value)}")
        return "\n".join(lines) + "\n"


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        # JSON escapes as TOML does, but for one control character
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return repr(value)


_SECTIONS: dict[str, tuple[str, ...]] = {
    "core": CoreParams.names(),
    "memory": tuple(MemoryOptions.model_fields),
    "run": tuple(RunOptions.model_fields),
    "synth": tuple(SynthOptions.model_fields),
}
_PLAIN = tuple(k for k in Configuration.model_fields if k not in _SECTIONS)


def _suggest(word: str, known: Iterable[str]) -> str:
    known = list(known)
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f"did you mean {close[0]!r}?" if close else f"known: {', '.join(known)}"


def _check_keys(settings: Mapping[str, Any], where: str) -> None:
    """Reject unknown keys, naming the nearest known one."""
    for key, value in settings.items():
        if key in _SECTIONS:
            if not isinstance(value, dict):
                raise UserError(f"{where}: {key} must be a table [{key}], not {value!r}")
            for inner in value:
                if inner not in _SECTIONS[key]:
                    raise UserError(
                        f"{where}: unknown key {inner!r} in [{key}]; "
                        f"{_suggest(inner, _SECTIONS[key])}"
                    )
        elif key not in (*_PLAIN, "extends"):
            section = next((s for s, keys in _SECTIONS.items() if key in keys), None)
            if section is not None:
                raise UserError(f"{where}: key {key!r} belongs into [{section}]")
            raise UserError(
                f"{where}: unknown key {key!r}; {_suggest(key, (*_PLAIN, 'extends', *_SECTIONS))}"
            )


def _read(path: Path) -> dict[str, Any]:
    try:
        settings = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not a text file (UTF-8)") from error
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"{path}: not valid TOML: {error}") from error
    except RecursionError:
        raise UserError(f"{path}: not valid TOML: nested too deeply") from None
    _check_keys(settings, str(path))
    return settings


def _merge(base: dict[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = {k: dict(v) if isinstance(v, dict) else v for k, v in base.items()}
    for key, value in over.items():
        if isinstance(value, dict):
            merged[key] = {**merged.get(key, {}), **value}
        else:
            merged[key] = value
    return merged


@cache
def _preset_files() -> dict[str, dict[str, Any]]:
    folder = resources.files("attnsieve.gen") / "presets"
    files = sorted(
        (f for f in folder.iterdir() if f.name.endswith(".toml")),
        key=lambda f: f.name.removesuffix(".toml"),
    )
    read = [tomllib.loads(f.read_text(encoding="utf-8")) for f in files]
    return {settings["name"]: settings for settings in read}


def preset_names() -> tuple[str, ...]:
    """Names of the presets."""
    return tuple(_preset_files())


def presets() -> tuple[Configuration, ...]:
    """All presets, in the order of their names."""
    return tuple(load(name) for name in preset_names())


def _base(system: str) -> dict[str, Any]:
    """Settings of a preset or a TOML file, with what it extends."""
    files = _preset_files()
    if system in files:
        return files[system]
    path = Path(system)
    if path.suffix != ".toml" and not path.is_file():
        raise UserError(f"unknown system {system!r}; {_suggest(system, files)}")
    settings = _read(path)
    parent = settings.pop("extends", None)
    name = {"name": re.sub(r"[^A-Za-z0-9_.-]", "_", path.stem), "status": "experimental"}
    if parent is not None:
        if not isinstance(parent, str) or parent not in files:
            raise UserError(
                f"{path}: extends {parent!r}, unknown preset; {_suggest(str(parent), files)}"
            )
        name = _merge(files[parent], name)
    return _merge(name, settings)


def _setting(text: str) -> dict[str, Any]:
    """``key=value`` of the command line as settings."""
    key, equals, value = text.partition("=")
    key = key.strip()
    if not equals or not key:
        raise UserError(f"--set {text}: must be key=value, for example core.lanes=32")
    section, dot, inner = key.rpartition(".")
    if not dot and key not in _PLAIN:
        found = [s for s, keys in _SECTIONS.items() if key in keys]
        if not found:
            known = [*_PLAIN, *(k for keys in _SECTIONS.values() for k in keys)]
            raise UserError(f"--set {text}: unknown key {key!r}; {_suggest(key, known)}")
        section, inner = found[0], key
    try:
        parsed = tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        parsed = value.strip()
    settings = {section: {inner: parsed}} if section else {key: parsed}
    _check_keys(settings, f"--set {text}")
    return settings


def _message(error: ValidationError) -> str:
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    text = first["msg"].removeprefix("Value error, ")
    if first["type"] == "value_error":
        return text if where == "core" else f"{where}: {text}"
    text = text[0].lower() + text[1:]
    return f"{where}: {text.replace('input should', 'must')}, not {first['input']!r}"


def load(
    system: str,
    *,
    overlays: Iterable[str | Path] = (),
    settings: Iterable[str] = (),
) -> Configuration:
    """Configuration of a preset or a TOML file, with changes on top.

    Parameters
    ----------
    system : str
        Name of a preset, or path of a TOML file. A file may start from a preset with
        ``extends = "dense-tiny"``; what it does not say has its default value.
    overlays : iterable of path
        TOML files laid over it, in order.
    settings : iterable of str
        ``section.key=value``, or ``key=value`` alone, laid over those; values are written as in
        TOML, quotes may be left out.

    Raises
    ------
    UserError
        A file cannot be read, a key is unknown, or a value is not legal.
    """
    chosen = _base(system)
    for overlay in overlays:
        over = _read(Path(overlay))
        if "extends" in over:
            raise UserError(f"{overlay}: an overlay cannot extend a preset; name that as SYSTEM")
        chosen = _merge(chosen, over)
    for text in settings:
        chosen = _merge(chosen, _setting(text))
    try:
        return Configuration.model_validate(chosen)
    except ValidationError as error:
        raise UserError(f"{system}: {_message(error)}") from error
