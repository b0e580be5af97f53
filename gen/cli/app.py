"""The application: its commands, and how every one of them ends."""

from __future__ import annotations

import os
import signal
import sys
import warnings
from collections.abc import Sequence
from importlib import metadata
from types import FrameType
from typing import Annotated

import typer
from amaranth.hdl import UnusedElaboratable

from attnsieve.gen.cli import calibrate, demo, generate, lint, listing, simulate, synth, trace
from attnsieve.gen.errors import UserError
from attnsieve.gen.tools import ToolError
from attnsieve.sim.errors import InputError

__all__ = ["app", "main", "run"]

app = typer.Typer(
    name="attnsieve",
    help="Generate, simulate and synthesize attention accelerators.",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for _name, _function in (
    ("list", listing.command),
    ("generate", generate.command),
    ("trace", trace.command),
    ("calibrate", calibrate.command),
    ("simulate", simulate.command),
    ("synth", synth.command),
    ("lint", lint.command),
    ("demo", demo.command),
):
    app.command(_name)(_function)


def _version(value: bool) -> None:
    if value:
        print(f"attnsieve {metadata.version('attnsieve')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


def _one_line(message: str) -> str:
    return " ".join(message.split())


def _terminated(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


def run(argv: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit status: 0 done, 1 a check failed, 2 wrong input."""
    message: str
    # what is left of a design after an error in it is no news to a user
    warnings.simplefilter("ignore", UnusedElaboratable)
    try:
        status = app(args=argv, prog_name="attnsieve", standalone_mode=False)
        sys.stdout.flush()
        return int(status or 0)
    except (UserError, InputError) as error:
        message, status = str(error), 2
    except ToolError as error:
        message, status = str(error), 1
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        message, status = f"{where}{error.strerror or error}", 2
    except (KeyboardInterrupt, typer.Abort):
        message, status = "interrupted", 130
    except Exception as error:
        # errors of the argument parser; the class is typer's or click's, as the version has it
        format_message = getattr(error, "format_message", None)
        if format_message is None:
            raise
        text = _one_line(format_message())
        if not text or type(error).__name__ == "NoArgsIsHelpError":  # help was asked for
            print(format_message())
            return 2
        message, status = (
            f"{text.rstrip('.?')}; see attnsieve --help",
            getattr(error, "exit_code", 2),
        )
    print(f"attnsieve: {_one_line(message)}", file=sys.stderr)
    return status


def main() -> None:
    """Entry point of the command."""
    signal.signal(signal.SIGTERM, _terminated)
    sys.exit(run())
