"""Predicts how many cycles jobs take, and what they wait for, without simulating the core.

A model of events: when a chunk of lines is asked for and comes, when each row passes each stage. A
stage takes the largest of the times that hold it up; nothing is fitted.
"""

from attnsieve.sim.cycle_model.predict import Prediction, predict

__all__ = ["Prediction", "predict"]
