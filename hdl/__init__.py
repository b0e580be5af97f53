"""Amaranth components of the attention accelerators."""
