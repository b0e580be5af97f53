"""Errors that are the user's to mend."""

__all__ = ["UserError"]


class UserError(Exception):
    """A wrong input or a missing tool.

    The message is one line that says what is wrong and what to change; the command line prints it
    alone, without a traceback, and exits with status 2.
    """
