"""Errors in what a user hands to the simulators."""

__all__ = ["InputError"]


class InputError(ValueError):
    """A wrong trace, job or selection: one line that says what is wrong and what to change."""
