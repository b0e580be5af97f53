"""Amaranth's enumerations for the type checker: Python's, with a shape."""

import enum as _enum
from enum import auto as auto
from enum import unique as unique
from typing import Any

__all__ = ["Enum", "Flag", "IntEnum", "IntFlag", "auto", "unique"]

class Enum(_enum.Enum):
    def __init_subclass__(cls, *, shape: Any = ..., view_class: Any = ...) -> None: ...

class IntEnum(_enum.IntEnum):
    def __init_subclass__(cls, *, shape: Any = ..., view_class: Any = ...) -> None: ...

class Flag(_enum.Flag):
    def __init_subclass__(cls, *, shape: Any = ..., view_class: Any = ...) -> None: ...

class IntFlag(_enum.IntFlag):
    def __init_subclass__(cls, *, shape: Any = ..., view_class: Any = ...) -> None: ...
