"""The attnsieve command line."""

from attnsieve.gen.cli.app import main, run

__all__ = ["main", "run"]
