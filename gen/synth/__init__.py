"""Synthesis, place and route, and their reports."""

from attnsieve.gen.synth.flow import synth, synth_component
from attnsieve.gen.synth.table import print_report

__all__ = ["print_report", "synth", "synth_component"]
