"""Traces: recorded queries, keys and values of real attention layers."""

from attnsieve.sim.trace.attention import AttentionStep, Run, float_attention
from attnsieve.sim.trace.trace import Trace, load, parse_selection, save

__all__ = [
    "AttentionStep",
    "Run",
    "Trace",
    "float_attention",
    "load",
    "parse_selection",
    "save",
]
