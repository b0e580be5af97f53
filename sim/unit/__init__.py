"""Driving blocks in Amaranth's simulator: data in, data out."""

from attnsieve.sim.unit.streams import Result, StreamError, run_streams, simulate

__all__ = ["Result", "StreamError", "run_streams", "simulate"]
