"""Bit-serial scores that stop as soon as they are known to be too small (LeOPArd)."""
