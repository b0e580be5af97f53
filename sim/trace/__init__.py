"""Traces: recorded queries, keys and values of real attention layers."""
