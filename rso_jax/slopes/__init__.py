"""Slopes: the direction of steepest ascent, learned from evaluations of a loss alone."""

from rso_jax.slopes import probes
from rso_jax.slopes.estimate import EstimateInfo, value_and_slopes
from rso_jax.slopes.method import slopes_method

__all__ = ["EstimateInfo", "probes", "slopes_method", "value_and_slopes"]
