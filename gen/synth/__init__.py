"""Synthesis, place and route, timing and power reports."""
