"""Slopes: the direction of steepest descent, learned from evaluations of a loss alone."""

from rso_jax.slopes import probes
from rso_jax.slopes.estimate import value_and_slopes

__all__ = ["probes", "value_and_slopes"]
