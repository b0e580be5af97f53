"""Planted bugs: each must be caught by the unit tests of its block."""
