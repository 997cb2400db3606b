"""Slopes: the direction of steepest ascent, learned from evaluations of a loss alone."""

from rso_jax.slopes import probes, steps
from rso_jax.slopes.estimate import EstimateInfo, value_and_slopes
from rso_jax.slopes.method import Slopes, slopes_method
from rso_jax.slopes.presets import spectral

__all__ = [
    "EstimateInfo",
    "Slopes",
    "probes",
    "slopes_method",
    "spectral",
    "steps",
    "value_and_slopes",
]
