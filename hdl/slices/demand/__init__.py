"""Slices of K that are read from memory only while some row of their KV head needs them."""
