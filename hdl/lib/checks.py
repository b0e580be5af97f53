"""Checks of parameters: one message for one kind of mistake."""

from __future__ import annotations

__all__ = ["check_int", "check_power_of_two"]


def check_int(name: str, value: object, low: int, high: int | None = None) -> None:
    """Raise unless ``value`` is an integer of at least ``low`` and at most ``high``."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be an integer, not {value!r}")
    if high is None and value < low:
        raise ValueError(f"{name} must be at least {low}, not {value!r}")
    if high is not None and not low <= value <= high:
        raise ValueError(f"{name} must be in {low}..{high}, not {value!r}")


def check_power_of_two(name: str, value: int, low: int = 1, high: int | None = None) -> None:
    """Raise unless ``value`` is a power of two in range."""
    check_int(name, value, low, high)
    if value & (value - 1):
        raise ValueError(f"{name} must be a power of two, not {value!r}")
