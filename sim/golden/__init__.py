"""Bit-exact numpy models of every mechanism and of the whole pipeline."""
