"""Synthesis, place and route, and their reports."""

from attnsieve.gen.synth.flow import synth, synth_component

__all__ = ["synth", "synth_component"]
