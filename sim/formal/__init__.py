"""Proofs about blocks: bounded model checking, induction and cover with an SMT solver."""

from attnsieve.sim.formal.hold import HoldRule, free_inputs
from attnsieve.sim.formal.prove import ProofError, prove

__all__ = ["HoldRule", "ProofError", "free_inputs", "prove"]
