"""Arithmetic, memories and stream blocks shared by the stages."""
